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
