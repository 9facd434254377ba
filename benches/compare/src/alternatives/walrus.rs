//! walrus-rust: a write-ahead log with named topics and a cursor for each, without leases. The parent process names its
//! directory, since it takes that from the environment.
//!
//! Where a batch ends amid an entry of a sealed block, 0.2.0 goes on with the newest block and never comes back: a
//! drain in batches loses messages, and is reported as failed.

use crate::queue::{Alternative, Consumer, Level, Levels, Producer, Queue, Result};
use std::path::Path;
use walrus_rust::{FsyncSchedule, ReadConsistency};

pub(crate) struct Walrus;

const TOPIC: &str = "compare";

impl Alternative for Walrus {
    fn name(&self) -> &'static str {
        "walrus-rust"
    }

    fn appends(&self) -> &'static [Level] {
        &[Level::Os, Level::Disk]
    }

    fn settles(&self) -> &'static [Level] {
        &[Level::Memory, Level::Disk]
    }

    fn promise(&self, level: Level) -> &'static str {
        match level {
            Level::Memory => "`AtLeastOnce`: a cursor in memory, saved every 1000 messages",
            Level::Os => "`NoFsync`: written to the kernel",
            Level::Disk => "`SyncEach` for appends, `StrictlyAtOnce` for the cursor",
        }
    }

    fn open(&self, _: &Path, levels: Levels) -> Result<Box<dyn Queue>> {
        let consistency = match levels.settle {
            Level::Disk => ReadConsistency::StrictlyAtOnce,
            _ => ReadConsistency::AtLeastOnce { persist_every: 1000 },
        };
        let schedule = match levels.append {
            Level::Disk => FsyncSchedule::SyncEach,
            _ => FsyncSchedule::NoFsync,
        };
        Ok(Box::new(Open(walrus_rust::Walrus::with_consistency_and_schedule(consistency, schedule)?)))
    }
}

struct Open(walrus_rust::Walrus);

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
        Ok(self.0.append_for_topic(TOPIC, payload)?)
    }

    fn append_batch(&mut self, payloads: &[&'static [u8]]) -> Result<()> {
        Ok(self.0.batch_append_for_topic(TOPIC, payloads)?)
    }
}

impl Consumer for &Open {
    fn take(&mut self, max: usize, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        if max == 1 {
            let Some(entry) = self.0.read_next(TOPIC, true)? else { return Ok(0) };
            see(&entry.data);
            return Ok(1);
        }
        // It takes a size and no number: about as many messages of 100 bytes.
        let entries = self.0.batch_read_for_topic(TOPIC, max * 100, true)?;
        entries.iter().for_each(|entry| see(&entry.data));
        Ok(entries.len())
    }
}
