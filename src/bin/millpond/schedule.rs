//! `millpond schedule`: what waits for its time in a topic, and calling it off.

use crate::arguments::{self, Offsets, confirm, each, with_store};
use crate::failure::Failure;
use crate::output::{self, Align, Table};
use millpond::Timestamp;
use serde_json::json;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

const AFTER_HELP: &str = r"Examples:
  millpond schedule ls ./pond reminders
  millpond schedule ls ./pond reminders --until 2026-02-01T00:00:00Z --json
  millpond schedule cancel ./pond reminders 17 20-29 --yes";

/// List or cancel the messages of a topic that wait for their time
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Schedule {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List them in the order of time
    Ls {
        /// The store's directory
        dir: PathBuf,
        /// The topic
        topic: String,
        /// Only those due up to this time
        #[arg(long, value_name = "TIME", value_parser = arguments::time)]
        until: Option<Timestamp>,
        /// At most so many
        #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 1000)]
        count: usize,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Drop some of them for every group and every reader
    Cancel {
        /// The store's directory
        dir: PathBuf,
        /// The topic
        topic: String,
        /// Their offsets; ranges like 20-29 have both ends
        #[arg(required = true, value_parser = arguments::offsets)]
        offsets: Vec<Offsets>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

impl Schedule {
    /// Lists or cancels.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Ls { dir, topic, until, count, json } => with_store(&dir, |store| {
                let topic = store.existing_topic(&topic)?;
                let mut out = BufWriter::new(io::stdout().lock());
                let mut table = Table::new(&[("OFFSET", Align::Right), ("DUE", Align::Left), ("BY", Align::Left)]);
                for waiting in topic.scheduled(..=until.unwrap_or(Timestamp::new(u64::MAX))).take(count) {
                    let waiting = waiting?;
                    let by = if waiting.deliver_at { "deliver-at" } else { "delay" };
                    if json {
                        let line = json!({ "offset": waiting.offset.get(), "due": waiting.due.get(), "by": by });
                        output::json_line(&mut out, &line)?;
                    } else {
                        table.row([waiting.offset.to_string(), output::time(waiting.due), by.to_owned()]);
                    }
                }
                if !json {
                    table.write(&mut out)?;
                }
                Ok(out.flush()?)
            }),
            What::Cancel { dir, topic, offsets, yes } => with_store(&dir, |store| {
                let topic = store.existing_topic(&topic)?;
                let offsets = each(&offsets);
                confirm(&format!("Drop {} scheduled messages for everybody?", offsets.len()), yes)?;
                let mut cancelled = 0_u64;
                for offset in &offsets {
                    cancelled += u64::from(topic.cancel(*offset)?);
                }
                let asked = offsets.len();
                output::line(&format!("{cancelled} of {asked} cancelled; the others are due, or not there any more"))
            }),
        }
    }
}
