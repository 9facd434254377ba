//! Who may have brought the process down runs alone. One that nobody was ever given is not accused.

use super::*;

#[test]
fn a_suspect_that_was_leased_for_nobody_is_not_charged_with_the_next_death() {
    let mut bench = Bench::new();
    ["a", "b"].iter().for_each(|payload| bench.publish(payload));
    let held = bench.email.lease_many(2, Duration::ZERO).unwrap();
    assert_eq!(held.len(), 2);
    let (disk, clock) = (bench.disk.clone(), bench.clock.clone());
    let die = |bench: Bench| {
        disk.kill();
        drop(bench);
        let (store, orders, email) = open(&disk, &clock);
        Bench { disk: disk.clone(), clock: clock.clone(), store, orders, email }
    };
    // The process dies with both in hand, which names neither.
    std::mem::forget(held);
    bench = die(bench);
    assert_eq!(bench.email.stats().suspects, 2);
    for _ in 0..4 {
        let mut next = bench.email.next();
        assert!(poll(&mut next, Waker::noop()).is_pending());
        bench.serve();
        // It has its answer, and nobody looks at it.
        drop(next);
        while bench.store.step_commit().unwrap() {}
        bench = die(bench);
        assert_eq!((bench.email.stats().suspects, bench.email.stats().dead), (2, 0));
    }
    for expected in ["a", "b"] {
        let order = bench.email.try_lease().unwrap().unwrap();
        assert_eq!((order.payload(), order.counters().crashes), (expected.as_bytes(), 0));
        order.ack().wait().unwrap();
    }
}

/// That nobody saw it is on its way to the disk, and the process dies before it gets there. Then it looks as if it had
/// been in hand: it is charged with that death and with no other, and what it costs is a turn, never the message.
#[test]
fn one_whose_process_dies_before_that_is_written_is_charged_once_for_it_and_never_lost() {
    let mut bench = Bench::new();
    ["a", "b"].iter().for_each(|payload| bench.publish(payload));
    let (disk, clock) = (bench.disk.clone(), bench.clock.clone());
    let die = |bench: Bench| {
        disk.kill();
        drop(bench);
        let (store, orders, email) = open(&disk, &clock);
        Bench { disk: disk.clone(), clock: clock.clone(), store, orders, email }
    };
    std::mem::forget(bench.email.lease_many(2, Duration::ZERO).unwrap());
    bench = die(bench);
    assert_eq!(bench.email.stats().suspects, 2);
    let unseen = |bench: &Bench| {
        let mut next = bench.email.next();
        assert!(poll(&mut next, Waker::noop()).is_pending());
        bench.serve();
        let written = bench.store.stats().written;
        drop(next);
        let stats = bench.store.stats();
        assert!(stats.end > stats.written && stats.written == written, "it is in the buffer: {stats:?}");
    };
    unseen(&bench);
    bench = die(bench);
    // The crash that made it a suspect, and this one.
    let order = bench.email.try_lease().unwrap().unwrap();
    assert_eq!((order.payload(), order.counters().crashes), (&b"a"[..], 2));
    order.release().wait().unwrap();
    // Written, it is not charged.
    unseen(&bench);
    while bench.store.step_commit().unwrap() {}
    bench = die(bench);
    let mut crashes = Vec::new();
    while let Some(order) = bench.email.try_lease().unwrap() {
        crashes.push((order.payload().to_vec(), order.counters().crashes));
        order.ack().wait().unwrap();
    }
    crashes.sort();
    assert_eq!(crashes, [(b"a".to_vec(), 2), (b"b".to_vec(), 0)]);
    assert_eq!(bench.email.stats().dead, 0);
}
