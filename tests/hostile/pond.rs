//! The stores that are damaged: one that was closed, one that was killed in the middle, one of another id; each with
//! an older version of its files, and with what it holds.

use crate::layout;
use millpond::{Durability, Group, Message, Retention, Retry, Store, TopicSettings};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// Files by their names relative to the store's directory.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// What the store was told to keep.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// Payloads of topic `orders`, which keeps everything and has no group.
    pub(crate) orders: Vec<Vec<u8>>,
    /// Payloads of topic `jobs`, which keeps what its group has not settled.
    pub(crate) jobs: Vec<Vec<u8>>,
    /// Offsets of `jobs` that are settled for good.
    pub(crate) acked: BTreeSet<u64>,
    /// Offsets of `jobs` that were buried.
    pub(crate) dead: BTreeSet<u64>,
}

/// A store at rest.
#[derive(Clone, Debug)]
pub(crate) struct Pond {
    pub(crate) name: &'static str,
    pub(crate) files: Files,
    /// The same files half way: what a sector that was never written again still holds.
    pub(crate) older: Files,
    pub(crate) expected: Expected,
    /// It was closed: everything that is damaged is damage.
    pub(crate) closed: bool,
}

/// A directory in memory, if there is one: the disk's syncs are none of this test's business.
pub(crate) fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(dir) = tempfile::tempdir_in(memory)
    {
        return dir;
    }
    tempfile::tempdir().unwrap()
}

pub(crate) fn read_all(path: &Path) -> Files {
    let mut files = Files::new();
    let mut open: Vec<PathBuf> = vec![path.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                let name = entry.path().strip_prefix(path).unwrap().to_str().unwrap().to_owned();
                // A store that is open may put a segment aside meanwhile.
                match entry.metadata().and_then(|metadata| small(&metadata, &entry.path())) {
                    Ok(None) => {}
                    Ok(Some(bytes)) => drop(files.insert(name, bytes)),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{name}"),
                }
            }
        }
    }
    files
}

/// The bytes of a file, if they are not gigabytes of nothing.
fn small(metadata: &fs::Metadata, path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    if metadata.len() < 64 << 20 { fs::read(path).map(Some) } else { Ok(None) }
}

pub(crate) fn write_all(files: &Files, path: &Path) {
    fs::create_dir_all(path.join("journal")).unwrap();
    for (name, bytes) in files {
        let file = path.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }
}

/// Bytes of this length that say which message they are.
fn payload(topic: &str, number: u64, length: usize) -> Vec<u8> {
    let mut bytes = format!("{topic} {number} ").into_bytes();
    bytes.resize(length.max(bytes.len()), b'a' + u8::try_from(number % 26).unwrap());
    bytes
}

/// Small segments, so that a store of moderate size has many; sealed, indexed and snapshot by the caller's hand.
pub(crate) fn options(segment_bytes: u32) -> millpond::Options {
    Store::options().segment_bytes(segment_bytes).first_segment_bytes(16 << 10)
}

struct Maker {
    path: PathBuf,
    store: Store,
    orders: millpond::Topic,
    jobs: millpond::Topic,
    worker: millpond::Consumer,
    expected: Expected,
}

impl Maker {
    fn new(path: &Path, segment_bytes: u32) -> Self {
        let store = options(segment_bytes).open(path).unwrap();
        let everything = TopicSettings::default().retention(Retention::everything());
        let orders = store.topic_with("orders", everything).unwrap();
        let jobs = store.topic("jobs").unwrap();
        let hour = Retry::fixed(Duration::from_secs(3600));
        let worker = jobs.consumer("worker", Group::default().retry(hour).lease(Duration::from_secs(3600))).unwrap();
        Self { path: path.to_owned(), store, orders, jobs, worker, expected: Expected::default() }
    }

    fn publish(&mut self, bytes: Vec<u8>) {
        self.orders.publish(Message::new(bytes.clone()).durability(Durability::Os)).wait().unwrap();
        self.expected.orders.push(bytes);
    }

    /// What every kind of call writes.
    fn round(&mut self, number: u64) {
        self.publish(payload("orders", number, 300));
        let batch: Vec<_> = (0..5).map(|place| payload("jobs", number * 5 + place, 120)).collect();
        let messages = batch.iter().map(|bytes| Message::new(bytes.clone()).key("k").header("h", "v"));
        self.jobs.publish_all(messages).wait().unwrap();
        self.expected.jobs.extend(batch);
        let mut held: Vec<_> = self.worker.lease_many(3, Duration::ZERO).unwrap().collect();
        if let Some(last) = held.pop() {
            let offset = last.offset().get();
            if number.is_multiple_of(2) {
                last.bury("no use").wait().unwrap();
                self.expected.dead.insert(offset);
            } else {
                last.nack("not now").wait().unwrap();
            }
        }
        for delivery in held {
            self.expected.acked.insert(delivery.offset().get());
            delivery.ack().wait().unwrap();
        }
        if number.is_multiple_of(10) {
            while self.store.step_upkeep().unwrap() {}
            self.image();
        }
    }

    /// A payload that is itself a piece of the journal: the last whole frames of the newest segment.
    fn image(&mut self) {
        let files = read_all(&self.path);
        let newest = layout::segments(&files).pop().unwrap();
        let bytes = &files[&newest];
        let frames = layout::frames(bytes);
        if let (Some(first), Some(last)) = (frames.get(frames.len().saturating_sub(3)), frames.last()) {
            self.publish(bytes[first.start..last.end].to_vec());
        }
        self.publish(bytes[..layout::HEADER].to_vec());
    }

    /// The last ones are each in a frame that says that everything before it is durable.
    fn settle(&mut self) {
        for number in 0..4 {
            self.publish(payload("last", number, 50));
            self.store.sync().wait().unwrap();
        }
    }
}

fn make(name: &'static str, rounds: u64, segment_bytes: u32, closed: bool) -> Pond {
    let dir = directory();
    let mut maker = Maker::new(dir.path(), segment_bytes);
    (0..rounds / 2).for_each(|number| maker.round(number));
    maker.store.sync().wait().unwrap();
    let older = read_all(dir.path());
    (rounds / 2..rounds).for_each(|number| maker.round(number));
    maker.settle();
    if closed {
        maker.store.close().unwrap();
        return Pond { name, files: read_all(dir.path()), older, expected: maker.expected, closed };
    }
    // What a process leaves that is killed here: everything it wrote, and nothing of what a close would add.
    let files = read_all(dir.path());
    Pond { name, files, older, expected: maker.expected, closed }
}

/// All of them, made once.
pub(crate) fn ponds() -> &'static [Pond] {
    static PONDS: OnceLock<Vec<Pond>> = OnceLock::new();
    PONDS.get_or_init(|| {
        let ponds = vec![
            make("small, closed", 12, 1 << 20, true),
            make("large, closed", 130, 32 << 10, true),
            make("small, killed", 12, 1 << 20, false),
            make("large, killed", 130, 32 << 10, false),
        ];
        assert!(layout::segments(&ponds[1].files).len() > 5);
        assert!(ponds.iter().all(|pond| pond.expected.orders.len() > 12 && !pond.expected.dead.is_empty()));
        ponds
    })
}

/// Files of a store that is not one of those.
pub(crate) fn stranger() -> &'static Files {
    static STRANGER: OnceLock<Pond> = OnceLock::new();
    &STRANGER.get_or_init(|| make("another", 60, 32 << 10, true)).files
}
