//! Cleaning writes messages again further on before the segment that they were in goes. Whichever of both is lost, a
//! repair keeps the message; and that a segment went is known after a repair too that has to give up what said so.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and shows frames")]

use millpond::testing::{Faults, SimDisk};
use millpond::{
    Dumped, DumpedFrame, Durability, Group, Lsn, ManualClock, Message, Options, Repaired, Retention, Store, Timestamp,
    TopicSettings,
};
use std::fs;
use std::time::Duration;

/// Messages of the topic that keeps everything: at first, and of a store with copies.
const KEPT: u64 = 120;
const ALL: u64 = 260;

const UNFINISHED: &str = "repair.unfinished";

fn clock() -> ManualClock {
    ManualClock::starting_at(Timestamp::new(1_700_000_000_000))
}

fn options() -> Options {
    Options::default().segment_bytes(16 << 10).first_segment_bytes(16 << 10).durability(Durability::Os)
}

fn open(disk: &SimDisk, seed: u64) -> millpond::Result<Store> {
    Store::open_simulated(disk, clock(), seed, options())
}

fn payload(number: u64) -> String {
    format!("kept {number} {}", "y".repeat(300))
}

/// One message in four is kept; the others are acked at once, so that segments are mostly dead.
fn publish(store: &Store, numbers: std::ops::Range<u64>) {
    let jobs = store.topic("jobs").unwrap();
    let kept = store.topic_with("kept", TopicSettings::default().retention(Retention::everything())).unwrap();
    let worker = jobs.consumer("worker", Group::default()).unwrap();
    for number in numbers {
        kept.publish(payload(number)).wait().unwrap();
        jobs.publish_all((0..3).map(|_| Message::new("x".repeat(500)))).wait().unwrap();
        worker.ack_all(worker.lease_many(3, Duration::ZERO).unwrap()).wait().unwrap();
    }
}

/// The whole frames that a store has. They are shown of stores in directories alone.
fn frames(disk: &SimDisk) -> Vec<DumpedFrame> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("journal")).unwrap();
    for name in disk.file_names() {
        fs::write(dir.path().join(&name), disk.read_file(&name).unwrap()).unwrap();
    }
    let frame = |dumped| if let Dumped::Frame(frame) = dumped { Some(frame) } else { None };
    Store::dump(dir.path(), Lsn::ZERO).unwrap().filter_map(|dumped| frame(dumped.unwrap())).collect()
}

fn says(frame: &DumpedFrame, kind: &str) -> bool {
    frame.events.iter().any(|(said, _)| said == kind)
}

fn file(lsn: Lsn) -> String {
    format!("journal/{:010}.segment", lsn.segment().get())
}

/// The files in which a message stands.
fn places(disk: &SimDisk, number: u64) -> Vec<String> {
    let payload = payload(number).into_bytes();
    let has = |name: &String| disk.read_file(name).unwrap().windows(payload.len()).any(|window| window == payload);
    disk.file_names().into_iter().filter(has).collect()
}

/// A closed store in which messages stand twice, with a snapshot since that says where they were moved to, and the
/// segment that they were moved to first.
fn store_with_copies() -> (SimDisk, String) {
    let (disk, clock) = (SimDisk::new(9), clock());
    // Cleaning takes many steps for a segment, and what it was in goes after the last of them.
    let large = || options().segment_bytes(64 << 10).first_segment_bytes(64 << 10).clean_step_bytes(1 << 10);
    let store = Store::open_simulated(&disk, clock.clone(), 1, large().clean_below(0)).unwrap();
    publish(&store, 0..KEPT);
    store.close().unwrap();
    let store = Store::open_simulated(&disk, clock.clone(), 1, large().clean_below(100)).unwrap();
    let mut numbers = KEPT..ALL;
    let moved = loop {
        let more = store.step_upkeep().unwrap();
        while store.step_commit().unwrap() {}
        let all = frames(&disk.fork(0));
        let moves: Vec<Lsn> = all.iter().filter(|frame| says(frame, "Move")).map(|frame| frame.lsn).collect();
        if let Some(first) = moves.first()
            && all.iter().filter(|frame| frame.snapshot && frame.lsn > *first).count() >= 6
        {
            break *first;
        }
        // So that cleaning begins, and that a snapshot is due while it runs.
        if !more || moves.len() == 6 {
            numbers
                .by_ref()
                .take(if moves.is_empty() { 10 } else { 40 })
                .for_each(|number| publish(&store, number..number + 1));
            clock.advance(Duration::from_secs(20));
        }
    };
    store.close().unwrap();
    (disk, file(moved))
}

/// The kept messages that are there, each as it was published.
fn kept(disk: &SimDisk, seed: u64) -> Vec<u64> {
    let store = open(disk, seed).unwrap();
    let read = |store: &Store| -> Vec<u64> {
        let kept = store.existing_topic("kept").unwrap();
        let records = kept.read(..).map(|record| record.unwrap());
        let offset = |record: &millpond::Record| {
            assert_eq!(record.payload(), payload(record.offset().get()).as_bytes());
            record.offset().get()
        };
        records.map(|record| offset(&record)).collect()
    };
    let there = read(&store);
    // Whatever they were carried over from goes now.
    store.clean_now().unwrap();
    assert_eq!(read(&store), there, "after cleaning");
    store.close().unwrap();
    there
}

fn lost(repaired: &Repaired) -> Vec<u64> {
    let of = repaired.lost.iter().filter(|(topic, ..)| topic == "kept");
    of.flat_map(|(_, first, last)| first.get()..=last.get()).collect()
}

#[test]
fn a_message_whose_moved_copy_is_lost_is_carried_over_from_where_it_was() {
    for (all, whole, moved) in stores_with_copies().step_by(4) {
        let twice: Vec<u64> = (0..KEPT).filter(|number| places(&whole, *number).len() == 2).collect();
        assert!(twice.len() > 1 && places(&whole, twice[0]).contains(&moved), "{twice:?}");
        let frame = frames(&whole).into_iter().find(|frame| says(frame, "Move")).unwrap();
        let middle = u64::from(frame.lsn.position().get() + frame.length / 2);
        for how in ["removed", "hurt in its header", "hurt in the copies"] {
            let disk = whole.fork(1);
            match how {
                "removed" => disk.remove_file(&moved),
                "hurt in its header" => (0..2).try_for_each(|at| disk.flip_bit(&moved, 41 + at, 3)),
                _ => disk.flip_bit(&moved, middle, 3),
            }
            .unwrap();
            let what = format!("{how}, of {all}");
            assert!(!Store::verify_simulated(&disk, clock()).unwrap().damage.is_empty(), "{what}");
            let repaired = repair(&disk);
            let lost = lost(&repaired);
            assert!(twice.iter().all(|number| !lost.contains(number)), "{what}: {lost:?} of {twice:?}");
            let left: Vec<u64> = (0..all).filter(|number| !lost.contains(number)).collect();
            assert_eq!(kept(&disk, 4), left, "{what}: {repaired:?}");
            let report = Store::verify_simulated(&disk, clock()).unwrap();
            assert!(report.damage.is_empty(), "{what}: {report:?}");
        }
    }
}

/// The newest segment there is.
fn newest(disk: &SimDisk) -> String {
    disk.file_names().into_iter().rfind(|name| name.ends_with(".segment")).unwrap()
}

/// Stores in which messages stand twice, each with another length of its last segment, and how many messages each has;
/// and the segment that they were moved to.
fn stores_with_copies() -> impl Iterator<Item = (u64, SimDisk, String)> {
    let (whole, moved) = store_with_copies();
    (0..40).step_by(2).map(move |more| {
        let disk = whole.fork(more);
        let store = open(&disk, 2).unwrap();
        publish(&store, ALL..ALL + more);
        store.close().unwrap();
        (ALL + more, disk, moved.clone())
    })
}

/// The same without that segment.
fn stores_that_lost_copies() -> impl Iterator<Item = (u64, SimDisk)> {
    stores_with_copies().map(|(all, disk, moved)| {
        disk.remove_file(&moved).unwrap();
        (all, disk)
    })
}

fn repair(disk: &SimDisk) -> Repaired {
    Store::repair_simulated(disk, clock(), 3).unwrap()
}

/// One of them whose repair goes on in another segment.
fn crowded() -> SimDisk {
    let goes_on = |(_, disk): &(u64, SimDisk)| {
        let repaired = disk.fork(0);
        repair(&repaired);
        newest(&repaired) > newest(disk)
    };
    stores_that_lost_copies().find(goes_on).unwrap().1
}

#[test]
fn copies_that_the_last_segment_has_no_room_for_go_on_in_further_ones() {
    let mut further = 0;
    for (all, disk) in stores_that_lost_copies() {
        let before = newest(&disk);
        let repaired = repair(&disk);
        further += u64::from(newest(&disk) > before);
        let lost = lost(&repaired);
        let left: Vec<u64> = (0..all).filter(|number| !lost.contains(number)).collect();
        assert_eq!(kept(&disk, 4), left, "{all}: {repaired:?}");
        assert!(Store::repair_simulated(&disk, clock(), 5).unwrap().report.is_none(), "{all}: a second one");
    }
    assert!(further > 0, "there was always room");
}

#[test]
fn a_repair_that_carries_messages_over_and_is_cut_short_is_finished_by_the_next_one() {
    let hurt = crowded();
    let whole = hurt.fork(0);
    let before = whole.operations();
    repair(&whole);
    let steps = whole.operations() - before;
    let wanted = kept(&whole, 4);
    assert!(steps > 30, "{steps} steps");
    for step in 0..steps {
        // A kill, and a power cut that loses some of what was not synced.
        for power in [false, true] {
            let (disk, mut faults) = (hurt.fork(step), Faults::default());
            faults.stop_after = Some(step);
            disk.set_faults(faults);
            _ = Store::repair_simulated(&disk, clock(), 2);
            if power {
                disk.crash()
            } else {
                disk.kill()
            }
            disk.set_faults(Faults::default());
            let what = format!("cut at step {step} of {steps}, power {power}");
            // What is half repaired is nothing to go on with: the next repair would put files over what was added.
            let unfinished = disk.file_names().contains(&UNFINISHED.to_owned());
            assert!(!unfinished || open(&disk, 5).is_err(), "{what}: it opens half repaired");
            let seen = Store::observe_simulated(&disk, clock(), options());
            assert!(!unfinished || seen.is_err(), "{what}: it is shown half repaired");
            repair(&disk);
            assert_eq!(kept(&disk, 4), wanted, "{what}");
        }
    }
}

/// All files, with what is in them.
fn contents(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    disk.file_names().into_iter().map(|name| (name.clone(), disk.read_file(&name).unwrap())).collect()
}

#[test]
fn a_repair_that_fails_has_changed_nothing_and_gives_its_room_back() {
    let hurt = crowded();
    let (whole, before) = (hurt.fork(0), contents(&hurt));
    let began = whole.operations();
    repair(&whole);
    let steps = whole.operations() - began;
    let wanted = kept(&whole, 4);
    let mut failed = 0;
    for step in 0..steps {
        let (disk, mut faults) = (hurt.fork(step), Faults::default());
        faults.fail_after = Some(step);
        disk.set_faults(faults);
        let outcome = Store::repair_simulated(&disk, clock(), 2);
        disk.set_faults(Faults::default());
        // From the moment on at which its report has a name it is half done, and ends with another name of that.
        if outcome.is_err() && !disk.file_names().iter().any(|name| name.starts_with("repair")) {
            failed += 1;
            let after = contents(&disk);
            assert!(after == before, "step {step}: {:?}", disk.file_names());
        }
        repair(&disk);
        assert_eq!(kept(&disk, 4), wanted, "step {step} of {steps}");
    }
    assert!(failed > 10, "{failed} of {steps}");
    // Likewise where there is no room for it.
    let (disk, mut faults) = (hurt.fork(1), Faults::default());
    faults.capacity = Some(before.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>() + (100 << 10));
    disk.set_faults(faults);
    let error = Store::repair_simulated(&disk, clock(), 2).unwrap_err();
    assert!(error.to_string().contains(".repaired"), "{error}");
    assert!(contents(&disk) == before, "{:?}", disk.file_names());
}

/// Where a segment ends whose seal is damaged, the next one is part of a torn end, unless it says that the first is
/// durable.
#[test]
fn that_a_segment_went_is_still_known_when_what_said_so_is_cut_off_as_a_torn_end() {
    let disk = SimDisk::new(9);
    let store = open(&disk, 1).unwrap();
    publish(&store, 0..KEPT);
    store.clean_now().unwrap();
    disk.kill();
    drop(store);
    let all = frames(&disk);
    let said = |frames: &[DumpedFrame]| frames.iter().filter(|frame| says(frame, "SegmentRetired")).count();
    let rolls = all.windows(2).filter(|two| two[0].lsn.segment() != two[1].lsn.segment());
    let seal = rolls.map(|two| &two[0]).next_back().unwrap();
    let end = u64::from(seal.lsn.position().get() + seal.length);
    let cut: Vec<DumpedFrame> = all.iter().filter(|frame| frame.lsn > seal.lsn).cloned().collect();
    assert!(said(&cut) > 0 && said(&cut) == said(&all), "{cut:?}");
    assert!(cut.iter().all(|frame| frame.durable.position().get() == 0), "{cut:?}");
    let whole = disk.fork(1);
    disk.flip_bit(&file(seal.lsn), end + 20, 3).unwrap();
    let error = open(&disk.fork(3), 2).unwrap_err();
    assert!(error.to_string().contains("the file is missing"), "{error}");
    let repaired = Store::repair_simulated(&disk, clock(), 3).unwrap();
    assert!(repaired.damage.is_empty() && repaired.report.is_some(), "{repaired:?}");
    assert_eq!(said(&frames(&disk)), said(&cut));
    // What goes with the end is what stood nowhere else.
    let only = |number: &u64| places(&whole, *number) == [file(cut[0].lsn)];
    let (lost, left): (Vec<u64>, Vec<u64>) = (0..KEPT).partition(only);
    assert_eq!((self::lost(&repaired), kept(&disk, 4)), (lost, left));
}
