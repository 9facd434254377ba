//! `millpond info`: what is in a store, and how far its groups are.

use crate::failure::Failure;
use crate::output::{self, Align, Table};
use millpond::{ErrorKind, Store, StoreStats, Timestamp};
use serde_json::json;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

const AFTER_HELP: &str = r#"Examples:
  millpond info ./pond
  millpond info ./pond --json | jq 'select(.kind == "group" and .dead > 0)'

Of each group: READY can be handed out now, LEASED is handed out, RETRYING
waits for its next attempt, DELAYED is not due yet, BLOCKED waits for another
message of its key, DEAD was given up and stays in the log. OLDEST is how long
the oldest message that could be handed out has been waiting. PAUSED says until
when the group hands out nothing. LIVE is what somebody still needs of a
segment.

Of a store that another process has open, what is leased counts as READY.

With --json each line is an object whose "kind" says what it is about: "store",
"topic", "group" or "segment"."#;

/// Show topics, groups, and what they take on disk
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Info {
    /// The store's directory
    dir: PathBuf,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl Info {
    /// Opens the store, counts, and shows.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let stats = match Store::options().create(false).open(&self.dir) {
            Ok(store) => {
                let stats = store.stats();
                store.close()?;
                stats
            }
            // Its owner is not disturbed by one who only looks.
            Err(error) if error.kind() == ErrorKind::Locked => Store::open_read_only(&self.dir)?.stats()?,
            Err(error) => return Err(error.into()),
        };
        let mut out = BufWriter::new(io::stdout().lock());
        let shown = if self.json { lines(&stats, &mut out) } else { tables(&stats, &mut out) };
        shown.and_then(|()| out.flush())?;
        Ok(())
    }
}

fn lines(stats: &StoreStats, out: &mut impl Write) -> io::Result<()> {
    output::json_line(out, &json!({ "kind": "store", "openings": stats.incarnation.get() }))?;
    for topic in &stats.topics {
        let line = json!({
            "kind": "topic", "topic": topic.name, "messages": topic.messages, "first": topic.first.get(),
            "end": topic.end.get(), "bytes": topic.bytes, "delayed": topic.delayed, "backlog": topic.backlog,
        });
        output::json_line(out, &line)?;
        for group in &topic.groups {
            let oldest = group.oldest_claimable.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
            let line = json!({
                "kind": "group", "topic": topic.name, "group": group.name, "ready": group.ready,
                "leased": group.leased, "retrying": group.retrying, "delayed": group.delayed,
                "blocked": group.key_blocked, "suspects": group.suspects, "dead": group.dead,
                "oldest_ms": oldest, "paused_until": group.paused_until.map(|until| until.get()),
            });
            output::json_line(out, &line)?;
        }
    }
    for segment in &stats.segments {
        let line = json!({
            "kind": "segment", "segment": segment.id.get(), "bytes": segment.bytes, "live": segment.live_bytes,
        });
        output::json_line(out, &line)?;
    }
    Ok(())
}

/// Until when a group is paused.
fn paused(until: Timestamp) -> String {
    if until == Timestamp::new(u64::MAX) { "until resumed".to_owned() } else { output::time(until) }
}

fn tables(stats: &StoreStats, out: &mut impl Write) -> io::Result<()> {
    let right = Align::Right;
    let mut topics = Table::new(&[
        ("TOPIC", Align::Left),
        ("MESSAGES", right),
        ("FIRST", right),
        ("NEXT", right),
        ("BYTES", right),
        ("GROUPS", right),
    ]);
    let mut groups = Table::new(&[
        ("GROUP", Align::Left),
        ("TOPIC", Align::Left),
        ("READY", right),
        ("LEASED", right),
        ("RETRYING", right),
        ("DELAYED", right),
        ("BLOCKED", right),
        ("SUSPECT", right),
        ("DEAD", right),
        ("OLDEST", right),
        ("PAUSED", Align::Left),
    ]);
    let mut any_group = false;
    for topic in &stats.topics {
        topics.row([
            output::text(topic.name.as_bytes()),
            topic.messages.to_string(),
            topic.first.to_string(),
            topic.end.to_string(),
            output::size(topic.bytes),
            topic.groups.len().to_string(),
        ]);
        for group in &topic.groups {
            any_group = true;
            groups.row([
                output::text(group.name.as_bytes()),
                output::text(topic.name.as_bytes()),
                group.ready.to_string(),
                group.leased.to_string(),
                group.retrying.to_string(),
                group.delayed.to_string(),
                group.key_blocked.to_string(),
                group.suspects.to_string(),
                group.dead.to_string(),
                group.oldest_claimable.map_or_else(|| "-".to_owned(), output::span),
                group.paused_until.map_or_else(|| "-".to_owned(), paused),
            ]);
        }
    }
    let mut segments = Table::new(&[("SEGMENT", right), ("BYTES", right), ("LIVE", right)]);
    for segment in &stats.segments {
        segments.row([segment.id.to_string(), output::size(segment.bytes), output::size(segment.live_bytes)]);
    }
    if stats.topics.is_empty() {
        writeln!(out, "no topics yet")?;
    } else {
        topics.write(out)?;
    }
    if any_group {
        writeln!(out)?;
        groups.write(out)?;
    }
    if !stats.segments.is_empty() {
        writeln!(out)?;
        segments.write(out)?;
    }
    Ok(())
}
