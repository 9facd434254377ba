//! Numbers about ids.

use super::Ids;
use crate::engine::Engine;
use crate::error::Result;

/// Numbers about the ids that a store remembers; see [`Store::id_stats`](crate::Store::id_stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdStats {
    /// Ids of published messages that are remembered, those that have left their window and are still on disk included.
    pub published: u64,
    /// Bytes of memory they take.
    pub memory_bytes: u64,
    /// Bytes of disk they take, besides the journal.
    pub disk_bytes: u64,
    /// Publishes that were answered as duplicates since the store was opened.
    pub duplicates: u64,
    /// Publishes that were refused since then because their id had another payload before.
    pub reused: u64,
    /// Ids that were forgotten before their window ended, since then, because of
    /// [`Options::id_budget`](crate::Options::id_budget).
    pub forgotten: u64,
    /// Times since then that ids could not be read and were taken from the journal again.
    pub mended: u64,
    /// Ids of processed messages that came since they were last written to their table.
    pub processed_in_memory: u64,
}

impl Engine {
    /// The numbers now.
    pub(crate) fn id_stats(&self) -> Result<IdStats> {
        let core = self.open_core()?;
        let Ids { active, frozen, runs, counts, .. } = &core.ids;
        let in_memory = frozen.iter().map(|frozen| frozen.delta.len()).sum::<usize>() + active.len();
        Ok(IdStats {
            published: runs.rows.saturating_add(in_memory as u64),
            memory_bytes: core.ids.memory() as u64,
            disk_bytes: runs.disk,
            duplicates: counts.duplicates,
            reused: counts.reused,
            forgotten: counts.forgotten,
            mended: counts.mended,
            processed_in_memory: core.inbox.len() as u64,
        })
    }
}
