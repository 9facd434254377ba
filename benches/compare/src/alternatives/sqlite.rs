//! SQLite through rusqlite, used as a queue: a table of numbered messages, a cursor in memory for what was handed out,
//! and a message is deleted when it is settled.

use crate::queue::{Alternative, Consumer, Cursor, Level, Levels, Producer, Queue, Result};
use rusqlite::{Connection, params};
use std::path::Path;
use std::sync::Mutex;

pub(crate) struct Sqlite;

impl Alternative for Sqlite {
    fn name(&self) -> &'static str {
        "rusqlite"
    }

    fn version(&self) -> String {
        format!("{} (SQLite {})", crate::machine::locked_version(self.name()), rusqlite::version())
    }

    fn appends(&self) -> &'static [Level] {
        &[Level::Os, Level::Disk]
    }

    fn settles(&self) -> &'static [Level] {
        &[Level::Os, Level::Disk]
    }

    fn promise(&self, level: Level) -> &'static str {
        match level {
            Level::Disk => "WAL, `synchronous=FULL`: synced before a commit returns",
            _ => "WAL, `synchronous=OFF`: written to the kernel",
        }
    }

    fn open(&self, directory: &Path, levels: Levels) -> Result<Box<dyn Queue>> {
        let connection = Connection::open(directory.join("queue.db"))?;
        let level = levels.append.max(levels.settle);
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", if level == Level::Disk { "FULL" } else { "OFF" })?;
        connection.execute("CREATE TABLE queue (id INTEGER PRIMARY KEY, payload BLOB NOT NULL)", [])?;
        // One connection behind a lock: writers would only wait for each other's locks otherwise.
        Ok(Box::new(Open { connection: Mutex::new(connection), cursor: Cursor::default() }))
    }
}

struct Open {
    connection: Mutex<Connection>,
    cursor: Cursor,
}

impl Queue for Open {
    fn producer(&self) -> Result<Box<dyn Producer + '_>> {
        Ok(Box::new(self))
    }

    fn consumer(&self) -> Result<Box<dyn Consumer + '_>> {
        Ok(Box::new(self))
    }
}

const INSERT: &str = "INSERT INTO queue (payload) VALUES (?1)";

impl Producer for &Open {
    fn append(&mut self, payload: &'static [u8]) -> Result<()> {
        let connection = self.connection.lock().map_err(|_| "poisoned")?;
        connection.prepare_cached(INSERT)?.execute([payload])?;
        Ok(())
    }

    fn append_batch(&mut self, payloads: &[&'static [u8]]) -> Result<()> {
        let mut connection = self.connection.lock().map_err(|_| "poisoned")?;
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(INSERT)?;
            for payload in payloads {
                insert.execute([payload])?;
            }
        }
        Ok(transaction.commit()?)
    }
}

impl Consumer for &Open {
    fn take(&mut self, max: usize, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let connection = self.connection.lock().map_err(|_| "poisoned")?;
        let mut taken = Vec::with_capacity(max);
        {
            let mut cursor = self.cursor.lock()?;
            let mut select =
                connection.prepare_cached("SELECT id, payload FROM queue WHERE id > ?1 ORDER BY id LIMIT ?2")?;
            let mut rows = select.query(params![*cursor as i64, max as i64])?;
            while let Some(row) = rows.next()? {
                see(row.get_ref(1)?.as_blob()?);
                taken.push(row.get::<_, i64>(0)?);
            }
            *cursor = taken.last().map_or(*cursor, |last| *last as u64);
        }
        if let (Some(first), Some(last)) = (taken.first(), taken.last()) {
            connection.prepare_cached("DELETE FROM queue WHERE id BETWEEN ?1 AND ?2")?.execute([first, last])?;
        }
        Ok(taken.len())
    }
}
