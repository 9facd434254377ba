//! Segments to write to, before they are needed.

use super::{Core, Engine};
use crate::error::{Error, Result};
use crate::journal::{Numbers, Preparation};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// `Disk` commits within this time make it worth writing a segment's blocks in advance.
const DISK_SEEN: Duration = Duration::from_secs(60);

/// What whoever prepares a segment holds, one at a time.
#[derive(Debug)]
pub(super) struct Preparer {
    numbers: Numbers,
    preparation: Option<Preparation>,
}

impl Preparer {
    pub(super) fn new(numbers: Numbers) -> Self {
        Self { numbers, preparation: None }
    }
}

impl Engine {
    /// Asks for a successor once a quarter of the active segment is used.
    pub(super) fn want_successor(&self, core: &mut Core) {
        if self.needs_successor(core) && core.full.is_none() {
            self.call_upkeep(core);
        }
    }

    pub(super) fn needs_successor(&self, core: &Core) -> bool {
        let used = core.tail.end().position().get();
        core.wanted_bytes > 0 || (core.tail.spares() == 0 && used >= core.tail.active().capacity / 4)
    }

    /// Wakes the upkeep.
    pub(super) fn call_upkeep(&self, core: &mut Core) {
        if !core.upkeep_due {
            core.upkeep_due = true;
            self.upkeep_work.notify_one();
        }
    }

    /// Does a piece of the preparation that is due, if any. Whether there is more.
    pub(super) fn prepare_piece(&self, hurry: bool) -> Result<bool> {
        let mut preparer = self.preparing.lock();
        let Preparer { numbers, preparation } = &mut *preparer;
        let (passed_over, capacity, zero, late) = {
            let mut core = self.core.lock();
            core.check()?;
            if preparation.is_none() && !self.needs_successor(&core) {
                return Ok(false);
            }
            let monotonic = self.environment.clock.monotonic();
            let zero = core.last_disk.is_some_and(|last| monotonic.saturating_sub(last) < DISK_SEEN);
            // The other half of the segment is left to those who publish while the rest is done.
            let half = core.tail.end().position().get() >= core.tail.active().capacity / 2;
            let late = hurry || half || core.wanted_bytes > 0 || !core.line.is_empty();
            (core.tail.take_passed_over(), self.options.segment_bytes.max(core.wanted_bytes), zero, late)
        };
        // From here on without the engine's lock: it takes milliseconds to make a large file.
        for id in passed_over {
            let aside = numbers.set_aside(&*self.environment.storage, id);
            aside.map_err(|source| Error::io("setting a segment aside", source))?;
        }
        let begun = match preparation.take() {
            Some(preparation) => Ok(preparation),
            None => {
                let terms = (capacity, self.now(), zero);
                let (storage, entropy) = (&self.environment.storage, &*self.environment.entropy);
                Preparation::begin(storage, numbers, self.identity.store, entropy, terms)
            }
        };
        let mut begun = match begun {
            Ok(begun) => begun,
            Err(source) => return self.preparation_failed(self.core.lock(), source),
        };
        if late {
            begun.hurry();
        }
        let outcome = begun.step();
        let mut core = self.core.lock();
        match outcome {
            Ok(None) => {
                *preparation = Some(begun);
                Ok(true)
            }
            Ok(Some(segment)) => {
                self.files.add(crate::journal::Known { segment: segment.segment.clone(), seal: None, index: None });
                core.tail.add_spare(segment);
                core.wanted_bytes = 0;
                core.full = None;
                let wakers = self.room_made(&mut core);
                self.wake_followers();
                drop(core);
                wakers.into_iter().for_each(Waker::wake);
                Ok(false)
            }
            Err(source) => {
                begun.abandon(numbers);
                self.preparation_failed(core, source)
            }
        }
    }

    /// The disk is full, or as good as: publishes are refused until a preparation succeeds. Nothing is poisoned.
    fn preparation_failed(&self, mut core: crate::sync::MutexGuard<'_, Core>, source: std::io::Error) -> Result<bool> {
        let source = Arc::new(source);
        if core.full.is_none() {
            tracing::warn!(error = %source, "no segment can be prepared; publishes are refused until there is room");
        }
        core.full = Some(source.clone());
        let wakers = self.room_made(&mut core);
        self.wake_followers();
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
        Err(super::publish::disk_full(source))
    }

    /// Prepares what is asked for, now.
    pub(super) fn make_room(&self) -> Result<()> {
        while self.prepare_piece(true)? {}
        Ok(())
    }
}
