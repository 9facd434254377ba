//! How much a benchmark was asked to do.

use crate::support::Effort;
use criterion::Criterion;
use std::time::Duration;

/// `cargo bench` says so; without it this is a test that everything works.
fn in_earnest() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Enough for a median that stands still on a machine that doesn't.
pub(crate) fn effort() -> Effort {
    if in_earnest() {
        Effort { rounds: 9, slice: Duration::from_millis(300), messages: 2_000_000 }
    } else {
        Effort { rounds: 1, slice: Duration::from_millis(10), messages: 2_000 }
    }
}

/// Criterion, in less time than it takes by itself.
pub(crate) fn criterion() -> Criterion {
    let criterion = Criterion::default().sample_size(20);
    criterion.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).configure_from_args()
}
