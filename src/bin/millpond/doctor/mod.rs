//! `millpond doctor`: what this machine makes of a promise: file system, limits, room, and how long a sync takes.

mod disk;
mod mount;

use crate::failure::Failure;
use crate::output;
use disk::Syncs;
use serde_json::json;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

const AFTER_HELP: &str = r#"Examples:
  millpond doctor ./pond
  millpond doctor . --json | jq 'select(.kind == "warning") | .text'

It looks at the directory's file system and mount options, its free space, this
process's limits, and writes and syncs one small file of its own there
(millpond-doctor-PID, removed at the end) to see how long a sync takes. It does
not open a store, so it can run beside one.

A sync that takes no time is no proof that it is a lie, and one that takes time
is none that it is not: only pulling the plug tells.

Exit codes:
  0  nothing to complain of
  1  there is a warning
  2  could not look: no such directory, or no permission to write there"#;

/// Fewer open files than this are soon used up: handles of segments and whatever else the process does.
const LEAST_FILES: u64 = 256;
/// Eight segments of the default size.
const LEAST_FREE: u64 = 512 << 20;
/// No disk makes bytes durable faster, unless its cache survives a power cut.
const SUSPICIOUS_MICROS: f64 = 20.0;
/// With one sync after the other, fewer than a hundred messages a second.
const SLOW_MICROS: f64 = 10_000.0;

/// Say what durability this machine gives in a directory
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Doctor {
    /// The store's directory, or the one it is to be in
    dir: PathBuf,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// What was found: facts with their names, and what is to be said about them.
#[derive(Debug, Default)]
struct Findings {
    facts: Vec<(&'static str, String)>,
    warnings: Vec<String>,
}

impl Findings {
    fn fact(&mut self, name: &'static str, value: impl Into<String>) {
        self.facts.push((name, value.into()));
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(text.into());
    }
}

impl Doctor {
    /// Looks and reports.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let refused = |error: io::Error| Failure::refused(format!("{}: {error}", self.dir.display()));
        let dir = self.dir.canonicalize().map_err(refused)?;
        let mut found = Findings::default();
        mount::look(&dir, &mut found);
        let free = disk::free_space(&dir).map_err(refused)?;
        found.fact("free space", output::size(free));
        if free < LEAST_FREE {
            found.warn(format!("{} are free: fewer than eight segments of the default size", output::size(free)));
        }
        limits(&mut found);
        let syncs = disk::measure(&dir).map_err(refused)?;
        found.fact("a sync of 512 bytes", syncs.to_string());
        judge(&syncs, &mut found);
        self.show(&found)?;
        match found.warnings.len() {
            0 => Ok(()),
            1 => Err(Failure::failed("1 warning")),
            many => Err(Failure::failed(format!("{many} warnings"))),
        }
    }

    fn show(&self, found: &Findings) -> Result<(), Failure> {
        let mut out = BufWriter::new(io::stdout().lock());
        for (name, value) in &found.facts {
            if self.json {
                output::json_line(&mut out, &json!({ "kind": "fact", "name": name, "value": value }))?;
            } else {
                writeln!(out, "{name}: {value}")?;
            }
        }
        for text in &found.warnings {
            if self.json {
                output::json_line(&mut out, &json!({ "kind": "warning", "text": text }))?;
            } else {
                writeln!(out, "warning: {text}")?;
            }
        }
        Ok(out.flush()?)
    }
}

fn judge(syncs: &Syncs, found: &mut Findings) {
    if syncs.median < SUSPICIOUS_MICROS {
        found.warn(format!(
            "a sync takes {:.1} us: either this disk's cache survives a power cut, or nothing is made durable at all",
            syncs.median
        ));
    }
    if syncs.median > SLOW_MICROS {
        found.warn("a sync takes longer than 10 ms: publish in batches, or from several threads at a time");
    }
}

/// Limits of this process, as those of another one started from the same place will be.
fn limits(found: &mut Findings) {
    let text = disk::read_text("/proc/self/limits").unwrap_or_default();
    let soft = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.to_owned())
    };
    if let Some(files) = soft("Max open files") {
        if files.parse::<u64>().is_ok_and(|files| files < LEAST_FILES) {
            found.warn(format!("at most {files} files may be open at a time (ulimit -n)"));
        }
        found.fact("open files at most", files);
    }
    for (row, name) in [("Max file size", "file size at most"), ("Max address space", "address space at most")] {
        let Some(limit) = soft(row) else { continue };
        if limit != "unlimited" {
            found.warn(format!("{name}: {limit} bytes; a segment takes 64 MiB by default"));
        }
        found.fact(name, limit);
    }
}
