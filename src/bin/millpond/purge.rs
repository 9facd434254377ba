//! `millpond purge`: drop what a topic holds.

use crate::arguments::{confirm, with_store};
use crate::failure::Failure;
use crate::output;
use millpond::{Offset, Topic};
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
        with_store(&self.dir, |store| self.purge(&store.existing_topic(&self.topic)?))
    }

    /// A store that can't say where the topic ends is an error: it is not taken for an empty topic.
    fn purge(&self, topic: &Topic) -> Result<(), Failure> {
        let (_, end) = topic.bounds()?;
        let before = self.before.map_or(end, Offset::new).min(end);
        confirm(&format!("Drop what {:?} has before offset {before}, for everybody?", topic.name()), self.yes)?;
        let purged = topic.purge(before)?;
        let left = topic.try_stats()?.messages;
        if self.json {
            let line = json!({ "purged": purged, "before": before.get(), "left": left });
            return Ok(output::json_line(&mut io::stdout().lock(), &line)?);
        }
        output::line(&format!("{purged} purged, {left} are left"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::Store;

    #[test]
    fn a_store_that_does_not_answer_is_not_an_empty_topic() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let topic = store.topic("orders").unwrap();
        topic.publish("4711").wait().unwrap();
        let purge = |before| Purge { dir: dir.path().into(), topic: "orders".into(), before, yes: true, json: false };
        store.close().unwrap();
        for before in [None, Some(1)] {
            let failed = purge(before).purge(&topic).unwrap_err();
            assert!(format!("{failed:?}").contains("closed"), "{failed:?}");
        }
    }
}
