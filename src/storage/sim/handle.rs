//! An open file of the simulated disk.

use super::faults::{Fate, failed, full, stopped};
use super::machine::{LONGEST, Machine};
use super::names::Inode;
use crate::seen::Seen;
use crate::storage::{Lock, StorageFile};
use parking_lot::Mutex;
use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A handle, dead when its process is.
pub(super) struct Handle {
    machine: Arc<Mutex<Machine>>,
    inode: Inode,
    /// This handle's own number: who holds a lock.
    number: u64,
    process: u64,
    writable: bool,
    /// Failed write-backs that this handle was told of, or that were before its time.
    told: AtomicU64,
}

impl Handle {
    /// Opens the file. The machine is the locked inside of `shared`.
    pub(super) fn open(shared: &Arc<Mutex<Machine>>, machine: &mut Machine, inode: Inode, writable: bool) -> Self {
        let (number, process) = (machine.number(), machine.process);
        let file = machine.files.entry(inode).or_default();
        file.opens += 1;
        let told = AtomicU64::new(file.errors);
        Self { machine: Arc::clone(shared), inode, number, process, writable, told }
    }

    fn writes(&self) -> Result<()> {
        let readonly = || Error::new(ErrorKind::PermissionDenied, "simulated disk: opened for reading only");
        if self.writable { Ok(()) } else { Err(readonly()) }
    }
}

/// Where in memory a position is, if it can be anywhere.
fn place(position: u64) -> Result<usize> {
    let place = usize::try_from(position).ok().filter(|place| *place <= LONGEST);
    place.ok_or_else(|| Error::new(ErrorKind::FileTooLarge, "simulated disk: a position beyond the largest file"))
}

impl StorageFile for Handle {
    fn len(&self) -> Result<u64> {
        let mut machine = self.machine.lock();
        machine.gate.look()?;
        Ok(machine.file(self.inode, self.process)?.pages.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        let mut machine = self.machine.lock();
        let machine = &mut *machine;
        let there = machine.file(self.inode, self.process)?.pages.len();
        machine.gate.look()?;
        machine.gate.counts.reads += 1;
        if machine.gate.hits(machine.gate.faults.read_error) {
            Seen::ReadFailed.note();
            return Err(failed("a read"));
        }
        let Some(rest) = usize::try_from(position).ok().and_then(|place| there.checked_sub(place)) else {
            return Ok(0);
        };
        let count = machine.gate.shortened(rest.min(buffer.len()), machine.gate.faults.short_read)?;
        Seen::ReadShort.note_if(count < rest.min(buffer.len()));
        let buffer = buffer.get_mut(..count).unwrap_or_default();
        Ok(machine.file(self.inode, self.process)?.pages.read(buffer, place(position)?))
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> Result<usize> {
        let mut machine = self.machine.lock();
        let machine = &mut *machine;
        let before = machine.file(self.inode, self.process)?.pages.len();
        self.writes()?;
        let place = place(position)?;
        machine.gate.counts.writes += 1;
        machine.gate.counts.writes_to_linked += u64::from(machine.file(self.inode, self.process)?.links > 1);
        let fate = machine.gate.change(machine.gate.faults.write_error)?;
        let fits = machine.longest(before).saturating_sub(place).min(bytes.len());
        if fits == 0 && !bytes.is_empty() && fate == Fate::Works {
            return Err(full());
        }
        let count = match fate {
            Fate::Works => {
                let count = machine.gate.shortened(fits, machine.gate.faults.short_write)?;
                Seen::WriteShort.note_if(count < fits);
                count
            }
            Fate::Fails | Fate::Stops => machine.gate.rng.usize(..=fits),
        };
        let pages = &mut machine.file(self.inode, self.process)?.pages;
        pages.write(bytes.get(..count).unwrap_or_default(), place);
        machine.used += (pages.len() - before) as u64;
        machine.gate.counts.bytes_written += count as u64;
        match fate {
            Fate::Works if machine.gate.hits(machine.gate.faults.background_error) => {
                Seen::BackgroundFailed.note();
                machine.fail_write_back(self.inode);
                Ok(count)
            }
            Fate::Works => Ok(count),
            Fate::Fails => {
                Seen::WriteFailed.note();
                Err(failed("a write"))
            }
            Fate::Stops => Err(stopped()),
        }
    }

    fn sync(&self) -> Result<()> {
        let mut machine = self.machine.lock();
        let machine = &mut *machine;
        machine.file(self.inode, self.process)?;
        machine.gate.counts.syncs += 1;
        match machine.gate.change(machine.gate.faults.sync_error)? {
            // What had reached the disk by then is chosen by the crash.
            Fate::Stops => return Err(stopped()),
            Fate::Fails => {
                Seen::SyncFailed.note();
                machine.fail_write_back(self.inode);
            }
            Fate::Works => machine.file(self.inode, self.process)?.pages.sync(),
        }
        let errors = machine.file(self.inode, self.process)?.errors;
        // Under the machine's lock, so that any ordering does.
        if self.told.swap(errors, Ordering::Relaxed) < errors { Err(failed("a sync")) } else { Ok(()) }
    }

    fn allocate(&self, len: u64) -> Result<bool> {
        let mut machine = self.machine.lock();
        let machine = &mut *machine;
        let before = machine.file(self.inode, self.process)?.pages.len();
        self.writes()?;
        let len = place(len)?;
        machine.gate.counts.allocations += 1;
        machine.gate.counts.writes_to_linked += u64::from(machine.file(self.inode, self.process)?.links > 1);
        let fate = machine.gate.change(machine.gate.faults.write_error)?;
        if len > machine.longest(before) {
            return Err(full());
        }
        let done = fate == Fate::Works || (fate == Fate::Stops && machine.gate.rng.bool());
        if done {
            let pages = &mut machine.file(self.inode, self.process)?.pages;
            pages.allocate(len);
            machine.used += (pages.len() - before) as u64;
        }
        match fate {
            Fate::Works => Ok(!machine.gate.faults.no_preallocation),
            Fate::Fails => Err(failed("a preallocation")),
            Fate::Stops => Err(stopped()),
        }
    }

    fn links(&self) -> Result<u64> {
        let mut machine = self.machine.lock();
        machine.gate.look()?;
        Ok(machine.file(self.inode, self.process)?.links)
    }

    fn try_lock(&self, lock: Lock) -> Result<bool> {
        let mut machine = self.machine.lock();
        machine.gate.look()?;
        let file = machine.file(self.inode, self.process)?;
        let taken = file.exclusive.is_some_and(|other| other != self.number)
            || (lock == Lock::Exclusive && file.shared.iter().any(|other| *other != self.number));
        if taken {
            return Ok(false);
        }
        file.unlock(self.number);
        match lock {
            Lock::Exclusive => file.exclusive = Some(self.number),
            Lock::Shared => file.shared.push(self.number),
        }
        Ok(true)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut machine = self.machine.lock();
        if let Ok(file) = machine.file(self.inode, self.process) {
            file.opens = file.opens.saturating_sub(1);
            file.unlock(self.number);
            machine.release(self.inode);
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Handle")
            .field("inode", &self.inode)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
