//! `millpond verify`: read every byte of a store that is not open, and say what is damaged.

use crate::failure::Failure;
use crate::output::{self, ProgressLine};
use millpond::{Damage, ErrorKind, Store};
use serde_json::json;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

const AFTER_HELP: &str = r#"Examples:
  millpond verify ./pond && cp -a ./pond /backup/
  millpond verify ./pond --json | jq -r 'select(.kind == "damage") | .what'

It changes nothing, and works on a store that refuses to open. The store must
not be open elsewhere.

With --json each damaged place is a line ("kind": "damage") and the last line
is the verdict ("kind": "verdict").

Exit codes:
  0  intact
  1  damaged
  2  could not be checked: no store there, no permission, or locked by its owner"#;

/// Read every byte of a store and say what is damaged
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Verify {
    /// The store's directory
    dir: PathBuf,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Reads everything and reports.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut line = ProgressLine::new();
        let checked = Store::verify(&self.dir, |progress| {
            line.show(|| {
                let (done, total) = (output::size(progress.done_bytes), output::size(progress.total_bytes));
                format!("verifying: {done} of {total}")
            });
        });
        line.clear();
        let (damage, counts) = match checked {
            Ok(report) => {
                let counts = json!({
                    "kind": "verdict", "intact": report.damage.is_empty(), "segments": report.segments,
                    "frames": report.frames, "topics": report.topics, "messages": report.messages,
                });
                let text = format!(
                    "segments: {}, frames: {}, topics: {}, messages: {}",
                    report.segments, report.frames, report.topics, report.messages
                );
                (report.damage, (counts, text))
            }
            // So much is damaged that nothing could be counted: that is an answer too, not a failure to check.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let counts = json!({ "kind": "verdict", "intact": false, "error": error.to_string() });
                (error.damage().to_vec(), (counts, error.to_string()))
            }
            Err(error) => return Err(Failure::from(error).into_refused()),
        };
        let intact = counts.0.get("intact") == Some(&json!(true));
        self.show(&damage, &counts.0, &counts.1, intact)?;
        if intact { Ok(()) } else { Err(Failure::failed(format!("{} is damaged", self.dir.display()))) }
    }

    fn show(&self, damage: &[Damage], verdict: &serde_json::Value, text: &str, intact: bool) -> Result<(), Failure> {
        let mut out = BufWriter::new(io::stdout().lock());
        for place in damage {
            if self.json {
                let messages = place.messages.iter();
                let messages: Vec<_> = messages
                    .map(|(topic, first, last)| json!({ "topic": topic, "first": first.get(), "last": last.get() }))
                    .collect();
                let line = json!({
                    "kind": "damage", "file": place.file, "from": place.from, "to": place.to, "what": place.what,
                    "messages": messages,
                });
                output::json_line(&mut out, &line)?;
            } else {
                writeln!(out, "damaged: {place}")?;
            }
        }
        if self.json {
            output::json_line(&mut out, verdict)?;
        } else if intact {
            writeln!(out, "intact: {text}")?;
        } else {
            writeln!(out, "not intact: {text}")?;
        }
        Ok(out.flush()?)
    }
}
