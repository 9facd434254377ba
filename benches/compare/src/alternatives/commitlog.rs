//! commitlog: an append-only log of segments with offsets. It keeps no cursor of its own, so the consumer here writes
//! its offset to a file now and then, as lazily as others save theirs.

use crate::queue::{Alternative, Consumer, Cursor, Level, Levels, Producer, Queue, Result};
use commitlog::message::{MessageBuf, MessageSet};
use commitlog::{LogOptions, ReadLimit};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

pub(crate) struct CommitLog;

impl Alternative for CommitLog {
    fn name(&self) -> &'static str {
        "commitlog"
    }

    fn appends(&self) -> &'static [Level] {
        &[Level::Os, Level::Disk]
    }

    fn settles(&self) -> &'static [Level] {
        &[Level::Memory]
    }

    fn syncs(&self) -> bool {
        false
    }

    fn promise(&self, level: Level) -> &'static str {
        match level {
            Level::Memory => "an offset in memory, written to a file of ours every 1000 messages: it keeps none itself",
            Level::Os => "written to the kernel",
            Level::Disk => {
                "`flush()` after each call, which is `File::flush` and an `msync` of the index: the log is not synced"
            }
        }
    }

    fn open(&self, directory: &Path, levels: Levels) -> Result<Box<dyn Queue>> {
        // Its default of 1 MB for a message goes for a whole batch.
        let mut options = LogOptions::new(directory.join("log"));
        options.message_max_bytes(8 << 20);
        let log = Mutex::new(commitlog::CommitLog::new(options)?);
        let offset = File::create(directory.join("offset"))?;
        Ok(Box::new(Open { log, sync: levels.append == Level::Disk, cursor: Cursor::default(), offset }))
    }
}

struct Open {
    log: Mutex<commitlog::CommitLog>,
    sync: bool,
    cursor: Cursor,
    offset: File,
}

impl Queue for Open {
    fn producer(&self) -> Result<Box<dyn Producer + '_>> {
        Ok(Box::new(Sender { open: self, buffer: MessageBuf::default() }))
    }

    fn consumer(&self) -> Result<Box<dyn Consumer + '_>> {
        Ok(Box::new(Reader { open: self, ahead: Vec::new(), unsaved: 0 }))
    }
}

struct Sender<'a> {
    open: &'a Open,
    buffer: MessageBuf,
}

impl Producer for Sender<'_> {
    fn append(&mut self, payload: &'static [u8]) -> Result<()> {
        self.append_batch(&[payload])
    }

    fn append_batch(&mut self, payloads: &[&'static [u8]]) -> Result<()> {
        self.buffer.clear();
        for payload in payloads {
            self.buffer.push(payload).map_err(|error| format!("{error:?}"))?;
        }
        let mut log = self.open.log.lock().map_err(|_| "poisoned")?;
        log.append(&mut self.buffer)?;
        if self.open.sync {
            log.flush()?;
        }
        Ok(())
    }
}

/// Reads ahead in chunks, as its default limit has it: reading one message at a time would be unfair to it.
struct Reader<'a> {
    open: &'a Open,
    ahead: Vec<Vec<u8>>,
    unsaved: usize,
}

/// How many messages are done before the offset is written.
const LAZILY: usize = 1000;

impl Consumer for Reader<'_> {
    fn take(&mut self, max: usize, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        if self.ahead.is_empty() {
            let mut cursor = self.open.cursor.lock()?;
            let log = self.open.log.lock().map_err(|_| "poisoned")?;
            let read = log.read(*cursor, ReadLimit::max_bytes(64 << 10)).map_err(|error| format!("{error:?}"))?;
            self.ahead = read.iter().map(|message| message.payload().to_vec()).collect();
            *cursor += self.ahead.len() as u64;
            self.ahead.reverse();
        }
        let taken = max.min(self.ahead.len());
        for payload in self.ahead.drain(self.ahead.len() - taken..).rev() {
            see(&payload);
        }
        self.unsaved += taken;
        if self.unsaved >= LAZILY {
            let done = self.open.cursor.lock()?.saturating_sub(self.ahead.len() as u64);
            self.open.offset.write_all_at(&done.to_le_bytes(), 0)?;
            self.unsaved = 0;
        }
        Ok(taken)
    }
}
