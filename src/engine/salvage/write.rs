//! Writing what a plan says, beside the store.
//!
//! Messages that are carried over once more may be most of what the store holds: they are read while they are written,
//! and go on in further segments where one is full. So a repair holds one frame of them in memory at a time, twice.

use super::super::Environment;
use super::copies::Again;
use super::inventory::Inventory;
use super::plan::Plan;
use crate::clock::Entropy;
use crate::config::Keys;
use crate::error::{Error, Result};
use crate::journal::{
    DIRECTORY, Last, Nonces, Onward, Patch, Place, Recovery, SEGMENT_HEADER, STAND_IN, SegmentKey, Snapshots,
    begin_again, repaired_name, stand_in,
};
use crate::storage::{EntryKind, Storage};
use crate::types::{SegmentId, StoreId, Timestamp};
use std::io;

/// How segments are made that the store did not have.
pub(super) struct Further {
    store: StoreId,
    keys: Keys,
    base: Timestamp,
    snapshots: Snapshots,
    /// The segment that the journal ends in, and how.
    end: SegmentId,
    last: Last,
    /// As large as the store's own, unless a message is larger.
    capacity: u32,
    next: SegmentId,
}

impl Further {
    pub(super) fn of(recovery: &Recovery, found: &Inventory) -> Self {
        let segments = &recovery.listing.segments;
        let end = found.visited.last().map(|visit| visit.id).unwrap_or_default();
        let named = found.visited.iter().map(|visit| visit.id).chain(recovery.gone.needed.iter().copied());
        let sealed = found.seals.values().map(|seal| seal.successor);
        let sidecars = recovery.listing.sidecars.iter().copied();
        // A number is never used twice, whatever became of what had it.
        let highest = named.chain(sealed).chain(sidecars).chain([recovery.listing.highest()]).max().unwrap_or_default();
        Self {
            store: recovery.store,
            keys: recovery.keys.clone(),
            base: segments.get(&end).or(segments.values().next_back()).map_or(Timestamp::ZERO, |segment| segment.base),
            snapshots: found.newest_snapshots,
            end,
            last: if found.closed { Last::Closed } else { Last::Open },
            capacity: segments.values().map(|segment| segment.capacity).max().unwrap_or(STAND_IN),
            next: SegmentId(highest.get().saturating_add(1)),
        }
    }

    /// The next one.
    fn begin(&mut self, entropy: &dyn Entropy) -> Result<Patch> {
        let (previous, id) = (self.end, self.next);
        self.next = SegmentId(id.get().saturating_add(1));
        self.end = id;
        let random = |source| Error::io("asking for randomness", source);
        let mut salt = [0; 8];
        entropy.fill(&mut salt).map_err(random)?;
        let place = Place { store: self.store, id, salt: u64::from_le_bytes(salt), base: self.base };
        let mut segment = stand_in(place, SegmentKey::fresh(&self.keys, place, entropy).map_err(random)?);
        segment.capacity = self.capacity;
        let more = vec![begin_again(previous, self.snapshots)];
        Ok(Patch { segment, source: None, gaps: Vec::new(), end: SEGMENT_HEADER, more, last: self.last })
    }
}

/// Writes the segments of a plan, and what is carried over behind them, under names that nobody looks at.
pub(super) fn write(environment: &Environment, plan: &Plan, mut further: Further, again: Again<'_>) -> Result<()> {
    let (storage, store) = (&*environment.storage, further.store);
    let mut bodies = again.map(|body| body.map_err(io::Error::other));
    let mut onward = Onward::new(&mut bodies, further.next);
    let write = |patch: &Patch, onward: Option<&mut Onward<'_>>| {
        let failed = |source| Error::io(format!("writing {}", repaired_name(patch.segment.id)), source);
        let nonces = Nonces::begin(environment.entropy.clone()).map_err(failed)?;
        patch.write(storage, store, nonces, onward).map_err(failed)
    };
    for patch in plan.patches.iter().filter(|patch| patch.segment.id != further.end) {
        write(patch, None)?;
    }
    if let Some(last) = plan.patches.iter().find(|patch| patch.segment.id == further.end) {
        write(last, Some(&mut onward))?;
    }
    while onward.peek().is_some() {
        let patch = further.begin(&*environment.entropy)?;
        onward.next = further.next;
        write(&patch, Some(&mut onward))?;
    }
    storage.sync_dir(DIRECTORY).map_err(|source| Error::io("syncing the journal's directory", source))
}

/// Removes what a repair that was cut short, or that failed, has written and not put in its place.
pub(super) fn discard(storage: &dyn Storage) -> io::Result<()> {
    for id in written(storage)? {
        storage.remove(&repaired_name(id))?;
    }
    Ok(())
}

/// The segments that are ready to be put in their places, in order.
pub(super) fn written(storage: &dyn Storage) -> io::Result<Vec<SegmentId>> {
    let mut ready: Vec<SegmentId> = Vec::new();
    for entry in storage.list(DIRECTORY)? {
        let number = entry.name.strip_suffix(".repaired").filter(|number| number.len() == 10);
        if let Some(id) = number.and_then(|number| number.parse().ok()).filter(|_| entry.kind == EntryKind::File) {
            ready.push(SegmentId(id));
        }
    }
    ready.sort_unstable();
    Ok(ready)
}
