//! The real disk: an open file.

use super::{Lock, StorageFile};
use std::fmt;
use std::fs::{File, TryLockError};
use std::io::Result;
use std::sync::atomic::{AtomicBool, Ordering};

/// A regular file, open, with a file description (and so an error mark and a lock) of its own.
pub(super) struct RealFile {
    /// For whoever prints the handle.
    name: Box<str>,
    file: File,
    /// It has a lock, to be given back with the handle.
    locked: AtomicBool,
}

impl RealFile {
    pub(super) fn new(name: &str, file: File) -> Self {
        Self { name: name.into(), file, locked: AtomicBool::new(false) }
    }
}

impl Drop for RealFile {
    /// A process that is being started just now has all descriptors of this one until it becomes another program, and
    /// with them the lock: closing ours does not end it then, giving it back does.
    fn drop(&mut self) {
        if self.locked.load(Ordering::Relaxed) {
            drop(self.file.unlock());
        }
    }
}

impl fmt::Debug for RealFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("RealFile").field(&self.name).finish()
    }
}

impl StorageFile for RealFile {
    fn len(&self) -> Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, buffer, position)
    }

    #[cfg(windows)]
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.file, buffer, position)
    }

    #[cfg(target_os = "linux")]
    fn will_read(&self, position: u64, len: u64) {
        let Some(len) = std::num::NonZeroU64::new(len) else { return };
        // It is a hint: what becomes of it is nobody's business.
        _ = rustix::fs::fadvise(&self.file, position, Some(len), rustix::fs::Advice::WillNeed);
    }

    #[cfg(unix)]
    fn write_at(&self, bytes: &[u8], position: u64) -> Result<usize> {
        // Not std's: in a process with threads, libc makes a write a point of cancellation, which costs two atomics.
        Ok(rustix::io::pwrite(&self.file, bytes, position)?)
    }

    #[cfg(windows)]
    fn write_at(&self, bytes: &[u8], position: u64) -> Result<usize> {
        std::os::windows::fs::FileExt::seek_write(&self.file, bytes, position)
    }

    fn sync(&self) -> Result<()> {
        // On Linux fdatasync: bytes and length, without the times. On macOS std asks for F_FULLFSYNC, on Windows for
        // FlushFileBuffers: all three reach through the drive's own cache.
        self.file.sync_data()
    }

    fn allocate(&self, len: u64) -> Result<bool> {
        if len == 0 || preallocate(&self.file, len)? {
            return Ok(true);
        }
        // The length at least. Space may still run out: a caller that must be sure writes zeros.
        if self.len()? < len {
            self.file.set_len(len)?;
        }
        Ok(false)
    }

    #[cfg(unix)]
    fn links(&self) -> Result<u64> {
        Ok(std::os::unix::fs::MetadataExt::nlink(&self.file.metadata()?))
    }

    #[cfg(not(unix))]
    fn links(&self) -> Result<u64> {
        Ok(1)
    }

    fn try_lock(&self, lock: Lock) -> Result<bool> {
        let locked = match lock {
            Lock::Shared => self.file.try_lock_shared(),
            Lock::Exclusive => self.file.try_lock(),
        };
        match locked {
            Ok(()) => {
                self.locked.store(true, Ordering::Relaxed);
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Reserves space for the first `len` bytes and makes the file that long; false if the file system can't.
#[cfg(target_os = "linux")]
fn preallocate(file: &File, len: u64) -> Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match rustix::io::retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, len)) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn preallocate(_: &File, _: u64) -> Result<bool> {
    Ok(false)
}
