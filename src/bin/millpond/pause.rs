//! `millpond pause` and `millpond resume`.

use crate::arguments::{self, group, with_store};
use crate::failure::Failure;
use crate::{output, overview};
use millpond::Timestamp;
use std::path::PathBuf;
use std::time::Duration;

/// Have a group hand out nothing, until it is resumed or for a while
#[derive(Debug, clap::Args)]
#[command(after_help = r"Examples:
  millpond pause ./pond orders email
  millpond pause ./pond orders email --for 2h
  millpond pause ./pond orders email --until 2026-01-31T08:00:00Z

A pause outlives the process. Publishing goes on, and what is handed out already
can be settled.")]
pub(crate) struct Pause {
    /// The store's directory
    dir: PathBuf,
    /// The topic
    topic: String,
    /// The group
    group: String,
    /// For so long, as 90s, 10m or 2h
    #[arg(long = "for", value_name = "SPAN", value_parser = humantime::parse_duration, conflicts_with = "until")]
    span: Option<Duration>,
    /// Up to this time, as 2026-01-31T23:59:59Z
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    until: Option<Timestamp>,
}

impl Pause {
    /// Pauses the group.
    pub(crate) fn run(self) -> Result<(), Failure> {
        with_store(&self.dir, |store| {
            let consumer = group(&store.existing_topic(&self.topic)?, &self.group)?;
            match (self.span, self.until) {
                (Some(span), _) => consumer.pause_for(span)?,
                (None, Some(until)) => consumer.pause_until(until)?,
                (None, None) => consumer.pause()?,
            }
            match consumer.try_stats()?.paused_until {
                Some(until) => output::line(&format!("paused: {}", overview::paused(until))),
                None => output::line("not paused: that time is over"),
            }
        })
    }
}

/// End the pause of a group
#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    /// The store's directory
    dir: PathBuf,
    /// The topic
    topic: String,
    /// The group
    group: String,
}

impl Resume {
    /// Lets the group go on.
    pub(crate) fn run(self) -> Result<(), Failure> {
        with_store(&self.dir, |store| {
            let consumer = group(&store.existing_topic(&self.topic)?, &self.group)?;
            let was_paused = consumer.try_stats()?.paused_until.is_some();
            consumer.resume()?;
            output::line(if was_paused { "resumed" } else { "it was not paused" })
        })
    }
}
