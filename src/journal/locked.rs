//! What recovery makes of frames that can't be decrypted.

use super::crypt::Locked;
use super::frame::{Flags, Frame};
use super::gone::Gone;
use super::recover::{Recovery, damage};
use crate::error::Result;
use crate::types::Lsn;

impl Recovery {
    /// Fails if the key for this frame is not there.
    pub(super) fn check_key(&self, frame: &Frame) -> Result<()> {
        match &frame.locked {
            Some(Locked::Refused(refused)) if !self.shows_locked => Err(refused.error()),
            _ => Ok(()),
        }
    }

    /// A frame whose checksum fits and that is not what was encrypted at its place: no write that was cut short leaves
    /// that, so whatever was promised, it is damage. Whether more than a snapshot is hit.
    pub(super) fn note_altered(&mut self, frame: &Frame) -> bool {
        let (id, position) = (frame.lsn.segment(), frame.lsn.position());
        let snapshot = frame.header.flags.has(Flags::SNAPSHOT);
        if snapshot {
            let what = "a piece of a snapshot is not what was encrypted there";
            self.snapshot_damage.push(damage(id, position, frame.next, what));
        } else {
            self.report(id, position, frame.next, "a frame is not what was encrypted there");
        }
        !snapshot
    }

    /// Fails unless the keys are there for every segment that is needed, whatever the walk had to read of them.
    /// Whatever else is there, spares and what was retired, nobody needs a key for.
    pub(crate) fn check_keys(&self, gone: &Gone) -> Result<()> {
        let needed = gone.needed.iter().filter(|id| !gone.has(**id)).copied();
        let needed = needed.chain(self.walked.iter().map(|walked| walked.segment.id)).chain(self.end.map(Lsn::segment));
        let segments = needed.filter_map(|id| self.listing.segments.get(&id));
        let refused = segments.filter_map(|segment| segment.key.as_ref()?.refused()).next();
        refused.map_or(Ok(()), |refused| Err(refused.error()))
    }
}
