//! What the groups read ahead of themselves stays within its bound, and is what each of them needs.

use super::*;
use crate::clock::{ManualClock, SeededEntropy};
use crate::config::{Group, Start, TopicSettings, WhenParked};
use crate::message::Message;
use crate::types::{Offset, TopicId};
use std::sync::atomic::AtomicBool;

static RUN: AtomicBool = AtomicBool::new(false);

const MESSAGES: u64 = 2000;
const LIMIT: usize = 1 << 20;

fn payload(number: u64) -> Vec<u8> {
    format!("{number}{:>1000}", "").into_bytes()
}

/// An engine with messages that are on the disk and nowhere else, in batches of ten.
fn engine() -> (Arc<Engine>, TopicId) {
    let environment = Environment {
        tables: Arc::new(crate::tables::MemoryTables::default()),
        storage: Arc::new(SimDisk::new(7)),
        clock: Arc::new(ManualClock::starting_at(Timestamp(1_000_000))),
        entropy: Arc::new(SeededEntropy::new(1)),
        keys: crate::config::Keys::none(),
    };
    let options = Options { tail_cache_bytes: 0, read_ahead_bytes: LIMIT, ..Options::default() };
    let options = Options { durability: Durability::Os, ..options };
    let engine = Engine::open(environment, options, false).unwrap();
    let topic = engine.topic("orders", Some(&TopicSettings::default())).unwrap();
    for first in (0..MESSAGES).step_by(10) {
        let batch = (first..first + 10).map(|number| Message::new(payload(number)).key(b"k".to_vec()));
        engine.clone().publish_all(topic, batch.collect()).wait().unwrap();
    }
    // It settles nothing, so that everything stays.
    engine.group(topic, "keeper", &Group::default()).unwrap();
    (engine, topic)
}

fn take(engine: &Arc<Engine>, group: GroupId) -> Option<Offset> {
    let leased = engine.lease(group, 1, Wait::No, &RUN).unwrap();
    let leased = leased.first()?;
    let offset = leased.record.offset;
    assert_eq!(&leased.record.payload[..], payload(offset.get()));
    engine.settle(group, &[(offset, leased.epoch)], &[], &Outcome::Ack).wait().unwrap();
    Some(offset)
}

#[test]
fn ten_thousand_groups_that_each_read_once_from_the_disk_stay_within_the_bound() {
    let (engine, _) = engine();
    let (mut most, mut fewest) = (0, usize::MAX);
    for number in 0..100 {
        let topic = engine.topic(&number.to_string(), Some(&TopicSettings::default())).unwrap();
        engine
            .clone()
            .publish_all(topic, (0..100).map(|number| Message::new(payload(number))).collect())
            .wait()
            .unwrap();
        engine.group(topic, "keeper", &Group::default()).unwrap();
        for group in 0..100 {
            let name = format!("group {group}");
            let settings = Group::default().start(Start::Offset(Offset(99 - group)));
            let id = engine.group(topic, &name, &settings).unwrap();
            assert_eq!(take(&engine, id), Some(Offset(99 - group)));
            let (readers, bytes) = engine.readers.size();
            most = most.max(bytes);
            fewest = if number < 10 { fewest } else { fewest.min(readers) };
        }
    }
    assert!(most <= LIMIT, "{most}");
    // It is used, too.
    assert!(fewest >= 9, "{fewest}");
    (0..100).for_each(|number| assert!(engine.drop_topic(&number.to_string()).unwrap()));
    assert_eq!(engine.readers.size(), (0, 0), "the groups are gone, and what they read is still there");
}

#[test]
fn a_reader_that_goes_on_in_order_reads_much_at_a_time_and_one_that_jumps_reads_little() {
    let (engine, topic) = engine();
    let group = engine.group(topic, "email", &Group::default()).unwrap();
    let held = || engine.readers.size().1;
    take(&engine, group);
    let first = held();
    assert!(first < 20 << 10, "{first}");
    for _ in 0..500 {
        take(&engine, group);
    }
    let later = held();
    assert!(later >= 128 << 10, "{later}");
    engine.seek(group, Start::Offset(Offset(1700)), false).unwrap();
    assert_eq!(take(&engine, group), Some(Offset(1700)));
    assert!(held() < 64 << 10, "{}", held());
    assert!(engine.drop_group(topic, "email").unwrap());
    assert_eq!(engine.readers.size(), (0, 0));
    assert!(engine.core.lock().windows.is_empty());
}

#[test]
fn groups_that_take_turns_get_every_message_though_each_makes_the_other_forget() {
    let (engine, topic) = engine();
    let ordered = || Group::default().ordered(WhenParked::Skip);
    let settings = |number: u64| if number.is_multiple_of(2) { ordered() } else { Group::default() };
    let groups: Vec<GroupId> =
        (0..40).map(|number| engine.group(topic, &number.to_string(), &settings(number)).unwrap()).collect();
    for number in 0..MESSAGES / 20 {
        for group in &groups {
            assert_eq!(take(&engine, *group), Some(Offset(number)));
            assert!(engine.readers.size().1 <= LIMIT);
        }
    }
}
