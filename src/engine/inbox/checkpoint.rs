//! Moving processed ids from memory into the tables, and telling the journal so.
//!
//! In this order: everything that is to enter is durable in the journal; then it is in the tables, durable; then the
//! tables hold the mark that the checkpoint's id is made of, durable; then the journal says up to where they hold
//! everything, and names the id; then the memory is let go. A crash anywhere leaves tables of which the journal names
//! this checkpoint or the one before.

use super::{Fresh, Terms};
use crate::config::Durability;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::{Event, TablesTrusted};
use crate::seen::Seen as Place;
use crate::tables::{Hash, ProcessedKey, Seen};
use crate::types::Lsn;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Rows that are looked at in each checkpoint, whether they have left their window.
const LOOKED_AT: usize = 4096;

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
        let mut nonce: Hash = [0; 16];
        self.environment.entropy.fill(&mut nonce).map_err(|source| Error::io("asking for randomness", source))?;
        let put = super::sorted(frozen);
        let windows = super::windows(&self.open_core()?.state, self.age_now());
        let over = self.sweep_processed(&windows, frozen)?;
        let checkpoint = self.with_tables(|tables| tables.commit(&put, &over, nonce))?;
        let trusted = Event::TablesTrusted(TablesTrusted { upto, checkpoint });
        loop {
            let mut core = self.open_core()?;
            match core.record(&trusted) {
                Ok(_) => {
                    (core.inbox.upto, core.inbox.unmarked) = (upto, false);
                    Place::Checkpointed.note();
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

    /// The keys of some rows that have left their window; the next call looks further on.
    fn sweep_processed(&self, windows: &BTreeMap<u64, Vec<Terms>>, fresh: &Fresh) -> Result<Vec<ProcessedKey>> {
        let mut after = self.swept.lock();
        let from = after.take();
        let (rows, next) = self.with_tables(|tables| tables.scan(from, LOOKED_AT))?;
        *after = next;
        let over = |(key, seen): (ProcessedKey, Seen)| {
            let terms = windows.get(&key.table).map_or(&[][..], Vec::as_slice);
            (!fresh.contains_key(&key) && !terms.iter().any(|terms| terms.covers(seen))).then_some(key)
        };
        Ok(rows.into_iter().filter_map(over).collect())
    }
}
