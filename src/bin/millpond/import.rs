//! `millpond import`: what `export` wrote, into a store.

use crate::failure::Failure;
use crate::output;
use millpond::{Clock, Consumer, Group, Message, Offset, Store, SystemClock, Timestamp, Topic};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::time::Duration;

const AFTER_HELP: &str = r#"Examples:
  millpond import ./pond < pond.jsonl
  millpond export ./pond orders | millpond import ./other

The store is made if it is not there; a topic that has messages already is
refused, before anything is added to it. Payloads, ids, keys, headers, due and
expiry times are kept; messages get new offsets, from 0 on and without gaps, and
the time of the import. Groups are made, and settle what they had settled; their
dead letters are dead letters again. Settings have to be made anew, and every
message counts as handed out once."#;

/// Messages that are published as one.
const BATCH: usize = 500;
const LEASED: usize = 1000;
/// While the import works on them, messages are not to come back; and how long leases are if nothing is said.
const HELD: Duration = Duration::from_secs(86_400);
const LEASE: Duration = Duration::from_secs(30);

/// Read what `export` wrote
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Import {
    /// The store's directory
    dir: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Topic { topic: String },
    Message(Box<Exported>),
    Group(Progress),
}

#[derive(Debug, Deserialize)]
struct Progress {
    topic: String,
    group: String,
    unsettled: Vec<(u64, u64)>,
    dead: Vec<(u64, Option<String>)>,
}

#[derive(Debug, Deserialize)]
struct Exported {
    topic: String,
    offset: u64,
    id: Option<String>,
    id_hex: Option<String>,
    key: Option<String>,
    key_hex: Option<String>,
    #[serde(default)]
    headers: Vec<(String, Value)>,
    due: Option<u64>,
    expiry: Option<u64>,
    payload: Option<String>,
    payload_hex: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Bytes { hex: String },
}

/// A topic that is being filled.
struct Filling {
    topic: Topic,
    batch: Vec<Message>,
    /// The former offsets of its messages; where they stand in here is the new one.
    offsets: Vec<u64>,
    groups: Vec<Progress>,
}

impl Import {
    /// Reads stdin to its end.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let store = Store::open(&self.dir)?;
        let outcome = read_all(&store);
        let closed = store.close();
        let (messages, topics) = outcome?;
        closed?;
        output::note(&format!("{messages} messages of {topics} topics imported"));
        Ok(())
    }
}

fn read_all(store: &Store) -> Result<(u64, usize), Failure> {
    let now = SystemClock::new().wall().get();
    let mut topics: BTreeMap<String, Filling> = BTreeMap::new();
    let mut messages = 0;
    for (number, line) in (1_u64..).zip(io::stdin().lock().lines()) {
        let bad = |what: String| Failure::failed(format!("line {number}: {what}; what was before it is imported"));
        let line = line.map_err(|error| bad(error.to_string()))?;
        match serde_json::from_str(&line).map_err(|error| bad(error.to_string()))? {
            Line::Topic { topic } => {
                let made = store.topic(&topic)?;
                if made.end_offset() != Offset::ZERO {
                    return Err(bad(format!("topic {topic:?} has messages already")));
                }
                topics
                    .insert(topic, Filling { topic: made, batch: Vec::new(), offsets: Vec::new(), groups: Vec::new() });
            }
            Line::Message(exported) => {
                let filling = topics.get_mut(&exported.topic).ok_or_else(|| bad("no such topic before it".into()))?;
                filling.offsets.push(exported.offset);
                filling.batch.push(exported.message(now).map_err(bad)?);
                messages += 1;
                if filling.batch.len() >= BATCH {
                    filling.publish()?;
                }
            }
            Line::Group(progress) => {
                let filling = topics.get_mut(&progress.topic).ok_or_else(|| bad("no such topic before it".into()))?;
                filling.groups.push(progress);
            }
        }
    }
    topics.values_mut().try_for_each(Filling::finish)?;
    store.sync().wait()?;
    Ok((messages, topics.len()))
}

impl Filling {
    fn publish(&mut self) -> Result<(), Failure> {
        if !self.batch.is_empty() {
            drop(self.topic.publish_all(std::mem::take(&mut self.batch)).wait()?);
        }
        Ok(())
    }

    /// Everything is read. All groups are made before any settles: what the last one needs is to be there still.
    fn finish(&mut self) -> Result<(), Failure> {
        self.publish()?;
        let made = |lease: Duration| -> Result<Vec<Consumer>, Failure> {
            let groups = self.groups.iter();
            Ok(groups
                .map(|group| self.topic.consumer(&group.group, Group::default().lease(lease)))
                .collect::<Result<_, _>>()?)
        };
        for (consumer, progress) in made(HELD)?.iter().zip(&self.groups) {
            self.settle(consumer, progress)?;
        }
        // As those that are made without a word.
        made(LEASE).map(drop)
    }

    /// Settles for a group what it had settled, and parks what it had parked.
    fn settle(&self, consumer: &Consumer, Progress { unsettled, dead, .. }: &Progress) -> Result<(), Failure> {
        let is_open = |offset: u64| {
            let after = unsettled.partition_point(|(first, _)| *first <= offset);
            after.checked_sub(1).and_then(|at| unsettled.get(at)).is_some_and(|(_, last)| offset <= *last)
        };
        let former = |offset: Offset| usize::try_from(offset.get()).ok().and_then(|at| self.offsets.get(at)).copied();
        // What comes after the last one that is to be settled is left alone.
        let mut left = self.offsets.iter().rposition(|offset| !is_open(*offset)).map_or(0, |last| last + 1);
        let mut kept = Vec::new();
        while left > 0 {
            let batch = consumer.lease_many(left.min(LEASED), Duration::ZERO)?;
            if batch.len() == 0 {
                break;
            }
            left = left.saturating_sub(batch.len());
            let mut done = Vec::new();
            for delivery in batch {
                let offset = former(delivery.offset()).unwrap_or(u64::MAX);
                match dead.binary_search_by_key(&offset, |(offset, _)| *offset).ok().and_then(|at| dead.get(at)) {
                    Some((_, error)) => delivery.bury(error.as_deref().unwrap_or("imported")).wait()?,
                    None if is_open(offset) => kept.push(delivery),
                    None => done.push(delivery),
                }
            }
            consumer.ack_all(done).wait()?;
        }
        for delivery in kept {
            delivery.release().wait()?;
        }
        Ok(())
    }
}

impl Exported {
    fn message(self, now: u64) -> Result<Message, String> {
        let payload = either(self.payload, self.payload_hex)?.ok_or("it has no payload")?;
        let mut message = Message::new(payload);
        if let Some(id) = either(self.id, self.id_hex)? {
            message = message.id(id);
        }
        if let Some(key) = either(self.key, self.key_hex)? {
            message = message.key(key);
        }
        for (name, value) in self.headers {
            let value = match value {
                Value::Text(text) => text.into_bytes(),
                Value::Bytes { hex } => bytes(&hex)?,
            };
            message = message.header(name, value);
        }
        let due = self.due.filter(|due| *due > now);
        if let Some(due) = due {
            message = message.deliver_at(Timestamp::new(due));
        }
        if let Some(expiry) = self.expiry {
            // What is over already goes at once, and keeps the place of the others.
            let left = expiry.saturating_sub(due.unwrap_or(now)).max(1);
            message = message.expires_after(Duration::from_millis(left));
        }
        Ok(message)
    }
}

fn either(text: Option<String>, hex: Option<String>) -> Result<Option<Vec<u8>>, String> {
    hex.map_or(Ok(text.map(String::into_bytes)), |hex| bytes(&hex).map(Some))
}

/// The bytes that hexadecimal digits stand for.
fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let all: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(pair).collect();
    all.ok_or_else(|| format!("{hex:?} is not a row of pairs of hexadecimal digits"))
}
