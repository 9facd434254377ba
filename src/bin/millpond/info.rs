//! `millpond info`: what is in a store, and how far its groups are.

use crate::failure::Failure;
use crate::output::{self, Align, Table};
use crate::overview;
use millpond::{ErrorKind, Store, StoreStats};
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

What is leased is known to the owner of a store alone: if another process has it
open, both are counted as READY/LEASED, and with --json "ready" and "leased" are
null and "ready_or_leased" is what there is of them.

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
                let stats = store.try_stats();
                store.close()?;
                stats?
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
        output::json_line(out, &overview::topic_line(topic))?;
        for group in &topic.groups {
            output::json_line(out, &overview::group_line(topic, group))?;
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

fn tables(stats: &StoreStats, out: &mut impl Write) -> io::Result<()> {
    if stats.topics.is_empty() {
        writeln!(out, "no topics yet")?;
    } else {
        overview::topics(&stats.topics).write(out)?;
    }
    if stats.topics.iter().any(|topic| !topic.groups.is_empty()) {
        writeln!(out)?;
        overview::groups(&stats.topics).write(out)?;
    }
    if !stats.segments.is_empty() {
        let right = Align::Right;
        let mut segments = Table::new(&[("SEGMENT", right), ("BYTES", right), ("LIVE", right)]);
        for segment in &stats.segments {
            segments.row([segment.id.to_string(), output::size(segment.bytes), output::size(segment.live_bytes)]);
        }
        writeln!(out)?;
        segments.write(out)?;
    }
    Ok(())
}
