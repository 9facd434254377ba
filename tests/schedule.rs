//! Delayed messages: never early, by the clock that each goes by; never lost; listed and cancelled.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a test"
)]

use millpond::testing::SimDisk;
use millpond::{
    Consumer, Delivery, Durability, Group, ManualClock, Message, Offset, Options, Retry, Start, Store, Timestamp,
    Topic, Why,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const BEGIN: u64 = 1_700_000_000_000;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A store on the simulated disk, and the clocks it goes by.
struct Bench {
    disk: SimDisk,
    clock: ManualClock,
    openings: u64,
}

impl Bench {
    fn new(seed: u64) -> Self {
        Self { disk: SimDisk::new(seed), clock: ManualClock::starting_at(Timestamp::new(BEGIN)), openings: 0 }
    }

    fn open(&mut self) -> Store {
        self.open_with(Store::options())
    }

    fn open_with(&mut self, options: Options) -> Store {
        self.openings += 1;
        let options = options.first_segment_bytes(1 << 20).segment_bytes(1 << 20).durability(Durability::Os);
        Store::open_simulated(&self.disk, self.clock.clone(), self.openings, options).unwrap()
    }

    fn wall(&self) -> u64 {
        use millpond::Clock;
        self.clock.wall().get()
    }
}

fn reminders(store: &Store) -> (Topic, Consumer) {
    let topic = store.topic("reminders").unwrap();
    let group = topic.consumer("mail", Group::default()).unwrap();
    (topic, group)
}

fn leased(group: &Consumer) -> Vec<Delivery> {
    let mut all = Vec::new();
    loop {
        let batch = group.lease_many(1000, Duration::ZERO).unwrap();
        if batch.len() == 0 {
            return all;
        }
        all.extend(batch);
    }
}

fn drain(group: &Consumer) -> Vec<u64> {
    let deliveries = leased(group);
    let offsets = deliveries.iter().map(|delivery| delivery.offset().get()).collect();
    group.ack_all(deliveries).wait().unwrap();
    offsets
}

fn publish(topic: &Topic, message: Message) -> Offset {
    topic.publish(message).wait().unwrap().offset
}

#[test]
fn a_delayed_message_keeps_its_offset_and_holds_nobody_up() {
    let mut bench = Bench::new(1);
    let store = bench.open();
    let (topic, mail) = reminders(&store);
    let other = topic.consumer("other", Group::default()).unwrap();
    assert_eq!(publish(&topic, Message::new("later").delay(HOUR)), Offset::new(0));
    assert_eq!(publish(&topic, Message::new("now")), Offset::new(1));
    assert_eq!((drain(&mail), mail.stats().delayed, mail.stats().ready), (vec![1], 1, 0));
    assert_eq!(mail.why(Offset::new(0)).unwrap(), Why::Delayed { due: Timestamp::new(BEGIN + 3_600_000) });
    bench.clock.advance(HOUR.checked_sub(Duration::from_millis(1)).unwrap());
    assert_eq!(drain(&mail), [0; 0]);
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!((drain(&mail), drain(&other)), (vec![0], vec![0, 1]));
    assert_eq!((mail.stats().delayed, topic.stats().delayed), (0, 0));
}

#[test]
fn a_deliver_at_follows_the_wall_clock_and_waits_again_when_it_is_set_back() {
    let mut bench = Bench::new(2);
    let store = bench.open();
    let (topic, mail) = reminders(&store);
    let at = BEGIN + 60_000;
    publish(&topic, Message::new("a").deliver_at(Timestamp::new(at)));
    publish(&topic, Message::new("b").deliver_at(Timestamp::new(at)));
    publish(&topic, Message::new("c").delay(60 * SECOND));
    bench.clock.set_wall(Timestamp::new(at));
    let first = mail.try_lease().unwrap().unwrap();
    assert_eq!(first.offset(), Offset::new(0), "a step forward makes it due; the delay is not");
    bench.clock.set_wall(Timestamp::new(at - 1));
    assert_eq!(drain(&mail), [0; 0], "what nobody was given yet waits again");
    first.release().wait().unwrap();
    assert_eq!(drain(&mail), [0; 0], "and so does what came back");
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(drain(&mail), [0, 1]);
    bench.clock.advance(60 * SECOND);
    assert_eq!(drain(&mail), [2]);
}

#[test]
fn a_snooze_runs_on_across_a_restart_and_charges_nothing() {
    let mut bench = Bench::new(3);
    let store = bench.open();
    let (topic, mail) = reminders(&store);
    publish(&topic, Message::new("later"));
    mail.try_lease().unwrap().unwrap().snooze(HOUR).wait().unwrap();
    store.sync().wait().unwrap();
    drop(store);
    bench.clock.advance(HOUR / 2);
    let store = bench.open();
    let (_topic, mail) = reminders(&store);
    assert!(mail.try_lease().unwrap().is_none());
    bench.clock.advance(HOUR / 2);
    let again = mail.try_lease().unwrap().unwrap();
    assert_eq!((again.counters().failures, again.attempt()), (0, 1));
}

#[test]
fn a_consumer_that_waits_wakes_when_a_message_falls_due() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (topic, mail) = reminders(&store);
    for wall in [false, true] {
        let began = Instant::now();
        let wait = Duration::from_millis(300);
        let message = if wall {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap() + wait;
            Message::new("x").deliver_at(Timestamp::new(u64::try_from(now.as_millis()).unwrap()))
        } else {
            Message::new("x").delay(wait)
        };
        publish(&topic, message);
        mail.lease().unwrap().ack().wait().unwrap();
        let took = began.elapsed();
        println!("wall {wall}: {took:?}");
        // A wall time in whole milliseconds was rounded down.
        assert!(took >= wait - Duration::from_millis(1), "early: {took:?}");
        assert!(took < Duration::from_secs(5), "nobody woke it: {took:?}");
    }
}

#[test]
fn a_consumer_that_waits_already_wakes_for_one_that_is_published_later_and_due_sooner() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (topic, mail) = reminders(&store);
    publish(&topic, Message::new("in an hour").delay(HOUR));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| mail.lease_timeout(30 * SECOND).unwrap().unwrap().offset());
        std::thread::sleep(Duration::from_millis(100));
        publish(&topic, Message::new("soon").delay(Duration::from_millis(100)));
        assert_eq!(waiting.join().unwrap(), Offset::new(1));
    });
}

#[test]
fn what_waits_is_listed_by_time_and_cancelled_for_everybody() {
    let mut bench = Bench::new(4);
    let store = bench.open();
    let (topic, mail) = reminders(&store);
    for number in 0..1000u32 {
        publish(&topic, Message::new("x").delay(SECOND * (1000 - number)));
    }
    let offsets = |topic: &Topic| topic.scheduled(..).map(|entry| entry.unwrap().offset.get()).collect::<Vec<_>>();
    assert_eq!(offsets(&topic), (0..1000).rev().collect::<Vec<_>>());
    let range = Timestamp::new(BEGIN + 10_000)..=Timestamp::new(BEGIN + 12_000);
    let some: Vec<_> = topic.scheduled(range).map(Result::unwrap).collect();
    assert_eq!(some.iter().map(|entry| entry.offset.get()).collect::<Vec<_>>(), [990, 989, 988]);
    assert!(!some[0].deliver_at && some[0].due == Timestamp::new(BEGIN + 10_000));
    // The last one falls due and is handed out: too late for it.
    bench.clock.advance(SECOND);
    let held = mail.try_lease().unwrap().unwrap();
    assert_eq!((held.offset(), topic.cancel(held.offset()).unwrap()), (Offset::new(999), false));
    assert!(!topic.cancel(Offset::new(5000)).unwrap());
    for offset in 0..500 {
        assert!(topic.cancel(Offset::new(offset)).unwrap());
        assert!(!topic.cancel(Offset::new(offset)).unwrap(), "it is gone");
    }
    assert_eq!(topic.stats().removed.cancelled, 500);
    held.ack().wait().unwrap();
    drop(store);
    bench.disk.crash();
    let store = bench.open();
    let (topic, mail) = reminders(&store);
    assert_eq!(offsets(&topic), (500..999).rev().collect::<Vec<_>>(), "a cancellation is durable");
    assert_eq!((topic.stats().removed.cancelled, topic.read(..).count()), (500, 499));
    bench.clock.advance(HOUR);
    let mut came = drain(&mail);
    came.sort_unstable();
    assert!(came.into_iter().filter(|offset| *offset != 999).eq(500..999));
    assert_eq!(topic.consumer("new", Group::default().start(Start::Earliest)).unwrap().stats().ready, 0);
}

/// What the test knows of one message.
#[derive(Debug)]
enum Due {
    Engine(u64),
    Wall(u64),
}

#[test]
fn nothing_is_early_or_late_however_the_clocks_jump() {
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut bench = Bench::new(seed);
        let mut store = bench.open();
        let mut pending: BTreeMap<u64, Due> = BTreeMap::new();
        let mut last = 0;
        for step in 0..400 {
            let (topic, mail) = reminders(&store);
            // The engine's clock, as a publish tells it.
            let now = store.topic("clock").unwrap().publish("tick").wait().unwrap().time.get();
            assert!(now >= last, "seed {seed} step {step}: the engine's clock went back");
            last = now;
            match rng.u8(0..10) {
                0..=2 => {
                    let delay = Duration::from_millis(rng.u64(1..20_000));
                    let receipt = topic.publish(Message::new("x").delay(delay)).wait().unwrap();
                    assert_eq!(receipt.time.get(), now);
                    pending.insert(receipt.offset.get(), Due::Engine(now + u64::try_from(delay.as_millis()).unwrap()));
                }
                3..=5 => {
                    let at = (bench.wall() + rng.u64(0..40_000)).saturating_sub(10_000);
                    let offset = publish(&topic, Message::new("x").deliver_at(Timestamp::new(at)));
                    pending.insert(offset.get(), Due::Wall(at));
                }
                6 => {
                    let jump = rng.u64(0..30_000);
                    let wall = if rng.bool() { bench.wall() + jump } else { bench.wall() - jump };
                    bench.clock.set_wall(Timestamp::new(wall));
                }
                7 => {
                    let power = rng.bool();
                    if power {
                        store.sync().wait().unwrap();
                    } else {
                        let _ = store.step_upkeep().unwrap();
                    }
                    // Time passes while the store is closed, by the wall clock, and may seem to go back.
                    if rng.bool() {
                        bench.clock.set_wall(Timestamp::new(bench.wall() + rng.u64(0..10_000)));
                    } else {
                        bench.clock.set_wall(Timestamp::new(bench.wall() - rng.u64(0..10_000)));
                    }
                    if power {
                        bench.disk.crash()
                    } else {
                        bench.disk.kill()
                    }
                    drop(store);
                    store = bench.open();
                    continue;
                }
                _ => bench.clock.advance(Duration::from_millis(rng.u64(0..5_000))),
            }
            let now = store.topic("clock").unwrap().publish("tick").wait().unwrap().time.get();
            last = now;
            let wall = bench.wall();
            let is_due = |due: &Due| match due {
                Due::Engine(at) => *at <= now,
                Due::Wall(at) => *at <= wall,
            };
            if rng.bool() {
                let _ = store.step_upkeep().unwrap();
            }
            let expected: Vec<u64> = pending.iter().filter(|(_, due)| is_due(due)).map(|(offset, _)| *offset).collect();
            assert_eq!(mail.stats().delayed, (pending.len() - expected.len()) as u64, "seed {seed} step {step}");
            // Sometimes they are left to wait, and the clock may be set back over them.
            if rng.bool() {
                let mut came = drain(&mail);
                came.sort_unstable();
                assert_eq!(came, expected, "seed {seed} step {step}");
                expected.iter().for_each(|offset| _ = pending.remove(offset));
                store.sync().wait().unwrap();
            }
        }
    }
}

#[test]
fn one_delayed_by_a_year_and_one_dead_outlast_a_million_others() {
    let mut bench = Bench::new(5);
    let store = bench.open();
    let (topic, mail) = reminders(&store);
    let delayed = publish(&topic, Message::new("in a year").delay(365 * DAY));
    let dead = publish(&topic, Message::new("dead"));
    mail.try_lease().unwrap().unwrap().bury("it is not wanted").wait().unwrap();
    let began = Instant::now();
    let mut through = 0;
    for round in 0..1000u32 {
        topic.publish_all((0..1000).map(|_| Message::new("x"))).wait().unwrap();
        through += drain(&mail).len();
        if round % 50 == 0 {
            bench.clock.advance(DAY);
            while store.step_upkeep().unwrap() {}
        }
    }
    assert_eq!(through, 1_000_000);
    println!("a million others took {:?}", began.elapsed());
    store.sync().wait().unwrap();
    bench.disk.crash();
    drop(store);
    bench.clock.advance(344 * DAY);
    let store = bench.open();
    let (topic, mail) = reminders(&store);
    assert_eq!(drain(&mail), [0; 0]);
    assert_eq!(mail.dead_letters().next().unwrap().unwrap().record().unwrap().payload(), b"dead");
    assert_eq!((topic.first_offset(), topic.stats().messages), (delayed, 2));
    bench.clock.advance(DAY);
    let come = mail.try_lease().unwrap().unwrap();
    assert_eq!((come.offset(), come.payload()), (delayed, &b"in a year"[..]));
    come.ack().wait().unwrap();
    assert_eq!(topic.first_offset(), dead);
}

/// The memory of this process in bytes.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn a_million_timers_survive_a_restart() {
    const TIMERS: u64 = 1_000_000;
    let dir = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    {
        let store = Store::options().durability(Durability::Os).open(dir.path()).unwrap();
        let (topic, _mail) = reminders(&store);
        for _ in 0..TIMERS / 1000 {
            let delay = |rng: &mut fastrand::Rng| HOUR + Duration::from_millis(rng.u64(0..365 * 86_400_000));
            topic.publish_all((0..1000).map(|_| Message::new("x").delay(delay(&mut rng)))).wait().unwrap();
        }
        publish(&topic, Message::new("soon").delay(2 * SECOND));
        assert_eq!(topic.stats().delayed, TIMERS + 1);
        // Killed, as it were: no clean close.
        store.sync().wait().unwrap();
        std::mem::forget(store);
    }
    let began = Instant::now();
    let copy = tempfile::tempdir().unwrap();
    copy_store(dir.path(), copy.path());
    println!("copied in {:?}", began.elapsed());
    #[cfg(target_os = "linux")]
    let before = resident();
    let began = Instant::now();
    let store = Store::open(copy.path()).unwrap();
    println!("{TIMERS} timers: opened in {:?}", began.elapsed());
    #[cfg(target_os = "linux")]
    println!("{:.1} bytes of memory for each", (resident() - before) as f64 / TIMERS as f64);
    let (topic, mail) = reminders(&store);
    assert!(mail.stats().delayed >= TIMERS);
    let mut last = Timestamp::ZERO;
    let mut count = 0u64;
    for entry in topic.scheduled(..) {
        let entry = entry.unwrap();
        assert!(entry.due >= last);
        (last, count) = (entry.due, count + 1);
    }
    assert!(count >= TIMERS, "{count}");
    let soon = mail.lease_timeout(20 * SECOND).unwrap().unwrap();
    assert_eq!(soon.offset(), Offset::new(TIMERS));
    soon.ack().wait().unwrap();
    assert!(mail.try_lease().unwrap().is_none());
}

/// A copy of a store that is open, as a kill would leave it: everything was written.
fn copy_store(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_store(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

#[test]
fn a_snapshot_holds_the_schedule_though_it_is_larger_than_the_buffer() {
    let mut bench = Bench::new(6);
    let store = bench.open_with(Store::options().buffer_bytes(8 << 10));
    let (topic, mail) = reminders(&store);
    let mut expected = Vec::new();
    for number in 0..20_000u64 {
        let message = Message::new("x".repeat(100));
        let message = match number % 3 {
            0 => message.delay(Duration::from_millis(1000 + number)),
            1 => message.deliver_at(Timestamp::new(BEGIN + 1000 + number)),
            _ => message,
        };
        if number % 100 == 0 {
            topic.publish(message).wait().unwrap();
        } else {
            topic.publish(message).detach();
        }
        if number % 3 != 2 {
            expected.push(number);
        }
        if number % 1000 == 0 {
            assert!(!drain(&mail).contains(&0));
            while store.step_upkeep().unwrap() {}
        }
    }
    // Some stand in line for room still.
    for _ in 0..3 {
        while store.step_upkeep().unwrap() {}
        store.sync().wait().unwrap();
        drain(&mail);
    }
    store.close().unwrap();
    let store = bench.open();
    let (topic, mail) = reminders(&store);
    let frames = store.recovery().frames;
    assert!(frames < 20_000, "it began at a snapshot: {frames}");
    assert_eq!((topic.scheduled(..).count(), mail.stats().delayed), (expected.len(), expected.len() as u64));
    bench.clock.advance(DAY);
    let mut came = drain(&mail);
    came.sort_unstable();
    assert!(came == expected, "{} instead of {}", came.len(), expected.len());
}

#[test]
fn a_retry_waits_as_long_as_its_policy_says_and_not_a_part_of_a_millisecond_less() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let topic = store.topic("jobs").unwrap();
    let group = topic.consumer("runner", Group::default().retry(Retry::default())).unwrap();
    publish(&topic, Message::new("x"));
    let mut delivery = group.lease().unwrap();
    for _ in 0..20 {
        let wait = Duration::from_millis(7);
        let began = Instant::now();
        delivery.snooze(wait).wait().unwrap();
        delivery = group.lease().unwrap();
        assert!(began.elapsed() >= wait, "early: {:?}", began.elapsed());
    }
    delivery.ack().wait().unwrap();
}
