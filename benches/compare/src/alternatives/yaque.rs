//! yaque: a queue of one sender and one receiver in files, with a cursor and no leases.

use crate::queue::{Alternative, Consumer, Level, Levels, Producer, Queue, Result};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use yaque::{Receiver, ReceiverBuilder, Sender, TryRecvError};

pub(crate) struct Yaque;

impl Alternative for Yaque {
    fn name(&self) -> &'static str {
        "yaque"
    }

    fn appends(&self) -> &'static [Level] {
        &[Level::Os]
    }

    fn settles(&self) -> &'static [Level] {
        &[Level::Memory]
    }

    fn promise(&self, level: Level) -> &'static str {
        match level {
            Level::Memory => "a cursor in memory, saved every 350 ms",
            _ => "written to the kernel by each send; never synced",
        }
    }

    fn open(&self, directory: &Path, _levels: Levels) -> Result<Box<dyn Queue>> {
        let base = directory.join("queue");
        let sender = Sender::open(&base)?;
        // Its default saves after 250 messages too, which costs a good part of its speed.
        let often = Some(Duration::from_millis(350));
        let receiver = ReceiverBuilder::new().save_every_nth(None).save_every(often).open(&base)?;
        Ok(Box::new(Open { sender: Mutex::new(sender), receiver: Mutex::new(receiver) }))
    }
}

struct Open {
    sender: Mutex<Sender>,
    receiver: Mutex<Receiver>,
}

impl Queue for Open {
    fn producer(&self) -> Result<Box<dyn Producer + '_>> {
        Ok(Box::new(self))
    }

    fn consumer(&self) -> Result<Box<dyn Consumer + '_>> {
        Ok(Box::new(self))
    }
}

impl Producer for &Open {
    fn append(&mut self, payload: &'static [u8]) -> Result<()> {
        Ok(self.sender.lock().map_err(|_| "poisoned")?.try_send(payload).map_err(|error| error.to_string())?)
    }

    fn append_batch(&mut self, payloads: &[&'static [u8]]) -> Result<()> {
        let mut sender = self.sender.lock().map_err(|_| "poisoned")?;
        Ok(sender.try_send_batch(payloads).map_err(|error| error.to_string())?)
    }
}

impl Consumer for &Open {
    fn take(&mut self, max: usize, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let mut receiver = self.receiver.lock().map_err(|_| "poisoned")?;
        if max == 1 {
            return match receiver.try_recv() {
                Ok(guard) => {
                    see(&guard);
                    guard.commit()?;
                    Ok(1)
                }
                Err(TryRecvError::QueueEmpty) => Ok(0),
                Err(TryRecvError::Io(error)) => Err(error.into()),
            };
        }
        match receiver.try_recv_batch_up_to(max) {
            Ok(guard) => {
                guard.iter().for_each(|payload| see(payload));
                let taken = guard.len();
                guard.commit()?;
                Ok(taken)
            }
            Err(TryRecvError::QueueEmpty) => Ok(0),
            Err(TryRecvError::Io(error)) => Err(error.into()),
        }
    }
}
