//! sled, used as a queue: numbers as keys, a cursor in memory for what was handed out, and a message is removed when it
//! is settled.

use crate::queue::{Alternative, Consumer, Cursor, Level, Levels, Producer, Queue, Result};
use sled::{Batch, Db, Tree};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Sled;

impl Alternative for Sled {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn appends(&self) -> &'static [Level] {
        &[Level::Memory, Level::Disk]
    }

    fn settles(&self) -> &'static [Level] {
        &[Level::Memory, Level::Disk]
    }

    fn syncs(&self) -> bool {
        false
    }

    fn promise(&self, level: Level) -> &'static str {
        match level {
            Level::Disk => "`flush()` after each call; on Linux that is sync_file_range, not a sync",
            _ => "in its log buffer; flushed every 500 ms",
        }
    }

    fn open(&self, directory: &Path, levels: Levels) -> Result<Box<dyn Queue>> {
        let db = sled::open(directory.join("db"))?;
        let tree = db.open_tree("queue")?;
        Ok(Box::new(Open { db, tree, levels, next: AtomicU64::new(0), cursor: Cursor::default() }))
    }
}

struct Open {
    db: Db,
    tree: Tree,
    levels: Levels,
    next: AtomicU64,
    cursor: Cursor,
}

impl Open {
    fn flush(&self, level: Level) -> Result<()> {
        if level == Level::Disk {
            self.db.flush()?;
        }
        Ok(())
    }
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
        let key = self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        self.tree.insert(key, payload)?;
        self.flush(self.levels.append)
    }

    fn append_batch(&mut self, payloads: &[&'static [u8]]) -> Result<()> {
        let first = self.next.fetch_add(payloads.len() as u64, Ordering::Relaxed);
        let mut batch = Batch::default();
        for (key, payload) in (first..).zip(payloads) {
            batch.insert(&key.to_be_bytes(), *payload);
        }
        self.tree.apply_batch(batch)?;
        self.flush(self.levels.append)
    }
}

impl Consumer for &Open {
    fn take(&mut self, max: usize, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let mut taken = Vec::with_capacity(max);
        {
            let mut cursor = self.cursor.lock()?;
            for entry in self.tree.range(cursor.to_be_bytes()..).take(max) {
                taken.push(entry?);
            }
            *cursor += taken.len() as u64;
        }
        if taken.is_empty() {
            return Ok(0);
        }
        taken.iter().for_each(|(_, payload)| see(payload));
        if let [(key, _)] = taken.as_slice() {
            self.tree.remove(key)?;
        } else {
            let mut batch = Batch::default();
            taken.iter().for_each(|(key, _)| batch.remove(key));
            self.tree.apply_batch(batch)?;
        }
        self.flush(self.levels.settle)?;
        Ok(taken.len())
    }
}
