//! Handing out: a message whose id the group has processed is settled instead, and counted.

use super::Terms;
use crate::engine::deliver::Leased;
use crate::engine::removal::Whom;
use crate::engine::{Core, Engine};
use crate::error::Result;
use crate::event::Cause;
use crate::tables::Hash;
use crate::types::{GroupId, Offset};

impl Engine {
    /// What a group keeps of processed ids, if it does.
    pub(in crate::engine) fn inbox_of(&self, core: &Core, group: GroupId) -> Option<Terms> {
        core.inbox_terms(group, || self.age_now())
    }

    /// Leaves out those whose id was processed, settles them, and notes the ids of the others for their acks.
    pub(in crate::engine) fn leave_out_processed(
        &self,
        group: GroupId,
        terms: &Terms,
        leased: Vec<Leased>,
    ) -> Result<Vec<Leased>> {
        let hash = |leased: &Leased| leased.record.id().map(|id| self.hash(id));
        let hashes: Vec<Option<Hash>> = leased.iter().map(hash).collect();
        let ids: Vec<Hash> = hashes.iter().flatten().copied().collect();
        if ids.is_empty() {
            return Ok(leased);
        }
        let mut processed = self.processed_among(terms, &ids)?.into_iter();
        let (mut left, mut over) = (Vec::with_capacity(leased.len()), Vec::new());
        let mut held = Vec::with_capacity(ids.len());
        for (leased, hash) in leased.into_iter().zip(hashes) {
            let at = (leased.record.offset(), leased.epoch);
            match hash {
                Some(_) if processed.next() == Some(true) => over.push(at),
                Some(hash) => {
                    held.push((at.0, hash));
                    left.push(leased);
                }
                None => left.push(leased),
            }
        }
        let mut core = self.open_core()?;
        core.inbox.held.extend(held.into_iter().map(|(offset, hash)| ((group, offset), hash)));
        drop(core);
        self.settle_processed(group, &over)?;
        Ok(left)
    }

    /// Settles messages that were granted and that nobody has seen: their ids were processed before.
    fn settle_processed(&self, group: GroupId, granted: &[(Offset, u64)]) -> Result<()> {
        let mut offsets = Vec::new();
        {
            let mut core = self.open_core()?;
            let Some(held) = core.state.group_mut(group) else { return Ok(()) };
            for (offset, epoch) in granted {
                if held.forget_lease(*offset, *epoch) {
                    offsets.push(*offset);
                }
            }
        }
        offsets.sort_unstable();
        while !offsets.is_empty() {
            let mut core = self.open_core()?;
            let Some(held) = core.state.group(group) else { return Ok(()) };
            // Somebody else may have been given one in between: it is settled when that one's turn is over.
            offsets.retain(|offset| held.lease(*offset).is_none() && held.is_open(*offset));
            if offsets.is_empty() {
                break;
            }
            match core.remove(Whom::Group(group), Cause::Processed, crate::engine::settle::runs(&offsets)) {
                Ok(_) => {
                    self.arm(&mut core, false);
                    let topic = core.state.group(group).map(|held| held.topic());
                    topic.into_iter().for_each(|topic| self.touched(&mut core, topic));
                    break;
                }
                Err(refusal) => {
                    drop(core);
                    self.relieve(refusal)?;
                }
            }
        }
        Ok(())
    }

    /// So many processed ids have gathered that nothing more may be handed out before some of them are written.
    pub(in crate::engine) fn inbox_is_full(&self, core: &Core, group: GroupId) -> bool {
        core.inbox.is_full(self.options.id_memory_bytes) && core.state.group(group).is_some_and(super::keeps)
    }
}
