//! `millpond tail`: the newest messages of a topic, and those that come, beside whoever has the store open.

use crate::failure::Failure;
use crate::format::{Format, format};
use crate::output;
use crate::peek::Line;
use millpond::{Offset, Record};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

const AFTER_HELP: &str = r#"Examples:
  millpond tail ./pond numbers                  the ten newest
  millpond tail ./pond numbers -f               and those that come, until interrupted
  millpond tail ./pond numbers -f --grep 4711   only those that have this text
  millpond tail ./pond numbers -f --json | jq -r .payload
  millpond tail ./pond numbers --format '%t %o %k %s'

The store is only looked at: whoever has it open goes on undisturbed. A line is
the time, the offset and the payload; --json shows all that `peek --json` does.
A message is shown once it is with the operating system, which can be a moment
before its publisher is told that it is on the disk."#;

/// How often it is looked for new messages.
const EVERY: Duration = Duration::from_millis(200);

/// Show the newest messages of a topic, and follow it
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Tail {
    /// The store's directory
    dir: PathBuf,
    /// The topic to look into
    topic: String,
    /// How many messages to show at first
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 10)]
    count: u64,
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// Only those whose payload, key, id or a header has this text in it
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// A line of your own: %t time, %o offset, %k key, %i id, %h headers, %s payload
    #[arg(long, value_name = "FORMAT", value_parser = format, conflicts_with = "json")]
    format: Option<Format>,
}

impl Tail {
    fn wants(&self, record: &Record) -> bool {
        let Some(text) = self.grep.as_deref().filter(|text| !text.is_empty()) else { return true };
        let has = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        has(record.payload())
            || record.key().is_some_and(has)
            || record.id().is_some_and(has)
            || record.headers().any(|(name, value)| has(name.as_bytes()) || has(value))
    }

    /// Shows, and follows if that is wanted.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let store = crate::keys::options().open_read_only(&self.dir)?;
        let topic = store.topic(&self.topic)?;
        let (first, end) = topic.bounds()?;
        let mut next = Offset::new(end.get().saturating_sub(self.count)).max(first);
        loop {
            let mut out = io::BufWriter::new(io::stdout().lock());
            for record in topic.read(next..) {
                let record = record?;
                next = record.offset().next();
                if !self.wants(&record) {
                    continue;
                }
                match &self.format {
                    Some(format) => writeln!(out, "{}", format.line(&record))?,
                    None if self.json => output::json_line(&mut out, &Line::of(&record))?,
                    None => line(&mut out, &record)?,
                }
            }
            // Whoever reads this is to see it now; one who reads no more ends it.
            out.flush()?;
            drop(out);
            if !self.follow {
                return Ok(());
            }
            while !store.refresh()? {
                std::thread::park_timeout(EVERY);
            }
        }
    }
}

fn line(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let (time, payload) = (output::time(record.time()), output::text(record.payload()));
    writeln!(out, "{time}  {}  {payload}", record.offset())
}
