//! `millpond repair`: make a damaged store open again, and say what is lost.

use crate::failure::Failure;
use crate::output;
use millpond::Repaired;
use serde_json::json;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

const AFTER_HELP: &str = r#"Examples:
  cp -a ./pond ./pond.copy && millpond repair ./pond
  millpond repair ./pond --json | jq -r 'select(.kind == "lost")'

Nothing is deleted. Damaged files stay beside the store's own as
NAME.damaged-N, the report stays in the directory as repair-N.txt, and both can
be removed when nobody needs them any more. Messages that are whole keep their
offsets; lost ones are passed over and counted. Acks in damaged places are lost
too: messages may come again.

A repair that was cut short is finished by the next one. A store that is whole is
left as it is.

With --json each damaged place ("kind": "damage"), each run of lost messages
("lost"), each file that was moved ("quarantined") and each note is a line, and
the last line is the summary ("kind": "summary").

Exit codes:
  0  whole, or repaired without losing a message that somebody still wanted
  1  repaired, and messages are lost
  2  could not be repaired: no store there, no permission, locked by its owner, or
     not enough is left"#;

/// Make a damaged store open again, and say what is lost
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Repair {
    /// The store's directory
    dir: PathBuf,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

impl Repair {
    /// Repairs and reports.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let repaired = crate::keys::options().repair(&self.dir).map_err(|error| Failure::from(error).into_refused())?;
        let lost = repaired.lost_messages();
        self.show(&repaired)?;
        if lost == 0 { Ok(()) } else { Err(Failure::failed(format!("{lost} messages are lost"))) }
    }

    fn show(&self, repaired: &Repaired) -> Result<(), Failure> {
        let mut out = BufWriter::new(io::stdout().lock());
        if self.json {
            for place in &repaired.damage {
                let line = json!({
                    "kind": "damage", "file": place.file, "from": place.from, "to": place.to, "what": place.what,
                });
                output::json_line(&mut out, &line)?;
            }
            for (topic, first, last) in &repaired.lost {
                let line = json!({ "kind": "lost", "topic": topic, "first": first.get(), "last": last.get() });
                output::json_line(&mut out, &line)?;
            }
            for file in &repaired.quarantined {
                output::json_line(&mut out, &json!({ "kind": "quarantined", "file": file }))?;
            }
            for note in &repaired.notes {
                output::json_line(&mut out, &json!({ "kind": "note", "text": note }))?;
            }
            let line = json!({
                "kind": "summary", "repaired": repaired.report.is_some(), "resumed": repaired.resumed,
                "lost": repaired.lost_messages(), "report": repaired.report,
            });
            output::json_line(&mut out, &line)?;
            return Ok(out.flush()?);
        }
        let Some(report) = &repaired.report else {
            writeln!(out, "whole: there is nothing to repair")?;
            return Ok(out.flush()?);
        };
        if repaired.resumed {
            writeln!(out, "an earlier repair that was cut short is finished; its report says what it found")?;
        }
        for place in &repaired.damage {
            writeln!(out, "damage: {place}")?;
        }
        for (topic, first, last) in &repaired.lost {
            writeln!(out, "lost: topic {topic:?} offsets {first}..={last}")?;
        }
        for file in &repaired.quarantined {
            writeln!(out, "moved aside: {file}")?;
        }
        for note in &repaired.notes {
            writeln!(out, "note: {note}")?;
        }
        writeln!(out, "repaired: {} messages are lost; the report is {report}", repaired.lost_messages())?;
        Ok(out.flush()?)
    }
}
