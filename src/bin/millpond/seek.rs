//! `millpond seek`: move a group to another place of its topic.

use crate::arguments::{self, confirm, group, with_store};
use crate::failure::Failure;
use crate::output;
use millpond::{SeekReport, Start};
use serde_json::json;
use std::io;
use std::path::PathBuf;

const AFTER_HELP: &str = r"Examples:
  millpond seek ./pond orders email earliest --dry-run    what would come again
  millpond seek ./pond orders email 4711 --yes
  millpond seek ./pond orders email 2026-01-31T08:00:00Z --yes

What lies before the new place is settled, dead letters excepted; what lies from
there on is handed out again, whatever became of it. It goes as far back as the
topic's retention kept what its groups had settled.

With --json one object: to, again, skipped, gone, dry_run.";

/// Move a group to another place of its topic
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Seek {
    /// The store's directory
    dir: PathBuf,
    /// The topic
    topic: String,
    /// The group to move
    group: String,
    /// Where to: an offset, `earliest`, `latest`, or a time as 2026-01-31T23:59:59Z
    #[arg(value_name = "OFFSET|earliest|latest|TIME", value_parser = arguments::start)]
    to: Start,
    /// Only say what would come again; nothing is changed
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Seek {
    /// Moves the group, or says what that would do.
    pub(crate) fn run(self) -> Result<(), Failure> {
        with_store(&self.dir, |store| {
            let consumer = group(&store.existing_topic(&self.topic)?, &self.group)?;
            let would = consumer.seek_dry_run(self.to)?;
            if self.dry_run {
                return self.say(&would);
            }
            let question = format!("{} Move the group?", sentence(&would, "would"));
            confirm(&question, self.yes)?;
            self.say(&consumer.seek(self.to)?)
        })
    }

    fn say(&self, report: &SeekReport) -> Result<(), Failure> {
        if self.json {
            let line = json!({
                "to": report.to.get(), "again": report.again, "skipped": report.skipped, "gone": report.gone,
                "dry_run": self.dry_run,
            });
            return Ok(output::json_line(&mut io::stdout().lock(), &line)?);
        }
        output::line(&sentence(report, if self.dry_run { "would" } else { "will" }))
    }
}

fn sentence(report: &SeekReport, would: &str) -> String {
    let SeekReport { to, again, skipped, gone, .. } = report;
    format!(
        "The group {would} go on at offset {to}: {again} messages come again, {skipped} are passed over, {gone} are \
         gone."
    )
}
