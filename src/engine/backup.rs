//! A copy of the store as of one LSN, made while it runs.
//!
//! A segment that is full never changes again, so a second name for its file is a copy that costs nothing; where that
//! can't be had, its bytes are copied. The last two segments are copied in any case, the one that is being written up
//! to the LSN: an opening writes to the end of what it finds. Tables and ids' runs are views, and are made anew. The
//! identity comes last, so that half a backup is no store.

use super::{Core, Engine};
use crate::config::Durability;
use crate::error::{Code, Error, Result};
use crate::journal::{DIRECTORY, IDENTITY, IDENTITY_UNFINISHED, Pin, segment_name, sidecar_name};
use crate::storage::{Access, RealDisk, Storage, StorageFile, read_exact_at, write_all_at};
use crate::types::{Lsn, SegmentId};
use std::io;
use std::path::Path;

/// Bytes that are copied at a time.
const PIECE: u64 = 1 << 20;

/// What a backup has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// Everything in the journal before this is in it, and nothing behind.
    pub end: Lsn,
    /// Segments of the journal.
    pub segments: u64,
    /// How many of them share their file with the store, and so take no space of their own while the store has them.
    pub linked: u64,
    /// Bytes that were copied.
    pub copied_bytes: u64,
}

/// Where it goes.
struct Target<'a> {
    disk: RealDisk,
    root: &'a Path,
    /// What is taken away again if it fails.
    made: Vec<String>,
    backup: Backup,
}

impl Engine {
    /// Makes a backup in a directory that is empty or absent. Of a store that is only looked at, a segment may be gone
    /// before it is copied: the error says so, and nothing is left then.
    pub(crate) fn backup(&self, root: &Path) -> Result<Backup> {
        let mut target = Target { disk: RealDisk::new(root), root, made: Vec::new(), backup: Backup::default() };
        target.begin()?;
        let made = self.back_up_to(&mut target);
        if made.is_err() {
            for name in target.made.iter().rev() {
                if let Err(error) = target.disk.remove(name)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    tracing::warn!(%name, %error, "a part of a backup that failed could not be removed");
                }
            }
        }
        made.map(|()| target.backup)
    }

    fn back_up_to(&self, target: &mut Target<'_>) -> Result<()> {
        let (end, segments, _pins) = {
            let core = self.open_core()?;
            self.held_still(&core)
        };
        if !self.observes {
            self.drive(end, Durability::Disk, None)?;
        }
        let storage = &*self.environment.storage;
        target.backup.end = end;
        target.backup.segments = segments.len() as u64;
        for (place, id) in segments.iter().enumerate() {
            let name = segment_name(*id);
            if *id == end.segment() {
                target.copy(storage, &name, Some(u64::from(end.position().get())))?;
                continue;
            }
            if place + 2 < segments.len() && target.link(storage, &name)? {
                target.backup.linked += 1;
            } else {
                target.copy(storage, &name, None)?;
            }
            // What it is missing of these is made anew.
            match target.copy(storage, &sidecar_name(*id), None) {
                Err(error) if error.is_not_found() => {}
                copied => copied?,
            }
        }
        target.finish(storage)
    }

    /// The end of the journal, its segments, and what keeps them where they are as long as it is held.
    fn held_still(&self, core: &Core) -> (Lsn, Vec<SegmentId>, Vec<Pin>) {
        let segments = self.chain(core);
        let pins = segments.iter().filter_map(|id| self.files.pin(*id)).collect();
        (core.tail.end(), segments, pins)
    }
}

impl Target<'_> {
    fn begin(&self) -> Result<()> {
        match self.disk.list("") {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(entries) if entries.iter().all(|entry| entry.name == DIRECTORY) => {
                let inside = match self.disk.list(DIRECTORY) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                    listed => listed.map_err(|source| Error::io("listing the backup's directory", source))?,
                };
                if !inside.is_empty() {
                    return Err(not_empty());
                }
            }
            Ok(_) => return Err(not_empty()),
            Err(source) => return Err(Error::io("listing the backup's directory", source)),
        }
        self.disk.create_directories().map_err(|source| Error::io("making the backup's directory", source))
    }

    /// Gives a file a second name in the backup, if the file system can.
    fn link(&mut self, storage: &dyn Storage, name: &str) -> Result<bool> {
        let failed = |source| Error::io(format!("linking {name} into the backup"), source);
        if !storage.link_out(name, &self.root.join(name)).map_err(failed)? {
            return Ok(false);
        }
        self.made.push(name.to_owned());
        // It is on the disk already, mostly; a file with two names is not written to.
        self.disk.open(name, Access::Write).and_then(|file| file.sync()).map_err(failed)?;
        Ok(true)
    }

    /// Copies a file, or what it has before `end`: the rest is zeros then.
    fn copy(&mut self, storage: &dyn Storage, name: &str, end: Option<u64>) -> Result<()> {
        let failed = |source| Error::io(format!("copying {name} into the backup"), source);
        let from = storage.open(name, Access::Read).map_err(failed)?;
        let to = self.disk.open(name, Access::Create).map_err(failed)?;
        self.made.push(name.to_owned());
        let length = from.len().map_err(failed)?;
        let end = end.unwrap_or(length);
        copy_bytes(&*from, &*to, end).map_err(failed)?;
        if end < length {
            _ = to.allocate(length).map_err(failed)?;
        }
        to.sync().map_err(failed)?;
        self.backup.copied_bytes = self.backup.copied_bytes.saturating_add(end);
        Ok(())
    }

    /// From here on it is a store.
    fn finish(&mut self, storage: &dyn Storage) -> Result<()> {
        let failed = |source| Error::io("finishing the backup", source);
        self.disk.sync_dir(DIRECTORY).map_err(failed)?;
        let from = storage.open(IDENTITY, Access::Read).map_err(failed)?;
        let to = self.disk.open(IDENTITY_UNFINISHED, Access::Create).map_err(failed)?;
        self.made.push(IDENTITY_UNFINISHED.to_owned());
        copy_bytes(&*from, &*to, from.len().map_err(failed)?).map_err(failed)?;
        to.sync().map_err(failed)?;
        self.disk.sync_dir("").map_err(failed)?;
        // Whatever the rename or its sync does: what fails must not be left with a name that makes it a store.
        self.made.push(IDENTITY.to_owned());
        self.disk.rename(IDENTITY_UNFINISHED, IDENTITY).map_err(failed)?;
        self.disk.sync_dir("").map_err(failed)
    }
}

fn copy_bytes(from: &dyn StorageFile, to: &dyn StorageFile, end: u64) -> io::Result<()> {
    let (mut piece, mut at) = (Vec::new(), 0);
    while at < end {
        let length = PIECE.min(end - at);
        piece.resize(usize::try_from(length).unwrap_or(0), 0);
        read_exact_at(from, &mut piece, at)?;
        write_all_at(to, &piece, at)?;
        at += length;
    }
    Ok(())
}

fn not_empty() -> Error {
    Error::new(
        Code::NotAStore,
        "the backup's directory is not empty: nothing was touched; name one that is, or a new one",
    )
}
