//! What is to go wrong, and the gate that every operation passes.

use crate::seen::Seen;
use fastrand::Rng;
use std::io::{Error, ErrorKind, Result};

/// What is to go wrong on a [`SimDisk`](super::SimDisk). The default is: nothing.
///
/// Chances are between 0 and 1. *Changing operations* are those that [`Counts::operations`] counts; a power cut at a
/// read leaves what a cut at the next change leaves, so reads need no places of their own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// Chance that a read fails.
    pub read_error: f64,
    /// Chance that a write or a preallocation fails; a part of a failed write may be in the page cache.
    pub write_error: f64,
    /// Chance that a sync fails: some of what waited may be durable, the rest is never written.
    pub sync_error: f64,
    /// Chance that creating, renaming or removing a name, or syncing a directory fails, without effect.
    pub name_error: f64,
    /// Chance, per write, that write-back in the background fails right after it. Nobody is told before the next sync.
    pub background_error: f64,
    /// Chance that a read gives fewer bytes than there are.
    pub short_read: f64,
    /// Chance that a write takes fewer bytes than given.
    pub short_write: f64,
    /// Chance that a read or a write is interrupted by a signal.
    pub interrupted: f64,
    /// There is no preallocation, as on some file systems: it makes a file longer and is sure of nothing.
    pub no_preallocation: bool,
    /// Bytes that all files together may have; without it there is no end.
    pub capacity: Option<u64>,
    /// After so many more changing operations the next one fails, as its kind fails; those after it work.
    pub fail_after: Option<u64>,
    /// After so many more changing operations the machine stops: the next one may be done in part, and it and all
    /// that follow fail, reads too, until [`SimDisk::crash`](super::SimDisk::crash) or
    /// [`SimDisk::kill`](super::SimDisk::kill).
    pub stop_after: Option<u64>,
}

/// How many operations a [`SimDisk`](super::SimDisk) was asked for, failed ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Reads of files.
    pub reads: u64,
    /// Writes to files.
    pub writes: u64,
    /// Writes to files with more than one name, and preallocations of them.
    pub writes_to_linked: u64,
    /// Bytes that writes took.
    pub bytes_written: u64,
    /// Preallocations.
    pub allocations: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Syncs of directories.
    pub dir_syncs: u64,
    /// Files opened, created ones included.
    pub opens: u64,
    /// Files and directories created.
    pub creates: u64,
    /// Files renamed.
    pub renames: u64,
    /// Files removed.
    pub removes: u64,
    /// Changing operations: writes, preallocations, syncs of both kinds, creates, renames, removes.
    pub operations: u64,
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Works,
    /// It reports an error.
    Fails,
    /// The machine stops while it runs.
    Stops,
}

/// Decides the fate of each operation.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    pub(super) faults: Faults,
    pub(super) counts: Counts,
    pub(super) rng: Rng,
    fail_at: Option<u64>,
    stop_at: Option<u64>,
    stopped: bool,
}

impl Gate {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            faults: Faults::default(),
            counts: Counts::default(),
            rng: Rng::with_seed(seed),
            fail_at: None,
            stop_at: None,
            stopped: false,
        }
    }

    pub(super) fn set(&mut self, faults: Faults) {
        let from_now = |after: Option<u64>| after.map(|count| self.counts.operations.saturating_add(count));
        (self.fail_at, self.stop_at) = (from_now(faults.fail_after), from_now(faults.stop_after));
        self.faults = faults;
    }

    /// The process is gone: what was planned for its operations is forgotten, chances remain.
    pub(super) fn restart(&mut self) {
        (self.stopped, self.fail_at, self.stop_at) = (false, None, None);
        (self.faults.fail_after, self.faults.stop_after) = (None, None);
    }

    /// Whether a thing of this chance happens now.
    pub(super) fn hits(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.rng.f64() < chance
    }

    /// An operation that changes nothing.
    pub(super) fn look(&self) -> Result<()> {
        if self.stopped { Err(stopped()) } else { Ok(()) }
    }

    /// An operation that changes something, and fails by `chance`.
    pub(super) fn change(&mut self, chance: f64) -> Result<Fate> {
        self.look()?;
        let number = self.counts.operations;
        self.counts.operations += 1;
        if self.stop_at == Some(number) {
            self.stopped = true;
            Seen::Stopped.note();
            return Ok(Fate::Stops);
        }
        let fails = self.fail_at == Some(number) || self.hits(chance);
        Ok(if fails { Fate::Fails } else { Fate::Works })
    }

    /// An operation on names. `Some` tells whether to do it although it fails: the machine may stop just after it.
    pub(super) fn change_name(&mut self) -> Result<Option<Error>> {
        match self.change(self.faults.name_error)? {
            Fate::Works => Ok(None),
            Fate::Stops if self.rng.bool() => Ok(Some(stopped())),
            Fate::Stops => Err(stopped()),
            Fate::Fails => {
                Seen::NameFailed.note();
                Err(failed("a change of names"))
            }
        }
    }

    /// How many bytes of `len` a read or a write handles.
    pub(super) fn shortened(&mut self, len: usize, chance: f64) -> Result<usize> {
        if self.hits(self.faults.interrupted) {
            Seen::Interrupted.note();
            return Err(Error::from(ErrorKind::Interrupted));
        }
        Ok(if len > 1 && self.hits(chance) { self.rng.usize(1..len) } else { len })
    }
}

/// What EIO is on a real disk.
pub(super) fn failed(what: &str) -> Error {
    Error::other(format!("simulated disk: {what} failed"))
}

pub(super) fn stopped() -> Error {
    Error::other("simulated disk: the machine stopped")
}

pub(super) fn full() -> Error {
    Seen::DiskFull.note();
    Error::new(ErrorKind::StorageFull, "simulated disk: no space left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operation_after_so_many_fails_alone() {
        let mut gate = Gate::new(1);
        assert_eq!(gate.change(0.0).unwrap(), Fate::Works);
        gate.set(Faults { fail_after: Some(2), ..Faults::default() });
        let fates: Vec<_> = (0..4).map(|_| gate.change(0.0).unwrap()).collect();
        assert_eq!(fates, [Fate::Works, Fate::Works, Fate::Fails, Fate::Works]);
    }

    #[test]
    fn after_the_machine_stopped_everything_fails_until_it_starts_again() {
        let mut gate = Gate::new(1);
        gate.set(Faults { stop_after: Some(0), ..Faults::default() });
        assert_eq!(gate.change(0.0).unwrap(), Fate::Stops);
        gate.change(0.0).unwrap_err();
        gate.look().unwrap_err();
        gate.restart();
        assert_eq!(gate.change(0.0).unwrap(), Fate::Works);
    }

    #[test]
    fn chances_are_kept_roughly() {
        let mut gate = Gate::new(1);
        let failed = (0..10_000).filter(|_| gate.change(0.1).unwrap() == Fate::Fails).count();
        assert!((800..1200).contains(&failed), "{failed}");
    }
}
