//! The only door to the disk.
//!
//! A [`Storage`] is rooted at one store's directory; names are relative to it, with `/` between a directory and a
//! file (`identity`, `journal/0000000001.segment`). Two implementations: `RealDisk`, and `SimDisk`, which
//! forgets what was not synced when it is told to crash.
//!
//! # What is durable when
//!
//! * Bytes written are durable when a `sync` **of a handle that was open before the write** has succeeded after it. A
//!   handle reports a write-back error once; another handle reports it too, once; one opened later may never hear of
//!   it. After a failed `sync` nothing may be assumed about what was written since the last good one, and a second
//!   `sync` that succeeds proves nothing.
//! * `sync` covers the file's bytes and its length, not its name.
//! * A name (created, renamed, removed) is durable when `sync_dir` of its directory has succeeded after it. Renames are
//!   atomic: after a crash the old name or the new one is there.
//! * Writes that were not synced may survive in part, in any order, torn at sector boundaries. A sector that is written
//!   again with the same bytes in front keeps those bytes, whichever version survives.

#[cfg(test)]
mod contract;
mod read_only;
mod real;
mod real_file;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod sim;

pub(crate) use read_only::ReadOnlyDisk;
pub(crate) use real::RealDisk;

use std::fmt::Debug;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

/// What kind of thing a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    /// A link, a pipe, a device: never opened, never touched.
    Other,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: EntryKind,
    /// Length in bytes of a file, 0 of anything else.
    pub(crate) len: u64,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It must exist; it is only read.
    Read,
    /// It must exist; it is read and written.
    Write,
    /// It must not exist; its name is durable after `sync_dir`.
    Create,
}

/// How a file is locked against other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    Shared,
    Exclusive,
}

/// A store's directory. See the module's page for what is durable when.
pub(crate) trait Storage: Send + Sync + Debug {
    /// Makes the store's own directory, with any parents that lack, and its sub-directory `journal`, durable up to the
    /// nearest parent that was there before. Directories that exist are left as they are, but their names are synced.
    fn create_directories(&self) -> Result<()>;

    /// The names in `directory` (`""` is the store's own), in no particular order. `NotFound` if it isn't there,
    /// `NotADirectory` if it is something else.
    fn list(&self, directory: &str) -> Result<Vec<Entry>>;

    /// Opens a regular file and nothing else: no link is followed, no pipe waited for. Each call gives a handle with an
    /// error mark of its own.
    fn open(&self, name: &str, access: Access) -> Result<Arc<dyn StorageFile>>;

    /// Renames within a directory, replacing what was there. Durable after `sync_dir` of the directory.
    fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Removes a file's name. Durable after `sync_dir`.
    fn remove(&self, name: &str) -> Result<()>;

    /// Gives a file a second name, outside the store. False if the file system can't; `NotFound` if the file is not
    /// there.
    fn link_out(&self, _name: &str, _to: &std::path::Path) -> Result<bool> {
        Ok(false)
    }

    /// Makes the names in `directory` durable.
    fn sync_dir(&self, directory: &str) -> Result<()>;

    /// Bytes that an ordinary process may still use on this file system.
    fn free_space(&self) -> Result<u64>;

    /// A name that changes whenever the machine starts anew; empty if the system has none.
    fn boot_id(&self) -> String;
}

/// An open regular file, read and written at given positions.
pub(crate) trait StorageFile: Send + Sync + Debug {
    /// The file's length in bytes.
    fn len(&self) -> Result<u64>;

    /// Reads at `position` into `buffer`; may give fewer bytes than asked for, and 0 only at the end.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize>;

    /// These bytes will be read soon: they may be fetched meanwhile. Says nothing, and fails at nothing.
    fn will_read(&self, _position: u64, _len: u64) {}

    /// Writes at `position`; may take fewer bytes than given, never 0 of some.
    fn write_at(&self, bytes: &[u8], position: u64) -> Result<usize>;

    /// Makes bytes and length durable.
    fn sync(&self) -> Result<()>;

    /// Sees to it that the first `len` bytes can be written without running out of space; new bytes read as zeros, and
    /// the file's length becomes at least `len`. False if the file system can't say so: then only bytes that were
    /// written and synced are certain to have their space.
    fn allocate(&self, len: u64) -> Result<bool>;

    /// How many names the file has.
    fn links(&self) -> Result<u64>;

    /// Locks the file against other processes without waiting; false if one of them has it. Held until the handle is
    /// dropped.
    fn try_lock(&self, lock: Lock) -> Result<bool>;
}

/// Reads exactly `buffer.len()` bytes, however short the single reads are. `UnexpectedEof` if the file ends before.
pub(crate) fn read_exact_at(file: &dyn StorageFile, buffer: &mut [u8], position: u64) -> Result<()> {
    let read = read_up_to(file, buffer, position)?;
    if read < buffer.len() { Err(Error::from(ErrorKind::UnexpectedEof)) } else { Ok(()) }
}

/// Reads until `buffer` is full or the file ends; how many bytes that were.
pub(crate) fn read_up_to(file: &dyn StorageFile, buffer: &mut [u8], position: u64) -> Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, position + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes all of `bytes`, however short the single writes are.
pub(crate) fn write_all_at(file: &dyn StorageFile, bytes: &[u8], position: u64) -> Result<()> {
    let mut done = 0;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write_at(rest, position + done as u64) {
            Ok(0) => return Err(Error::from(ErrorKind::WriteZero)),
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
