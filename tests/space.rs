//! Disk space is given back: what passes through leaves none behind (I11), whatever few messages stay among it.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::field_reassign_with_default,
    reason = "a test fails by panicking, and moves files about"
)]

use millpond::testing::{Faults, SimDisk};
use millpond::{Consumer, Durability, Group, ManualClock, Message, Offset, Options, Store, Timestamp, Topic};
use std::collections::BTreeMap;
use std::time::Duration;

const SEGMENT: u64 = 32 << 10;
const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn options() -> Options {
    Store::options().segment_bytes(32 << 10).first_segment_bytes(16 << 10)
}

struct Pond {
    disk: SimDisk,
    clock: ManualClock,
    store: Store,
    jobs: Topic,
    worker: Consumer,
}

impl Pond {
    fn new(seed: u64) -> Self {
        let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
        Self::open(SimDisk::new(seed), clock, seed).unwrap()
    }

    fn open(disk: SimDisk, clock: ManualClock, seed: u64) -> millpond::Result<Self> {
        Self::open_with(disk, clock, seed, options())
    }

    fn open_with(disk: SimDisk, clock: ManualClock, seed: u64, options: Options) -> millpond::Result<Self> {
        let store = Store::open_simulated(&disk, clock.clone(), seed, options)?;
        let jobs = store.topic("jobs")?;
        let worker = jobs.consumer("worker", Group::default())?;
        Ok(Self { disk, clock, store, jobs, worker })
    }

    fn upkeep(&self) -> millpond::Result<()> {
        while self.store.step_upkeep()? {}
        Ok(())
    }

    fn publish(&self) -> millpond::Result<()> {
        let batch = (0..10).map(|n| Message::new(vec![b'a' + n; 200]).durability(Durability::Os));
        self.jobs.publish_all(batch).wait()?;
        Ok(())
    }

    /// So many messages come and go, a few at a time.
    fn churn(&self, turns: u64) -> millpond::Result<()> {
        for turn in 0..turns {
            self.publish()?;
            let batch = self.worker.lease_many(10, Duration::ZERO)?;
            self.worker.ack_all(batch).wait()?;
            if turn % 5 == 0 {
                self.upkeep()?;
            }
        }
        Ok(())
    }

    /// Bytes of all files of the store.
    fn bytes(&self) -> u64 {
        let names = self.disk.file_names();
        names.iter().map(|name| self.disk.read_file(name).unwrap().len() as u64).sum()
    }

    #[track_caller]
    fn holds_the_bound(&self, live: u64) {
        let stats = self.store.stats();
        let bound = 2 * live + 8 * SEGMENT + 3 * stats.snapshot_bytes;
        assert!(self.bytes() <= bound, "{} bytes, of {live} that are needed: {stats:#?}", self.bytes());
    }
}

#[test]
fn what_passes_through_leaves_nothing_behind() {
    let pond = Pond::new(1);
    for _ in 0..40 {
        pond.churn(50).unwrap();
        pond.holds_the_bound(20_000);
    }
    assert!(pond.jobs.end_offset() == Offset::new(20_000), "4 MiB went through");
}

#[test]
fn a_delayed_message_a_dead_letter_and_a_stuck_group_among_many_keep_only_what_they_hold() {
    let pond = Pond::new(2);
    let late = pond.jobs.publish(Message::new("next year").delay(YEAR)).wait().unwrap().offset;
    pond.churn(40).unwrap();
    let dead = pond.jobs.publish("not wanted").wait().unwrap().offset;
    pond.worker.try_lease().unwrap().unwrap().bury("no").wait().unwrap();
    pond.churn(40).unwrap();
    // A group of another topic that takes nothing.
    let other = pond.store.topic("other").unwrap();
    let stuck = other.consumer("stuck", Group::default()).unwrap();
    for number in 0..20 {
        other.publish(format!("stuck {number}")).wait().unwrap();
        pond.churn(10).unwrap();
    }
    for _ in 0..20 {
        pond.churn(50).unwrap();
        pond.holds_the_bound(30_000);
    }
    let mut seen = Vec::new();
    for record in pond.jobs.read(..) {
        let record = record.unwrap();
        seen.push((record.offset(), record.payload().to_vec()));
    }
    assert_eq!(seen, [(late, b"next year".to_vec()), (dead, b"not wanted".to_vec())]);
    let letters: Vec<_> = pond.worker.dead_letters().map(Result::unwrap).collect();
    assert_eq!(letters[0].record().unwrap().payload(), b"not wanted");
    // Reopened, they are where they were moved to, and come when it is their turn.
    let Pond { disk, clock, store, .. } = pond;
    store.close().unwrap();
    let pond = Pond::open(disk, clock, 3).unwrap();
    pond.clock.advance(YEAR);
    assert_eq!(pond.worker.try_lease().unwrap().unwrap().payload(), b"next year");
    let stuck_again = pond.store.topic("other").unwrap().consumer("stuck", Group::default()).unwrap();
    let got: Vec<_> = stuck_again.lease_many(30, Duration::ZERO).unwrap().collect();
    assert_eq!(got.len(), 20);
    assert!((0..20).all(|n| got[n].payload() == format!("stuck {n}").as_bytes()), "in order");
    drop(stuck);
}

#[test]
fn cleaning_by_hand_says_what_it_did_and_moves_every_hole() {
    let pond = Pond::new(4);
    // Of each ten messages one stays.
    let mut kept = BTreeMap::new();
    for turn in 0..150u32 {
        for n in 0..10u32 {
            let text = format!("{turn}/{n}/{}", "x".repeat(150));
            pond.jobs.publish(Message::new(text).durability(Durability::Os)).wait().unwrap();
        }
        for (n, delivery) in pond.worker.lease_many(10, Duration::ZERO).unwrap().enumerate() {
            if n == (turn % 10) as usize {
                kept.insert(delivery.offset(), delivery.payload().to_vec());
                delivery.snooze(YEAR).wait().unwrap();
            } else {
                delivery.ack().wait().unwrap();
            }
        }
    }
    let before = pond.bytes();
    let cleaned = pond.store.clean_now().unwrap();
    assert!(cleaned.segments >= 5 && cleaned.bytes >= 5 * SEGMENT / 2, "{cleaned:?}");
    assert!(cleaned.moved >= 50 && cleaned.moved_bytes > 50 * 150 && cleaned.damage.is_empty(), "{cleaned:?}");
    assert!(pond.bytes() < before / 2, "{} of {before}", pond.bytes());
    let read = || -> BTreeMap<Offset, Vec<u8>> {
        pond.jobs.read(..).map(Result::unwrap).map(|record| (record.offset(), record.payload().to_vec())).collect()
    };
    assert_eq!(read(), kept);
    // Every one alone as well, and moved once more.
    for (offset, payload) in &kept {
        assert_eq!(pond.jobs.read(*offset..).next().unwrap().unwrap().payload(), payload);
    }
    pond.churn(300).unwrap();
    _ = pond.store.clean_now().unwrap();
    assert_eq!(read(), kept);
    let again = pond.store.clean_now().unwrap();
    assert!(again.moved <= kept.len() as u64, "nothing is moved twice at once: {again:?}");
}

/// Kills and power cuts at every single change that removing, recycling and cleaning make.
#[test]
fn a_crash_at_any_step_of_it_loses_nothing() {
    for power in [false, true] {
        let mut step = 0;
        // Every change of the first rounds, then one in seven: they repeat.
        loop {
            let mut pond = Pond::new(5);
            pond.jobs.publish(Message::new("next year").delay(YEAR)).wait().unwrap();
            for n in 0..30 {
                pond.jobs.publish(Message::new(format!("kept {n}")).delay(YEAR)).wait().unwrap();
                pond.churn(6).unwrap();
            }
            let mut faults = Faults::default();
            faults.stop_after = Some(step);
            pond.disk.set_faults(faults);
            let whole = pond.store.clean_now().is_ok() && pond.churn(40).is_ok();
            if power {
                pond.disk.crash()
            } else {
                pond.disk.kill()
            }
            pond.disk.set_faults(Faults::default());
            let Pond { disk, clock, store, .. } = pond;
            drop(store);
            pond = Pond::open(disk, clock, 6).unwrap_or_else(|error| panic!("step {step}, power {power}: {error}"));
            let records: Vec<_> = pond.jobs.read(..).map(Result::unwrap).collect();
            let kept = records.iter().filter(|record| record.payload().starts_with(b"kept ")).count();
            assert_eq!(kept, 30, "step {step}, power {power}");
            assert_eq!(records[0].payload(), b"next year");
            pond.churn(40).unwrap();
            pond.holds_the_bound(30_000);
            pond.clock.advance(YEAR + Duration::from_secs(60));
            let left: Vec<_> = pond.worker.lease_many(200, Duration::ZERO).unwrap().collect();
            assert!(left.len() >= 31, "step {step}: {}", left.len());
            if whole {
                break;
            }
            step += if step < 60 { 1 } else { 7 };
        }
        assert!(step > 40, "there were {step} steps");
    }
}

#[test]
fn a_store_whose_segments_went_verifies_and_lacks_none() {
    // Without cleaning the first segment stays, and those behind it go.
    for clean_below in [50, 0] {
        let options = || options().clean_below(clean_below);
        let dir = tempfile::tempdir().unwrap();
        let store = options().open(dir.path()).unwrap();
        let jobs = store.topic("jobs").unwrap();
        let worker = jobs.consumer("worker", Group::default()).unwrap();
        jobs.publish(Message::new("next year").delay(YEAR)).wait().unwrap();
        for _ in 0..200 {
            jobs.publish_all((0..10).map(|_| Message::new(vec![1; 300]).durability(Durability::Os))).wait().unwrap();
            let batch = worker.lease_many(10, Duration::ZERO).unwrap();
            worker.ack_all(batch).wait().unwrap();
            while store.step_upkeep().unwrap() {}
        }
        _ = store.clean_now().unwrap();
        let segments = store.stats().segments;
        assert!(segments.len() < 8 && segments[1..].iter().all(|segment| segment.id.get() > 8), "{segments:?}");
        assert_eq!(segments[0].id.get() == 1, clean_below == 0, "{segments:?}");
        store.close().unwrap();
        let report = Store::verify(dir.path(), |_| ()).unwrap();
        assert!(report.damage.is_empty() && report.clean, "{report:?}");
        assert_eq!(report.topics, [("jobs".to_owned(), 2001)]);
        // One that is still needed is missed, by both.
        // (A file that is to be used again may still have its bytes, too.)
        let holder = segments.iter().filter(|segment| segment.live_bytes > 0).map(|segment| segment.id.get()).max();
        let needed = dir.path().join(format!("journal/{:010}.segment", holder.unwrap()));
        let held = std::fs::read(&needed).unwrap();
        assert!(held.windows(9).any(|window| window == b"next year"), "{segments:?}");
        let aside = dir.path().join("aside");
        std::fs::rename(&needed, &aside).unwrap();
        let missed = Store::verify(dir.path(), |_| ()).unwrap();
        assert!(!missed.damage.is_empty(), "{needed:?} is missing: {missed:?}");
        assert_eq!(options().open(dir.path()).map(drop).unwrap_err().kind(), millpond::ErrorKind::Corrupt);
        std::fs::rename(&aside, &needed).unwrap();
        let store = options().open(dir.path()).unwrap();
        assert_eq!(store.topic("jobs").unwrap().first_offset(), Offset::ZERO);
        store.close().unwrap();
    }
}

/// Otherwise a segment that loses its seal goes on, and what was said of it stands beside it.
#[test]
fn an_index_is_beside_its_segment_only_when_the_seal_is_durable() {
    let pond = Pond::new(11);
    let mut seen = 0;
    for n in 0..300_u32 {
        // The last frame of a segment is durable, and its seal is not written yet: that happens.
        let level = if n % 2 == 0 { Durability::Disk } else { Durability::Memory };
        pond.jobs.publish(Message::new(vec![7; 700]).durability(level)).wait().unwrap();
        pond.upkeep().unwrap();
        for name in pond.disk.file_names() {
            let Some(segment) = name.strip_suffix(".index") else { continue };
            let index = pond.disk.read_file(&name).unwrap();
            let seal = index.len() - 16;
            let length = &index[seal..seal + 4];
            let start = u32::from_le_bytes(length.try_into().unwrap()) as usize;
            let synced = pond.disk.synced_file(&format!("{segment}.segment")).unwrap();
            // Behind the 16 bytes of a frame's header: a seal, which says where it is.
            assert_eq!((synced[start + 16], &synced[start + 17..start + 21]), (2, length), "{segment} after {n}");
            seen += 1;
        }
    }
    assert!(seen > 300, "{seen} looks at an index");
}

#[test]
fn a_damaged_survivor_is_reported_and_its_segment_stays() {
    let mut pond = Pond::new(8);
    // Without a cache: what is in memory is whole.
    let Pond { disk, clock, store, .. } = pond;
    store.close().unwrap();
    pond = Pond::open_with(disk, clock, 8, options().tail_cache_bytes(0)).unwrap();
    pond.jobs.publish(Message::new("a very special payload").delay(YEAR)).wait().unwrap();
    for _ in 0..8 {
        pond.churn(20).unwrap();
    }
    let name = pond.disk.file_names().into_iter().find(|name| {
        let bytes = pond.disk.read_file(name).unwrap();
        name.ends_with(".segment") && bytes.windows(22).any(|window| window == b"a very special payload")
    });
    let name = name.unwrap();
    let bytes = pond.disk.read_file(&name).unwrap();
    for at in (0..bytes.len() - 22).filter(|at| &bytes[*at..at + 22] == b"a very special payload") {
        pond.disk.flip_bit(&name, at as u64 + 3, 2).unwrap();
    }
    let mut cleaned = pond.store.clean_now().unwrap();
    if cleaned.damage.is_empty() {
        pond.churn(200).unwrap();
        cleaned = pond.store.clean_now().unwrap();
    }
    assert!(pond.disk.file_names().contains(&name), "{name} is gone");
    assert!(pond.jobs.read(..).next().unwrap().is_err(), "{cleaned:?}");
    pond.churn(200).unwrap();
    pond.holds_the_bound(SEGMENT);
}

#[test]
fn a_topic_that_is_removed_gives_its_space_back() {
    let pond = Pond::new(9);
    let logs = pond.store.topic("logs").unwrap();
    for _ in 0..300 {
        logs.publish(Message::new(vec![7; 1000]).durability(Durability::Os)).wait().unwrap();
    }
    let audit = logs.consumer("audit", Group::default()).unwrap();
    let held = audit.try_lease().unwrap().unwrap();
    let before = pond.bytes();
    assert!(pond.store.remove_topic("logs").unwrap());
    assert!(!pond.store.remove_topic("logs").unwrap());
    assert_eq!(held.ack().wait().unwrap_err().code(), "unknown-group");
    assert_eq!(audit.try_lease().map(drop).unwrap_err().code(), "unknown-group");
    let error = logs.publish("more").wait().unwrap_err();
    assert_eq!((error.code(), error.into_message().is_some()), ("unknown-topic", true));
    pond.churn(60).unwrap();
    _ = pond.store.clean_now().unwrap();
    assert!(pond.bytes() < before && pond.bytes() <= 8 * SEGMENT, "{} of {before}", pond.bytes());
    // The name is free, and nothing of the old one comes with it.
    let fresh = pond.store.topic("logs").unwrap();
    assert_eq!((fresh.end_offset(), fresh.read(..).count()), (Offset::ZERO, 0));
    let Pond { disk, clock, store, .. } = pond;
    store.close().unwrap();
    let pond = Pond::open(disk, clock, 10).unwrap();
    assert_eq!(pond.store.topics().len(), 2);
}

#[test]
fn a_new_store_is_small() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.topic("jobs").unwrap().publish("one").wait().unwrap();
    assert!(store.stats().disk_bytes <= 4 << 20, "{:?}", store.stats());
    store.close().unwrap();
}

/// `cargo test --release --all-features --test space -- --ignored --nocapture`: a million live messages, a hundred
/// million through them, on the real disk. `MILLPOND_CHURN=10` takes a tenth.
#[test]
#[ignore = "takes half an hour and some gigabytes"]
fn a_hundred_million_messages_pass_through_a_million() {
    let part: u64 = std::env::var("MILLPOND_CHURN").ok().and_then(|part| part.parse().ok()).unwrap_or(1);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let jobs = store.topic("jobs").unwrap();
    let worker = jobs.consumer("worker", Group::default()).unwrap();
    let (batch, live, through) = (1000, 1_000_000 / part, 100_000_000 / part);
    let publish = || jobs.publish_all((0..batch).map(|_| Message::new(vec![1; 100]).durability(Durability::Os)));
    jobs.publish(Message::new("next year").delay(YEAR)).wait().unwrap();
    for _ in 0..live / batch {
        publish().wait().unwrap();
    }
    let mut most = 0;
    for turn in 0..through / batch {
        publish().wait().unwrap();
        let leased = worker.lease_many(1000, Duration::from_secs(10)).unwrap();
        worker.ack_all(leased).wait().unwrap();
        if turn % 1000 == 0 {
            most = most.max(store.stats().disk_bytes);
        }
    }
    let stats = store.stats();
    let bound = 2 * live * 124 + 8 * (64 << 20) + 3 * stats.snapshot_bytes;
    assert!(most <= bound, "{most} bytes at most, the bound is {bound}");
    store.close().unwrap();
}

#[test]
fn cleaning_now_is_not_done_before_it_is_done_though_the_upkeep_is_at_it_too() {
    for round in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        // With threads: some of it is on its way when all of it is asked for.
        let store = Store::options().segment_bytes(64 << 10).first_segment_bytes(64 << 10).open(dir.path()).unwrap();
        let jobs = store.topic("jobs").unwrap();
        let worker = jobs.consumer("worker", Group::default()).unwrap();
        jobs.publish(Message::new("next year").delay(YEAR)).wait().unwrap();
        for _ in 0..50 {
            jobs.publish_all((0..100).map(|_| Message::new(vec![0; 100]).durability(Durability::Os))).wait().unwrap();
            worker.ack_all(worker.lease_many(100, Duration::ZERO).unwrap()).wait().unwrap();
        }
        let cleaned = store.clean_now().unwrap();
        let stats = store.stats();
        assert!(stats.segments.len() <= 4, "round {round}, {cleaned:?}: {:?}", stats.segments);
        store.close().unwrap();
    }
}

/// One of a hundred stays, and the upkeep gets little of the processor: a step for each segment that is written.
#[test]
fn who_publishes_faster_than_is_cleaned_waits_for_it() {
    let pond = Pond::new(11);
    let (mut live, mut most) = (0, 0);
    for turn in 0..6000 {
        pond.publish().unwrap();
        let batch = pond.worker.lease_many(10, Duration::ZERO).unwrap();
        let (keep, done): (Vec<_>, Vec<_>) = batch.partition(|delivery| delivery.offset().get() % 100 == 0);
        pond.worker.ack_all(done).wait().unwrap();
        live += keep.len() as u64 * 240;
        keep.into_iter().for_each(std::mem::forget);
        if turn % 15 == 0 {
            pond.store.step_upkeep().unwrap();
        }
        let stats = pond.store.stats();
        let bound = 2 * live + 8 * SEGMENT + 3 * stats.snapshot_bytes;
        most = most.max(pond.bytes() * 100 / bound);
    }
    assert!(most < 300, "at most {most} % of the bound");
}

/// A part of a snapshot is appended whole. One that takes more than a segment needs a large one, which those who
/// publish would take for themselves time and again.
#[test]
fn a_snapshot_gets_its_room_though_others_take_all_there_is() {
    let pond = Pond::new(12);
    for _ in 0..250 {
        let batch = (0..500).map(|_| Message::new("x").durability(Durability::Os));
        pond.jobs.publish_all(batch).wait().unwrap();
        let batch = pond.worker.lease_many(500, Duration::ZERO).unwrap();
        // One here and there stays, with a lease of its own.
        let spread = |offset: u64| offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 == 0;
        let (keep, done): (Vec<_>, Vec<_>) = batch.partition(|delivery| spread(delivery.offset().get()));
        pond.clock.advance(Duration::from_millis(7));
        pond.worker.ack_all(done).wait().unwrap();
        keep.into_iter().for_each(std::mem::forget);
    }
    let mut rounds = 0;
    while pond.store.stats().snapshot_bytes < 2 * SEGMENT {
        assert!(rounds < 200, "no snapshot after {rounds} segments");
        rounds += 1;
        pond.store.step_upkeep().unwrap();
        for _ in 0..100 {
            pond.publish().unwrap();
        }
    }
}

/// All that was written since the snapshot before the last is kept. Where the upkeep came to none for long, the next
/// one alone frees nothing, and whoever has gone quiet would never come to the one after that.
#[test]
fn what_was_written_while_no_snapshot_was_taken_goes_without_more_being_written() {
    let pond = Pond::new(13);
    for _ in 0..2000 {
        pond.publish().unwrap();
        let batch = pond.worker.lease_many(10, Duration::ZERO).unwrap();
        pond.worker.ack_all(batch).wait().unwrap();
    }
    pond.upkeep().unwrap();
    pond.holds_the_bound(0);
}
