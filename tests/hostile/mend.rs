//! What is left of a hurt store is salvaged and repaired: nothing that is whole is lost, nothing that is lost is
//! silent, nothing is deleted, nothing comes to life that was never published.

use crate::injure::{How, Injury};
use crate::layout::Class;
use crate::look::refusal;
use crate::pond::{self, Files, Pond, options};
use millpond::{ErrorKind, Group, Message, Offset, Repaired, Retention, Store, TopicSettings};
use std::collections::BTreeSet;
use std::path::Path;

/// Reads what can be read without changing anything. How many messages that were.
pub(crate) fn salvage(path: &Path, pond: &Pond, files: &Files, what: &str) -> Option<u64> {
    let salvage = match Store::salvage(path) {
        Ok(salvage) => salvage,
        Err(error) => {
            assert_ne!(error.kind(), ErrorKind::Locked, "{what}");
            let _ = refusal(&error);
            return None;
        }
    };
    let (mut seen, mut count) = (BTreeSet::new(), 0);
    for message in salvage {
        let message = message.unwrap();
        let offset = message.record.offset().get();
        let of = |expected: &[Vec<u8>]| expected.get(usize::try_from(offset).unwrap()).cloned();
        let payload = message.record.payload();
        let right = match message.topic.as_str() {
            "orders" => of(&pond.expected.orders).as_deref() == Some(payload),
            "jobs" => of(&pond.expected.jobs).as_deref() == Some(payload),
            // The name is lost.
            _ => [&pond.expected.orders, &pond.expected.jobs].iter().any(|all| of(all).as_deref() == Some(payload)),
        };
        assert!(right, "{} {offset} was never published: {what}", message.topic);
        assert!(seen.insert((message.topic, offset)), "{offset} came twice: {what}");
        count += 1;
    }
    assert!(pond::read_all(path) == *files, "salvaging changed something: {what}");
    Some(count)
}

/// The offsets of a topic that the report calls lost.
fn lost(repaired: &Repaired, topic: &str) -> BTreeSet<u64> {
    let of = repaired.lost.iter().filter(|(name, _, _)| name == topic);
    of.flat_map(|(_, first, last)| first.get()..=last.get()).collect()
}

/// Repairs, and holds what opens then against what was published.
pub(crate) fn repair(path: &Path, pond: &Pond, injury: &Injury, files: &Files, what: &str) {
    let repaired = match Store::repair(path) {
        Ok(repaired) => repaired,
        Err(error) => {
            // Nothing to go by: no id, no segment, or a newer release's.
            let hopeless = matches!(injury.class, Class::Identity | Class::Lock)
                || error.kind() == ErrorKind::Unsupported
                || matches!(injury.how, How::ForgeHeader | How::Strange);
            assert!(hopeless, "{what}: {error}");
            return;
        }
    };
    kept(path, files, &repaired, what);
    let again = Store::repair(path).unwrap();
    assert!(again.report.is_none() && again.lost.is_empty(), "a second repair finds something: {what}: {again:?}");
    let store = match options(32 << 10).create(false).open(path) {
        Ok(store) => store,
        Err(error) => panic!("it does not open after its repair: {what}: {error}\n{repaired:#?}"),
    };
    let stats = store.stats();
    let counted: u64 = stats.topics.iter().map(|topic| topic.removed.lost).sum();
    assert_eq!(counted, repaired.lost_messages(), "{what}: {repaired:?}");
    let ends = [("orders", &pond.expected.orders), ("jobs", &pond.expected.jobs)];
    let torn = !pond.closed && injury.class != Class::Identity;
    for (name, expected) in ends {
        let Ok(topic) = store.existing_topic(name) else {
            assert!(!repaired.notes.is_empty() || torn, "topic {name} is gone in silence: {what}: {repaired:?}");
            continue;
        };
        let lost = lost(&repaired, name);
        // A sidecar that lies with a right checksum is believed: offsets that were never given are then called lost.
        let lies = injury.how == How::ForgeSidecar;
        assert!(lies || topic.end_offset().get() <= expected.len() as u64, "{what}");
        let mut seen = BTreeSet::new();
        for record in topic.read(..) {
            let record = record.unwrap_or_else(|error| panic!("{what}: {name}: {error}\n{repaired:#?}"));
            let offset = record.offset().get();
            let payload = expected.get(usize::try_from(offset).unwrap());
            assert_eq!(Some(record.payload()), payload.map(Vec::as_slice), "{name} {offset}: {what}");
            assert!(!lost.contains(&offset), "{name} {offset} is called lost, and is there: {what}");
            seen.insert(offset);
        }
        for offset in 0..topic.end_offset().get() {
            let gone = name == "jobs" && pond.expected.acked.contains(&offset);
            let accounted = seen.contains(&offset) || lost.contains(&offset) || gone;
            assert!(accounted, "{name} {offset} is missing in silence: {what}\n{repaired:#?}");
        }
        let end = topic.end_offset().get();
        if !lies && pond.closed && !matches!(injury.class, Class::Active | Class::SegmentHeader) && !moved(injury) {
            assert_eq!(end, expected.len() as u64, "{name} ends early: {what}\n{repaired:#?}");
        }
        let receipt = topic.publish("after the repair").wait().unwrap();
        assert_eq!(receipt.offset, Offset::new(end), "{what}");
    }
    if injury.byte.is_some() && pond.closed {
        // One byte: one frame, which has five messages at most, or as many as fit that were carried over.
        let hurt: u64 = repaired.damage.iter().map(|place| place.to - place.from).sum();
        assert!(repaired.lost_messages() <= (hurt / 120).max(5), "{what}: {repaired:?}");
    }
    store.close().unwrap();
    let report = Store::verify(path, |_| ()).unwrap();
    assert!(report.damage.is_empty() && report.snapshot_damage.is_empty(), "{what}: {:?}", report.damage);
}

fn moved(injury: &Injury) -> bool {
    matches!(injury.how, How::SwapFiles | How::Rename | How::Double | How::Strange | How::Remove | How::Empty)
}

/// Nothing was deleted: every file is there as it was, in its place or aside.
fn kept(path: &Path, before: &Files, repaired: &Repaired, what: &str) {
    let after = pond::read_all(path);
    for (name, bytes) in before {
        let aside = repaired.quarantined.iter().filter(|aside| aside.starts_with(&format!("{name}.damaged-")));
        let kept = after.get(name) == Some(bytes) || aside.clone().any(|aside| after.get(aside) == Some(bytes));
        assert!(kept, "{name} is gone: {what}: {:?}", repaired.quarantined);
    }
    if let Some(report) = &repaired.report {
        assert!(after[report].starts_with(b"A repair of a millpond store"), "{what}");
    }
}

/// What a lost file costs, and nothing else.
#[test]
fn a_segment_that_is_lost_costs_its_messages_and_nothing_else() {
    for pond in pond::ponds() {
        for victim in crate::layout::segments(&pond.files) {
            let dir = pond::directory();
            let mut files = pond.files.clone();
            files.remove(&victim);
            pond::write_all(&files, dir.path());
            let what = format!("{victim} is gone, {}", pond.name);
            let whole = salvage(dir.path(), pond, &files, &what).unwrap();
            let injury = Injury { how: How::Remove, class: Class::Active, file: victim, byte: None, hurt: true };
            repair(dir.path(), pond, &injury, &files, &what);
            let store = options(32 << 10).open(dir.path()).unwrap();
            let readable: usize = store
                .topics()
                .iter()
                .map(|name| store.existing_topic(name).unwrap().read(..).map(Result::unwrap).count())
                .sum();
            assert!(readable as u64 <= whole + 2, "{what}");
            store.close().unwrap();
        }
    }
}

/// Whatever step a repair is cut short at, the next one ends it, with the same result.
#[test]
fn a_repair_that_is_cut_short_is_finished_by_the_next_one() {
    use millpond::testing::{Faults, SimDisk};
    use millpond::{ManualClock, Timestamp};
    let clock = || ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
    let small = || options(16 << 10);
    let disk = SimDisk::new(3);
    let store = Store::open_simulated(&disk, clock(), 1, small()).unwrap();
    let orders = store.topic_with("orders", TopicSettings::default().retention(Retention::everything())).unwrap();
    for number in 0..90_u32 {
        orders.publish(Message::new(format!("order {number} {}", "x".repeat(300)))).wait().unwrap();
        store.step_upkeep().unwrap();
    }
    store.close().unwrap();
    let mut segments = disk.file_names();
    segments.retain(|name| name.ends_with(".segment"));
    disk.flip_bit(&segments[1], 6000, 3).unwrap();
    disk.flip_bit(&segments[2], 41, 3).unwrap();
    disk.flip_bit(&segments[2], 42, 3).unwrap();
    let hurt = disk.operations();
    let whole = disk.fork(0);
    let done = Store::repair_simulated(&whole, clock(), 2).unwrap();
    assert!(done.lost_messages() > 0 && done.quarantined.len() >= 2, "{done:?}");
    let steps = whole.operations() - hurt;
    assert!(steps > 10, "{steps}");
    let shown = |disk: &SimDisk| {
        let store = Store::open_simulated(disk, clock(), 9, small()).unwrap();
        let orders = store.existing_topic("orders").unwrap();
        let stats = orders.stats().removed.lost;
        let read: Vec<_> = orders.read(..).map(|record| record.unwrap().offset().get()).collect();
        (stats, read)
    };
    let wanted = shown(&whole);
    for step in 0..steps {
        // A kill, and a power cut that loses another part of what was not synced.
        for cut in 0..2 {
            let disk = disk.fork(step * 2 + cut);
            let mut faults = Faults::default();
            faults.stop_after = Some(step);
            disk.set_faults(faults);
            let _ = Store::repair_simulated(&disk, clock(), 2);
            if cut == 0 {
                disk.kill();
            } else {
                disk.crash();
            }
            disk.set_faults(Faults::default());
            let next = Store::repair_simulated(&disk, clock(), 4);
            next.unwrap_or_else(|error| panic!("step {step} of {steps}, cut {cut}: {error}"));
            assert_eq!(shown(&disk), wanted, "step {step} of {steps}, cut {cut}");
        }
    }
}

/// A group goes on where it was, and what it was to get and is lost is passed over and counted.
#[test]
fn a_group_goes_on_behind_what_is_lost() {
    let pond = &pond::ponds()[0];
    let dir = pond::directory();
    let mut files = pond.files.clone();
    let segment = crate::layout::segments(&files).pop().unwrap();
    let bytes = files.get_mut(&segment).unwrap();
    let wanted = pond.expected.jobs.last().unwrap();
    let at = bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
    bytes[at + 3] ^= 1;
    pond::write_all(&files, dir.path());
    let repaired = Store::repair(dir.path()).unwrap();
    assert_eq!(repaired.lost.len(), 1, "{repaired:?}");
    let store = options(32 << 10).open(dir.path()).unwrap();
    let worker = store.existing_topic("jobs").unwrap().consumer("worker", Group::default()).unwrap();
    let mut got = 0;
    while let Some(delivery) = worker.try_lease().unwrap() {
        delivery.ack().wait().unwrap();
        got += 1;
    }
    assert!(got > 0);
    let dead: Vec<_> = worker.dead_letters().map(|letter| letter.unwrap().reason()).collect();
    assert!(dead.iter().all(|reason| *reason != millpond::BuryReason::Unreadable), "{dead:?}");
    store.close().unwrap();
}
