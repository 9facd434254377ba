//! redb, used as a queue: numbers as keys, a cursor in memory for what was handed out, and a message is removed when it
//! is settled.

use crate::queue::{Alternative, Consumer, Cursor, Level, Levels, Producer, Queue, Result};
use redb::{Database, Durability, ReadableDatabase, TableDefinition, WriteTransaction};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Redb;

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("queue");

impl Alternative for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn appends(&self) -> &'static [Level] {
        &[Level::Memory, Level::Disk]
    }

    fn settles(&self) -> &'static [Level] {
        &[Level::Memory, Level::Disk]
    }

    fn promise(&self, level: Level) -> &'static str {
        match level {
            Level::Disk => "`Durability::Immediate`: synced before `commit` returns",
            _ => "`Durability::None`: kept when a later commit is durable",
        }
    }

    fn open(&self, directory: &Path, levels: Levels) -> Result<Box<dyn Queue>> {
        let db = Database::create(directory.join("db"))?;
        let open = Open { db, levels, next: AtomicU64::new(0), cursor: Cursor::default() };
        let transaction = open.begin(Level::Disk)?;
        transaction.open_table(TABLE)?;
        transaction.commit()?;
        Ok(Box::new(open))
    }
}

struct Open {
    db: Database,
    levels: Levels,
    next: AtomicU64,
    cursor: Cursor,
}

impl Open {
    fn begin(&self, level: Level) -> Result<WriteTransaction> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(match level {
            Level::Disk => Durability::Immediate,
            _ => Durability::None,
        })?;
        Ok(transaction)
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
        self.append_batch(&[payload])
    }

    fn append_batch(&mut self, payloads: &[&'static [u8]]) -> Result<()> {
        let transaction = self.begin(self.levels.append)?;
        let first = self.next.fetch_add(payloads.len() as u64, Ordering::Relaxed);
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, payload) in (first..).zip(payloads) {
                table.insert(key, *payload)?;
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Consumer for &Open {
    fn take(&mut self, max: usize, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let (first, taken) = {
            let mut cursor = self.cursor.lock()?;
            let table = self.db.begin_read()?.open_table(TABLE)?;
            let mut taken = 0;
            for entry in table.range(*cursor..)?.take(max) {
                see(entry?.1.value());
                taken += 1;
            }
            let first = *cursor;
            *cursor += taken;
            (first, taken)
        };
        if taken == 0 {
            return Ok(0);
        }
        let transaction = self.begin(self.levels.settle)?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for key in (first..).take(taken as usize) {
                table.remove(key)?;
            }
        }
        transaction.commit()?;
        Ok(taken as usize)
    }
}
