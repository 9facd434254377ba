//! Publish, ack, batch and lease are cut at every step they ask of the disk, and so is the recovery after that: what
//! was promised is there, whatever of the unsynced writes got through, and a second opening shows the same.
#![expect(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test fails by panicking")]

use millpond::testing::{Faults, SimDisk};
use millpond::{Consumer, Durability, Group, KeyId, Keys, ManualClock, Message, Offset, Options};
use millpond::{Retention, Store, Timestamp, Topic, TopicSettings};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Power cuts that are tried of every state: each leaves another part of what was not synced.
const CUTS: u64 = 6;
/// Messages of a batch.
const BATCH: u64 = 20;

thread_local! {
    /// Whether the stores of this thread's test are encrypted.
    static ENCRYPTED: Cell<bool> = const { Cell::new(false) };
}

/// Each opening goes on with another key than the one before: changing keys is among the steps too.
fn keys(seed: u64) -> Keys {
    if !ENCRYPTED.get() {
        return Keys::none();
    }
    let key = |number: u64| (KeyId::new(&format!("key-{number}")).unwrap(), [u8::try_from(number + 1).unwrap(); 32]);
    let ((current, first), (older, second)) = (key(seed % 2), key(1 - seed % 2));
    Keys::new(current, &first).older(older, &second)
}

fn options() -> Options {
    // Small, so that rolling, preparing and snapshots are among the steps.
    Store::options().segment_bytes(16 << 10).first_segment_bytes(16 << 10).ack_durability(Durability::Disk)
}

fn open(disk: &SimDisk, seed: u64) -> millpond::Result<Store> {
    let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
    Store::open_simulated(disk, clock, seed, options().encryption(keys(seed)))
}

fn orders_of(store: &Store) -> millpond::Result<Topic> {
    store.topic_with("orders", TopicSettings::default().retention(Retention::everything()))
}

fn email_of(orders: &Topic) -> millpond::Result<Consumer> {
    orders.consumer("email", Group::default().lease(Duration::from_secs(3600)))
}

/// What was answered, and what was only asked for.
#[derive(Clone, Debug, Default)]
struct Promised {
    /// Offsets that were answered at level `Disk`, with their payloads; and at level `Os`.
    disk: BTreeMap<u64, String>,
    kernel: BTreeMap<u64, String>,
    /// Every payload that was ever given to the store.
    asked: BTreeSet<String>,
    acked: BTreeSet<u64>,
    asked_ack: BTreeSet<u64>,
    /// Handed to a handler, by this process, and not settled.
    out: BTreeSet<u64>,
}

/// What each kind of step does; it ends with the first error.
fn work(store: &Store, promised: &mut Promised) -> millpond::Result<()> {
    let orders = orders_of(store)?;
    let email = email_of(&orders)?;
    for round in 0..8_u64 {
        for level in [Durability::Disk, Durability::Os] {
            let text = format!("single {round} {level:?} {}", "x".repeat(300));
            promised.asked.insert(text.clone());
            let receipt = orders.publish(Message::new(text.clone()).durability(level)).wait()?;
            let kept = if level == Durability::Disk { &mut promised.disk } else { &mut promised.kernel };
            kept.insert(receipt.offset.get(), text);
        }
        let texts: Vec<String> =
            (0..BATCH).map(|number| format!("batch {round} {number} {}", "y".repeat(20))).collect();
        promised.asked.extend(texts.iter().cloned());
        let receipt = orders.publish_all(texts.iter().map(|text| text.clone().into())).wait()?;
        promised.disk.extend((receipt.first.get()..).zip(texts));
        // All before it in the journal is as durable as it is.
        let kernel = std::mem::take(&mut promised.kernel);
        promised.disk.extend(kernel);
        let mut batch: Vec<_> = email.lease_many(3, Duration::ZERO)?.collect();
        promised.out.extend(batch.iter().map(|delivery| delivery.offset().get()));
        // One stays out.
        batch.pop().into_iter().for_each(std::mem::forget);
        for delivery in batch {
            let offset = delivery.offset().get();
            promised.asked_ack.insert(offset);
            delivery.ack().wait()?;
            promised.out.remove(&offset);
            promised.acked.insert(offset);
        }
        store.step_upkeep()?;
    }
    Ok(())
}

/// What a store shows: its messages, and what its group still wants, with how often it was handed out before.
type Shown = (BTreeMap<u64, String>, BTreeMap<u64, u32>);

fn shown(store: &Store) -> Shown {
    let orders = orders_of(store).unwrap();
    let record = |record: millpond::Result<millpond::Record>| {
        let record = record.unwrap();
        (record.offset().get(), String::from_utf8(record.payload().to_vec()).unwrap())
    };
    let messages: BTreeMap<u64, String> = orders.read(Offset::ZERO..).map(record).collect();
    let email = email_of(&orders).unwrap();
    let mut wanted = BTreeMap::new();
    // Suspects come alone: each is settled before the next.
    while let Some(delivery) = email.try_lease().unwrap() {
        wanted.insert(delivery.offset().get(), delivery.counters().leases);
        delivery.ack().wait().unwrap();
    }
    (messages, wanted)
}

fn check((messages, wanted): &Shown, promised: &Promised, power: bool, at: &str) {
    let kept = promised.disk.iter().chain(promised.kernel.iter().filter(|_| !power));
    for (offset, text) in kept {
        assert_eq!(messages.get(offset), Some(text), "I1: offset {offset}, {at}");
    }
    let offsets: Vec<u64> = messages.keys().copied().collect();
    assert!(offsets.iter().copied().eq(0..offsets.len() as u64), "I3: {offsets:?}, {at}");
    for (offset, text) in messages {
        assert!(promised.asked.contains(text), "I2: offset {offset}, {at}");
    }
    for round in 0..8 {
        let of_it = messages.values().filter(|text| text.starts_with(&format!("batch {round} "))).count() as u64;
        assert!(of_it == 0 || of_it == BATCH, "I7: {of_it} of batch {round}, {at}");
    }
    for offset in &promised.acked {
        assert!(!wanted.contains_key(offset), "I5: offset {offset}, {at}");
    }
    for offset in messages.keys().filter(|offset| !promised.asked_ack.contains(offset)) {
        assert!(wanted.contains_key(offset), "I4: offset {offset}, {at}");
    }
    // A hand-out is with the kernel before a handler sees the message; a power cut may take that.
    for offset in promised.out.iter().filter(|offset| !power && !promised.asked_ack.contains(offset)) {
        assert!(wanted[offset] >= 2, "I8: offset {offset} was handed out before, {at}");
    }
}

/// Opens a copy of the disk as it is: first cut at a step of its own, then whole, then once more.
fn recover(disk: &SimDisk, promised: &Promised, power: bool, seed: u64, at: &str) {
    // One step of recovery for each state; over all states these are all of them.
    let mut faults = Faults::default();
    faults.stop_after = Some(seed % 24);
    disk.set_faults(faults);
    drop(open(disk, seed));
    let power = if seed.is_multiple_of(2) {
        disk.crash();
        true
    } else {
        disk.kill();
        power
    };
    disk.set_faults(Faults::default());
    let first = open(disk, seed + 1).unwrap_or_else(|error| unreachable!("{at}: {error}"));
    // What it shows without having changed anything is what the next one shows, though power fails in between.
    let messages: Vec<_> = orders_of(&first).unwrap().read(Offset::ZERO..).map(|record| record.unwrap()).collect();
    drop(first);
    disk.crash();
    let second = open(disk, seed + 2).unwrap_or_else(|error| unreachable!("{at}, second opening: {error}"));
    let again: Vec<_> = orders_of(&second).unwrap().read(Offset::ZERO..).map(|record| record.unwrap()).collect();
    let same = messages.iter().map(|record| record.payload()).eq(again.iter().map(|record| record.payload()));
    assert!(same, "what recovery showed did not last, {at}");
    // That cut was after everything had been made durable: it takes nothing that a kill would not have taken.
    check(&shown(&second), promised, power, at);
}

/// The steps that the whole work asks of the disk, from its creation on.
fn steps() -> u64 {
    let disk = SimDisk::new(0);
    let store = open(&disk, 0).unwrap();
    work(&store, &mut Promised::default()).unwrap();
    disk.operations()
}

fn cut_everywhere(fault: impl Fn(&mut Faults, u64)) {
    let steps = steps();
    assert!(steps > 80, "{steps}");
    for step in 0..steps {
        let disk = SimDisk::new(0);
        let mut faults = Faults::default();
        fault(&mut faults, step);
        disk.set_faults(faults);
        let mut promised = Promised::default();
        if let Ok(store) = open(&disk, 0) {
            let _ = work(&store, &mut promised);
            // Not dropped in order: the process is gone.
            std::mem::forget(store);
        }
        let at = format!("cut at step {step} of {steps}");
        recover(&disk.fork(step), &promised, false, step * CUTS + 1, &format!("{at}, killed"));
        for cut in 0..CUTS {
            let disk = disk.fork(step * CUTS + cut);
            disk.crash();
            recover(&disk, &promised, true, step * CUTS + cut, &format!("{at}, power cut {cut}"));
        }
    }
}

#[test]
fn whatever_step_the_machine_stops_at_what_was_promised_is_there() {
    cut_everywhere(|faults, step| faults.stop_after = Some(step));
}

#[test]
fn whatever_step_fails_what_was_promised_is_there() {
    cut_everywhere(|faults, step| faults.fail_after = Some(step));
}

#[cfg(feature = "encrypt")]
#[test]
fn whatever_step_stops_or_fails_an_encrypted_store_keeps_what_was_promised() {
    ENCRYPTED.set(true);
    cut_everywhere(|faults, step| faults.stop_after = Some(step));
    cut_everywhere(|faults, step| faults.fail_after = Some(step));
}
