//! fjall, an LSM store, used as a queue: numbers as keys, a cursor in memory for what was handed out, and a message is
//! removed when it is settled.

use crate::queue::{Alternative, Consumer, Cursor, Level, Levels, Producer, Queue, Result};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Fjall;

impl Alternative for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn appends(&self) -> &'static [Level] {
        &[Level::Memory, Level::Os, Level::Disk]
    }

    fn settles(&self) -> &'static [Level] {
        &[Level::Memory, Level::Os, Level::Disk]
    }

    fn promise(&self, level: Level) -> &'static str {
        match level {
            Level::Memory => "`manual_journal_persist`: in the journal's buffer",
            Level::Os => "its default: written to the kernel by each call",
            Level::Disk => "`persist(SyncData)` after each call",
        }
    }

    fn open(&self, directory: &Path, levels: Levels) -> Result<Box<dyn Queue>> {
        let in_memory = levels.append.max(levels.settle) == Level::Memory;
        let db = Database::builder(directory.join("db")).manual_journal_persist(in_memory).open()?;
        let keys = db.keyspace("queue", KeyspaceCreateOptions::default)?;
        Ok(Box::new(Open { db, keys, levels, next: AtomicU64::new(0), cursor: Cursor::default() }))
    }
}

struct Open {
    db: Database,
    keys: Keyspace,
    levels: Levels,
    next: AtomicU64,
    cursor: Cursor,
}

impl Open {
    fn persist(&self, level: Level) -> Result<()> {
        if level == Level::Disk {
            self.db.persist(PersistMode::SyncData)?;
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
        self.keys.insert(key, payload)?;
        self.persist(self.levels.append)
    }

    fn append_batch(&mut self, payloads: &[&'static [u8]]) -> Result<()> {
        let first = self.next.fetch_add(payloads.len() as u64, Ordering::Relaxed);
        let mut batch = self.db.batch();
        for (key, payload) in (first..).zip(payloads) {
            batch.insert(&self.keys, key.to_be_bytes(), *payload);
        }
        batch.commit()?;
        self.persist(self.levels.append)
    }
}

impl Consumer for &Open {
    fn take(&mut self, max: usize, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let mut taken = Vec::with_capacity(max);
        {
            let mut cursor = self.cursor.lock()?;
            if max == 1 {
                // A lookup is much cheaper than an iterator.
                let key = cursor.to_be_bytes();
                taken.extend(self.keys.get(key)?.map(|payload| (key.into(), payload)));
            } else {
                for entry in self.keys.range(cursor.to_be_bytes()..).take(max) {
                    taken.push(entry.into_inner()?);
                }
            }
            *cursor += taken.len() as u64;
        }
        if taken.is_empty() {
            return Ok(0);
        }
        taken.iter().for_each(|(_, payload)| see(payload));
        if let [(key, _)] = taken.as_slice() {
            self.keys.remove(key.clone())?;
        } else {
            let mut batch = self.db.batch();
            taken.iter().for_each(|(key, _)| batch.remove(&self.keys, key.clone()));
            batch.commit()?;
        }
        self.persist(self.levels.settle)?;
        Ok(taken.len())
    }
}
