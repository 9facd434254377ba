//! Half of what the project promises of its speed, measured beside the machine's floor.
//!
//! Not part of an ordinary run, since it takes seconds of a quiet machine:
//! `cargo test --release --test ratios -- --ignored --nocapture`.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in a test, a panic is how it fails")]
#![expect(clippy::disallowed_methods, reason = "what is measured is this machine: its clock, its disk")]
#![expect(clippy::print_stdout, reason = "the table is for whoever reads the log of a failure")]

#[path = "../benches/support/publishing.rs"]
mod publishing;
#[path = "../benches/support/mod.rs"]
mod support;

use std::time::Duration;
use support::{Effort, Row, print};

fn row<'a>(rows: &'a [Row], name: &str) -> &'a Row {
    rows.iter().find(|row| row.name == name).unwrap()
}

#[test]
#[ignore = "measures the machine: a few seconds, in a release build"]
fn publishing_is_at_least_half_as_fast_as_promised() {
    let rows = publishing::rows(Effort { rounds: 5, slice: Duration::from_millis(200), messages: 500_000 });
    print(&rows);
    for (name, least) in [(publishing::DISK_ONE, 0.45), (publishing::DISK_MANY, 4.0)] {
        assert!(row(&rows, name).ratio >= least, "{name}: {:.2}, not {least}", row(&rows, name).ratio);
    }
    if cfg!(debug_assertions) {
        return;
    }
    let os = row(&rows, publishing::OS_ONE).ratio;
    assert!(os >= 0.4, "{}: {os:.2}, not 0.4", publishing::OS_ONE);
    for name in [publishing::MEMORY, publishing::BATCHES] {
        let figure = row(&rows, name).figure;
        assert!(figure >= 1.5e6, "{name}: {figure:.0} a second, not 1.5 million");
    }
}
