//! `millpond dump`: show the journal frame by frame.

use crate::failure::Failure;
use crate::output;
use millpond::{Dumped, Lsn, Position, SegmentId};
use serde_json::json;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

const AFTER_HELP: &str = r#"Examples:
  millpond dump ./pond | less
  millpond dump ./pond --from 3:8192
  millpond dump ./pond --json | jq -r '.events[]?.kind' | sort | uniq -c

Each frame is a line with its place (segment:byte), its length, and a line for
each event in it. Payloads are not shown (see `peek`). It changes nothing, and
works on a store that is damaged: damaged places are lines too; and beside whoever
has the store open: what is there when its turn comes is shown.

Exit codes:
  0  shown
  1  shown, and there is damage
  2  not shown: no store there, or no permission"#;

/// Show the journal frame by frame
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Dump {
    /// The store's directory
    dir: PathBuf,
    /// Where to begin, as it is shown: SEGMENT:BYTE
    #[arg(long, value_name = "LSN", default_value = "0:0", value_parser = lsn)]
    from: Lsn,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

fn lsn(argument: &str) -> Result<Lsn, String> {
    let parse = || {
        let (segment, position) = argument.split_once(':')?;
        let (segment, position) = (segment.parse().ok()?, position.parse().ok()?);
        Some(Lsn::new(SegmentId::new(segment), Position::new(position)))
    };
    parse().ok_or_else(|| "not a place in the journal, as 3:8192".to_owned())
}

impl Dump {
    /// Shows everything from `from` on.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let entries =
            crate::keys::options().dump(&self.dir, self.from).map_err(|error| Failure::from(error).into_refused())?;
        let mut out = BufWriter::new(io::stdout().lock());
        let mut damaged = false;
        for entry in entries {
            let entry = entry?;
            damaged |= matches!(entry, Dumped::Damage(_));
            if self.json { json_entry(&mut out, &entry)? } else { text_entry(&mut out, &entry)? }
        }
        out.flush()?;
        if damaged { Err(Failure::failed(format!("{} is damaged", self.dir.display()))) } else { Ok(()) }
    }
}

fn text_entry(out: &mut impl Write, entry: &Dumped) -> io::Result<()> {
    match entry {
        Dumped::Frame(frame) => {
            let snapshot = if frame.snapshot { ", piece of a snapshot" } else { "" };
            writeln!(out, "{} {} bytes, durable up to {}{snapshot}", frame.lsn, frame.length, frame.durable)?;
            for (kind, fields) in &frame.events {
                writeln!(out, "    {kind} {}", output::text(fields.as_bytes()))?;
            }
            Ok(())
        }
        Dumped::Damage(damage) => writeln!(out, "damage: {damage}"),
        other => writeln!(out, "{other:?}"),
    }
}

fn json_entry(out: &mut impl Write, entry: &Dumped) -> io::Result<()> {
    let line = match entry {
        Dumped::Frame(frame) => {
            let events = frame.events.iter().map(|(kind, fields)| json!({ "kind": kind, "fields": fields }));
            json!({
                "kind": "frame", "lsn": frame.lsn.to_string(), "length": frame.length,
                "durable": frame.durable.to_string(), "snapshot": frame.snapshot, "events": events.collect::<Vec<_>>(),
            })
        }
        Dumped::Damage(place) => {
            json!({ "kind": "damage", "file": place.file, "from": place.from, "to": place.to, "what": place.what })
        }
        other => json!({ "kind": "other", "text": format!("{other:?}") }),
    };
    output::json_line(out, &line)
}
