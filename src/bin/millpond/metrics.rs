//! `millpond metrics`: the numbers of a store as Prometheus reads them, beside whoever has it open.

use crate::failure::Failure;
use millpond::Store;
use std::io::{self, Write};
use std::path::PathBuf;

const AFTER_HELP: &str = r"Examples:
  millpond metrics ./pond
  millpond metrics ./pond > /var/lib/node_exporter/millpond.prom

The store is only looked at: whoever has it open goes on undisturbed. So these
are gauges, and the counters that the store keeps on disk. What the owner counts
in memory (rates, times, syncs), only the owner can tell: a program shows it with
`Store::metrics`. So it is with leases: `millpond_ready` counts what is handed out
too, which its HELP line says, and there is no `millpond_leased`.";

/// Show the numbers of a store as Prometheus reads them
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Metrics {
    /// The store's directory
    dir: PathBuf,
}

impl Metrics {
    /// Looks and shows.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let page = Store::open_read_only(&self.dir)?.stats()?.to_prometheus();
        Ok(io::stdout().lock().write_all(page.as_bytes())?)
    }
}
