//! Making sure of what recovery found, before anybody is told of it.
//!
//! What still verifies behind a torn place is overwritten with zeros, everything behind the highest durable position
//! that a frame claims is written again with the same bytes, and both are synced. A file with a second name, as a
//! backup gives it one, is never written: the store goes on with a copy of it.

use super::control::{Begin, SEAL_FRAME, Snapshots};
use super::index::SegmentIndex;
use super::listing::Listing;
use super::recover::{Recovery, Trimmed, Walked};
use super::secure::{replace, rewrite, zero};
use super::segment::{DIRECTORY, OpenSegment, SEGMENT_HEADER, Segment, segment_name};
use super::tail::Start;
use crate::error::{Code, Error, Result};
use crate::seen::Seen;
use crate::storage::{Access, Storage};
use crate::types::{Lsn, Position, SegmentId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What recovery hands to the tail.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) active: Arc<Segment>,
    pub(crate) end: Position,
    pub(crate) checksum: crc32fast::Hasher,
    pub(crate) index: SegmentIndex,
    pub(crate) walked: Vec<Walked>,
    pub(crate) trimmed: Option<Trimmed>,
    /// Not reached by the chain of seals: to be set aside.
    pub(crate) strays: Vec<(SegmentId, u64)>,
    pub(crate) begin: Option<Begin>,
}

impl Found {
    /// Where a tail goes on, with the active segment opened. What it takes along is not left here.
    pub(crate) fn start(&mut self, storage: &dyn Storage, snapshots: Snapshots, access: Access) -> Result<Start> {
        let name = segment_name(self.active.id);
        let file = storage.open(&name, access).map_err(|source| Error::io(format!("opening {name}"), source))?;
        Ok(Start {
            active: OpenSegment { segment: self.active.clone(), file },
            end: self.end,
            checksum: std::mem::take(&mut self.checksum),
            index: std::mem::take(&mut self.index),
            snapshots,
            begin: self.begin.take(),
        })
    }
}

impl Recovery {
    /// Makes what was found durable. Refuses if anything was damaged.
    pub(crate) fn finish(mut self) -> Result<(Found, Listing)> {
        let end = self.ending()?;
        self.secure(end)?;
        self.found(end)
    }

    /// Where the journal ends. Refuses if anything was damaged.
    pub(super) fn ending(&self) -> Result<Lsn> {
        if !self.damage.is_empty() {
            let what = "the journal is damaged; nothing was changed. Restore a backup, or salvage what is whole";
            return Err(Error::new(Code::Damaged, what).with_damage(self.damage.clone()));
        }
        self.end.ok_or_else(|| Error::new(Code::Damaged, "the journal's end was not found"))
    }

    pub(super) fn found(self, end: Lsn) -> Result<(Found, Listing)> {
        let Some(active) = self.listing.segments.get(&end.segment()).cloned() else {
            return Err(Error::new(Code::SegmentMissing, "the active segment is gone"));
        };
        let strays = self.strays(end).map(|segment| (segment.id, u64::from(segment.capacity))).collect();
        let fresh = end.position().get() == SEGMENT_HEADER;
        let begin = fresh.then(|| {
            let before = self.walked.last();
            Begin {
                previous: before.map_or(SegmentId::ZERO, |walked| walked.segment.id),
                previous_checksum: before.map_or(0, |walked| walked.seal.checksum),
                snapshots: self.snapshots,
            }
        });
        let found = Found {
            active,
            end: end.position(),
            checksum: self.checksum,
            index: self.index,
            walked: self.walked,
            trimmed: self.trimmed,
            strays,
            begin,
        };
        Ok((found, self.listing))
    }

    /// Segments that the chain of seals does not reach.
    fn strays(&self, end: Lsn) -> impl Iterator<Item = &Arc<Segment>> {
        let active = end.segment();
        let first = self.walked.first().map_or(active, |walked| walked.segment.id);
        let chain: BTreeSet<SegmentId> = self.walked.iter().map(|walked| walked.segment.id).chain([active]).collect();
        self.listing.segments.values().filter(move |segment| segment.id > first && !chain.contains(&segment.id))
    }

    /// Overwrites what was trimmed, writes again what may not be durable, and syncs both.
    fn secure(&mut self, end: Lsn) -> Result<()> {
        let last = self.walked.iter().map(|walked| (walked.segment.id, walked.seal.length + SEAL_FRAME));
        let pieces = last.chain([(end.segment(), end.position().get())]);
        let pieces: Vec<_> = pieces.filter(|(id, _)| *id >= self.claimed.segment()).collect();
        let mut strays = self.strays(end).map(|segment| segment.id).collect();
        for (id, to) in pieces {
            let name = segment_name(id);
            let failed = |source| Error::io(format!("making {name} durable again"), source);
            let copying = |source| {
                let what = format!("copying {name}, which shares its file with a backup and has to be written again");
                Error::io(format!("{what}: it needs as much room as the segment has"), source)
            };
            let from = if id == self.claimed.segment() { self.claimed.position().get() } else { SEGMENT_HEADER };
            // The last one is appended to, whether or not anything has to be written now.
            let written = from < to || id == end.segment();
            let file = self.storage.open(&name, Access::Write).map_err(failed)?;
            if written && file.links().map_err(failed)? > 1 {
                replace(&*self.storage, &mut self.listing, &mut strays, (id, to)).map_err(copying)?;
                continue;
            }
            rewrite(&*file, from, to).map_err(failed)?;
            Seen::TailRewritten.note_if(from < to);
            if let Some(trimmed) = self.trimmed.as_ref().filter(|trimmed| trimmed.from.segment() == id) {
                Seen::TailTrimmed.note();
                zero(&*file, trimmed.from.position().get(), trimmed.to.position().get()).map_err(failed)?;
            }
            file.sync().map_err(failed)?;
        }
        // Names too: the process before may have died between a rename and its sync.
        self.storage.sync_dir(DIRECTORY).map_err(|source| Error::io("syncing the journal's directory", source))
    }
}
