//! okaywal: a write-ahead log with group commit. It is read at recovery only, so it takes part where things are
//! appended.

use crate::queue::{Alternative, Level, Levels, Producer, Queue, Result};
use okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};
use std::io;
use std::path::Path;

pub(crate) struct Okaywal;

/// Lets go of what was logged when a segment is full: the cheapest thing an application can do.
#[derive(Debug)]
struct Forget;

impl LogManager for Forget {
    fn recover(&mut self, _: &mut Entry<'_>) -> io::Result<()> {
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}

impl Alternative for Okaywal {
    fn name(&self) -> &'static str {
        "okaywal"
    }

    fn appends(&self) -> &'static [Level] {
        &[Level::Disk]
    }

    fn promise(&self, _: Level) -> &'static str {
        "fdatasync before `commit` returns, shared by those that commit meanwhile; what is full is forgotten"
    }

    fn open(&self, directory: &Path, _: Levels) -> Result<Box<dyn Queue>> {
        Ok(Box::new(Open(Configuration::default_for(directory.join("log")).open(Forget)?)))
    }
}

struct Open(WriteAheadLog);

impl Queue for Open {
    fn producer(&self) -> Result<Box<dyn Producer + '_>> {
        Ok(Box::new(self))
    }
}

impl Producer for &Open {
    fn append(&mut self, payload: &'static [u8]) -> Result<()> {
        self.append_batch(&[payload])
    }

    fn append_batch(&mut self, payloads: &[&'static [u8]]) -> Result<()> {
        let mut entry = self.0.begin_entry()?;
        for payload in payloads {
            entry.write_chunk(payload)?;
        }
        entry.commit()?;
        Ok(())
    }
}
