//! `millpond purge`: drop what a topic holds.

use crate::arguments::{confirm, with_store};
use crate::failure::Failure;
use crate::output;
use millpond::Offset;
use serde_json::json;
use std::io;
use std::path::PathBuf;

/// Drop the messages of a topic for every group and every reader
#[derive(Debug, clap::Args)]
#[command(after_help = r"Examples:
  millpond purge ./pond orders --before 4711 --yes
  millpond purge ./pond orders --yes

What is handed out, delayed or a dead letter stays: see `millpond schedule cancel`
and `millpond dlq purge`. Offsets are not used again.")]
pub(crate) struct Purge {
    /// The store's directory
    dir: PathBuf,
    /// The topic
    topic: String,
    /// Only those before this offset
    #[arg(long, value_name = "OFFSET")]
    before: Option<u64>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Purge {
    /// Drops them.
    pub(crate) fn run(self) -> Result<(), Failure> {
        with_store(&self.dir, |store| {
            let topic = store.existing_topic(&self.topic)?;
            let before = self.before.map_or_else(|| topic.end_offset(), Offset::new).min(topic.end_offset());
            confirm(&format!("Drop what {:?} has before offset {before}, for everybody?", topic.name()), self.yes)?;
            let purged = topic.purge(before)?;
            if self.json {
                let line = json!({ "purged": purged, "before": before.get(), "left": topic.stats().messages });
                return Ok(output::json_line(&mut io::stdout().lock(), &line)?);
            }
            output::line(&format!("{purged} purged, {} are left", topic.stats().messages))
        })
    }
}
