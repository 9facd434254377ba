//! `millpond backup`: a copy of a store, made beside whoever has it open.

use crate::failure::Failure;
use crate::output;
use std::io::{self, Write};
use std::path::PathBuf;

const AFTER_HELP: &str = r#"Examples:
  millpond backup ./pond /backup/pond-monday
  millpond backup ./pond ./pond.copy && millpond verify ./pond.copy

The store may be open elsewhere, and goes on meanwhile: the backup is as of one
moment. Full segments are linked where the file system can, which takes no time
and no space; elsewhere they are copied. To restore, copy the backup to where the
store is to be. Nothing is left of a backup that failed."#;

/// Copy a store while it is in use
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Backup {
    /// The store's directory
    dir: PathBuf,
    /// Where the copy goes: a directory that is empty or absent
    to: PathBuf,
}

impl Backup {
    /// Makes it, and says what it took.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let made = crate::keys::options().open_read_only(&self.dir)?.backup(&self.to)?;
        let (segments, linked, copied) = (made.segments, made.linked, output::size(made.copied_bytes));
        let mut out = io::stdout().lock();
        writeln!(out, "{segments} segments, {linked} of them linked, {copied} copied; as of {}", made.end)?;
        Ok(out.flush()?)
    }
}
