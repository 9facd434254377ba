//! queue-file: a FIFO in one file, its header rewritten with every change.

use crate::queue::{Alternative, Consumer, Level, Levels, Producer, Queue, Result};
use std::path::Path;
use std::sync::Mutex;

pub(crate) struct QueueFile;

impl Alternative for QueueFile {
    fn name(&self) -> &'static str {
        "queue-file"
    }

    fn appends(&self) -> &'static [Level] {
        &[Level::Os, Level::Disk]
    }

    fn settles(&self) -> &'static [Level] {
        &[Level::Os, Level::Disk]
    }

    fn promise(&self, level: Level) -> &'static str {
        match level {
            Level::Disk => "`sync_writes`: each write of data and of the header is synced",
            _ => "written to the kernel",
        }
    }

    fn open(&self, directory: &Path, levels: Levels) -> Result<Box<dyn Queue>> {
        let mut file = queue_file::QueueFile::open(directory.join("queue"))?;
        file.set_sync_writes(levels.append.max(levels.settle) == Level::Disk);
        // As fast as it goes: what was removed stays in the file.
        file.set_overwrite_on_remove(false);
        Ok(Box::new(Open(Mutex::new(file))))
    }
}

struct Open(Mutex<queue_file::QueueFile>);

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
        Ok(self.0.lock().map_err(|_| "poisoned")?.add(payload)?)
    }

    fn append_batch(&mut self, payloads: &[&'static [u8]]) -> Result<()> {
        Ok(self.0.lock().map_err(|_| "poisoned")?.add_n(payloads)?)
    }
}

impl Consumer for &Open {
    fn take(&mut self, max: usize, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let mut file = self.0.lock().map_err(|_| "poisoned")?;
        if max == 1 {
            let Some(payload) = file.peek()? else { return Ok(0) };
            see(&payload);
            file.remove()?;
            return Ok(1);
        }
        let mut taken = 0;
        for payload in file.iter().take(max) {
            see(&payload);
            taken += 1;
        }
        file.remove_n(taken)?;
        Ok(taken)
    }
}
