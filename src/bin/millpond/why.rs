//! `millpond why`: what a message is waiting for.

use crate::arguments::{group, with_store};
use crate::failure::Failure;
use crate::output;
use millpond::Offset;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Examples:
  millpond why ./pond orders email 4711

Says in one sentence what the message at this offset waits for in this group: a
consumer, its time, a pause, or nothing any more.";

/// Say what a message of a group is waiting for
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Why {
    /// The store's directory
    dir: PathBuf,
    /// The topic
    topic: String,
    /// The group
    group: String,
    /// The message's offset
    offset: u64,
}

impl Why {
    /// Says it.
    pub(crate) fn run(self) -> Result<(), Failure> {
        with_store(&self.dir, |store| {
            let consumer = group(&store.existing_topic(&self.topic)?, &self.group)?;
            output::line(&consumer.why(Offset::new(self.offset))?.to_string())
        })
    }
}
