//! The one order in which rows enter a store of rows: every row is durable, and the names of the files they are in,
//! before the last row is put in, which is the mark of the commit, and that is durable before the commit is over.
//! Whoever commits then says so in the journal; so tables that hold what the journal names hold everything.

use super::Change;
use std::io::Result;

/// Rows that are put in at a time.
const BATCH: usize = 4096;

/// What a store of rows can do.
pub(super) trait Steps {
    /// Puts rows in, or takes them out. Nothing is promised of them by that.
    fn put(&self, rows: &[Change]) -> Result<()>;

    /// Hands what was put in to the system.
    fn flush(&self) -> Result<()>;

    /// Makes what the system was handed durable, but for the names of files.
    fn sync_files(&self) -> Result<()>;

    /// Makes the names of files durable.
    fn sync_names(&self) -> Result<()>;

    /// Puts the last row in. Nothing is promised of it by that.
    fn mark(&self, last: &Change) -> Result<()>;
}

/// See the module.
pub(super) fn commit(steps: &impl Steps, batch: &[Change], last: &Change) -> Result<()> {
    for rows in batch.chunks(BATCH) {
        steps.put(rows)?;
    }
    make_durable(steps)?;
    steps.mark(last)?;
    make_durable(steps)
}

fn make_durable(steps: &impl Steps) -> Result<()> {
    steps.flush()?;
    steps.sync_files()?;
    steps.sync_names()
}
