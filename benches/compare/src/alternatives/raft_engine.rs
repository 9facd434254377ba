//! raft-engine: TiKV's log engine, with group commit. A producer has a Raft group of its own, as it is meant to be
//! used; a consumer reads entries by index and compacts up to what it has done.

use crate::queue::{Alternative, Consumer, Cursor, Level, Levels, Producer, Queue, Result};
use protobuf::descriptor::UninterpretedOption;
use raft_engine::{Config, Engine, LogBatch, MessageExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct RaftEngine;

/// The shape of a Raft entry: an index and bytes. The protobuf crate has a message of that shape already.
#[derive(Clone)]
struct Indexed;

impl MessageExt for Indexed {
    type Entry = UninterpretedOption;

    fn index(entry: &Self::Entry) -> u64 {
        entry.get_positive_int_value()
    }
}

impl Alternative for RaftEngine {
    fn name(&self) -> &'static str {
        "raft-engine"
    }

    fn appends(&self) -> &'static [Level] {
        &[Level::Os, Level::Disk]
    }

    fn settles(&self) -> &'static [Level] {
        &[Level::Memory]
    }

    fn promise(&self, level: Level) -> &'static str {
        match level {
            Level::Memory => "an index in memory; compacted up to it every 1000 messages",
            Level::Disk => "`write(.., sync)`: fdatasync before it returns, shared by those that write meanwhile",
            _ => "written to the kernel",
        }
    }

    fn open(&self, directory: &Path, levels: Levels) -> Result<Box<dyn Queue>> {
        let dir = directory.join("log").to_string_lossy().into_owned();
        let engine = Engine::open(Config { dir, ..Config::default() })?;
        let sync = levels.append == Level::Disk;
        Ok(Box::new(Open { engine, sync, groups: AtomicU64::new(0), cursor: Cursor::default() }))
    }
}

struct Open {
    engine: Engine,
    sync: bool,
    groups: AtomicU64,
    cursor: Cursor,
}

impl Queue for Open {
    fn producer(&self) -> Result<Box<dyn Producer + '_>> {
        let group = self.groups.fetch_add(1, Ordering::Relaxed) + 1;
        let index = self.engine.last_index(group).unwrap_or(0);
        Ok(Box::new(Sender { open: self, group, index, batch: LogBatch::default() }))
    }

    fn consumer(&self) -> Result<Box<dyn Consumer + '_>> {
        Ok(Box::new(self))
    }

    fn settle_down(&self) -> Result<()> {
        self.engine.purge_expired_files()?;
        Ok(self.engine.sync()?)
    }
}

struct Sender<'a> {
    open: &'a Open,
    group: u64,
    index: u64,
    batch: LogBatch,
}

impl Producer for Sender<'_> {
    fn append(&mut self, payload: &'static [u8]) -> Result<()> {
        self.append_batch(&[payload])
    }

    fn append_batch(&mut self, payloads: &[&'static [u8]]) -> Result<()> {
        let mut entries = Vec::with_capacity(payloads.len());
        for payload in payloads {
            self.index += 1;
            let mut entry = UninterpretedOption::new();
            entry.set_positive_int_value(self.index);
            entry.set_string_value(payload.to_vec());
            entries.push(entry);
        }
        self.batch.add_entries::<Indexed>(self.group, &entries)?;
        self.open.engine.write(&mut self.batch, self.open.sync)?;
        Ok(())
    }
}

/// The group that is read: that of the first producer.
const READ: u64 = 1;
/// How many messages are done before it is compacted.
const LAZILY: u64 = 1000;

impl Consumer for &Open {
    fn take(&mut self, max: usize, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let mut cursor = self.cursor.lock()?;
        let begin = (*cursor).max(1);
        let end = self.engine.last_index(READ).unwrap_or(0).saturating_add(1).min(begin.saturating_add(max as u64));
        if begin >= end {
            return Ok(0);
        }
        let mut entries = Vec::with_capacity(max);
        let taken = self.engine.fetch_entries_to::<Indexed>(READ, begin, end, None, &mut entries)?;
        *cursor = begin.saturating_add(taken as u64);
        entries.iter().for_each(|entry: &UninterpretedOption| see(entry.get_string_value()));
        if begin / LAZILY != *cursor / LAZILY {
            self.engine.compact_to(READ, *cursor);
        }
        Ok(taken)
    }
}
