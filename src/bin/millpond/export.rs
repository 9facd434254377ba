//! `millpond export`: messages and the progress of groups, as lines of JSON, beside whoever has the store open.

use crate::failure::Failure;
use crate::output;
use crate::peek::Line;
use millpond::Store;
use serde::Serialize;
use serde_json::json;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

const AFTER_HELP: &str = r#"Examples:
  millpond export ./pond > pond.jsonl
  millpond export ./pond orders | jq -r 'select(.kind == "message") | .payload'
  millpond export ./pond | millpond import ./other

Each line is an object whose "kind" says what it is: "topic"; "message", with its
topic and all that `peek --json` shows; "group", with what it has yet to settle
("unsettled", runs of offsets with both ends) and its dead letters ("dead", each
an offset and the last error). Settings of topics and groups are not exported,
nor how often a message was tried. The store may be open elsewhere: what is
written is as of one moment."#;

/// Write messages and progress as lines of JSON
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Export {
    /// The store's directory
    dir: PathBuf,
    /// The topics to export; all if none is named
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
        let store = Store::open_read_only(&self.dir)?;
        let topics = if self.topics.is_empty() { store.topics() } else { self.topics };
        let topics: Vec<_> = topics.iter().map(|name| store.topic(name)).collect::<Result<_, _>>()?;
        let mut out = BufWriter::new(io::stdout().lock());
        for topic in topics {
            let (first, end) = topic.bounds()?;
            let name = topic.name();
            let head = json!({ "kind": "topic", "topic": name, "first": first.get(), "end": end.get() });
            output::json_line(&mut out, &head)?;
            for record in topic.read(..) {
                let record = record?;
                output::json_line(&mut out, &Exported { kind: "message", topic: name, line: Line::of(&record) })?;
            }
            for group in topic.stats()?.groups {
                let progress = topic.progress(&group.name)?;
                let unsettled: Vec<_> =
                    progress.unsettled.iter().map(|(first, last)| [first.get(), last.get()]).collect();
                let dead: Vec<_> = progress.dead.iter().map(|(offset, error)| (offset.get(), error)).collect();
                let line = json!({
                    "kind": "group", "topic": name, "group": group.name, "unsettled": unsettled, "dead": dead,
                });
                output::json_line(&mut out, &line)?;
            }
        }
        Ok(out.flush()?)
    }
}
