//! `millpond dlq redrive` and `millpond dlq purge`: another life for dead letters, or an end.

use crate::arguments::{self, Offsets, confirm, each, group, with_store};
use crate::failure::Failure;
use crate::output;
use millpond::{Consumer, DeadLetter, Purge, Redrive, Swept};
use serde_json::json;
use std::io;
use std::path::PathBuf;

/// Make dead letters deliverable again, for this group only
#[derive(Debug, clap::Args)]
pub(crate) struct Redriving {
    #[command(flatten)]
    which: Which,
    /// So many a second at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

/// Drop dead letters for good, for this group only
#[derive(Debug, clap::Args)]
pub(crate) struct Purging {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The store's directory
    dir: PathBuf,
    /// The topic
    topic: String,
    /// The group
    group: String,
    /// Only these offsets; ranges like 20-29 have both ends
    #[arg(value_parser = arguments::offsets, conflicts_with = "text")]
    offsets: Vec<Offsets>,
    /// Only those whose last error has this text in it
    #[arg(long = "match", value_name = "TEXT")]
    text: Option<String>,
    /// All of them
    #[arg(long, conflicts_with_all = ["offsets", "text"])]
    all: bool,
    /// Only say how many it would be
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Which {
    fn run(
        &self,
        question: &str,
        done: &str,
        sweep: impl Fn(&Consumer, bool) -> millpond::Result<Swept>,
    ) -> Result<(), Failure> {
        if !self.all && self.offsets.is_empty() && self.text.is_none() {
            return Err(Failure::refused("say which: offsets, --match TEXT, or --all"));
        }
        with_store(&self.dir, |store| {
            let consumer = group(&store.existing_topic(&self.topic)?, &self.group)?;
            let would = sweep(&consumer, true)?;
            if self.dry_run {
                return self.say(would, "would be ", done);
            }
            confirm(&format!("{question} {} dead letters?", would.matched), self.yes)?;
            self.say(sweep(&consumer, false)?, "", done)
        })
    }

    fn say(&self, swept: Swept, would: &str, done: &str) -> Result<(), Failure> {
        let Swept { matched, changed, .. } = swept;
        if self.json {
            let line = json!({ "matched": matched, "changed": changed, "dry_run": self.dry_run });
            return Ok(output::json_line(&mut io::stdout().lock(), &line)?);
        }
        output::line(&format!("{} {would}{done}", if self.dry_run { matched } else { changed }))
    }

    /// Whether the letter is one of those with the text.
    fn has_text(&self, letter: &DeadLetter) -> bool {
        let Some(text) = &self.text else { return true };
        letter.errors().last().is_some_and(|(_, error)| error.contains(text.as_str()))
    }
}

impl Redriving {
    /// Redrives, or says how many it would be.
    pub(super) fn run(self) -> Result<(), Failure> {
        self.which.run("Redrive", "redriven", |consumer, dry_run| {
            let mut redrive = match (&self.which.offsets[..], &self.which.text) {
                ([], None) => Redrive::all(),
                ([], Some(_)) => Redrive::matching(|letter| self.which.has_text(letter)),
                (offsets, _) => Redrive::offsets(each(offsets)),
            };
            if let Some(rate) = self.rate {
                redrive = redrive.per_second(rate);
            }
            consumer.redrive(if dry_run { redrive.dry_run() } else { redrive })
        })
    }
}

impl Purging {
    /// Purges, or says how many it would be.
    pub(super) fn run(self) -> Result<(), Failure> {
        self.which.run("Drop for good", "dropped", |consumer, dry_run| {
            let purge = match (&self.which.offsets[..], &self.which.text) {
                ([], None) => Purge::all(),
                ([], Some(_)) => Purge::matching(|letter| self.which.has_text(letter)),
                (offsets, _) => Purge::offsets(each(offsets)),
            };
            consumer.purge(if dry_run { purge.dry_run() } else { purge })
        })
    }
}
