//! A disk that is only looked at, while its owner goes on writing.
//!
//! Nothing can be written through it. Each file is locked, shared, as long as it is open: the owner overwrites a file
//! of a segment that is done with only if it gets an exclusive lock at once, and removes it otherwise, so neither is in
//! the other's way. A name is given to a file once and taken from it before the file is overwritten; so a name that is
//! still there once the lock is had stands for the file that was opened.

use super::{Access, Entry, Lock, Storage, StorageFile};
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(crate) struct ReadOnlyDisk(Arc<dyn Storage>);

impl ReadOnlyDisk {
    pub(crate) fn new(disk: Arc<dyn Storage>) -> Self {
        Self(disk)
    }
}

fn refused() -> Error {
    Error::new(ErrorKind::ReadOnlyFilesystem, "the store was opened for reading only")
}

impl Storage for ReadOnlyDisk {
    fn create_directories(&self) -> Result<()> {
        Err(refused())
    }

    fn list(&self, directory: &str) -> Result<Vec<Entry>> {
        self.0.list(directory)
    }

    /// `NotFound` also if the owner has taken the file for something else meanwhile.
    fn open(&self, name: &str, access: Access) -> Result<Arc<dyn StorageFile>> {
        if access != Access::Read {
            return Err(refused());
        }
        let file = self.0.open(name, Access::Read)?;
        if !file.try_lock(Lock::Shared)? {
            return Err(Error::new(ErrorKind::NotFound, "its owner is using the file for something else"));
        }
        self.0.open(name, Access::Read)?;
        Ok(file)
    }

    fn rename(&self, _: &str, _: &str) -> Result<()> {
        Err(refused())
    }

    fn remove(&self, _: &str) -> Result<()> {
        Err(refused())
    }

    fn link_out(&self, name: &str, to: &std::path::Path) -> Result<bool> {
        self.0.link_out(name, to)
    }

    fn sync_dir(&self, _: &str) -> Result<()> {
        Err(refused())
    }

    fn free_space(&self) -> Result<u64> {
        self.0.free_space()
    }

    fn boot_id(&self) -> String {
        self.0.boot_id()
    }
}
