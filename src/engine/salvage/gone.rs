//! Which segments went on purpose: what the journal itself says of it, wherever it still says so.

use super::super::snapshot::Piece;
use crate::error::Result;
use crate::event::{Event, events};
use crate::journal::{Flags, Frame, Gone, Recovery, SEGMENT_HEADER, Segment, Step};
use crate::types::{Lsn, Position, SegmentId};
use std::collections::{BTreeMap, BTreeSet};

/// Looks through every segment there is, each by itself, for those that were retired. That one of them is missing, or
/// damaged, is no harm: nothing in it is needed by those who begin with the newest snapshot.
///
/// What was retired before that snapshot is not among the segments that it names. So without a whole snapshot nothing
/// is known to be gone on purpose: what was in it is in nothing else.
pub(in crate::engine) fn gone(recovery: &mut Recovery) -> Result<Gone> {
    Ok(Said::of(recovery)?.gone())
}

/// Where snapshots begin of which the end is there as well: also those that no segment's first frame names, since newer
/// ones were completed before another segment was begun.
pub(in crate::engine) fn ended_snapshots(recovery: &mut Recovery) -> Result<BTreeSet<Lsn>> {
    let Said { begun, ended, .. } = Said::of(recovery)?;
    Ok(ended.into_iter().filter(|begin| begun.contains_key(begin)).collect())
}

impl Said {
    fn of(recovery: &mut Recovery) -> Result<Self> {
        let mut said = Self::default();
        recovery.gone = Gone::default();
        let ids: Vec<SegmentId> = recovery.listing.segments.keys().copied().collect();
        for id in ids {
            recovery.start(Lsn::new(id, Position(SEGMENT_HEADER)))?;
            loop {
                match recovery.next()?.0 {
                    Step::Frame(frame, segment) if frame.lsn.segment() == id => said.take(&frame, &segment),
                    Step::Damage if recovery.visited().len() == 1 => {}
                    _ => break,
                }
            }
        }
        Ok(said)
    }
}

/// What the segments say.
#[derive(Default)]
struct Said {
    retired: Vec<SegmentId>,
    /// Snapshots that were begun, with the segments that were needed then.
    begun: BTreeMap<Lsn, Vec<SegmentId>>,
    /// Snapshots that were ended.
    ended: Vec<Lsn>,
}

impl Said {
    fn take(&mut self, frame: &Frame, segment: &Segment) {
        if frame.flags.has(Flags::SNAPSHOT) {
            match Piece::of(frame, segment) {
                Some(Piece::Begin(needed)) => _ = self.begun.insert(frame.lsn, needed),
                Some(Piece::End { begin, .. }) => self.ended.push(begin),
                Some(Piece::Part(_)) | None => {}
            }
        } else if frame.flags.unknown().is_none() {
            for event in events(&frame.body, segment.base).map_while(Result::<_, _>::ok) {
                if let Event::SegmentRetired(event) = event {
                    self.retired.push(event.segment);
                }
            }
        }
    }

    fn gone(self) -> Gone {
        let Self { retired, mut begun, ended } = self;
        let Some(begin) = ended.into_iter().filter(|begin| begun.contains_key(begin)).max() else {
            return Gone::default();
        };
        let needed = begun.remove(&begin).unwrap_or_default();
        // What was retired behind that snapshot was retired on account of newer ones, which are not there any more.
        let retired = retired.into_iter().filter(|id| *id < begin.segment());
        Gone { below: begin.segment(), needed: needed.into_iter().collect(), retired: retired.collect() }
    }
}
