//! What happens to ours when there is more of something: topics, groups, backlog. Producers and payloads are ordinary
//! rows with other numbers.

use crate::payloads::Payloads;
use crate::queue::{Level, Levels, Result};
use crate::rows::Work;
use crate::run::{Effort, Sample, together};
use millpond::{Consumer, Durability, Group, Message, Store, Topic};
use std::path::Path;
use std::time::{Duration, Instant};

/// Messages of a lease.
const BATCH: usize = 100;

/// One curve: what grows, and the work and level of each point.
#[derive(Debug)]
pub(crate) struct Curve {
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) axis: &'static str,
    pub(crate) level: Level,
    pub(crate) points: Vec<(u64, Work)>,
}

/// All of them; `quick` leaves out what takes long.
pub(crate) fn curves(quick: bool) -> Vec<Curve> {
    let producers = [1, 2, 4, 8, 16, 32, 64, 128, 256];
    let payloads = [16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
    let topics = [1, 10, 100, 1000, 10_000];
    let groups = [1, 2, 4, 8, 16, 32, 64];
    let backlog: &[u64] =
        if quick { &[10_000, 100_000, 1_000_000] } else { &[10_000, 100_000, 1_000_000, 10_000_000, 100_000_000] };
    let by_producers =
        |bytes| producers.map(|threads| (threads as u64, Work::Append { bytes, batch: 1, threads })).to_vec();
    let by_payload = || payloads.map(|bytes| (bytes as u64, Work::Append { bytes, batch: 1, threads: 1 })).to_vec();
    let curve = |id, title, axis, level, points| Curve { id, title, axis, level, points };
    vec![
        curve("producers-disk", "durable, 1 KiB", "producers", Level::Disk, by_producers(1024)),
        curve("producers-memory", "`Memory`, 100 B", "producers", Level::Memory, by_producers(100)),
        curve("payload-disk", "durable, 1 producer", "bytes of a payload", Level::Disk, by_payload()),
        curve("payload-os", "`Os`, 1 producer", "bytes of a payload", Level::Os, by_payload()),
        curve(
            "topics",
            "`Memory`, 100 B, 1 producer, each topic in turn",
            "topics",
            Level::Memory,
            topics.map(|topics| (topics as u64, Work::Topics { topics })).to_vec(),
        ),
        curve(
            "groups",
            "all groups drain one topic, leases of 100, deliveries a second in all",
            "groups",
            Level::Memory,
            groups.map(|groups| (groups as u64, Work::Groups { groups })).to_vec(),
        ),
        curve(
            "backlog",
            "leases of 100 from the front of a backlog",
            "messages",
            Level::Memory,
            backlog.iter().map(|messages| (*messages, Work::Backlog { messages: *messages })).collect(),
        ),
    ]
}

pub(crate) fn run(work: Work, levels: Levels, directory: &Path, effort: Effort) -> Result<Sample> {
    let level = match levels.append {
        Level::Memory => Durability::Memory,
        Level::Os => Durability::Os,
        Level::Disk => Durability::Disk,
    };
    let store = Store::options().durability(level).open(directory.join("store"))?;
    let sample = match work {
        Work::Topics { topics } => by_topics(&store, topics, effort)?,
        Work::Groups { groups } => by_groups(&store, groups, effort)?,
        Work::Backlog { messages } => behind(&store, messages, effort)?,
        _ => return Err("an ordinary row".into()),
    };
    store.close()?;
    Ok(sample)
}

fn by_topics(store: &Store, topics: usize, effort: Effort) -> Result<Sample> {
    let topics = (0..topics)
        .map(|number| store.topic(&format!("topic-{number}")))
        .collect::<std::result::Result<Vec<Topic>, _>>()?;
    let payload = Payloads::new(1, 100).get(0);
    together(1, effort, 1, |_| {
        let topics = &topics;
        Ok(move |done: u64| {
            topics[done as usize % topics.len()].publish(payload).wait()?;
            Ok(())
        })
    })
}

fn fill(topic: &Topic, messages: u64) -> Result<()> {
    let payload = Payloads::new(1, 100).get(0);
    for first in (0..messages).step_by(1000) {
        let count = (messages - first).min(1000);
        topic.publish_all((0..count).map(|_| Message::from(payload))).wait()?;
    }
    Ok(())
}

/// Leases and acks a batch; how many there were.
fn take(consumer: &Consumer) -> Result<u64> {
    let batch = consumer.lease_many(BATCH, Duration::ZERO)?;
    let taken = batch.len() as u64;
    consumer.ack_all(batch).detach();
    Ok(taken)
}

fn by_groups(store: &Store, groups: usize, effort: Effort) -> Result<Sample> {
    let topic = store.topic("one")?;
    let consumers = (0..groups)
        .map(|number| topic.consumer(&format!("group-{number}"), Group::default()))
        .collect::<std::result::Result<Vec<Consumer>, _>>()?;
    fill(&topic, effort.messages)?;
    drained(effort, || consumers.iter().map(take).sum())
}

fn behind(store: &Store, messages: u64, effort: Effort) -> Result<Sample> {
    let topic = store.topic("one")?;
    let consumer = topic.consumer("group", Group::default())?;
    fill(&topic, messages)?;
    store.sync().wait()?;
    drained(effort, || take(&consumer))
}

/// Goes on until nothing is left or the time is over.
fn drained(effort: Effort, mut take: impl FnMut() -> Result<u64>) -> Result<Sample> {
    let began = Instant::now();
    let mut messages = 0;
    while began.elapsed().as_secs_f64() < effort.seconds {
        let taken = take()?;
        if taken == 0 {
            break;
        }
        messages += taken;
    }
    Ok(Sample { messages, seconds: began.elapsed().as_secs_f64(), percentiles: None, cpu: None })
}
