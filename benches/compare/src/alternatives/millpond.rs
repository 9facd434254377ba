//! Ours.

use crate::queue::{Alternative, Consumer, Level, Levels, Producer, Queue, Result};
use millpond::{Batch, Delivery, Durability, Group, Message, Receipt, Store, Ticket, Topic};
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

pub(crate) struct Millpond;

/// How many files a store keeps that is used in waves as large as what is measured here: two gigabytes and a bit.
const USED_SEGMENTS: u32 = 40;

fn durability(level: Level) -> Durability {
    match level {
        Level::Memory => Durability::Memory,
        Level::Os => Durability::Os,
        Level::Disk => Durability::Disk,
    }
}

impl Alternative for Millpond {
    fn name(&self) -> &'static str {
        super::OURS
    }

    fn appends(&self) -> &'static [Level] {
        &[Level::Memory, Level::Os, Level::Disk]
    }

    fn settles(&self) -> &'static [Level] {
        &[Level::Memory, Level::Os, Level::Disk]
    }

    fn pipelines(&self) -> bool {
        true
    }

    fn promise(&self, level: Level) -> &'static str {
        match level {
            Level::Memory => "`Memory`: in a bounded buffer, written within a millisecond; acks detached",
            Level::Os => "`Os`: written to the kernel before the call returns, synced within a second",
            Level::Disk => "`Disk`: fdatasync before the call returns",
        }
    }

    fn open(&self, directory: &Path, levels: Levels) -> Result<Box<dyn Queue>> {
        let options = Store::options().durability(durability(levels.append));
        let options = options.ack_durability(durability(levels.settle));
        let options = if levels.used { options.spare_segments(USED_SEGMENTS) } else { options };
        let store = options.open(directory.join("store"))?;
        let topic = store.topic("compare")?;
        let consumer = topic.consumer("compare", Group::default())?;
        Ok(Box::new(Open { topic, consumer, detached: levels.settle == Level::Memory, store }))
    }
}

struct Open {
    topic: Topic,
    consumer: millpond::Consumer,
    detached: bool,
    store: Store,
}

impl Queue for Open {
    fn producer(&self) -> Result<Box<dyn Producer + '_>> {
        Ok(Box::new(Sender { topic: &self.topic, on_their_way: VecDeque::new() }))
    }

    fn consumer(&self) -> Result<Box<dyn Consumer + '_>> {
        Ok(Box::new(Receiver { consumer: &self.consumer, detached: self.detached }))
    }

    fn settle_down(&self) -> Result<()> {
        self.store.clean_now()?;
        Ok(self.store.sync().wait()?)
    }
}

struct Sender<'a> {
    topic: &'a Topic,
    on_their_way: VecDeque<Ticket<Receipt>>,
}

impl Producer for Sender<'_> {
    fn append(&mut self, payload: &'static [u8]) -> Result<()> {
        self.topic.publish(payload).wait()?;
        Ok(())
    }

    fn append_batch(&mut self, payloads: &[&'static [u8]]) -> Result<()> {
        self.topic.publish_all(payloads.iter().map(|payload| Message::from(*payload))).wait()?;
        Ok(())
    }

    fn append_pipelined(&mut self, payload: &'static [u8], most: usize) -> Result<()> {
        if self.on_their_way.len() >= most
            && let Some(oldest) = self.on_their_way.pop_front()
        {
            oldest.wait()?;
        }
        self.on_their_way.push_back(self.topic.publish(payload));
        Ok(())
    }

    fn settle_pipeline(&mut self) -> Result<()> {
        self.on_their_way.drain(..).try_for_each(|ticket| ticket.wait().map(drop))?;
        Ok(())
    }
}

struct Receiver<'a> {
    consumer: &'a millpond::Consumer,
    detached: bool,
}

impl Receiver<'_> {
    fn settle(&self, ticket: Ticket<()>) -> Result<()> {
        if self.detached {
            ticket.detach();
            return Ok(());
        }
        Ok(ticket.wait()?)
    }

    fn one(&self, delivery: Option<Delivery>, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let Some(delivery) = delivery else { return Ok(0) };
        see(delivery.payload());
        self.settle(delivery.ack())?;
        Ok(1)
    }

    fn several(&self, batch: Batch, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let taken = batch.len();
        let seen = batch.inspect(|delivery| see(delivery.payload()));
        if taken > 0 {
            self.settle(self.consumer.ack_all(seen))?;
        }
        Ok(taken)
    }
}

impl Consumer for Receiver<'_> {
    fn take(&mut self, max: usize, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        match max {
            1 => self.one(self.consumer.try_lease()?, see),
            _ => self.several(self.consumer.lease_many(max, Duration::ZERO)?, see),
        }
    }

    fn wait(&mut self, patience: Duration, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        self.one(self.consumer.lease_timeout(patience)?, see)
    }
}
