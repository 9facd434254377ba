//! `millpond verify`: read every byte of a store, and say what is damaged.

use crate::failure::Failure;
use crate::output::{self, ProgressLine};
use millpond::{Damage, ErrorKind, Report};
use serde_json::json;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

const AFTER_HELP: &str = r#"Examples:
  millpond verify ./pond && cp -a ./pond /backup/
  millpond verify ./pond --json | jq -r 'select(.kind == "damage") | .what'

It changes nothing, and works on a store that refuses to open, and beside one
who has it open.

With --json each damaged place is a line ("kind": "damage", or "snapshot-damage"
if no message is lost with it), and the last line is the verdict ("kind":
"verdict").

Exit codes:
  0  intact
  1  damaged
  2  could not be checked: no store there, or no permission"#;

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
        let checked = crate::keys::options().verify(&self.dir, |progress| {
            line.show(|| {
                let (done, total) = (output::size(progress.done_bytes), output::size(progress.total_bytes));
                format!("verifying: {done} of {total}")
            });
        });
        line.clear();
        let verdict = match checked {
            Ok(report) => Verdict::of(report),
            // So much is damaged that nothing could be counted: that is an answer too, not a failure to check.
            Err(error) if error.kind() == ErrorKind::Corrupt => Verdict {
                damage: error.damage().iter().map(|place| ("damage", place.clone())).collect(),
                intact: false,
                line: json!({ "kind": "verdict", "intact": false, "error": error.to_string() }),
                text: error.to_string(),
            },
            Err(error) => return Err(Failure::from(error).into_refused()),
        };
        self.show(&verdict)?;
        if verdict.intact { Ok(()) } else { Err(Failure::failed(format!("{} is damaged", self.dir.display()))) }
    }

    fn show(&self, verdict: &Verdict) -> Result<(), Failure> {
        let mut out = BufWriter::new(io::stdout().lock());
        for (kind, place) in &verdict.damage {
            if self.json {
                let messages = place.messages.iter();
                let messages: Vec<_> = messages
                    .map(|(topic, first, last)| json!({ "topic": topic, "first": first.get(), "last": last.get() }))
                    .collect();
                let line = json!({
                    "kind": kind, "file": place.file, "from": place.from, "to": place.to, "what": place.what,
                    "messages": messages,
                });
                output::json_line(&mut out, &line)?;
            } else {
                writeln!(out, "{kind}: {place}")?;
            }
        }
        if self.json {
            output::json_line(&mut out, &verdict.line)?;
        } else {
            writeln!(out, "{}: {}", if verdict.intact { "intact" } else { "not intact" }, verdict.text)?;
        }
        Ok(out.flush()?)
    }
}

/// What there is to show, for people and for programs.
struct Verdict {
    /// Each with its kind: what is in a snapshot costs time to rebuild, but no message.
    damage: Vec<(&'static str, Damage)>,
    intact: bool,
    line: serde_json::Value,
    text: String,
}

impl Verdict {
    fn of(report: Report) -> Self {
        let intact = report.damage.is_empty() && report.snapshot_damage.is_empty();
        let (segments, frames, messages) = (report.segments, report.frames, report.messages);
        let torn = report.torn.map(|torn| (torn.from.to_string(), torn.to.to_string()));
        let mut text = format!("segments: {segments}, frames: {frames}, messages: {messages}");
        if let Some((from, to)) = &torn {
            text.push_str(&format!(
                "\nan unfinished write from {from} to {to}, of which nobody was told that it was stored; \
                 the next opening removes it"
            ));
        } else if !report.clean {
            text.push_str("\nthe last process that had it open did not close it, which is no damage");
        }
        let line = json!({
            "kind": "verdict", "intact": intact, "clean": report.clean, "segments": segments, "frames": frames,
            "messages": messages, "torn": torn,
        });
        let damage = report.damage.into_iter().map(|place| ("damage", place));
        let snapshots = report.snapshot_damage.into_iter().map(|place| ("snapshot-damage", place));
        Self { damage: damage.chain(snapshots).collect(), intact, line, text }
    }
}
