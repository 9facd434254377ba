//! The tables in sled 0.34.7: the one file that names it.
//!
//! How far it is trusted: it holds nothing that the journal does not hold, and it is believed only if it has the
//! checkpoint id that the journal names. It panics on some damage and on a failed sync, hangs on a full disk, and opens
//! on a half-written snapshot file of its own and then fails. So everything that may panic is caught; opening and
//! committing are done by a thread that can be left behind when it hangs; its snapshot files that were not finished are
//! removed first; and whoever calls sets the directory aside and rebuilds after any error. Its `flush` ends in a call
//! that leaves the drive's cache and the file's size alone, so its files and directories are synced here as well. Its
//! own timer for that is off: what is durable when is decided here.

#![expect(clippy::disallowed_methods, reason = "sled does its own input and output: this is its door to the disk")]

use super::{Change, Hash, Tables, TablesDoor};
use crate::sync::Mutex;
use std::fs::{self, File};
use std::io::{Error, ErrorKind, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// The name of the tree of processed ids, and of that of the checkpoint. They stay as they are.
const PROCESSED: &[u8] = b"processed 1";
const CHECKPOINT: &[u8] = b"checkpoint 1";
const LATEST: &[u8] = b"latest";

/// Bytes that sled may cache.
const CACHE: u64 = 8 << 20;

/// What takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// sled frees its lock a moment after its last handle is dropped: opening is tried so often, with such pauses.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// Rows of one of sled's own batches.
const BATCH: usize = 4096;

/// Where sled's directory is.
#[derive(Clone, Debug)]
pub(crate) struct SledTables {
    directory: PathBuf,
    patience: Duration,
}

impl SledTables {
    /// In the directory `tables` of the store at `root`.
    pub(crate) fn new(root: &Path) -> Self {
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        Self { directory: root.join("tables"), patience: PATIENCE }
    }
}

/// Does something that may panic or hang. A thread that hangs is left behind, with all that it holds.
fn watched<T: Send + 'static>(patience: Duration, what: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (answer, answered) = sync_channel(1);
    std::thread::Builder::new().name("millpond-tables".to_owned()).spawn(move || {
        let outcome = caught(what);
        drop(answer.send(outcome));
    })?;
    match answered.recv_timeout(patience) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => {
            Err(Error::new(ErrorKind::TimedOut, format!("sled did not answer within {patience:?}")))
        }
        Err(RecvTimeoutError::Disconnected) => Err(Error::other("sled's thread ended without an answer")),
    }
}

fn caught<T>(what: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(what)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Error::other(format!("sled panicked: {}", text.unwrap_or("it did not say why"))))
    })
}

fn io(error: sled::Error) -> Error {
    match error {
        sled::Error::Io(error) => error,
        other => Error::other(other),
    }
}

impl TablesDoor for SledTables {
    fn open(&self) -> Result<Arc<dyn Tables>> {
        let directory = self.directory.clone();
        let patience = self.patience;
        watched(patience, move || {
            remove_unfinished(&directory)?;
            let db = open(&directory)?;
            let rows = db.open_tree(PROCESSED).map_err(io)?;
            let marks = db.open_tree(CHECKPOINT).map_err(io)?;
            let open = Open { directory, patience, db, rows, marks, committing: Mutex::new(()) };
            Ok(Arc::new(open) as Arc<dyn Tables>)
        })
    }

    fn set_aside(&self) -> Result<()> {
        let aside = self.directory.with_extension("aside");
        // The one that was set aside before tells nothing new, and they must not pile up.
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match fs::rename(&self.directory, &aside) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn exists(&self) -> bool {
        fs::symlink_metadata(&self.directory).is_ok()
    }
}

fn open(directory: &Path) -> Result<sled::Db> {
    let config = sled::Config::new().path(directory).cache_capacity(CACHE).flush_every_ms(None);
    let mut tries = 0;
    loop {
        match config.open() {
            Ok(db) => return Ok(db),
            Err(sled::Error::Io(error)) if locked(&error) && tries < TRIES => {
                tries += 1;
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(io(error)),
        }
    }
}

/// sled says it in words.
fn locked(error: &Error) -> bool {
    error.kind() == ErrorKind::WouldBlock || error.to_string().contains("lock")
}

/// A snapshot file that was not finished is believed by the next open, which then fails.
fn remove_unfinished(directory: &Path) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes everything in a directory durable, and its name.
fn sync_all(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = match entry.file_type() {
            // sled removes files of its own at any time.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        let synced = match kind {
            kind if kind.is_dir() => sync_all(&entry.path()),
            kind if kind.is_file() => File::open(entry.path()).and_then(|file| file.sync_all()),
            _ => Ok(()),
        };
        match synced {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other?,
        }
    }
    sync_directory(directory)?;
    directory.parent().map_or(Ok(()), sync_directory)
}

#[cfg(unix)]
fn sync_directory(directory: &Path) -> Result<()> {
    match File::open(directory)?.sync_all() {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        other => other,
    }
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> Result<()> {
    Ok(())
}

#[derive(Debug)]
struct Open {
    directory: PathBuf,
    patience: Duration,
    db: sled::Db,
    rows: sled::Tree,
    marks: sled::Tree,
    /// One commit at a time: the checkpoint of one does not overtake the rows of another.
    committing: Mutex<()>,
}

impl Tables for Open {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        caught(|| Ok(self.rows.get(key).map_err(io)?.map(|value| value.to_vec())))
    }

    fn scan(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        caught(|| {
            let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            let rows = self.rows.range::<&[u8], _>((from, std::ops::Bound::Unbounded)).take(limit);
            rows.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(io)).collect()
        })
    }

    fn commit(&self, batch: &[Change], checkpoint: Hash) -> Result<()> {
        let _alone = self.committing.lock();
        let (db, rows, marks) = (self.db.clone(), self.rows.clone(), self.marks.clone());
        let directory = self.directory.clone();
        let batch = batch.to_vec();
        watched(self.patience, move || {
            // The checkpoint before stays meanwhile: what it names is there, and all of this comes again behind it.
            for piece in batch.chunks(BATCH) {
                let mut changes = sled::Batch::default();
                for (key, value) in piece {
                    match value {
                        Some(value) => changes.insert(key.as_slice(), value.as_slice()),
                        None => changes.remove(key.as_slice()),
                    }
                }
                rows.apply_batch(changes).map_err(io)?;
            }
            db.flush().map_err(io)?;
            sync_all(&directory)?;
            marks.insert(LATEST, &checkpoint).map_err(io)?;
            db.flush().map_err(io)?;
            sync_all(&directory)
        })
    }

    fn checkpoint(&self) -> Result<Option<Hash>> {
        let latest = caught(|| self.marks.get(LATEST).map_err(io))?;
        Ok(latest.and_then(|id| id.as_ref().try_into().ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u32) -> Change {
        (number.to_be_bytes().to_vec(), Some(vec![7; 17]))
    }

    #[test]
    fn what_was_committed_is_there_with_its_checkpoint_after_closing_and_opening() {
        let root = tempfile::tempdir().unwrap();
        let door = SledTables::new(root.path());
        assert!(!door.exists());
        for round in 0..3u8 {
            let tables = door.open().unwrap();
            let earlier = round.checked_sub(1).map(|earlier| [earlier; 16]);
            assert_eq!(tables.checkpoint().unwrap(), earlier);
            let rows: Vec<Change> = (0..10_000).map(|number| row(number + 10_000 * u32::from(round))).collect();
            tables.commit(&rows, [round; 16]).unwrap();
            let found = tables.scan(None, 5).unwrap();
            assert_eq!(found.iter().map(|(key, _)| key[3]).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
            assert_eq!(tables.scan(Some(&found[4].0), 1).unwrap()[0].0, 5u32.to_be_bytes());
            assert_eq!(tables.get(&9_999u32.to_be_bytes()).unwrap(), Some(vec![7; 17]));
            assert_eq!(tables.get(&90_000u32.to_be_bytes()).unwrap(), None);
        }
        door.set_aside().unwrap();
        door.set_aside().unwrap();
        assert!(!door.exists());
        assert_eq!(door.open().unwrap().checkpoint().unwrap(), None);
    }

    #[test]
    fn a_panic_and_a_stall_are_errors() {
        let panicked = watched::<()>(PATIENCE, || panic!("as it does")).unwrap_err();
        assert!(panicked.to_string().contains("sled panicked: as it does"), "{panicked}");
        let stalled = watched(Duration::from_millis(10), || {
            std::thread::sleep(Duration::from_secs(1));
            Ok(())
        });
        assert_eq!(stalled.unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn a_snapshot_file_that_was_not_finished_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let door = SledTables::new(root.path());
        drop(door.open().unwrap());
        let file = root.path().join("tables/snap.000000000000000A.generating");
        fs::write(&file, b"half").unwrap();
        drop(door.open().unwrap());
        assert!(!file.exists());
    }
}
