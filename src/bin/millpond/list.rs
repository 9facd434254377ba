//! `millpond ls` and `millpond groups`: what there is.

use crate::arguments::with_store;
use crate::failure::Failure;
use crate::{output, overview};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

/// List the topics of a store
#[derive(Debug, clap::Args)]
#[command(after_help = "BACKLOG counts what some group is not done with; all of it if there is no group.")]
pub(crate) struct Ls {
    /// The store's directory
    dir: PathBuf,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl Ls {
    /// Lists them.
    pub(crate) fn run(self) -> Result<(), Failure> {
        with_store(&self.dir, |store| {
            let topics = store.try_stats()?.topics;
            let mut out = BufWriter::new(io::stdout().lock());
            if self.json {
                topics.iter().try_for_each(|topic| output::json_line(&mut out, &overview::topic_line(topic)))?;
            } else {
                overview::topics(&topics).write(&mut out)?;
            }
            Ok(out.flush()?)
        })
    }
}

/// List the groups of a topic, or of all
#[derive(Debug, clap::Args)]
#[command(after_help = "What the columns say is told by `millpond info --help`.")]
pub(crate) struct Groups {
    /// The store's directory
    dir: PathBuf,
    /// The topic; all of them if none is given
    topic: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl Groups {
    /// Lists them.
    pub(crate) fn run(self) -> Result<(), Failure> {
        with_store(&self.dir, |store| {
            let topics = match &self.topic {
                Some(name) => vec![store.existing_topic(name)?.try_stats()?],
                None => store.try_stats()?.topics,
            };
            let mut out = BufWriter::new(io::stdout().lock());
            if self.json {
                for topic in &topics {
                    let mut groups = topic.groups.iter();
                    groups.try_for_each(|group| output::json_line(&mut out, &overview::group_line(topic, group)))?;
                }
            } else {
                overview::groups(&topics).write(&mut out)?;
            }
            Ok(out.flush()?)
        })
    }
}
