//! A disk in memory that forgets what was not synced: what it does, for readers who distrust us.
//!
//! Everything is deterministic: the same seed and the same operations in the same order give the same outcome, faults
//! and crashes included. (Threads that race for the disk bring their own order.)
//!
//! # Bytes
//!
//! * Reads see the page cache: every write made, synced or not, also through other handles and after [`SimDisk::kill`].
//! * A successful sync makes all bytes and the length of a file durable, by whichever handle they were written.
//! * A power cut ([`SimDisk::crash`]) chooses, for each sector of 512 bytes, which version of the page cache's sector
//!   the disk has: the durable one or that after any of the writes since. Choices are made in several manners: all
//!   lost;
//!   all kept; in order up to one write that is torn, from its front or anywhere; each write for itself lost, whole or
//!   torn; each sector or page of 4 KiB written back at a moment of its own. Sectors are never torn inside. Since the
//!   cache holds whole sectors, a write that survives brings along the earlier bytes in its sectors.
//! * The length that survives is chosen apart from the bytes. A file that grew without its data reads as zeros there,
//!   as
//!   noise, or as what a file removed earlier held at the same position; where it was preallocated, as zeros.
//! * A power cut in the middle of a write leaves part of the write in the page cache, torn like the others; one in the
//!   middle of a sync, a crash with nothing of that sync certain.
//! * A sync that fails, and write-back that fails in the background, leave some of what waited on the disk and *forget*
//!   the rest: reads go on seeing it, later syncs succeed, and it is gone after a power cut unless its sectors were
//!   written again. Each handle that was open then reports the error once, at its next sync; handles opened later
//!   never.
//!   (Linux tells a later one if nobody was told before; we do not count on that.)
//! * If very much was written without a sync, older versions of a sector no longer take part in the choice: it is the
//!   newest or the durable one.
//!
//! # Names
//!
//! * Creating, renaming and removing is seen at once, and durable after a sync of the directory. A power cut keeps, for
//!   each directory by itself, a prefix of the changes since, or one time in four any of them. A rename is atomic.
//! * A sync of a file doesn't make its name durable, and a name can survive without any bytes of its file.
//! * A directory that was made is certain after a sync of the one above it; without that it may vanish with all in it.
//! * A sync of a directory that fails leaves everything open; a later one that succeeds is believed.
//!
//! # Space, locks, processes
//!
//! * Space is the sum of the lengths of files, preallocation included. A file that is removed while it is open keeps
//!   its
//!   space until it is closed. Writing inside a file's length never lacks space.
//! * Locks belong to handles, two of the same process exclude each other, and end with the handle or the process.
//! * After a crash or a kill every older handle fails. A crash changes the boot id, a kill does not.
//!
//! # What it does not do
//!
//! Links but for second names outside (see [`SimDisk::link_outside`]), pipes and devices; owners and permissions;
//! renames between directories (they are refused); sparse files that
//! take less space than their length; bytes that change by themselves (tests do that with [`SimDisk::flip_bit`] and its
//! kin); syncs that lie. Real disks of those kinds are tried in the tests of the real disk, or not at all.

mod crash;
mod damage;
mod faults;
mod handle;
mod links;
mod machine;
mod names;
mod pages;
#[cfg(test)]
mod tests;

pub use faults::{Counts, Faults};

use super::{Access, Entry, Storage, StorageFile};
use crate::seen::Seen;
use faults::{Fate, failed, stopped};
use handle::Handle;
use machine::{Machine, split};
use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

/// A simulated disk with one store's directory on it, which is not there at first. Clones are the same disk.
///
/// It loses what was not synced when it is told to [`crash`](Self::crash), and fails as [`Faults`] say.
#[derive(Clone)]
pub struct SimDisk {
    machine: Arc<Mutex<Machine>>,
}

/// A [`SimDisk`] that hangs until this is dropped.
pub struct Hang<'a>(#[expect(dead_code, reason = "it is held")] MutexGuard<'a, Machine>);

impl SimDisk {
    /// An empty disk. All that is left to chance follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { machine: Arc::new(Mutex::new(Machine::new(seed))) }
    }

    /// What is to go wrong from now on, in place of what was set before.
    pub fn set_faults(&self, faults: Faults) {
        self.machine.lock().gate.set(faults);
    }

    /// The disk hangs: every operation on it, and every other question to it, waits until what this gives is dropped.
    #[must_use = "the disk goes on when it is dropped"]
    pub fn hang(&self) -> Hang<'_> {
        Hang(self.machine.lock())
    }

    /// How many operations there were so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.machine.lock().gate.counts
    }

    /// How many changing operations there were so far: the places where a machine can stop, for
    /// [`Faults::stop_after`].
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.counts().operations
    }

    /// Power is lost and comes back: what was not synced survives in part, in whole or not at all. Handles and locks
    /// are gone, the boot id is another (unless it was set to nothing).
    pub fn crash(&self) {
        self.machine.lock().crash();
    }

    /// The process dies and the machine does not: all that was written is there, and no more durable than it was.
    /// Handles
    /// and locks are gone.
    pub fn kill(&self) {
        Seen::Killed.note();
        self.machine.lock().kill();
    }

    /// A second disk like this one is now, as after a [`kill`](Self::kill), whose chances follow from `seed`. So one
    /// state can be crashed in many ways.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let mut machine = self.machine.lock().clone();
        machine.reseed(seed);
        machine.kill();
        Self { machine: Arc::new(Mutex::new(machine)) }
    }

    /// Sets the boot id until the next crash. The empty one, of a system that has none, stays.
    pub fn set_boot_id(&self, id: &str) {
        self.machine.lock().set_boot_id(id);
    }
}

impl Storage for SimDisk {
    fn create_directories(&self) -> Result<()> {
        for (name, parent) in [("", None), ("journal", Some(""))] {
            let mut machine = self.machine.lock();
            if !machine.has_directory(name) {
                machine.gate.counts.creates += 1;
                let error = machine.gate.change_name()?;
                machine.make_directory(name);
                error.map_or(Ok(()), Err)?;
            }
            machine.gate.counts.dir_syncs += 1;
            sync_names(&mut machine, parent)?;
        }
        Ok(())
    }

    fn list(&self, directory: &str) -> Result<Vec<Entry>> {
        let machine = self.machine.lock();
        machine.gate.look()?;
        machine.entries(directory)
    }

    fn open(&self, name: &str, access: Access) -> Result<Arc<dyn StorageFile>> {
        let mut locked = self.machine.lock();
        let machine = &mut *locked;
        machine.gate.look()?;
        machine.gate.counts.opens += 1;
        let inode = match (machine.find(name), access) {
            (Ok(inode), Access::Read | Access::Write) => inode,
            (Ok(_), Access::Create) => return Err(Error::from(ErrorKind::AlreadyExists)),
            (Err(error), Access::Read | Access::Write) => return Err(error),
            (Err(_), Access::Create) => {
                let (directory, file) = split(name);
                machine.directory(directory)?;
                machine.gate.counts.creates += 1;
                let error = machine.gate.change_name()?;
                let inode = machine.number();
                machine.directory_mut(directory)?.create(file, inode);
                machine.files.entry(inode).or_default().links = 1;
                error.map_or(Ok(inode), Err)?
            }
        };
        Ok(Arc::new(Handle::open(&self.machine, machine, inode, access != Access::Read)))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut machine = self.machine.lock();
        machine.gate.look()?;
        machine.gate.counts.renames += 1;
        machine.find(from)?;
        let ((directory, from), (other, to)) = (split(from), split(to));
        if directory != other {
            return Err(Error::new(ErrorKind::InvalidInput, "a file is renamed within its directory only"));
        }
        let error = machine.gate.change_name()?;
        if let Some(replaced) = machine.directory_mut(directory)?.rename(from, to) {
            machine.unlink(replaced);
        }
        error.map_or(Ok(()), Err)
    }

    fn remove(&self, name: &str) -> Result<()> {
        let mut machine = self.machine.lock();
        machine.gate.look()?;
        machine.gate.counts.removes += 1;
        machine.find(name)?;
        let error = machine.gate.change_name()?;
        let (directory, file) = split(name);
        if let Some(removed) = machine.directory_mut(directory)?.remove(file) {
            machine.unlink(removed);
        }
        error.map_or(Ok(()), Err)
    }

    fn sync_dir(&self, directory: &str) -> Result<()> {
        let mut machine = self.machine.lock();
        machine.directory(directory)?;
        machine.gate.counts.dir_syncs += 1;
        sync_names(&mut machine, Some(directory))
    }

    fn free_space(&self) -> Result<u64> {
        let machine = self.machine.lock();
        machine.gate.look()?;
        Ok(machine.free())
    }

    fn boot_id(&self) -> String {
        self.machine.lock().boot_id()
    }
}

/// Syncs a directory, `None` being the one above the store.
fn sync_names(machine: &mut Machine, directory: Option<&str>) -> Result<()> {
    let chance = machine.gate.faults.name_error;
    match machine.gate.change(chance)? {
        Fate::Works => machine.sync_names(directory),
        Fate::Fails => return Err(failed("a sync of a directory")),
        Fate::Stops => return Err(stopped()),
    }
    Ok(())
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(machine) = self.machine.try_lock() else { return formatter.write_str("SimDisk(busy)") };
        formatter.debug_struct("SimDisk").field("files", &machine.names()).finish_non_exhaustive()
    }
}
