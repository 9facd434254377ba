//! A disk that runs full refuses publishes and nothing else (part 2, point 11): the refused message comes back, what is
//! there is settled, the space of it is used again, and publishing goes on without a restart.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::field_reassign_with_default,
    reason = "a test fails by panicking"
)]

use millpond::testing::{Faults, SimDisk};
use millpond::{
    Consumer, Durability, ErrorKind, Group, ManualClock, Message, Notice, Options, Retention, Retry, Store, Timestamp,
    Topic, TopicSettings, What,
};
use std::time::Duration;

fn options() -> Options {
    Store::options().segment_bytes(32 << 10).first_segment_bytes(16 << 10)
}

/// A store on a simulated disk of so many bytes.
struct Full {
    disk: SimDisk,
    clock: ManualClock,
    store: Store,
    jobs: Topic,
    worker: Consumer,
    openings: u64,
}

fn group() -> Group {
    let waits = Retry::waits([Duration::from_secs(1)]).attempts(100);
    Group::default().lease(Duration::from_secs(3600)).retry(waits)
}

impl Full {
    fn new(capacity: u64) -> Self {
        let disk = SimDisk::new(7);
        let mut faults = Faults::default();
        faults.capacity = Some(capacity);
        disk.set_faults(faults);
        let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
        let store = Store::open_simulated(&disk, clock.clone(), 1, options()).unwrap();
        let jobs = store.topic("jobs").unwrap();
        let worker = jobs.consumer("worker", group()).unwrap();
        Self { disk, clock, store, jobs, worker, openings: 1 }
    }

    fn upkeep(&self) {
        for _ in 0..10_000 {
            if !self.store.step_upkeep().unwrap() {
                return;
            }
        }
        panic!("the upkeep never ends");
    }

    /// Publishes until it is refused; how many were taken. What is refused comes back.
    fn fill(&self, size: usize) -> u64 {
        for taken in 0..100_000 {
            let payload = vec![b'x'; size];
            let error = match self.jobs.publish(Message::new(payload.clone()).durability(Durability::Os)).wait() {
                Ok(_) => {
                    if taken % 10 == 0 {
                        self.upkeep();
                    }
                    continue;
                }
                Err(error) => error,
            };
            assert_eq!((error.kind(), error.code()), (ErrorKind::Full, "disk-full"), "{error}");
            assert_eq!(error.into_message().unwrap().payload(), payload, "the message comes back");
            return taken;
        }
        panic!("the disk never runs full");
    }

    /// Leases and acks what there is; how many that were.
    fn drain(&self) -> u64 {
        let mut acked = 0;
        for _ in 0..200_000 {
            match self.worker.try_lease().unwrap() {
                Some(delivery) => {
                    delivery.ack().wait().unwrap();
                    acked += 1;
                    if acked % 50 == 0 {
                        self.upkeep();
                    }
                }
                None if self.worker.idle() => return acked,
                None => {
                    self.clock.advance(Duration::from_secs(2));
                    self.upkeep();
                }
            }
        }
        panic!("it is never drained: {:?}", self.store.stats());
    }

    fn publishes(&self) {
        self.upkeep();
        let more = 200;
        for number in 0..more {
            let outcome = self.jobs.publish(Message::new(vec![b'y'; 50])).wait();
            outcome.unwrap_or_else(|error| panic!("publish {number} of {more} after draining: {error}"));
            self.upkeep();
        }
        assert!(!self.store.stats().full);
    }

    /// The process dies, and the store is opened again on the disk as it is.
    fn kill(&mut self, power: bool) {
        if power {
            self.disk.crash()
        } else {
            self.disk.kill()
        }
        self.openings += 1;
        self.store = Store::open_simulated(&self.disk, self.clock.clone(), self.openings, options()).unwrap();
        self.jobs = self.store.topic("jobs").unwrap();
        self.worker = self.jobs.consumer("worker", group()).unwrap();
    }
}

#[test]
fn a_full_disk_refuses_publishes_and_takes_settlements_and_publishing_goes_on_without_a_restart() {
    for (capacity, size) in [(600 << 10, 100), (600 << 10, 1000), (400 << 10, 0), (500 << 10, 10), (1 << 20, 3000)] {
        let full = Full::new(capacity);
        let taken = full.fill(size);
        assert!(full.store.stats().full);
        assert!(taken * (size as u64 + 20) > capacity / 4, "{taken} messages of {size} bytes on {capacity}");
        // Nack and bury some, give some back.
        for turn in 0..30 {
            let delivery = full.worker.try_lease().unwrap().unwrap();
            match turn % 3 {
                0 => delivery.nack("a text that is left out").wait().unwrap(),
                1 => delivery.bury("likewise").wait().unwrap(),
                _ => delivery.release().wait().unwrap(),
            }
        }
        let dead: Vec<_> = full.worker.dead_letters().map(Result::unwrap).collect();
        assert_eq!(dead.len(), 10);
        assert!(dead.iter().all(|letter| letter.errors().is_empty()), "texts are left out on a full disk");
        assert_eq!(full.drain(), taken - 10);
        full.publishes();
        // Full once more, and drained again, in the same opening.
        assert!(full.fill(size) > 0);
        full.drain();
        full.publishes();
        full.store.close().unwrap();
    }
}

#[test]
fn a_store_opens_on_a_full_disk_and_is_drained_there() {
    for power in [false, true] {
        let mut full = Full::new(600 << 10);
        let mut left = full.fill(200);
        full.store.sync().wait().unwrap();
        for _ in 0..4 {
            full.kill(power);
            assert!(full.store.recovery().snapshot_damage.is_empty());
            let error = full.jobs.publish(vec![b'z'; 12_000]).wait();
            if let Err(error) = error {
                assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            } else {
                left += 1;
            }
            for _ in 0..20 {
                full.worker.try_lease().unwrap().unwrap().ack().wait().unwrap();
            }
            full.store.sync().wait().unwrap();
            left -= 20;
        }
        assert_eq!(full.drain(), left);
        full.publishes();
    }
}

#[test]
fn a_hundred_that_are_out_can_be_settled_when_the_disk_runs_full() {
    let full = Full::new(500 << 10);
    for _ in 0..100 {
        full.jobs.publish(vec![b'a'; 100]).wait().unwrap();
    }
    let held: Vec<_> = full.worker.lease_many(100, Duration::ZERO).unwrap().collect();
    assert_eq!(held.len(), 100);
    let more = full.fill(100);
    for (turn, delivery) in held.into_iter().enumerate() {
        if turn % 2 == 0 { delivery.ack().wait().unwrap() } else { delivery.nack("no").wait().unwrap() }
    }
    assert_eq!(full.drain(), more + 50);
}

#[test]
fn reading_goes_on_where_not_even_what_a_rule_drops_can_be_written_down() {
    let full = Full::new(400 << 10);
    let rules = TopicSettings::default().retention(Retention::everything().max_age(Duration::from_secs(10)));
    let aged = full.store.topic_with("aged", rules).unwrap();
    (0..50).for_each(|_| _ = aged.publish(Message::new("old")).wait().unwrap());
    full.fill(1000);
    // Nobody settles; what is written otherwise uses up the reserve.
    let error = (0..1_000_000).find_map(|_| full.worker.pause().and_then(|()| full.worker.resume()).err());
    assert_eq!(error.unwrap().code(), "disk-full");
    full.clock.advance(Duration::from_secs(20));
    let seen = aged.read(..).map(|record| record.unwrap().offset().get());
    assert_eq!(seen.collect::<Vec<_>>(), (0..50).collect::<Vec<_>>(), "what can't be dropped is still there");
    assert_eq!((aged.end_offset().get(), aged.stats().removed.aged), (50, 0));
    assert_eq!(full.store.step_upkeep().unwrap_err().code(), "disk-full");
    // It is not forgotten, though nobody touches the topic any more.
    let events = full.store.events(1000).unwrap();
    full.disk.set_faults(Faults::default());
    for _ in 0..3 {
        full.clock.advance(Duration::from_secs(2));
        full.upkeep();
    }
    let told = std::iter::from_fn(|| events.try_next()).filter_map(|notice| match notice {
        Notice::Happened(happening) if happening.what == What::Dropped => Some(happening.count),
        _ => None,
    });
    assert_eq!(told.sum::<u64>(), 50);
    assert_eq!(aged.stats().removed.aged, 50);
    assert_eq!(aged.read(..).count(), 0);
}

#[test]
fn space_that_others_free_is_used_within_a_second() {
    let full = Full::new(400 << 10);
    full.fill(500);
    let mut faults = Faults::default();
    faults.capacity = Some(4 << 20);
    full.disk.set_faults(faults);
    full.clock.advance(Duration::from_secs(1));
    full.upkeep();
    full.jobs.publish(vec![0; 500]).wait().unwrap();
    assert!(!full.store.stats().full);
}

#[test]
fn several_groups_drain_a_full_store_one_after_the_other() {
    let full = Full::new(600 << 10);
    let others: Vec<Consumer> = (0..3).map(|n| full.jobs.consumer(&format!("other {n}"), group()).unwrap()).collect();
    let taken = full.fill(60);
    for other in &others {
        let mut acked = 0;
        while !other.idle() {
            match other.try_lease().unwrap() {
                Some(delivery) => delivery.ack().wait().unwrap(),
                None => full.clock.advance(Duration::from_secs(2)),
            }
            acked += 1;
            assert!(acked < taken * 3, "it is never drained: {:?}", full.store.stats());
            full.upkeep();
        }
    }
    full.drain();
    full.publishes();
}

/// A small disk of its own, unmounted at the end.
#[cfg(target_os = "linux")]
struct Mounted(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl Mounted {
    fn new(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let mut mount = std::process::Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", &size, "none"]).arg(dir.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Self(dir))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_real_disk_runs_full_and_is_drained() {
    let Some(disk) = Mounted::new(8 << 20) else {
        eprintln!("skipped: a tmpfs can't be mounted here; run as root to try it on a real disk");
        return;
    };
    let path = disk.0.path().join("pond");
    let options = || Store::options().segment_bytes(512 << 10).first_segment_bytes(256 << 10);
    let store = options().open(&path).unwrap();
    let jobs = store.topic("jobs").unwrap();
    let mut taken = 0;
    let refused = loop {
        match jobs.publish(vec![b'x'; 1000]).wait() {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.code(), "disk-full", "{refused}");
    assert_eq!(refused.into_message().unwrap().payload().len(), 1000);
    assert!(taken > 3000, "{taken}");
    let group = || Group::default().lease(Duration::from_secs(60));
    let worker = jobs.consumer("worker", group()).unwrap();
    for _ in 0..10 {
        worker.try_lease().unwrap().unwrap().bury("not wanted").wait().unwrap();
    }
    // Gone without a word, full as it is, and opened again.
    std::mem::forget(jobs);
    store.close().unwrap();
    let store = options().open(&path).unwrap();
    let worker = store.topic("jobs").unwrap().consumer("worker", group()).unwrap();
    let mut acked = 0;
    while !worker.idle() {
        if let Some(delivery) = worker.lease_timeout(Duration::from_secs(5)).unwrap() {
            delivery.ack().wait().unwrap();
            acked += 1;
        }
    }
    assert_eq!(acked, taken - 10);
    let jobs = store.topic("jobs").unwrap();
    let (wait, deadline) = (Duration::from_secs(10), 100);
    for attempt in 0.. {
        match jobs.publish(vec![b'y'; 1000]).wait_timeout(wait) {
            Ok(Ok(_)) => break,
            other => assert!(attempt < deadline, "{other:?}"),
        }
        let _ = worker.lease_timeout(Duration::from_millis(100)).unwrap();
    }
    store.close().unwrap();
}
