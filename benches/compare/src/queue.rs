//! What every alternative is asked to do, behind one small door.

use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Where a message, or its settlement, is when the call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// In a buffer of the process: lost if the process is killed.
    Memory,
    /// With the kernel: survives the process, not a power cut.
    Os,
    /// Synced, or said to be: the count of syncs tells.
    Disk,
}

/// What a run asks for when it opens an alternative.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Levels {
    pub(crate) append: Level,
    pub(crate) settle: Level,
    /// As much as is going to be appended was appended and taken out before: what it keeps of that to be used again is
    /// its own affair, and its settings may say so.
    pub(crate) used: bool,
}

/// One alternative: what it can do, and what it says of its guarantees.
pub(crate) trait Alternative: Sync {
    /// Its name, for tables; the name of its crate if it is one.
    fn name(&self) -> &'static str;

    /// Its version.
    fn version(&self) -> String {
        crate::machine::locked_version(self.name())
    }

    /// Whether it can run here; a server may not be installed.
    fn installed(&self) -> bool {
        true
    }

    /// Whether it runs in the process that uses it.
    fn in_process(&self) -> bool {
        true
    }

    /// The levels at which it takes messages in, lowest first.
    fn appends(&self) -> &'static [Level];

    /// The levels at which it settles messages, lowest first; none if it can't be consumed from.
    fn settles(&self) -> &'static [Level] {
        &[]
    }

    /// Whether one thread can have many messages on their way and wait for each to be durable.
    fn pipelines(&self) -> bool {
        false
    }

    /// Whether `Disk` is backed by syncs, as far as its source tells; if not, its rows say so.
    fn syncs(&self) -> bool {
        true
    }

    /// What a level means for it, in its own terms.
    fn promise(&self, level: Level) -> &'static str;

    /// Opens a queue in an empty directory.
    fn open(&self, directory: &Path, levels: Levels) -> Result<Box<dyn Queue>>;
}

/// An open queue. Each thread takes a producer or a consumer of its own from it.
pub(crate) trait Queue: Send + Sync {
    fn producer(&self) -> Result<Box<dyn Producer + '_>>;

    fn consumer(&self) -> Result<Box<dyn Consumer + '_>> {
        Err("it can't be consumed from".into())
    }

    /// All that was put in was taken out: does now what is done about that sooner or later.
    fn settle_down(&self) -> Result<()> {
        Ok(())
    }
}

/// A thread that puts messages in.
pub(crate) trait Producer: Send {
    /// One message, at the level that was asked for.
    fn append(&mut self, payload: &'static [u8]) -> Result<()>;

    /// Several in one call, all at the level that was asked for when it returns.
    fn append_batch(&mut self, payloads: &[&'static [u8]]) -> Result<()>;

    /// One message, without waiting for it, unless `most` are on their way already.
    fn append_pipelined(&mut self, _payload: &'static [u8], _most: usize) -> Result<()> {
        Err("it has no pipelined appends".into())
    }

    /// Waits for what was appended in that way.
    fn settle_pipeline(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A thread that takes messages out.
pub(crate) trait Consumer: Send {
    /// Takes up to `max` messages, shows each, and settles them. 0 if there is none now.
    fn take(&mut self, max: usize, see: &mut dyn FnMut(&[u8])) -> Result<usize>;

    /// Waits for a message, for about so long, and settles it. Whoever has no wake-up is polled.
    fn wait(&mut self, patience: Duration, see: &mut dyn FnMut(&[u8])) -> Result<usize> {
        let began = std::time::Instant::now();
        loop {
            let taken = self.take(1, see)?;
            if taken > 0 || began.elapsed() >= patience {
                return Ok(taken);
            }
            std::thread::yield_now();
        }
    }
}

/// How many messages were taken in, for those that have to know where their end is.
#[derive(Debug, Default)]
pub(crate) struct Cursor(std::sync::Mutex<u64>);

impl Cursor {
    /// Whoever holds it hands out the messages from there on.
    pub(crate) fn lock(&self) -> Result<std::sync::MutexGuard<'_, u64>> {
        self.0.lock().map_err(|_| "another consumer failed".into())
    }
}
