//! The tables in sled 0.34.7: the one file that names it.
//!
//! How far it is trusted: it holds nothing that the journal does not hold, and it is believed only if it has the
//! checkpoint id that the journal names. It panics on some damage and on a failed sync, hangs on a full disk, and opens
//! on a half-written snapshot file of its own and then fails. So everything that may panic is caught; opening, reading
//! and committing are done by threads that can be left behind when they hang; its snapshot files that were not finished
//! are removed first; and whoever calls sets the directory aside and rebuilds after any error. Its `flush` ends in a
//! call that leaves the drive's cache and the file's size alone, so its files and directories are synced here as well.
//! Its own timer for that is off: what is durable when is decided here.

#![expect(clippy::disallowed_methods, reason = "sled does its own input and output: this is its door to the disk")]

use super::commit::{Steps, commit};
use super::{Change, Keys, Tables, TablesDoor, premises, put_row};
use crate::sync::Mutex;
use std::fs::{self, File};
use std::io::{Error, ErrorKind, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::Duration;

/// The name of the tree that all rows are in.
const PROCESSED: &[u8] = b"processed 2";

/// Bytes that sled may cache.
const CACHE: u64 = 8 << 20;

/// What takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// sled frees its lock a moment after its last handle is dropped: opening is tried so often, with such pauses.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

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
    outcome_of(&answered, patience)
}

type Job = Box<dyn FnOnce() + Send>;

/// The thread that reads: whoever asks it waits with patience, so that a call of sled that hangs leaves the thread
/// behind and nobody else. It ends with the last handle.
#[derive(Debug)]
struct Reader(Sender<Job>);

impl Reader {
    fn start() -> Result<Self> {
        let (jobs, asked) = channel::<Job>();
        std::thread::Builder::new()
            .name("millpond-tables-read".to_owned())
            .spawn(move || asked.into_iter().for_each(|job| job()))?;
        Ok(Self(jobs))
    }

    fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        what: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = sync_channel(1);
        let job = Box::new(move || drop(answer.send(caught(what))));
        self.0.send(job).map_err(|_| Error::other("sled's thread has ended"))?;
        outcome_of(&answered, patience)
    }
}

fn outcome_of<T>(answered: &Receiver<Result<T>>, patience: Duration) -> Result<T> {
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
            premises::check(&directory)?;
            remove_unfinished(&directory)?;
            let db = open(&directory)?;
            let rows = db.open_tree(PROCESSED).map_err(io)?;
            let reader = Reader::start()?;
            let open = Open { directory, patience, db, rows, reader, committing: Mutex::new(()) };
            Ok(Arc::new(open) as Arc<dyn Tables>)
        })
    }

    fn set_aside(&self) -> Result<()> {
        premises::set_aside(&self.directory)
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

/// Goes through a directory and those in it; `each` is asked of every entry, told whether that is a directory itself.
fn walk(directory: &Path, each: &dyn Fn(&Path, bool) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let done = entry.file_type().and_then(|kind| {
            if kind.is_dir() {
                walk(&entry.path(), each)
            } else if kind.is_file() {
                each(&entry.path(), false)
            } else {
                Ok(())
            }
        });
        match done {
            // sled removes files of its own at any time.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other?,
        }
    }
    each(directory, true)
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
    reader: Reader,
    /// One commit at a time: the last row of one does not overtake the rows of another.
    committing: Mutex<()>,
}

/// The steps of a commit.
struct Writing {
    directory: PathBuf,
    db: sled::Db,
    rows: sled::Tree,
}

impl Steps for Writing {
    fn put(&self, rows: &[Change]) -> Result<()> {
        let mut changes = sled::Batch::default();
        for (key, value) in rows {
            match value {
                Some(value) => changes.insert(key.as_slice(), value.as_slice()),
                None => changes.remove(key.as_slice()),
            }
        }
        self.rows.apply_batch(changes).map_err(io)
    }

    fn flush(&self) -> Result<()> {
        self.db.flush().map(|_| ()).map_err(io)
    }

    fn sync_files(&self) -> Result<()> {
        walk(&self.directory, &|path, is_directory| {
            if is_directory { Ok(()) } else { File::open(path)?.sync_all() }
        })
    }

    fn sync_names(&self) -> Result<()> {
        walk(&self.directory, &|path, is_directory| if is_directory { sync_directory(path) } else { Ok(()) })?;
        self.directory.parent().map_or(Ok(()), sync_directory)
    }

    fn mark(&self, last: &Change) -> Result<()> {
        self.put(std::slice::from_ref(last))
    }
}

impl Tables for Open {
    fn get(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        let (rows, keys) = (self.rows.clone(), keys.to_vec());
        self.reader.ask(self.patience, move || {
            keys.iter().map(|key| Ok(rows.get(key).map_err(io)?.map(|value| value.to_vec()))).collect()
        })
    }

    fn scan(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let (rows, after) = (self.rows.clone(), after.map(<[u8]>::to_vec));
        self.reader.ask(self.patience, move || {
            let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
            let rows = rows.range::<Vec<u8>, _>((from, std::ops::Bound::Unbounded)).take(limit);
            rows.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(io)).collect()
        })
    }

    fn ranges(&self, ranges: &[Keys], lengths: [usize; 2]) -> Result<Vec<Vec<u8>>> {
        let (rows, ranges) = (self.rows.clone(), ranges.to_vec());
        self.reader.ask(self.patience, move || {
            let all = ranges.into_iter().map(|range| {
                let mut out = Vec::new();
                for row in rows.range(range) {
                    let (key, value) = row.map_err(io)?;
                    put_row(&mut out, (&key, &value), lengths)?;
                }
                Ok(out)
            });
            all.collect()
        })
    }

    fn commit(&self, batch: &[Change], last: &Change) -> Result<()> {
        let _alone = self.committing.lock();
        let steps = Writing { directory: self.directory.clone(), db: self.db.clone(), rows: self.rows.clone() };
        let (batch, last) = (batch.to_vec(), last.clone());
        watched(self.patience, move || commit(&steps, &batch, &last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u32) -> Change {
        (number.to_be_bytes().to_vec(), Some(vec![7; 17]))
    }

    #[test]
    fn what_was_committed_is_there_with_its_last_row_after_closing_and_opening() {
        let root = tempfile::tempdir().unwrap();
        let door = SledTables::new(root.path());
        assert!(!door.exists());
        for round in 0..3u8 {
            let tables = door.open().unwrap();
            let earlier = round.checked_sub(1).map(|earlier| vec![earlier; 16]);
            let last = || tables.get(&[b"last".to_vec()]).unwrap();
            assert_eq!(last(), [earlier]);
            let rows: Vec<Change> = (0..10_000).map(|number| row(number + 10_000 * u32::from(round))).collect();
            tables.commit(&rows, &(b"last".to_vec(), Some(vec![round; 16]))).unwrap();
            assert_eq!(last(), [Some(vec![round; 16])]);
            let range = |first: u32| first.to_be_bytes().to_vec()..(first + 3).to_be_bytes().to_vec();
            let found = tables.ranges(&[range(0), range(90_000)], [4, 17]).unwrap();
            assert_eq!((found[0].len(), found[0][4], found[1].len()), (3 * 21, 7, 0));
            assert!(tables.ranges(&[range(0)], [4, 16]).is_err());
            let found = tables.scan(None, 5).unwrap();
            assert_eq!(found.iter().map(|(key, _)| key[3]).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
            assert_eq!(tables.scan(Some(&found[4].0), 1).unwrap()[0].0, 5u32.to_be_bytes());
            let keys = [9_999u32, 90_000].map(|number| number.to_be_bytes().to_vec());
            assert_eq!(tables.get(&keys).unwrap(), [Some(vec![7; 17]), None]);
        }
        door.set_aside().unwrap();
        door.set_aside().unwrap();
        assert!(!door.exists());
        assert_eq!(door.open().unwrap().scan(None, 1).unwrap(), []);
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
        let reader = Reader::start().unwrap();
        assert_eq!(reader.ask(PATIENCE, || Ok(7)).unwrap(), 7);
        assert!(reader.ask::<()>(PATIENCE, || panic!("as it does")).unwrap_err().to_string().contains("as it does"));
        let (go, hangs) = channel::<()>();
        let stalled = reader.ask(Duration::from_millis(10), move || {
            hangs.recv().unwrap_or_default();
            Ok(())
        });
        assert_eq!(stalled.unwrap_err().kind(), ErrorKind::TimedOut);
        // Those behind it have no longer to wait.
        let behind = reader.ask(Duration::from_millis(10), || Ok(8));
        assert_eq!(behind.unwrap_err().kind(), ErrorKind::TimedOut);
        drop(go);
        assert_eq!(reader.ask(PATIENCE, || Ok(9)).unwrap(), 9);
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
