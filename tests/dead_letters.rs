//! Dead letters stay in place: they are listed and looked at, have another life, or go for good; none is lost or
//! doubled, wherever that is cut short.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::field_reassign_with_default,
    reason = "a test fails by panicking"
)]

use millpond::testing::SimDisk;
use millpond::{BuryReason, Cancel, Consumer, DeadLetter, Durability, ErrorKind, Group, ManualClock, Message, Offset};
use millpond::{Purge, Redrive, Retry, Start, Store, Timestamp, Topic};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

fn open(path: &Path) -> Store {
    Store::options().durability(Durability::Memory).ack_durability(Durability::Memory).open(path).unwrap()
}

fn email_of(store: &Store) -> Consumer {
    let retry = Retry::fixed(Duration::ZERO).attempts(1);
    store.topic("orders").unwrap().consumer("email", Group::default().retry(retry)).unwrap()
}

/// So many messages, all of them parked.
fn parked(store: &Store, messages: u64) -> (Topic, Consumer) {
    let orders = store.topic("orders").unwrap();
    orders.publish_all((0..messages).map(|number| number.to_string().into())).wait().unwrap();
    let email = email_of(store);
    while email.stats().dead < messages {
        let batch = email.lease_many(4096, Duration::ZERO).unwrap();
        // A simulated store has no threads: what stands in line for room is served by those who wait for it.
        let tickets: Vec<_> = batch.map(|delivery| delivery.nack("no route")).collect();
        tickets.into_iter().for_each(|ticket| ticket.wait().unwrap());
    }
    (orders, email)
}

fn letters(email: &Consumer) -> Vec<DeadLetter> {
    email.dead_letters().collect::<millpond::Result<_>>().unwrap()
}

fn offsets(email: &Consumer) -> Vec<u64> {
    letters(email).iter().map(|letter| letter.offset().get()).collect()
}

/// Everything that can be handed out now, acked.
fn drained(email: &Consumer) -> Vec<u64> {
    let mut seen = Vec::new();
    loop {
        let batch: Vec<_> = email.lease_many(4096, Duration::ZERO).unwrap().collect();
        if batch.is_empty() {
            return seen;
        }
        seen.extend(batch.iter().map(|delivery| delivery.offset().get()));
        email.ack_all(batch).wait().unwrap();
    }
}

#[test]
fn a_letter_shows_the_message_the_reason_the_errors_and_the_counters() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let orders = store.topic("orders").unwrap();
    let message = Message::new("4711").id("order-4711").key("customer-7").header("source", "web");
    let receipt = orders.publish(message).wait().unwrap();
    let email = orders.consumer("email", Group::default().retry(Retry::fixed(Duration::ZERO).attempts(2))).unwrap();
    email.lease().unwrap().nack("no route").wait().unwrap();
    email.lease().unwrap().nack("no host").wait().unwrap();
    assert!(email.dead_letter(Offset::new(1)).unwrap().is_none());
    let letter = email.dead_letter(receipt.offset).unwrap().unwrap();
    let record = letter.record().unwrap();
    assert_eq!((record.payload(), record.id(), record.time()), (&b"4711"[..], Some(&b"order-4711"[..]), receipt.time));
    assert_eq!(record.key(), Some(&b"customer-7"[..]));
    assert_eq!(record.headers().collect::<Vec<_>>(), [("source", &b"web"[..])]);
    assert_eq!((letter.reason(), letter.life(), letter.leases(), letter.failures()), (BuryReason::Failures, 0, 2, 2));
    assert_eq!(letter.errors().iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["no route", "no host"]);
    assert!(letter.time() >= receipt.time && letter.errors().iter().all(|(time, _)| *time >= receipt.time));
}

#[test]
fn letters_are_listed_page_by_page_in_the_order_of_offsets_while_others_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (_, email) = parked(&store, 500);
    let mut listing = email.dead_letters();
    let first: Vec<u64> = listing.by_ref().take(10).map(|letter| letter.unwrap().offset().get()).collect();
    assert_eq!(first, (0..10).collect::<Vec<_>>());
    email.purge(Purge::offsets((300..400).map(Offset::new))).unwrap();
    let rest: Vec<u64> = listing.map(|letter| letter.unwrap().offset().get()).collect();
    assert_eq!(rest, (10..300).chain(400..500).collect::<Vec<_>>());
    store.close().unwrap();
    let mut closed = email.dead_letters();
    assert_eq!(closed.next().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert!(closed.next().is_none());
}

#[test]
fn a_redrive_is_for_this_group_only_and_the_message_is_what_it_was_in_a_new_life() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (orders, email) = parked(&store, 3);
    let sms = orders.consumer("sms", Group::default()).unwrap();
    drained(&sms);
    let before: Vec<_> = letters(&email).iter().map(|letter| letter.record().unwrap().clone()).collect();
    let swept = email.redrive(Redrive::all()).unwrap();
    assert_eq!((swept.matched, swept.changed, swept.cancelled), (3, 3, false));
    assert!(sms.try_lease().unwrap().is_none() && offsets(&email).is_empty());
    for record in &before {
        let again = email.lease().unwrap();
        assert_eq!((again.record(), again.life()), (record, 1));
        // Totals go on; limits count from the beginning of this life: one failure parks again, and not before.
        assert_eq!((again.counters().leases, again.counters().failures), (2, 1));
        again.nack("still no route").wait().unwrap();
    }
    let again = letters(&email);
    assert_eq!(again.len(), 3);
    for letter in &again {
        assert_eq!((letter.life(), letter.failures(), letter.errors().len()), (1, 2, 2));
    }
}

#[test]
fn what_is_redriven_and_purged_is_so_after_a_power_cut() {
    let disk = SimDisk::new(11);
    let clock = ManualClock::starting_at(Timestamp::new(1_000_000));
    let open = |seed| Store::open_simulated(&disk, clock.clone(), seed, Store::options()).unwrap();
    let store = open(1);
    let (_, email) = parked(&store, 10);
    email.purge(Purge::offsets([Offset::new(2)])).unwrap();
    email.redrive(Redrive::offsets([Offset::new(7), Offset::new(1), Offset::new(2)])).unwrap();
    disk.crash();
    drop(store);
    let store = open(2);
    let email = email_of(&store);
    assert_eq!(offsets(&email), [0, 3, 4, 5, 6, 8, 9]);
    assert_eq!(drained(&email), [1, 7]);
    assert_eq!(email.stats().removed.purged, 1);
}

#[test]
fn a_dry_run_counts_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (_, email) = parked(&store, 20);
    let odd = |letter: &DeadLetter| letter.offset().get() % 2 == 1;
    let dry = [
        email.redrive(Redrive::all().dry_run()),
        email.redrive(Redrive::matching(odd).dry_run()),
        email.purge(Purge::offsets([Offset::new(3), Offset::new(99)]).dry_run()),
        email.purge(Purge::matching(|letter| letter.record().unwrap().payload() == b"11").dry_run()),
    ];
    let dry: Vec<_> = dry.into_iter().map(|swept| swept.unwrap()).map(|swept| (swept.matched, swept.changed)).collect();
    assert_eq!(dry, [(20, 0), (10, 0), (1, 0), (1, 0)]);
    assert_eq!((email.stats().dead, email.stats().ready, email.stats().removed.purged), (20, 0, 0));
}

#[test]
fn a_redrive_keeps_to_its_rate_and_waits_in_the_call() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (_, email) = parked(&store, 30);
    let began = Instant::now();
    let swept = email.redrive(Redrive::all().per_second(50)).unwrap();
    let took = began.elapsed();
    assert_eq!(swept.changed, 30);
    // Pieces of five, a tenth of a second apart: the sixth goes after half a second.
    assert!(took >= Duration::from_millis(499), "{took:?}");
}

#[test]
fn a_redrive_of_a_hundred_thousand_cancelled_half_way_loses_none_and_doubles_none() {
    const LETTERS: u64 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (_, email) = parked(&store, LETTERS);
    assert_eq!(email.stats().dead, LETTERS);
    let cancel = Cancel::new();
    let mut looked_at = 0;
    let half = Redrive::matching(|_| {
        looked_at += 1;
        if looked_at == LETTERS / 2 {
            cancel.cancel();
        }
        true
    });
    let swept = email.redrive(half.cancelled_by(&cancel)).unwrap();
    assert!(swept.cancelled && swept.changed > 0 && swept.changed <= LETTERS / 2, "{swept:?}");
    let check = |email: &Consumer| {
        let stats = email.stats();
        assert_eq!((stats.ready, stats.dead), (swept.changed, LETTERS - swept.changed));
        assert!(offsets(email).into_iter().eq(swept.changed..LETTERS), "the rest are as they were");
    };
    check(&email);
    // And as after a crash: nothing of it is only in memory.
    std::mem::forget(email.lease_many(1, Duration::ZERO).unwrap());
    store.close().unwrap();
    let store = open(dir.path());
    let email = email_of(&store);
    check(&email);
    let again = drained(&email);
    assert_eq!(again.iter().collect::<BTreeSet<_>>().len(), again.len(), "doubled");
    assert!(again.into_iter().eq(0..swept.changed));
    // The other half, and then nothing is left.
    assert_eq!(email.redrive(Redrive::all()).unwrap().changed, LETTERS - swept.changed);
    assert!(drained(&email).into_iter().eq(swept.changed..LETTERS));
    assert!(email.idle() && email.stats().dead == 0);
}

#[test]
fn a_redrive_cut_by_a_power_cut_anywhere_loses_none_and_doubles_none() {
    let mut cuts = 0;
    for after in 0..40 {
        let disk = SimDisk::new(after);
        let clock = ManualClock::starting_at(Timestamp::new(1_000_000));
        let options = || Store::options().segment_bytes(64 << 10).first_segment_bytes(64 << 10);
        let store = Store::open_simulated(&disk, clock.clone(), after, options()).unwrap();
        let (_, email) = parked(&store, 3000);
        store.sync().wait().unwrap();
        let mut faults = millpond::testing::Faults::default();
        faults.stop_after = Some(after);
        disk.set_faults(faults);
        let done = email.redrive(Redrive::all());
        cuts += u64::from(done.is_err());
        disk.crash();
        drop(store);
        disk.set_faults(millpond::testing::Faults::default());
        let store = Store::open_simulated(&disk, clock, after + 1, options()).unwrap();
        let email = email_of(&store);
        let dead = offsets(&email);
        if let Ok(swept) = done {
            assert_eq!((swept.changed, dead.len()), (3000, 0), "what was answered is durable");
        }
        let mut all = drained(&email);
        all.extend(dead);
        all.sort_unstable();
        assert!(all.into_iter().eq(0..3000), "stopped after {after} operations");
    }
    assert!(cuts > 0, "no redrive was cut short");
}

#[test]
fn a_redrive_that_waits_for_its_rate_ends_when_it_is_cancelled_or_the_store_closes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (_, email) = parked(&store, 10);
    let cancel = Cancel::new();
    let slow = || Redrive::all().per_second(1).cancelled_by(&cancel);
    let begun = |dead| {
        while email.stats().dead != dead {
            std::thread::yield_now();
        }
    };
    let swept = std::thread::scope(|scope| {
        let redriving = scope.spawn(|| email.redrive(slow()));
        begun(9);
        cancel.cancel();
        redriving.join().unwrap().unwrap()
    });
    assert!(swept.cancelled && swept.changed >= 1 && swept.changed < 10);
    let late = email.redrive(slow()).unwrap();
    assert_eq!((late.changed, late.cancelled), (0, true), "cancelled before it began");
    let left = email.stats().dead;
    let refused = std::thread::scope(|scope| {
        let redriving = scope.spawn(|| email.redrive(Redrive::all().per_second(1)));
        begun(left - 1);
        store.clone().close().unwrap();
        redriving.join().unwrap().unwrap_err()
    });
    assert_eq!(refused.kind(), ErrorKind::Closed);
    drop(store);
    let store = open(dir.path());
    assert_eq!(email_of(&store).stats().dead, left - 1);
}

#[test]
fn what_dies_again_while_it_is_redriven_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (_, email) = parked(&store, 5);
    let again = email.clone();
    // The predicate sees the first letter of the page, then the handlers are quick: all die in a second life.
    let mut first = true;
    let swept = email.redrive(Redrive::matching(move |_| {
        if std::mem::take(&mut first) {
            assert_eq!(again.redrive(Redrive::all()).unwrap().changed, 5);
            for delivery in again.lease_many(5, Duration::ZERO).unwrap() {
                delivery.nack("no route").wait().unwrap();
            }
        }
        true
    }));
    let swept = swept.unwrap();
    assert_eq!((swept.matched, swept.changed), (5, 0), "chosen in their first life, which is over");
    assert!(letters(&email).iter().all(|letter| letter.life() == 1));
}

#[test]
fn what_is_purged_is_counted_and_never_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (orders, email) = parked(&store, 10);
    let even = |letter: &DeadLetter| letter.offset().get().is_multiple_of(2);
    orders.consumer("other", Group::default()).unwrap();
    assert_eq!(email.purge(Purge::matching(even)).unwrap().changed, 5);
    assert_eq!((email.stats().dead, email.stats().removed.purged), (5, 5));
    assert_eq!(email.redrive(Redrive::all()).unwrap().changed, 5);
    assert_eq!(drained(&email), [1, 3, 5, 7, 9]);
    assert_eq!(orders.read(..).count(), 10, "it was dropped for one group, not for the others");
}

#[test]
fn purge_then_publish_and_no_old_cursor_skips_a_new_message() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let (mut orders, mut email) = parked(&store, 5);
    let sms = orders.consumer("sms", Group::default()).unwrap();
    assert_eq!(drained(&sms), [0, 1, 2, 3, 4]);
    for turn in 0..3 {
        // A page that was begun, a lease that is out, and a reader: all from before the purge.
        let mut listing = email.dead_letters();
        let listed = listing.next().is_some();
        let mut reader = orders.read(..);
        reader.by_ref().take(2).for_each(drop);
        assert_eq!(email.purge(Purge::all()).unwrap().changed > 0, listed);
        email.seek(Start::Latest).unwrap();
        assert!(email.try_lease().unwrap().is_none());
        if turn == 1 {
            store.close().unwrap();
            store = open(dir.path());
            orders = store.topic("orders").unwrap();
            email = email_of(&store);
        }
        let next = orders.publish("new").wait().unwrap().offset;
        assert_eq!(next.get(), 5 + turn, "an offset is never used again");
        let delivery = email.lease_timeout(Duration::from_secs(10)).unwrap();
        let delivery =
            delivery.unwrap_or_else(|| unreachable!("turn {turn}: {:?} {:?}", email.stats(), letters(&email)));
        assert_eq!(delivery.offset(), next);
        delivery.bury("once more").wait().unwrap();
        let sms = orders.consumer("sms", Group::default()).unwrap();
        assert_eq!(drained(&sms), [next.get()]);
        assert_eq!(orders.read(reader.position()..).last().unwrap().unwrap().offset(), next);
    }
}
