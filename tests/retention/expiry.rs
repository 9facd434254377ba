//! Lifetimes of messages, and of dead letters; where groups may go.

use super::*;

#[test]
fn what_expires_is_never_handed_out_and_is_counted_for_each_group() {
    let mut bench = Bench::new(10);
    let store = bench.open();
    let settings = TopicSettings::default().expires_after(10 * SECOND);
    let orders = store.topic_with("orders", settings).unwrap();
    let (a, b) = (group(&orders, "a"), group(&orders, "b"));
    let payloads = [
        Message::new("the topic's"),
        Message::new("its own").expires_after(20 * SECOND),
        Message::new("delayed").delay(30 * SECOND).expires_after(5 * SECOND),
        Message::new("at a time").deliver_at(Timestamp::new(BEGIN + 30_000)),
    ];
    for message in payloads {
        orders.publish(message).wait().unwrap();
    }
    bench.clock.advance(Duration::from_millis(9_999));
    assert_eq!((a.stats().ready, a.stats().delayed), (2, 2));
    bench.clock.advance(Duration::from_millis(1));
    let events = store.events(100).unwrap();
    assert_eq!(drain(&a), [1]);
    let told = std::iter::from_fn(|| events.try_next());
    let expired = |notice: &Notice| matches!(notice, Notice::Happened(told) if told.what == What::Expired);
    assert_eq!(told.filter(expired).count(), 1);
    assert_eq!((a.stats().removed.expired, b.stats().removed.expired), (1, 0), "each group comes to it in its turn");
    bench.clock.advance(22 * SECOND);
    assert_eq!(drain(&a), [2, 3]);
    let store = bench.crash(store);
    let orders = store.topic("orders").unwrap();
    let (a, b) = (group(&orders, "a"), group(&orders, "b"));
    assert_eq!(a.stats().removed.expired, 1);
    bench.clock.advance(3 * SECOND);
    assert_eq!(drain(&b), [3]);
    assert_eq!((b.stats().removed.expired, b.stats().ready), (3, 0));
    assert_eq!(read(&orders), [0; 0]);
}

#[test]
fn a_message_that_expires_while_it_is_leased_is_dropped_when_its_lease_ends_and_not_before() {
    let mut bench = Bench::new(11);
    let store = bench.open();
    let orders = topic(&store, Retention::until_settled());
    let a = orders.consumer("a", Group::default().lease(60 * SECOND).retry(Retry::fixed(SECOND))).unwrap();
    for _ in 0..3 {
        orders.publish(Message::new("x").expires_after(10 * SECOND)).wait().unwrap();
    }
    let mut held: Vec<_> = a.lease_many(3, Duration::ZERO).unwrap().collect();
    bench.clock.advance(11 * SECOND);
    upkeep(&store);
    assert_eq!((a.stats().leased, a.stats().removed.expired, read(&orders)), (3, 0, all(0..3)));
    held.remove(0).ack().wait().unwrap();
    held.remove(0).nack("it failed").wait().unwrap();
    bench.clock.advance(2 * SECOND);
    assert!(a.try_lease().unwrap().is_none());
    assert_eq!((a.stats().leased, a.stats().removed.expired), (1, 1));
    bench.clock.advance(60 * SECOND);
    assert!(a.try_lease().unwrap().is_none());
    bench.clock.advance(60 * SECOND);
    assert!(a.try_lease().unwrap().is_none());
    assert_eq!((a.stats().removed.expired, a.idle()), (2, true));
    assert_eq!(held.remove(0).ack().wait().unwrap_err().code(), "lease-lost");
}

#[test]
fn an_expired_backlog_is_settled_by_itself() {
    let mut bench = Bench::new(12);
    let store = bench.open();
    let orders = store.topic_with("orders", TopicSettings::default().expires_after(10 * SECOND)).unwrap();
    let a = group(&orders, "a");
    publish(&orders, 3000);
    bench.clock.advance(5 * SECOND);
    publish(&orders, 2);
    upkeep(&store);
    assert_eq!(a.stats().ready, 3002);
    bench.clock.advance(6 * SECOND);
    upkeep(&store);
    assert_eq!((a.stats().ready, a.stats().removed.expired), (2, 3000));
    bench.clock.advance(6 * SECOND);
    upkeep(&store);
    assert_eq!((a.stats().ready, a.stats().removed.expired), (0, 3002));
    // Back to none.
    store.topic_with("orders", TopicSettings::default().expires_after(Duration::MAX)).unwrap();
    publish(&orders, 1);
    assert_eq!(orders.read(Offset::new(3002)..).next().unwrap().unwrap().expiry(), None);
}

#[test]
fn dead_letters_stay_for_ever_or_as_long_as_their_group_says() {
    let mut bench = Bench::new(13);
    let store = bench.open();
    let orders = topic(&store, Retention::until_settled());
    let (a, b) = (group(&orders, "a"), group(&orders, "b"));
    publish(&orders, 4);
    for consumer in [&a, &b] {
        for number in 0..4u64 {
            consumer.try_lease().unwrap().unwrap().bury("it is not wanted").wait().unwrap();
            bench.clock.advance(SECOND * u32::try_from(number % 2).unwrap());
        }
    }
    let b = orders.consumer("b", Group::default().keep_dead_letters(Some(DAY))).unwrap();
    bench.clock.advance(DAY - 2 * SECOND);
    upkeep(&store);
    assert_eq!((a.stats().dead, b.stats().dead, b.stats().removed.aged), (4, 2, 2));
    bench.clock.advance(SECOND);
    upkeep(&store);
    assert_eq!((a.stats().dead, b.stats().dead), (4, 0));
    assert_eq!(read(&orders), all(0..4), "the other group has them still");
    let a = orders.consumer("a", Group::default().keep_dead_letters(Some(DAY))).unwrap();
    upkeep(&store);
    bench.clock.advance(2 * SECOND);
    upkeep(&store);
    assert_eq!((a.stats().dead, read(&orders)), (0, all(0..0)));
}

#[test]
fn the_dry_run_of_a_seek_says_exactly_what_the_seek_does() {
    for seed in 0..30 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bench = Bench::new(seed);
        let mut store = bench.open();
        let rules = match seed % 3 {
            0 => Retention::until_settled(),
            1 => Retention::everything(),
            _ => Retention::until_settled().keep_count(30),
        };
        topic(&store, rules);
        let mut gone: BTreeSet<u64> = BTreeSet::new();
        for _ in 0..30 {
            let orders = store.topic("orders").unwrap();
            let groups = [group(&orders, "a"), group(&orders, "b")];
            for _ in 0..rng.u8(0..20) {
                publish(&orders, 1);
                bench.clock.advance(Duration::from_millis(rng.u64(0..3)));
            }
            for consumer in &groups {
                for delivery in consumer.lease_many(rng.usize(0..20), Duration::ZERO).unwrap() {
                    match rng.u8(0..8) {
                        0 => delivery.bury("now and then").wait().unwrap(),
                        1 => delivery.release().wait().unwrap(),
                        2 => delivery.snooze(Duration::from_millis(1)).wait().unwrap(),
                        _ => delivery.ack().wait().unwrap(),
                    }
                }
            }
            if rng.u8(0..5) == 0 {
                store = bench.crash(store);
                continue;
            }
            // Once gone, gone for ever; and nothing is gone that a group has not settled.
            let there: BTreeSet<u64> = read(&orders).into_iter().collect();
            assert!(there.is_disjoint(&gone), "seed {seed}: what was gone is back");
            gone.extend((0..orders.end_offset().get()).filter(|offset| !there.contains(offset)));
            let consumer = &groups[rng.usize(0..2)];
            let end = orders.end_offset().get();
            let start = match rng.u8(0..4) {
                0 => Start::Earliest,
                1 => Start::Latest,
                2 => Start::Offset(Offset::new(rng.u64(0..=end + 2))),
                _ => Start::Time(Timestamp::new(bench.clock.wall().get().saturating_sub(rng.u64(0..50)))),
            };
            let dead = |consumer: &Consumer| consumer.dead_letters().count() as u64;
            let before = consumer.stats();
            let report = consumer.seek_dry_run(start).unwrap();
            assert_eq!(consumer.stats(), before, "a dry run changes nothing");
            assert_eq!(consumer.seek(start).unwrap(), report);
            let after = consumer.stats();
            let waiting = before.ready + before.retrying;
            assert_eq!(after.ready, waiting - report.skipped + report.again, "seed {seed} {start:?} {report:?}");
            assert_eq!(dead(consumer), after.dead);
            let came = drain(consumer);
            assert_eq!(came.len() as u64, after.ready, "seed {seed}");
            assert!(came.iter().all(|offset| *offset >= report.to.get() && !gone.contains(offset)));
            if let Start::Offset(asked) = start {
                assert_eq!(report.gone, gone.range(asked.get().min(end)..end).count() as u64);
            }
        }
    }
}

#[test]
fn what_is_published_after_everything_was_dropped_is_passed_over_by_no_cursor() {
    let mut bench = Bench::new(14);
    let mut store = bench.open();
    for round in 0..20u64 {
        let orders = topic(&store, Retention::until_settled().max_age(HOUR));
        let (a, b) = (group(&orders, "a"), group(&orders, "b"));
        // One group has come some way, the other none; one reader is in the middle.
        assert!(drain(&a).is_empty());
        publish(&orders, 10);
        for _ in 0..round % 10 {
            a.try_lease().unwrap().unwrap().ack().wait().unwrap();
        }
        let mut reader = orders.read(..);
        let _ = reader.next();
        bench.clock.advance(HOUR);
        upkeep(&store);
        assert_eq!((read(&orders), a.stats().ready, b.stats().ready), (all(0..0), 0, 0));
        let next = orders.publish("new").wait().unwrap().offset;
        assert_eq!(next.get(), round * 11 + 10);
        assert_eq!(orders.read(reader.position()..).next().unwrap().unwrap().offset(), next);
        if round % 2 == 0 {
            store = bench.crash(store);
        }
        let orders = store.topic("orders").unwrap();
        for name in ["a", "b"] {
            assert_eq!(drain(&group(&orders, name)), [next.get()], "round {round}");
        }
    }
}

#[test]
fn nothing_is_dropped_where_no_rule_names_it() {
    let mut bench = Bench::new(15);
    let store = bench.open();
    let orders = store.topic("orders").unwrap();
    let a = group(&orders, "a");
    publish(&orders, 500);
    orders.publish(Message::new("later").delay(DAY)).wait().unwrap();
    for _ in 0..50 {
        bench.clock.advance(100 * DAY);
        upkeep(&store);
    }
    assert_eq!(drain(&a).len(), 501);
    assert_eq!(orders.stats().removed, Removed::default());
    assert_eq!(a.stats().removed, Removed::default());
}

#[test]
fn rules_hold_on_the_real_disk_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options().retention_step(Duration::from_millis(10)).open(dir.path()).unwrap();
    let rules = Retention::until_settled().max_age(Duration::from_millis(300)).keep_count(5);
    let orders = topic(&store, rules);
    let a = group(&orders, "a");
    publish(&orders, 20);
    assert_eq!(a.lease_many(8, Duration::ZERO).unwrap().map(|delivery| delivery.ack().detach()).count(), 8);
    let patience = std::time::Instant::now();
    while orders.stats().removed.aged < 12 {
        assert!(patience.elapsed() < 20 * SECOND, "{:?}", orders.stats());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((orders.stats().removed.aged, orders.stats().removed.settled), (12, 8));
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    assert_eq!((read(&orders), orders.publish("x").wait().unwrap().offset.get()), (all(0..0), 20));
}
