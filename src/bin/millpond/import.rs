//! `millpond import`: what `export` wrote, into a store.

use crate::failure::Failure;
use crate::output;
use millpond::{GroupProgress, Message, Offset, Past, Restore, Store, StoredSettings, Timestamp};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::path::PathBuf;

const AFTER_HELP: &str = r#"Examples:
  millpond import ./pond < pond.jsonl
  millpond export ./pond orders | millpond import ./other

The store is made if it is not there; a topic that has, or had, messages already
is refused, before anything is added to it. Messages have the offsets, times,
ids, keys, headers, priorities, due and expiry times that they had. Topics and
groups have their settings; groups have settled what they had settled, their dead
letters are dead letters again, and counters, errors and retries are as they were.

What can't be the same: a delay has become a time of the wall clock; a time that is
still to come is taken for now; ids whose messages are gone, and ids that groups have
processed, are not known any more; a table of processed ids that is shared has to be
set again; what was removed is not counted; and who was being handed a message is
handed it again. The report says which of these there were."#;

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
    Topic { topic: String, end: u64, settings: Vec<(u16, Vec<u64>)> },
    Message(Box<Exported>),
    Group(Progress),
    Value { key: String, value_hex: String },
}

#[derive(Debug, Deserialize)]
struct Progress {
    topic: String,
    group: String,
    settings: Vec<(u16, Vec<u64>)>,
    forward: Option<String>,
    paused_until: Option<u64>,
    unsettled: Vec<(u64, u64)>,
    past: Vec<Remembered>,
}

#[derive(Debug, Deserialize)]
struct Remembered {
    offset: u64,
    counters: [u32; 4],
    before: [u32; 4],
    due: u64,
    life: u32,
    errors: Vec<(u64, String)>,
    parked: Option<(String, u64)>,
}

#[derive(Debug, Deserialize)]
struct Exported {
    topic: String,
    offset: u64,
    time: u64,
    id: Option<String>,
    id_hex: Option<String>,
    key: Option<String>,
    key_hex: Option<String>,
    #[serde(default)]
    headers: Vec<(String, Value)>,
    #[serde(default)]
    priority: u8,
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
    restore: Restore,
    end: u64,
    groups: Vec<Progress>,
}

/// What was read, for the report.
#[derive(Default)]
struct Told {
    messages: u64,
    topics: usize,
    groups: usize,
    values: usize,
    /// Groups that remember what they have processed.
    processed: Vec<String>,
    delayed: u64,
}

impl Import {
    /// Reads stdin to its end.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let store = crate::keys::options().open(&self.dir)?;
        let outcome = read_all(&store);
        let closed = store.close();
        let told = outcome?;
        closed?;
        output::note(&format!("{} messages of {} topics imported", told.messages, told.topics));
        output::note(&format!("{} groups and {} values imported", told.groups, told.values));
        if told.delayed > 0 {
            let count = told.delayed;
            output::note(&format!("{count} messages with a due time follow the wall clock, also if it was a delay"));
        }
        for group in told.processed {
            output::note(&format!("group {group}: the ids it had processed are not known any more"));
        }
        Ok(())
    }
}

fn read_all(store: &Store) -> Result<Told, Failure> {
    let mut topics: BTreeMap<String, Filling> = BTreeMap::new();
    let mut told = Told::default();
    for (number, line) in (1_u64..).zip(io::stdin().lock().lines()) {
        let bad = |what: String| Failure::failed(format!("line {number}: {what}; what was before it is imported"));
        let line = line.map_err(|error| bad(error.to_string()))?;
        match serde_json::from_str(&line).map_err(|error| bad(error.to_string()))? {
            Line::Topic { topic, end, settings } => {
                let settings: StoredSettings = settings.into_iter().collect();
                let restore = store.restore(&topic, &settings).map_err(|error| bad(error.to_string()))?;
                topics.insert(topic, Filling { restore, end, groups: Vec::new() });
            }
            Line::Message(exported) => {
                let filling = topics.get_mut(&exported.topic).ok_or_else(|| bad("no such topic before it".into()))?;
                told.messages += 1;
                told.delayed += u64::from(exported.due.is_some());
                exported.put(&mut filling.restore).map_err(bad)?;
            }
            Line::Group(progress) => {
                let filling = topics.get_mut(&progress.topic).ok_or_else(|| bad("no such topic before it".into()))?;
                told.groups += 1;
                if progress.settings.iter().any(|(tag, values)| *tag == PROCESSED && values.first() != Some(&0)) {
                    told.processed.push(format!("{:?} of topic {:?}", progress.group, progress.topic));
                }
                filling.groups.push(progress);
            }
            Line::Value { key, value_hex } => {
                let value = bytes(&value_hex).map_err(bad)?;
                let mut transaction = store.transaction();
                transaction.set(key, value);
                drop(transaction.commit().wait()?);
                told.values += 1;
            }
        }
    }
    told.topics = topics.len();
    // A topic is made when dead letters are forwarded to it: by then those of this import are there.
    for filling in topics.into_values() {
        filling.finish()?;
    }
    Ok(told)
}

/// The tag of the setting by which a group remembers what it has processed.
const PROCESSED: u16 = 50;

impl Filling {
    /// Everything is read. All groups are made at the end: what the last one needs is to be there still.
    fn finish(mut self) -> Result<(), Failure> {
        self.restore.end(Offset::new(self.end))?;
        for group in self.groups {
            let name = group.group.clone();
            self.restore.group(&name, &group.into())?;
        }
        drop(self.restore.finish()?);
        Ok(())
    }
}

impl From<Progress> for GroupProgress {
    fn from(read: Progress) -> Self {
        let mut progress = Self::default();
        let run = |(first, last): (u64, u64)| (Offset::new(first), Offset::new(last));
        progress.unsettled = read.unsettled.into_iter().map(run).collect();
        progress.past = read.past.into_iter().map(Past::from).collect();
        progress.settings = read.settings.into_iter().collect();
        (progress.forward, progress.paused_until) = (read.forward, read.paused_until.map(Timestamp::new));
        progress
    }
}

impl From<Remembered> for Past {
    fn from(read: Remembered) -> Self {
        Self {
            offset: Offset::new(read.offset),
            counters: read.counters,
            before: read.before,
            due: Timestamp::new(read.due),
            life: read.life,
            errors: read.errors.into_iter().map(|(time, text)| (Timestamp::new(time), text)).collect(),
            parked: read.parked.map(|(reason, time)| (reason, Timestamp::new(time))),
        }
    }
}

impl Exported {
    fn put(self, restore: &mut Restore) -> Result<(), String> {
        let payload = either(self.payload, self.payload_hex)?.ok_or("it has no payload")?;
        let mut message = Message::new(payload).priority(self.priority);
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
        if let Some(due) = self.due {
            message = message.deliver_at(Timestamp::new(due));
        }
        let (offset, time) = (Offset::new(self.offset), Timestamp::new(self.time));
        let put = match self.expiry {
            Some(expiry) => restore.expiring_message(offset, time, message, Timestamp::new(expiry)),
            None => restore.message(offset, time, message),
        };
        put.map_err(|error| error.to_string())
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
