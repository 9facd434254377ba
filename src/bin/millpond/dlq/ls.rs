//! `millpond dlq ls`: the dead letters of a group, a line each.

use super::show;
use crate::arguments::{group, with_store_or_beside};
use crate::failure::Failure;
use crate::output::{self, Align, Table};
use millpond::{DeadLetter, DeadLetters, ReadOnlyStore, Store};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

/// Characters of an error text that a terminal is shown.
const TERMINAL_ERROR: usize = 80;

/// List the dead letters of a group
#[derive(Debug, clap::Args)]
pub(crate) struct Ls {
    /// The store's directory
    dir: PathBuf,
    /// The topic
    topic: String,
    /// The group
    group: String,
    /// At most so many
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 1000)]
    count: usize,
    /// One JSON object a line, with everything
    #[arg(long)]
    json: bool,
}

impl Ls {
    /// Lists them in the order of offsets.
    pub(super) fn run(self) -> Result<(), Failure> {
        let own = |store: &Store| self.tell(group(&store.existing_topic(&self.topic)?, &self.group)?.dead_letters());
        let look = |seen: &ReadOnlyStore| self.tell(seen.topic(&self.topic)?.dead_letters(&self.group)?);
        with_store_or_beside(&self.dir, own, look)
    }

    fn tell(&self, letters: DeadLetters) -> Result<(), Failure> {
        let mut out = BufWriter::new(io::stdout().lock());
        let mut table = Table::new(&[
            ("OFFSET", Align::Right),
            ("PARKED", Align::Left),
            ("REASON", Align::Left),
            ("LEASES", Align::Right),
            ("FAILURES", Align::Right),
            ("LAST ERROR", Align::Left),
        ]);
        for letter in letters.take(self.count) {
            let letter = letter?;
            if self.json {
                output::json_line(&mut out, &show::object(&letter))?;
            } else {
                table.row(row(&letter));
            }
        }
        if !self.json {
            table.write(&mut out)?;
        }
        Ok(out.flush()?)
    }
}

fn row(letter: &DeadLetter) -> [String; 6] {
    let width = if io::stdout().is_terminal() { TERMINAL_ERROR } else { usize::MAX };
    let last = letter.errors().last().map(|(_, text)| output::text(text.as_bytes())).unwrap_or_default();
    [
        letter.offset().to_string(),
        output::time(letter.time()),
        format!("{:?}", letter.reason()).to_lowercase(),
        letter.leases().to_string(),
        letter.failures().to_string(),
        output::cut(last, width),
    ]
}
