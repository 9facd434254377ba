//! Whatever file of the journal is lost or hurt, a repair leaves a store that opens, that is whole, and that a second
//! repair finds nothing in; also where the newest snapshots go with it, or where a file is hit that holds nothing yet.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and damages files"
)]

use millpond::testing::SimDisk;
use millpond::{
    Dumped, Durability, Group, Lsn, ManualClock, Message, Options, Retention, Store, Timestamp, TopicSettings,
};
use std::fs;
use std::time::Duration;

/// Messages of the topic that keeps everything.
const KEPT: u64 = 125;

fn clock() -> ManualClock {
    ManualClock::starting_at(Timestamp::new(1_700_000_000_000))
}

fn options() -> Options {
    Options::default().segment_bytes(16 << 10).first_segment_bytes(16 << 10).durability(Durability::Os)
}

/// A store whose first segments are gone, with snapshots in several of those that are left.
fn store(closed: bool) -> SimDisk {
    let disk = SimDisk::new(9);
    let store = Store::open_simulated(&disk, clock(), 1, options()).unwrap();
    let jobs = store.topic("jobs").unwrap();
    let kept = store.topic_with("kept", TopicSettings::default().retention(Retention::everything())).unwrap();
    let worker = jobs.consumer("worker", Group::default()).unwrap();
    for number in 0..500_u32 {
        jobs.publish(Message::new(format!("job {number} {}", "x".repeat(200)))).wait().unwrap();
        if number % 4 == 3 {
            kept.publish(Message::new(format!("kept {number} {}", "y".repeat(600)))).wait().unwrap();
        }
        if number % 10 == 9 {
            let batch = worker.lease_many(9, Duration::ZERO).unwrap();
            worker.ack_all(batch).wait().unwrap();
        }
        while store.step_upkeep().unwrap() {}
        if number == 100 {
            store.clean_now().unwrap();
        }
    }
    store.sync().wait().unwrap();
    if closed {
        store.close().unwrap();
    } else {
        drop(store);
        disk.kill();
    }
    disk
}

/// Where the last frame of a segment begins: its seal, if it has one.
fn last_frame(bytes: &[u8]) -> u64 {
    let (mut at, mut last) = (4096, 4096);
    while let Some(word) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        let length = (u32::from_le_bytes(*word) & 0x0fff_ffff) as usize;
        if length == 0 {
            break;
        }
        (last, at) = (at, at + 16 + length);
    }
    last as u64
}

fn repaired(disk: &SimDisk, what: &str) {
    let repaired = Store::repair_simulated(disk, clock(), 2).unwrap_or_else(|error| unreachable!("{what}: {error}"));
    let again = Store::repair_simulated(disk, clock(), 3).unwrap();
    assert!(again.report.is_none(), "{what}: a second repair finds {again:?}, after {repaired:?}");
    let store = Store::open_simulated(disk, clock(), 4, options())
        .unwrap_or_else(|error| unreachable!("{what}: {error}; {repaired:?}"));
    let removed: u64 = store.stats().topics.iter().map(|topic| topic.removed.lost).sum();
    assert_eq!(removed, repaired.lost_messages(), "{what}: {repaired:?}");
    let kept = store.existing_topic("kept").map_or(0, |topic| topic.read(..).count() as u64);
    let lost = repaired.lost.iter().filter(|(name, ..)| name == "kept");
    let lost: u64 = lost.map(|(_, first, last)| last.get() + 1 - first.get()).sum();
    let torn = store.recovery().trimmed.is_some() || what.contains("closed false");
    assert!(kept + lost == KEPT || torn, "{what}: {kept} are there, {lost} are lost: {repaired:?}");
    for name in store.topics() {
        let topic = store.existing_topic(&name).unwrap();
        assert!(topic.read(..).all(|record| record.is_ok()), "{what}: {name}");
        topic.publish("after the repair").wait().unwrap();
    }
    store.close().unwrap();
    let report = Store::verify_simulated(disk, clock()).unwrap();
    assert!(report.damage.is_empty() && report.snapshot_damage.is_empty(), "{what}: {report:?}");
}

#[test]
fn whatever_file_is_lost_or_hurt_a_repair_leaves_a_store_that_opens() {
    for closed in [false, true] {
        let whole = store(closed);
        let files: Vec<String> = whole.file_names().into_iter().filter(|name| name.ends_with(".segment")).collect();
        assert!(files.len() > 4 && !files.contains(&"journal/0000000001.segment".to_owned()), "{files:?}");
        for (number, file) in files.iter().enumerate() {
            let length = whole.read_file(file).unwrap().len() as u64;
            let last = last_frame(&whole.read_file(file).unwrap());
            for how in 0..6 {
                let disk = whole.fork(number as u64);
                let what = match how {
                    0 => disk.remove_file(file).map(|()| "removed"),
                    1 => disk.flip_bit(file, 2068, 3).map(|()| "hurt in its header"),
                    2 => disk.flip_bit(file, 4100, 3).map(|()| "hurt in its first frame"),
                    3 => disk.truncate(file, length / 2).map(|()| "cut"),
                    4 => disk.truncate(file, last).map(|()| "cut between two frames"),
                    _ => disk.flip_bit(file, length / 2, 3).map(|()| "hurt in the middle"),
                };
                repaired(&disk, &format!("{file} of {files:?} is {}, closed {closed}", what.unwrap()));
            }
        }
    }
}

/// Where in a frame that is a piece of a snapshot it says what piece: 0 its begin, 1 a part, 2 its end.
const TAG: usize = 18;

/// The frames of each whole snapshot of a store: file, position and length of each.
fn snapshots(disk: &SimDisk) -> Vec<Vec<(String, u64, u64)>> {
    // Frames are shown of stores in directories alone.
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("journal")).unwrap();
    for name in disk.file_names() {
        fs::write(dir.path().join(&name), disk.read_file(&name).unwrap()).unwrap();
    }
    let (mut whole, mut running) = (Vec::new(), Vec::new());
    for dumped in Store::dump(dir.path(), Lsn::ZERO).unwrap() {
        let Dumped::Frame(frame) = dumped.unwrap() else { continue };
        if !frame.snapshot {
            continue;
        }
        let file = format!("journal/{:010}.segment", frame.lsn.segment().get());
        let at = frame.lsn.position().get();
        let tag = disk.read_file(&file).unwrap()[at as usize + TAG];
        // What begins in a segment that is gone is not whole.
        if tag == 0 {
            running = Vec::new();
        } else if running.is_empty() {
            continue;
        }
        running.push((file, u64::from(at), u64::from(frame.length)));
        if tag == 2 {
            whole.push(std::mem::take(&mut running));
        }
    }
    whole
}

/// The first frame of a segment names the newest two snapshots. Those that came before these, and behind the first
/// frame of their own segment, nobody names; and if all the others are damaged, one of them is all there is to begin
/// with.
#[test]
fn a_whole_snapshot_that_no_segments_first_frame_names_is_found_when_all_others_are_lost() {
    let disk = SimDisk::new(11);
    let large = options().segment_bytes(256 << 10).first_segment_bytes(256 << 10);
    let store = Store::open_simulated(&disk, clock(), 1, large).unwrap();
    let jobs = store.topic("jobs").unwrap();
    let worker = jobs.consumer("worker", Group::default()).unwrap();
    jobs.publish_all((0..600).map(|_| Message::new("x".repeat(500)))).wait().unwrap();
    worker.ack_all(worker.lease_many(600, Duration::ZERO).unwrap()).wait().unwrap();
    store.clean_now().unwrap();
    store.close().unwrap();
    // From now on a snapshot is due after so much less than the segment holds that it is in that there are several in
    // it.
    let store = Store::open_simulated(&disk, clock(), 1, options()).unwrap();
    let kept = store.topic_with("kept", TopicSettings::default().retention(Retention::everything())).unwrap();
    let messages: usize = 500;
    for _ in 0..messages {
        kept.publish(Message::new("y".repeat(600))).wait().unwrap();
        while store.step_upkeep().unwrap() {}
    }
    store.close().unwrap();
    let whole = snapshots(&disk);
    assert!(!disk.file_names().contains(&"journal/0000000001.segment".to_owned()), "no snapshot is needed");
    let files: Vec<&String> = whole.iter().map(|snapshot| &snapshot[0].0).collect();
    let most = files.chunk_by(|one, other| one == other).map(<[_]>::len).max();
    assert!(most > Some(3), "some are named by nobody: {files:?}");
    for left in 0..whole.len() {
        let hurt = disk.fork(1);
        for (file, at, length) in whole.iter().enumerate().filter(|(place, _)| *place != left).flat_map(|(_, one)| one)
        {
            hurt.flip_bit(file, at + length - 1, 3).unwrap();
        }
        let what = format!("only snapshot {left} of {} is whole", whole.len());
        let open = |seed| Store::open_simulated(&hurt, clock(), seed, options());
        // Pieces of snapshots are needed by nobody who begins with another: there is nothing to be repaired.
        let store = open(2).unwrap_or_else(|error| unreachable!("{what}: {error}"));
        assert_eq!(store.existing_topic("kept").unwrap().read(..).count(), messages, "{what}");
        let worker = store.existing_topic("jobs").unwrap().consumer("worker", Group::default()).unwrap();
        assert!(worker.idle(), "{what}: {:?}", worker.stats());
        store.close().unwrap();
    }
}
