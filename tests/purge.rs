//! Purging a topic: what was there is gone for everybody, what is in somebody's hands is not, and nothing new is passed
//! over.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

use millpond::testing::{Faults, SimDisk};
use millpond::{Consumer, Durability, Group, ManualClock, Message, Offset, Retention, Start, Store, Timestamp, Topic};
use millpond::{TopicSettings, Window};
use std::time::Duration;

fn open(disk: &SimDisk, seed: u64) -> millpond::Result<Store> {
    let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
    Store::open_simulated(disk, clock, seed, Store::options().segment_bytes(32 << 10).first_segment_bytes(16 << 10))
}

fn publish(topic: &Topic, count: u64) {
    topic.publish_all((0..count).map(|n| Message::new(format!("{n}")).id(format!("id {n}")))).wait().unwrap();
}

fn read(topic: &Topic) -> Vec<u64> {
    topic.read(..).map(|record| record.unwrap().offset().get()).collect()
}

#[test]
fn what_is_leased_delayed_or_dead_stays_and_all_else_goes() {
    let disk = SimDisk::new(1);
    let store = open(&disk, 1).unwrap();
    let jobs = store.topic_with("jobs", TopicSettings::default().deduplicate(Window::Forever)).unwrap();
    let email = jobs.consumer("email", Group::default().start(Start::Earliest)).unwrap();
    publish(&jobs, 10);
    let waits = jobs.publish(Message::new("later").delay(Duration::from_secs(60))).wait().unwrap().offset;
    email.lease().unwrap().bury("bad").wait().unwrap();
    let held = email.lease().unwrap();
    email.lease().unwrap().ack().wait().unwrap();
    assert_eq!(jobs.purge(Offset::new(5)).unwrap(), 2, "3 and 4: 0 is dead, 1 is out, 2 was done already");
    assert_eq!(read(&jobs), [0, 1, 5, 6, 7, 8, 9, 10]);
    assert_eq!(jobs.purge(jobs.end_offset()).unwrap(), 5);
    assert_eq!(jobs.purge(jobs.end_offset()).unwrap(), 0);
    assert_eq!((read(&jobs), jobs.stats().removed.purged), (vec![0, 1, 10], 7));
    held.ack().wait().unwrap();
    assert_eq!(jobs.purge(jobs.end_offset()).unwrap(), 0);
    assert!(jobs.cancel(waits).unwrap());
    assert_eq!((jobs.stats().backlog, email.stats().dead), (0, 1));
    // Ids outlive it, and offsets go on.
    let again = jobs.publish(Message::new("7").id("id 7")).wait().unwrap();
    assert!(again.duplicate && again.offset.get() == 7);
    assert_eq!(jobs.publish("new").wait().unwrap().offset.get(), 11);
    assert_eq!(email.lease().unwrap().offset().get(), 11);
}

#[test]
fn what_retention_keeps_goes_too_and_a_new_group_finds_nothing() {
    let disk = SimDisk::new(2);
    let store = open(&disk, 2).unwrap();
    let settings = TopicSettings::default().retention(Retention::everything());
    let jobs = store.topic_with("jobs", settings).unwrap();
    let email = jobs.consumer("email", Group::default()).unwrap();
    publish(&jobs, 6);
    email.ack_all(email.lease_many(4, Duration::ZERO).unwrap()).wait().unwrap();
    assert_eq!(jobs.purge(Offset::new(5)).unwrap(), 5);
    let late = jobs.consumer("late", Group::default().start(Start::Earliest)).unwrap();
    assert_eq!((read(&jobs), late.lease().unwrap().offset().get()), (vec![5], 5));
}

/// Cut at each step: all of it is purged or nothing, and once it was answered it is.
#[test]
fn a_crash_at_any_step_purges_all_or_nothing() {
    let mut outcomes = [0; 2];
    for step in 1..40 {
        let disk = SimDisk::new(step);
        let store = open(&disk, 1).unwrap();
        let jobs = store.topic("jobs").unwrap();
        publish(&jobs, 50);
        jobs.publish(Message::new("durable").durability(Durability::Disk)).wait().unwrap();
        disk.set_faults(Faults { stop_after: Some(step), ..Faults::default() });
        let purged = jobs.purge(Offset::new(40));
        drop(store);
        disk.crash();
        disk.set_faults(Faults::default());
        let store = open(&disk, 2).unwrap();
        let left = read(&store.topic("jobs").unwrap()).len();
        assert!(left == 11 || (left == 51 && purged.is_err()), "step {step}: {left} are left, {purged:?}");
        outcomes[usize::from(left == 11)] += 1;
    }
    assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
}

/// 20,000 messages, of which every other one is done.
fn full_of_holes(store: &Store) -> (Topic, Consumer) {
    let jobs = store.topic("jobs").unwrap();
    let email = jobs.consumer("email", Group::default()).unwrap();
    for _ in 0..20 {
        publish_plain(&jobs, 1000);
    }
    let mut all = Vec::new();
    while let Some(some) = Some(email.lease_many(20_000, Duration::ZERO).unwrap()).filter(|some| some.len() > 0) {
        all.extend(some);
    }
    let (even, odd): (Vec<_>, Vec<_>) = all.into_iter().partition(|delivery| delivery.offset().get() % 2 == 0);
    email.ack_all(even).wait().unwrap();
    odd.into_iter().for_each(|delivery| delivery.release().detach());
    store.sync().wait().unwrap();
    (jobs, email)
}

#[test]
fn a_backlog_full_of_holes_is_purged_whole() {
    let store = open(&SimDisk::new(3), 3).unwrap();
    let (jobs, email) = full_of_holes(&store);
    assert_eq!(jobs.purge(jobs.end_offset()).unwrap(), 10_000);
    assert_eq!((email.stats().ready, jobs.stats().backlog, read(&jobs).len()), (0, 0, 0));
}

/// What is left is the newest, and another call takes it.
#[test]
fn a_crash_between_the_pieces_of_a_purge_leaves_the_rest() {
    let mut parts = 0;
    let whole = SimDisk::new(4);
    let store = open(&whole, 1).unwrap();
    full_of_holes(&store);
    store.close().unwrap();
    for step in 2..24 {
        let disk = whole.fork(step);
        let store = open(&disk, 2).unwrap();
        let jobs = store.topic("jobs").unwrap();
        disk.set_faults(Faults { stop_after: Some(step), ..Faults::default() });
        let purged = jobs.purge(jobs.end_offset());
        drop(store);
        disk.kill();
        disk.set_faults(Faults::default());
        let store = open(&disk, 3).unwrap();
        let jobs = store.topic("jobs").unwrap();
        let left = read(&jobs);
        assert!(purged.is_err() || left.is_empty(), "step {step}: {} are left", left.len());
        let newest = (0..20_000).filter(|offset| offset % 2 == 1).skip(10_000 - left.len());
        assert_eq!(left, newest.collect::<Vec<_>>(), "step {step}");
        parts += u64::from(!left.is_empty() && left.len() < 10_000);
        assert_eq!(jobs.purge(jobs.end_offset()).unwrap(), left.len() as u64);
        assert_eq!((read(&jobs).len(), jobs.stats().backlog), (0, 0));
    }
    assert!(parts > 0, "no crash fell between two pieces");
}

fn publish_plain(topic: &Topic, count: u64) {
    let batch = (0..count).map(|n| Message::new(format!("{n}")).durability(Durability::Memory));
    topic.publish_all(batch).wait().unwrap();
}
