//! Ordered groups at size: what they keep in memory, that draining is not quadratic, and many threads at once.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a test that measures"
)]

use allocation_counter::measure;
use millpond::{Consumer, Durability, Group, Message, Offset, Redrive, Retry, Store, WhenParked, Why};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A store with so many messages, whose keys are what `key` says.
fn filled(messages: u64, key: impl Fn(u64) -> u64) -> (tempfile::TempDir, Store, millpond::Topic) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::options().durability(Durability::Memory).open(dir.path()).unwrap();
    let topic = store.topic("orders").unwrap();
    for first in (0..messages).step_by(1000) {
        let batch = (first..first + 1000).map(|n| Message::new(&[b'm'; 100][..]).key(key(n).to_string()));
        topic.publish_all(batch).wait().unwrap();
    }
    store.sync().wait().unwrap();
    (dir, store, topic)
}

/// Keys all over the place.
fn scattered(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20
}

/// What a group keeps of so many messages, of which all wait but the first of each key.
fn kept(messages: u64, keys: u64) -> i64 {
    let (_dir, store, topic) = filled(messages, |number| scattered(number) % keys);
    let email = topic.consumer("email", Group::default().ordered(WhenParked::Skip).look_ahead(1 << 30)).unwrap();
    let mut held = Vec::new();
    let info = measure(|| {
        // The last piece is read when nothing can be handed out any more.
        loop {
            let batch: Vec<_> = email.lease_many(4096, Duration::ZERO).unwrap().collect();
            if batch.is_empty() {
                break;
            }
            held.extend(batch);
        }
    });
    let stats = email.stats();
    assert_eq!((stats.leased, stats.ready), (held.len() as u64, 0));
    assert_eq!(stats.leased + stats.key_blocked, messages);
    held.into_iter().for_each(|delivery| delivery.release().detach());
    store.close().unwrap();
    info.bytes_current
}

#[test]
fn a_message_that_waits_for_its_key_takes_less_than_48_bytes_of_memory() {
    let (few, many) = (50_000, 150_000);
    for keys in [100, 1000] {
        // What this thread allocated and another one freed is counted, too: the least of a few is what is kept.
        let least = |messages: u64| (0..3).map(|_| kept(messages, keys)).min().unwrap();
        let each = (least(many) - least(few)) as f64 / (many - few) as f64;
        println!("{keys} keys: {each:.1} bytes for each message that waits");
        assert!(each <= 48.0, "{each}");
    }
}

fn drain(email: &Consumer) -> u64 {
    let mut drained = 0;
    loop {
        let batch = email.lease_many(100, Duration::ZERO).unwrap();
        if batch.len() == 0 {
            return drained;
        }
        drained += batch.len() as u64;
        email.ack_all(batch).detach();
    }
}

#[test]
fn draining_many_keys_takes_time_in_proportion() {
    // Ten times as many messages take about ten times as long, in a debug build too; a hundred would be quadratic.
    let most: u64 = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };
    for keys in [10_000, 100] {
        let time = |messages: u64| {
            let (_dir, store, topic) = filled(messages, |number| scattered(number) % keys);
            let email = topic.consumer("email", Group::default().ordered(WhenParked::Skip)).unwrap();
            let began = Instant::now();
            assert_eq!(drain(&email), messages);
            let taken = began.elapsed();
            assert!(email.idle());
            store.close().unwrap();
            taken
        };
        let (few, all) = (time(most / 10), time(most));
        println!("{keys} keys: {most} messages in {all:?}, {:.0} a second", most as f64 / all.as_secs_f64());
        assert!(all < few * 40, "{keys} keys: {few:?} for a tenth, {all:?} for all");
    }
}

#[test]
fn a_hot_key_that_is_held_does_not_cost_each_lease_a_walk() {
    let messages: u64 = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };
    let hot = |number: u64| if number.is_multiple_of(2) { 0 } else { number };
    let (_dir, store, topic) = filled(messages, hot);
    // All of the key in mind, and a few of it.
    let groups = [("all", 1 << 30), ("few", 2000)].map(|(name, look_ahead)| {
        let settings = Group::default().ordered(WhenParked::Skip).look_ahead(look_ahead);
        (name, topic.consumer(name, settings).unwrap())
    });
    for (name, email) in groups {
        let held = email.lease().unwrap();
        let began = Instant::now();
        assert_eq!(drain(&email), messages / 2);
        let taken = began.elapsed();
        println!("{} messages around a held key of as many, {name} in mind: {taken:?}", messages / 2);
        assert!(taken < Duration::from_secs(30), "{taken:?}");
        held.ack().wait().unwrap();
        let began = Instant::now();
        let mut last = Offset::ZERO;
        while let Some(run) = email.lease_runs(1000, Duration::ZERO).unwrap().into_iter().next() {
            assert_eq!(run.deliveries()[0].offset(), last.next().next(), "in order, and none left out");
            last = run.deliveries().last().unwrap().offset();
            run.ack().detach();
        }
        println!("and then as many of one key: {:?}", began.elapsed());
        assert!(email.idle());
    }
    store.close().unwrap();
}

/// Who has which key, and how far it has come.
#[derive(Default)]
struct Watch {
    held: BTreeMap<Vec<u8>, bool>,
    last: BTreeMap<Vec<u8>, Offset>,
    acked: u64,
}

#[test]
fn eight_threads_never_have_a_key_twice_and_see_it_in_order() {
    let messages = 20_000;
    let (_dir, store, topic) = filled(messages, |number| scattered(number) % 50);
    let retry = Retry::fixed(Duration::from_millis(2)).attempts(1000);
    let email = topic.consumer("email", Group::default().ordered(WhenParked::Skip).retry(retry)).unwrap();
    let watch = Mutex::new(Watch::default());
    let take = |key: &[u8], first: Offset, last: Offset| {
        let mut watch = watch.lock().unwrap();
        assert!(!watch.held.insert(key.to_vec(), true).unwrap_or(false), "two holders of {key:?}");
        assert!(watch.last.get(key).is_none_or(|before| *before < first), "{key:?}: {first} comes too late");
        assert!(first <= last);
    };
    let done = |key: &[u8], acked: Option<Offset>, count: u64| {
        let mut watch = watch.lock().unwrap();
        watch.held.insert(key.to_vec(), false);
        watch.acked += count;
        acked.into_iter().for_each(|offset| _ = watch.last.insert(key.to_vec(), offset));
    };
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (email, take, done) = (&email, &take, &done);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(thread);
                while !email.idle() {
                    if thread % 2 == 0 {
                        for run in email.lease_runs(rng.usize(1..40), Duration::from_millis(5)).unwrap() {
                            let key = run.key().unwrap().to_vec();
                            let offsets: Vec<Offset> = run.deliveries().iter().map(|next| next.offset()).collect();
                            assert!(offsets.is_sorted());
                            let (first, last) = (offsets[0], *offsets.last().unwrap());
                            take(&key, first, last);
                            if rng.u8(0..5) == 0 {
                                let at = rng.usize(0..offsets.len());
                                done(&key, at.checked_sub(1).map(|before| offsets[before]), at as u64);
                                run.nack_at(offsets[at], "now and then").wait().unwrap();
                            } else {
                                done(&key, Some(last), offsets.len() as u64);
                                run.ack().wait().unwrap();
                            }
                        }
                    } else if let Some(next) = email.lease_timeout(Duration::from_millis(5)).unwrap() {
                        let (key, offset) = (next.key().unwrap().to_vec(), next.offset());
                        take(&key, offset, offset);
                        if rng.u8(0..10) == 0 {
                            done(&key, None, 0);
                            next.nack("now and then").wait().unwrap();
                        } else {
                            done(&key, Some(offset), 1);
                            next.ack().wait().unwrap();
                        }
                    }
                }
            });
        }
    });
    assert_eq!(watch.into_inner().unwrap().acked, messages);
    assert_eq!(email.why(Offset::ZERO).unwrap(), Why::Settled);
    assert_eq!(email.redrive(Redrive::all().dry_run()).unwrap().matched, 0);
    store.close().unwrap();
}
