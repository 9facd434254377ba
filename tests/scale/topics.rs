//! Many topics and groups.

use crate::machine::{child, fill, memory, numbers, options, role, say, scratch};
use millpond::Group;
use std::time::{Duration, Instant};

const TEST: &str = "topics::ten_thousand_topics_of_three_groups_open_fast_and_small";
const TOPICS: usize = 10_000;
const GROUPS: usize = 3;

fn name(number: usize) -> String {
    // As long as names may be, and no name of a file.
    format!("../{number}/{}", "ü".repeat(100))
}

#[test]
#[ignore = "measures the machine: a minute, in a release build"]
fn ten_thousand_topics_of_three_groups_open_fast_and_small() {
    if let Some((_, directory)) = role() {
        let before = memory();
        let began = Instant::now();
        let store = options().open(&directory).unwrap();
        say("open", began.elapsed().as_secs_f64());
        say("memory", memory().saturating_sub(before) as f64);
        // Each group reads once, from the disk.
        for number in 0..TOPICS {
            let topic = store.existing_topic(&name(number)).unwrap();
            for group in 0..GROUPS {
                let group = topic.consumer(&group.to_string(), Group::default()).unwrap();
                let batch = group.lease_many(5, Duration::ZERO).unwrap();
                assert_eq!(batch.len(), 5);
                group.ack_all(batch).detach();
            }
        }
        say("used", memory().saturating_sub(before) as f64);
        store.close().unwrap();
        return say("done", 1.0);
    }
    let directory = scratch();
    let store = options().open(directory.path()).unwrap();
    let began = Instant::now();
    for number in 0..TOPICS {
        let topic = store.topic(&name(number)).unwrap();
        (0..GROUPS).for_each(|group| drop(topic.consumer(&group.to_string(), Group::default()).unwrap()));
        fill(&topic, 20);
    }
    println!("made in {:?}", began.elapsed());
    store.close().unwrap();
    let opened = numbers(child(TEST, "open", directory.path()));
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let (open, memory, used) = (opened("open"), mib(opened("memory")), mib(opened("used")));
    println!(
        "{TOPICS} topics of {GROUPS} groups: open {open:.3} s, {memory:.1} MiB, {used:.1} MiB after each group read"
    );
    assert!(open < 2.0 && memory < 256.0 && used < 256.0);
}
