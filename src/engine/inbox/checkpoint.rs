//! Moving processed ids from memory into the tables, and telling the journal so.
//!
//! In this order: everything that is to enter is durable in the journal; then it is in the tables, durable; then the
//! tables hold the checkpoint's id, durable; then the journal says up to where they hold everything, and names the same
//! id; then the memory is let go. A crash anywhere leaves tables that the journal believes in, or ones that are made
//! anew.

use super::{Fresh, Terms};
use crate::config::Durability;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::{Event, TablesTrusted};
use crate::tables::{Change, Hash, ProcessedKey, Seen};
use crate::types::Lsn;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows that are looked at in each checkpoint, whether they have left their window.
const LOOKED_AT: usize = 4096;

/// Rows that are looked for after each checkpoint, of those that were written before, and how many of them are others
/// each time. sled may lose rows and say nothing: of a loss of many this notices some.
const WATCHED: usize = 64;
const RENEWED: usize = 8;

/// So many segments are replayed at most when a store is opened that acks little.
const MOST_SEGMENTS: u32 = 4;

impl Engine {
    /// Writes processed ids if enough have gathered, or there are any and it is asked for. Whether something was done.
    pub(in crate::engine) fn checkpoint(&self, asked: bool) -> Result<bool> {
        let _alone = self.checkpointing.lock();
        let (frozen, upto) = {
            let mut core = self.open_core()?;
            let limit = self.options.id_memory_bytes;
            let inbox = &core.inbox;
            let behind = core.tail.end().segment().get().saturating_sub(inbox.upto.segment().get());
            let old = behind > MOST_SEGMENTS && core.state.has_processed();
            if !(inbox.unmarked || inbox.is_due(limit) || old || (asked && !inbox.fresh.is_empty())) {
                return Ok(false);
            }
            let frozen = Arc::new(std::mem::take(&mut core.inbox.fresh));
            core.inbox.frozen = Some(frozen.clone());
            (frozen, core.tail.end())
        };
        let outcome = self.write_checkpoint(&frozen, upto);
        let mut core = self.core.lock();
        core.inbox.frozen = None;
        if outcome.is_err() {
            // As if it had not been tried.
            for (key, seen) in &*frozen {
                super::insert(&mut core.inbox.fresh, *key, *seen);
            }
        }
        outcome.map(|()| true)
    }

    fn write_checkpoint(&self, frozen: &Fresh, upto: Lsn) -> Result<()> {
        self.drive(upto, Durability::Disk, None)?;
        let mut checkpoint: Hash = [0; 16];
        self.environment.entropy.fill(&mut checkpoint).map_err(|source| Error::io("asking for randomness", source))?;
        let mut batch: Vec<Change> = Vec::with_capacity(frozen.len());
        batch.extend(frozen.iter().map(|(key, seen)| (key.bytes(), Some(seen.bytes()))));
        batch.sort_unstable();
        let windows = super::windows(&self.open_core()?.state, self.age_now());
        let over = self.sweep_processed(&windows, frozen)?;
        batch.extend(over.into_iter().map(|key| (key, None)));
        self.with_tables(|tables| tables.commit(&batch, checkpoint))?;
        self.look_after(&windows, frozen)?;
        let trusted = Event::TablesTrusted(TablesTrusted { upto, checkpoint });
        loop {
            let mut core = self.open_core()?;
            match core.record(&trusted) {
                Ok(_) => {
                    (core.inbox.upto, core.inbox.unmarked) = (upto, false);
                    self.arm(&mut core, false);
                    return Ok(());
                }
                Err(refusal) => {
                    drop(core);
                    self.relieve(refusal)?;
                }
            }
        }
    }

    /// Looks whether rows of earlier checkpoints are still there. If not, the tables are made anew.
    fn look_after(&self, windows: &BTreeMap<u64, Vec<Terms>>, fresh: &Fresh) -> Result<()> {
        let mut watched = self.watched.lock();
        let kept = |key: &ProcessedKey, seen: &Seen| {
            windows.get(&key.table).is_some_and(|terms| terms.iter().any(|terms| terms.covers(*seen)))
        };
        watched.retain(|(key, seen)| kept(key, seen));
        self.with_tables(|tables| super::open::look_for(tables, &watched))?;
        let mut some: Vec<(ProcessedKey, Seen)> = fresh.iter().map(|(key, seen)| (*key, *seen)).collect();
        some.retain(|(key, seen)| kept(key, seen));
        // By the hash: any of them, and the same ones whenever the same is done.
        some.sort_unstable_by_key(|(key, _)| key.id);
        let over = (watched.len() + RENEWED).saturating_sub(WATCHED).min(watched.len());
        watched.drain(..over);
        watched.extend(some.into_iter().take(RENEWED));
        Ok(())
    }

    /// The keys of some rows that have left their window; the next call looks further on.
    fn sweep_processed(&self, windows: &BTreeMap<u64, Vec<Terms>>, fresh: &Fresh) -> Result<Vec<Vec<u8>>> {
        let mut after = self.swept.lock();
        let from = after.take();
        let rows = self.with_tables(|tables| tables.scan(from.as_deref(), LOOKED_AT))?;
        if rows.len() == LOOKED_AT {
            *after = rows.last().map(|(key, _)| key.clone());
        }
        let over = |(key, row): (Vec<u8>, Vec<u8>)| {
            let (known, seen) = (ProcessedKey::take(&key)?, Seen::take(&row)?);
            let terms = windows.get(&known.table).map_or(&[][..], Vec::as_slice);
            (!fresh.contains_key(&known) && !terms.iter().any(|terms| terms.covers(seen))).then_some(key)
        };
        Ok(rows.into_iter().filter_map(over).collect())
    }
}
