//! `millpond export`: messages, settings and the progress of groups, as lines of JSON, beside whoever has the store
//! open.

use crate::failure::Failure;
use crate::output;
use crate::peek::Line;
use millpond::{GroupProgress, Past, ReadOnlyStore, StoredSettings, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

const AFTER_HELP: &str = r#"Examples:
  millpond export ./pond > pond.jsonl
  millpond export ./pond orders | jq -r 'select(.kind == "message") | .payload'
  millpond export ./pond | millpond import ./other

Each line is an object whose "kind" says what it is:

topic    "first" and "end", the bounds of its offsets, and its settings
message  its topic and all that `peek --json` shows
group    its settings, the topic its dead letters are forwarded to ("forward"),
         until when it is paused ("paused_until"), what it has yet to settle
         ("unsettled", runs of offsets with both ends), and what it remembers
         ("past"): of each such message that was ever handed out, and of each dead
         letter, how often it was handed out, failed, timed out and brought the
         process down ("counters"; "before" its present "life"), when it is due,
         its errors with their times, and why and when it was "parked"
value    a value of the application; only if no topics are named

Settings are numbered tags with their values, as the file format has them. Not
exported are ids whose messages are gone, ids that groups have processed, the
tables of those that groups share, and how many messages were ever removed. The
store may be open elsewhere: what is written is as of one moment."#;

/// Write messages, settings and progress as lines of JSON
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Export {
    /// The store's directory
    dir: PathBuf,
    /// The topics to export; all, and the application's values, if none is named
    topics: Vec<String>,
}

#[derive(Serialize)]
struct Exported<'a> {
    kind: &'static str,
    topic: &'a str,
    #[serde(flatten)]
    line: Line<'a>,
}

impl Export {
    /// Writes everything to stdout.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let store = crate::keys::options().open_read_only(&self.dir)?;
        let mut out = BufWriter::new(io::stdout().lock());
        if self.topics.is_empty() {
            values(&store, &mut out)?;
        }
        let topics = if self.topics.is_empty() { store.topics() } else { self.topics };
        let topics: Vec<_> = topics.iter().map(|name| store.topic(name)).collect::<Result<_, _>>()?;
        for topic in topics {
            let (first, end) = topic.bounds()?;
            let (name, settings) = (topic.name(), settings(&topic.settings()?));
            let head = json!({
                "kind": "topic", "topic": name, "first": first.get(), "end": end.get(), "settings": settings,
            });
            output::json_line(&mut out, &head)?;
            for record in topic.read(..) {
                let record = record?;
                output::json_line(&mut out, &Exported { kind: "message", topic: name, line: Line::of(&record) })?;
            }
            for group in topic.stats()?.groups {
                output::json_line(&mut out, &line_of(name, &group.name, &topic.progress(&group.name)?))?;
            }
        }
        Ok(out.flush()?)
    }
}

fn values(store: &ReadOnlyStore, out: &mut impl Write) -> Result<(), Failure> {
    for key in store.keys("")? {
        let Some(value) = store.get(&key)? else { continue };
        output::json_line(out, &json!({ "kind": "value", "key": key, "value_hex": output::hex(&value) }))?;
    }
    Ok(())
}

fn settings(stored: &StoredSettings) -> Vec<(u16, Vec<u64>)> {
    let mut settings: Vec<_> = stored.iter().map(|(tag, values)| (tag, values.to_vec())).collect();
    settings.sort_unstable();
    settings
}

fn line_of(topic: &str, group: &str, progress: &GroupProgress) -> Value {
    let unsettled: Vec<_> = progress.unsettled.iter().map(|(first, last)| [first.get(), last.get()]).collect();
    let past: Vec<_> = progress.past.iter().map(past).collect();
    json!({
        "kind": "group", "topic": topic, "group": group, "settings": settings(&progress.settings),
        "forward": progress.forward, "paused_until": progress.paused_until.map(Timestamp::get),
        "unsettled": unsettled, "past": past,
    })
}

fn past(past: &Past) -> Value {
    let errors: Vec<_> = past.errors.iter().map(|(time, text)| (time.get(), text)).collect();
    json!({
        "offset": past.offset.get(), "counters": past.counters, "before": past.before, "due": past.due.get(),
        "life": past.life, "errors": errors,
        "parked": past.parked.as_ref().map(|(reason, time)| (reason, time.get())),
    })
}
