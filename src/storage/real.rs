//! The real disk: names. What is done with an open file is in [`real_file`](super::real_file).
//!
//! A store's directory may hold anything by the time we open it. So nothing is opened that is not a regular file, no
//! link inside the store is followed, and what is listed is bounded.

#![expect(clippy::disallowed_methods, reason = "this is the door to the disk")]

use super::real_file::RealFile;
use super::{Access, Entry, EntryKind, Storage, StorageFile};
use std::fs::{self, DirBuilder, FileType, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More names than this in one directory are not ours; reading on would only fill memory.
const MOST_NAMES: usize = 1 << 20;
/// The directory of the segments.
const JOURNAL: &str = "journal";

/// A store's directory on the real disk.
#[derive(Debug)]
pub(crate) struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// The store at `path`, which need not be there yet. A relative path is taken from today's working directory, so
    /// that a later `chdir` moves nothing. The path itself may be a link.
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { root: std::path::absolute(&path).unwrap_or(path) }
    }

    /// Where the store is, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// The directory's path, if no link leads there from the store's own.
    fn directory(&self, name: &str) -> Result<PathBuf> {
        debug_assert!(is_tame(name), "{name:?}");
        if name.is_empty() {
            return Ok(self.root.clone());
        }
        let path = self.root.join(name);
        let kind = fs::symlink_metadata(&path)?.file_type();
        if kind.is_dir() { Ok(path) } else { Err(wrong(ErrorKind::NotADirectory, name, kind, "a directory")) }
    }

    fn file(&self, name: &str) -> Result<PathBuf> {
        let (directory, file) = name.rsplit_once('/').unwrap_or(("", name));
        debug_assert!(is_tame(file) && !file.is_empty(), "{name:?}");
        Ok(self.directory(directory)?.join(file))
    }
}

impl Storage for RealDisk {
    fn create_directories(&self) -> Result<()> {
        make(&self.root)?;
        match new_directory().create(self.root.join(JOURNAL)) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => drop(self.directory(JOURNAL)?),
            Err(error) => return Err(error),
        }
        // Also if it was there: the process that made it may have died before its name was durable.
        sync_path(&self.root)
    }

    fn list(&self, directory: &str) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.directory(directory)?)? {
            let entry = entry?;
            if entries.len() == MOST_NAMES {
                let text = format!("more than {MOST_NAMES} names in directory {directory:?}");
                return Err(Error::new(ErrorKind::InvalidData, text));
            }
            // Neither call follows a link. What vanished meanwhile is not listed.
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                other => other?,
            };
            let kind = match entry.file_name().to_str() {
                Some(_) if metadata.is_file() => EntryKind::File,
                Some(_) if metadata.is_dir() => EntryKind::Directory,
                _ => EntryKind::Other,
            };
            let len = if kind == EntryKind::File { metadata.len() } else { 0 };
            entries.push(Entry { name: entry.file_name().to_string_lossy().into_owned(), kind, len });
        }
        Ok(entries)
    }

    fn open(&self, name: &str, access: Access) -> Result<Arc<dyn StorageFile>> {
        let path = self.file(name)?;
        if access != Access::Create {
            // Opening some devices does things to them, so we look before. What changes in between is caught below.
            refuse_others(name, fs::symlink_metadata(&path)?.file_type())?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(access != Access::Read).create_new(access == Access::Create);
        guard(&mut options);
        let file = options.open(&path)?;
        refuse_others(name, file.metadata()?.file_type())?;
        Ok(Arc::new(RealFile::new(name, file)))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        if from.rsplit_once('/').map(|parts| parts.0) != to.rsplit_once('/').map(|parts| parts.0) {
            return Err(Error::new(ErrorKind::InvalidInput, "a file is renamed within its directory only"));
        }
        fs::rename(self.file(from)?, self.file(to)?)
    }

    fn remove(&self, name: &str) -> Result<()> {
        fs::remove_file(self.file(name)?)
    }

    fn link_out(&self, name: &str, to: &Path) -> Result<bool> {
        // Where nobody can be told how many names a file has, what is recycled would be the backup's file too.
        if cfg!(not(unix)) {
            return Ok(false);
        }
        match fs::hard_link(self.file(name)?, to) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => Err(error),
            // Another file system, one without links, too many links: whatever it is, a copy does as well.
            Err(_) => Ok(false),
        }
    }

    fn sync_dir(&self, directory: &str) -> Result<()> {
        sync_path(&self.directory(directory)?)
    }

    fn free_space(&self) -> Result<u64> {
        free_space(&self.root)
    }

    fn boot_id(&self) -> String {
        boot_id()
    }
}

/// A name of ours: inside the store, and one path component.
fn is_tame(name: &str) -> bool {
    !name.contains(['/', '\\', '\0']) && name != "." && name != ".."
}

/// Makes a directory and those above it that lack, durable up to one that was there.
fn make(path: &Path) -> Result<()> {
    let mut lacking = Vec::new();
    let mut there = path;
    while let Err(error) = fs::metadata(there) {
        if error.kind() != ErrorKind::NotFound {
            return Err(error);
        }
        lacking.push(there);
        there = there.parent().ok_or(error)?;
    }
    if !fs::metadata(there)?.is_dir() {
        return Err(Error::new(ErrorKind::NotADirectory, format!("{} is not a directory", there.display())));
    }
    // A process that died just after making this one may not have synced its name. It may as well be somebody else's,
    // above which we may not even look: then it is theirs to keep.
    match there.parent().map_or(Ok(()), sync_path) {
        Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {}
        other => other?,
    }
    for path in lacking.into_iter().rev() {
        match new_directory().create(path) {
            // Another process was quicker, or the name is a link to nowhere, which the next step finds out.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other?,
        }
        if let Some(above) = path.parent() {
            sync_path(above)?;
        }
    }
    Ok(())
}

fn refuse_others(name: &str, kind: FileType) -> Result<()> {
    if kind.is_file() { Ok(()) } else { Err(wrong(ErrorKind::InvalidInput, name, kind, "a regular file")) }
}

fn wrong(error: ErrorKind, name: &str, kind: FileType, wanted: &str) -> Error {
    Error::new(error, format!("{name:?} is {}, not {wanted}", describe(kind)))
}

fn describe(kind: FileType) -> &'static str {
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_file() {
        "a regular file"
    } else {
        describe_special(kind)
    }
}

#[cfg(unix)]
fn describe_special(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    match kind {
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_block_device() || kind.is_char_device() => "a device",
        _ => "something else",
    }
}

#[cfg(not(unix))]
fn describe_special(_: FileType) -> &'static str {
    "something else"
}

/// Ours alone: payloads are nobody else's business.
#[cfg(unix)]
fn new_directory() -> DirBuilder {
    use std::os::unix::fs::DirBuilderExt;
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

#[cfg(not(unix))]
fn new_directory() -> DirBuilder {
    DirBuilder::new()
}

/// Follows no link, waits for no pipe, and makes files that are ours alone.
#[cfg(unix)]
fn guard(options: &mut OpenOptions) {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    options.mode(0o600).custom_flags(flags.bits().cast_signed());
}

#[cfg(not(unix))]
fn guard(_: &mut OpenOptions) {}

#[cfg(unix)]
fn sync_path(directory: &Path) -> Result<()> {
    match fs::File::open(directory)?.sync_all() {
        // Some network and user-space file systems know no sync of directories; they have nothing to offer instead.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        other => other,
    }
}

/// Windows has no such thing: the file system's own journal keeps names.
#[cfg(not(unix))]
fn sync_path(_: &Path) -> Result<()> {
    Ok(())
}

#[cfg(unix)]
fn free_space(path: &Path) -> Result<u64> {
    let space = rustix::fs::statvfs(path)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

#[cfg(not(unix))]
fn free_space(_: &Path) -> Result<u64> {
    Ok(u64::MAX)
}

#[cfg(target_os = "linux")]
fn boot_id() -> String {
    use std::io::Read;
    let mut id = String::new();
    // An id that can't be read is one that we don't have.
    let read = fs::File::open("/proc/sys/kernel/random/boot_id").and_then(|file| file.take(64).read_to_string(&mut id));
    if read.is_ok() { id.trim().to_owned() } else { String::new() }
}

#[cfg(not(target_os = "linux"))]
fn boot_id() -> String {
    String::new()
}

// They plant pipes and names that only Linux has.
#[cfg(target_os = "linux")]
#[cfg(test)]
#[path = "real_tests.rs"]
mod tests;
