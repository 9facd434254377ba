//! A backlog of any size costs disk, not memory and not time (I11).

use crate::machine::{
    PAYLOAD, child, disk, fill, forget, median, memory, numbers, one, options, rate, role, say, scale, scratch,
};
use millpond::{Consumer, Group, Topic};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

const TEST: &str = "backlog::messages_that_nobody_takes_cost_their_disk_and_neither_memory_nor_time";
const FEW: u64 = 100_000;
/// Messages of a turn of the comparison, and how many turns.
const TURN: u64 = 100_000;
const TURNS: usize = 7;

/// Publishes everything, says what that took, and waits to be killed, or closes.
fn fill_up(directory: &Path, kill: bool) {
    let store = options().open(directory).unwrap();
    let topic = store.topic("orders").unwrap();
    topic.consumer("email", Group::default()).unwrap();
    fill(&topic, 1000);
    let empty = memory();
    say("filled", rate(scale(), || fill(&topic, scale() - 1000)));
    store.sync().wait().unwrap();
    say("memory", memory().saturating_sub(empty) as f64);
    say("disk", disk(directory) as f64);
    say("ready", 1.0);
    if kill {
        std::thread::sleep(Duration::from_secs(3600));
    }
    store.close().unwrap();
    say("done", 1.0);
}

/// Opens the store in a fresh process and leases one message.
fn open_it(directory: &Path) {
    let before = memory();
    let began = Instant::now();
    let store = options().open(directory).unwrap();
    say("open", began.elapsed().as_secs_f64());
    let email = store.existing_topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    let began = Instant::now();
    let first = email.try_lease().unwrap().unwrap();
    say("lease", began.elapsed().as_secs_f64());
    assert_eq!(first.payload(), PAYLOAD);
    drop(first);
    say("memory", memory().saturating_sub(before) as f64);
    store.close().unwrap();
    say("done", 1.0);
}

fn publish(topic: &Topic) -> f64 {
    rate(TURN, || (1..=TURN).for_each(|number| one(topic, number, PAYLOAD.len())))
}

fn consume(email: &Consumer) -> f64 {
    let count = TURN / 2;
    rate(count, || {
        let mut left = count;
        while left > 0 {
            let batch = email.lease_many(100, Duration::ZERO).unwrap();
            left = left.saturating_sub(batch.len() as u64);
            email.ack_all(batch).detach();
        }
    })
}

/// The rates of a store with few messages beside those of one with many, in turns.
fn compare(many: &Path) {
    let directory = scratch();
    let few = options().open(directory.path()).unwrap();
    fill(&few.topic("orders").unwrap(), FEW);
    let many = options().open(many).unwrap();
    let handles = [&few, &many].map(|store| {
        let topic = store.topic("orders").unwrap();
        (topic.clone(), topic.consumer("email", Group::default()).unwrap())
    });
    let [(few_topic, few_email), (many_topic, many_email)] = &handles;
    // What the small one holds was written just now, and is in the page cache. What is leased of the large one is the
    // oldest of it: read once, it is there as well, and what is compared is the queue and not the disk.
    let leased = usize::try_from(TURN).unwrap() * (TURNS + 1);
    assert!(many_topic.read(..).take(leased).all(|record| record.is_ok()));
    // The first turn warms up. What is leased of the small one is put there again as all the rest was: messages that
    // were published together are read together, and single ones are not.
    let turns = |what: &dyn Fn() -> [f64; 2]| {
        let turns: Vec<[f64; 2]> = (0..=TURNS).map(|_| what()).skip(1).collect();
        (
            median(turns.iter().map(|[few, many]| many / few).collect()),
            median(turns.iter().map(|[_, many]| *many).collect()),
        )
    };
    let (consume_share, consumed) = turns(&|| {
        let rates = [consume(few_email), consume(many_email)];
        fill(few_topic, TURN / 2);
        rates
    });
    let (publish_share, published) = turns(&|| [publish(few_topic), publish(many_topic)]);
    say("publish", publish_share);
    say("consume", consume_share);
    say("published", published);
    say("consumed", consumed);
    few.close().unwrap();
    many.close().unwrap();
    say("done", 1.0);
}

#[test]
#[ignore = "measures the machine: minutes and gigabytes, in a release build"]
fn messages_that_nobody_takes_cost_their_disk_and_neither_memory_nor_time() {
    match role() {
        Some((role, directory)) if role == "fill" => return fill_up(&directory, false),
        Some((role, directory)) if role == "fill and be killed" => return fill_up(&directory, true),
        Some((role, directory)) if role == "open" => return open_it(&directory),
        Some((_, directory)) => return compare(&directory),
        None => {}
    }
    let messages = scale();
    let mut missed = Vec::new();
    let mut check = |what: &str, found: f64, most: f64| {
        println!("{what}: {found:.4}, at most {most}");
        if found > most {
            missed.push(format!("{what}: {found} > {most}"));
        }
    };
    let directory = scratch();
    let path = directory.path();
    let filled = numbers(child(TEST, "fill", path));
    println!("{messages} messages of 100 bytes, {:.0} a second", filled("filled"));
    check("memory beyond an empty store's, MiB", filled("memory") / f64::from(1 << 20), 128.0);
    // Prepared segments and the reserve are there whatever is published.
    let fixed = if messages < 10_000_000 { 4.0 * 64.0 * f64::from(1 << 20) } else { 0.0 };
    check("disk / payload", (filled("disk") - fixed) / (messages * 100) as f64, 1.35);
    for cold in [false, true] {
        if cold {
            forget(path);
        }
        let opened = numbers(child(TEST, "open", path));
        let how = if cold { "cold" } else { "warm" };
        check(&format!("open after a clean close, {how}, s"), opened("open"), 1.0);
        check(&format!("first lease after that, {how}, ms"), opened("lease") * 1e3, 10.0);
        check(&format!("memory of a process that opened it, {how}, MiB"), opened("memory") / f64::from(1 << 20), 128.0);
    }
    let compared = numbers(child(TEST, "compare", path));
    println!("published {:.0} a second, consumed {:.0}", compared("published"), compared("consumed"));
    check("publish rate, that of 100,000 / this", 1.0 / compared("publish"), 1.2);
    check("lease rate, that of 100,000 / this", 1.0 / compared("consume"), 1.2);
    drop(directory);

    let directory = scratch();
    let mut killed = child(TEST, "fill and be killed", directory.path());
    let out = BufReader::new(killed.stdout.take().unwrap());
    assert!(out.lines().any(|line| line.unwrap() == "> ready 1"));
    killed.kill().unwrap();
    killed.wait().unwrap();
    forget(directory.path());
    let opened = numbers(child(TEST, "open", directory.path()));
    check("open after a kill, cold, s", opened("open"), 2.0);
    check("first lease after that, ms", opened("lease") * 1e3, 10.0);
    assert!(missed.is_empty(), "{missed:#?}");
}
