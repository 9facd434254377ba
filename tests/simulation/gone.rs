//! Ids whose messages are gone (I6): a topic whose group settles whatever comes, so that of its messages nothing is
//! left but their ids, which are carried from segment to segment.

use crate::model::Firm;
use millpond::{Consumer, Durability, Error, Group, Message, Offset, Receipt, Store, Topic, TopicSettings, Window};
use std::collections::BTreeMap;
use std::time::Duration;

/// Ids are taken from so many.
const POOL: u64 = 400;

#[derive(Default)]
pub(crate) struct Gone {
    /// What was published, and how firmly.
    published: BTreeMap<u64, (Offset, Firm)>,
    /// Published twice just before the store went.
    twice: Vec<u64>,
}

pub(crate) struct OpenGone {
    store: Store,
    topic: Topic,
    sink: Consumer,
}

pub(crate) fn prepare(store: &Store) -> Result<OpenGone, Error> {
    let topic = store.topic_with("gone", TopicSettings::default().deduplicate(Window::Forever))?;
    let sink = topic.consumer("sink", Group::default())?;
    Ok(OpenGone { store: store.clone(), topic, sink })
}

fn message(number: u64) -> Message {
    // Most of it is payload, so that a segment full of them is worth cleaning.
    Message::new(format!("{number:0300}")).id(number.to_be_bytes().to_vec())
}

impl Gone {
    /// How many ids there are, and how many messages that are not settled.
    pub(crate) fn counts(&self, open: &OpenGone) -> (u64, u64) {
        let stats = open.sink.stats();
        (self.published.len() as u64, stats.ready + stats.leased + stats.retrying + stats.delayed + stats.dead)
    }

    /// The store came back after losing what was less firm than `least`: what is left may be either way, until it is
    /// asked for.
    pub(crate) fn reopened(&mut self, rng: &mut fastrand::Rng, open: &OpenGone, least: Firm) -> Result<(), String> {
        for (_, firm) in self.published.values_mut() {
            *firm = if *firm >= least { Firm::Disk } else { Firm::Asked };
        }
        let twice = std::mem::take(&mut self.twice);
        for id in twice.into_iter().chain((0..10).map(|_| rng.u64(0..POOL))) {
            self.publish(id, open, Durability::Os).map_err(|error| format!("ids: {error}"))??;
        }
        Ok(())
    }

    /// The same id for less than the disk and then for the disk: the second answer is a promise that the first was not.
    /// Soon after, the store goes.
    pub(crate) fn publish_twice(&mut self, rng: &mut fastrand::Rng, open: &OpenGone) -> Result<(), String> {
        for _ in 0..rng.usize(1..4) {
            let (id, first) = (rng.u64(0..POOL), rng.choice([Durability::Memory, Durability::Os]).unwrap());
            for level in [first, Durability::Disk] {
                match self.publish(id, open, level) {
                    Ok(outcome) => outcome?,
                    Err(_) => return Ok(()),
                }
            }
            self.twice.push(id);
        }
        Ok(())
    }

    /// Some of them in a transaction, with the acks of others.
    fn transact(&mut self, rng: &mut fastrand::Rng, open: &OpenGone) -> Result<bool, String> {
        let level = rng.choice([Durability::Memory, Durability::Os, Durability::Disk]).unwrap();
        let Ok(held) = open.sink.lease_many(rng.usize(0..3), Duration::ZERO) else { return Ok(false) };
        let mut tx = open.store.transaction();
        tx.durability(level);
        held.for_each(|delivery| _ = tx.ack(delivery));
        let (ids, end) = ((0..rng.usize(0..5)).map(|_| rng.u64(0..POOL)), open.topic.end_offset());
        let ids: Vec<u64> = ids.collect();
        ids.iter().for_each(|id| _ = tx.publish(&open.topic, message(*id)));
        let Ok(committed) = tx.commit().wait() else { return Ok(false) };
        for (place, (id, receipt)) in ids.iter().zip(&committed.receipts).enumerate() {
            // One that stands twice in it is its own duplicate.
            let end = if ids[..place].contains(id) { open.topic.end_offset() } else { end };
            self.answered(*id, *receipt, end, level.into())?;
        }
        Ok(true)
    }

    /// Every id that was promised is known.
    pub(crate) fn all_known(&mut self, open: &OpenGone) -> Result<(), String> {
        let all: Vec<u64> = self.published.keys().copied().collect();
        all.into_iter().try_for_each(|id| self.publish(id, open, Durability::Os).map_err(|error| error.to_string())?)
    }

    fn publish(&mut self, id: u64, open: &OpenGone, level: Durability) -> Result<Result<(), String>, Error> {
        let end = open.topic.end_offset();
        let receipt = open.topic.publish(message(id).durability(level)).wait()?;
        if level == Durability::Disk {
            let before = self.published.values_mut().filter(|(offset, _)| *offset <= receipt.offset);
            before.for_each(|(_, firm)| *firm = (*firm).max(if *firm == Firm::Asked { *firm } else { Firm::Disk }));
        }
        Ok(self.answered(id, receipt, end, level.into()))
    }

    fn answered(&mut self, id: u64, receipt: Receipt, end: Offset, firm: Firm) -> Result<(), String> {
        if receipt.duplicate && receipt.offset >= end {
            return Err(format!("I4: id {id} is known from {}, and the topic ends at {end}", receipt.offset));
        }
        match self.published.get_mut(&id) {
            Some((offset, known)) if receipt.duplicate && receipt.offset == *offset => *known = (*known).max(firm),
            Some((offset, known)) if *known > Firm::Asked => {
                return Err(format!(
                    "I6: the message of id {id} was at {offset} and is gone; the answer is {receipt:?}"
                ));
            }
            // It may have been lost with the machine, or have come through without having been promised.
            _ => _ = self.published.insert(id, (receipt.offset, firm)),
        }
        Ok(())
    }

    /// One step. Whether the store is still good.
    pub(crate) fn step(&mut self, rng: &mut fastrand::Rng, open: &OpenGone) -> Result<bool, String> {
        if rng.u8(0..4) == 0 {
            return self.transact(rng, open);
        }
        if rng.bool() {
            let level = rng.choice([Durability::Memory, Durability::Os, Durability::Disk]).unwrap();
            return match self.publish(rng.u64(0..POOL), open, level) {
                Ok(outcome) => outcome.map(|()| true),
                Err(_) => Ok(false),
            };
        }
        let Ok(batch) = open.sink.lease_many(20, Duration::ZERO) else { return Ok(false) };
        Ok(open.sink.ack_all(batch).wait().is_ok())
    }

    /// At the end nothing is left to be settled.
    pub(crate) fn drain(&mut self, open: &OpenGone) -> Result<(), String> {
        loop {
            let batch = open.sink.lease_many(100, Duration::ZERO).map_err(|error| error.to_string())?;
            let batch: Vec<_> = batch.collect();
            if batch.is_empty() {
                return Ok(());
            }
            open.sink.ack_all(batch).wait().map_err(|error| error.to_string())?;
        }
    }
}
