//! Where messages of a topic lie that were carried over out of segments that went.
//!
//! For each segment that has some, the offsets themselves: they have holes, and what was moved twice lies where it was
//! moved to last. To look one up costs a look into each such segment's set, however many moves filled it; one that was
//! never moved costs one look.

use super::offsets::OffsetSet;
use super::packed;
use crate::event::Run;
use crate::types::{Offset, SegmentId};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Messages that were moved to one segment and no further.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) segment: SegmentId,
    /// The sum of their contents, about: of what was moved on an even share was taken off.
    pub(crate) bytes: u64,
    pub(crate) offsets: OffsetSet,
}

/// A place as it is stored in a snapshot.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct PlacePart<'a> {
    segment: SegmentId,
    bytes: u64,
    #[serde(borrow)]
    offsets: Cow<'a, [u8]>,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Moved {
    /// All of them.
    all: OffsetSet,
    /// In the order of their segments.
    places: Vec<Place>,
}

impl Moved {
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What was moved, wherever to.
    pub(crate) const fn all(&self) -> &OffsetSet {
        &self.all
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// These messages, `bytes` in all, lie in `segment` from now on.
    pub(super) fn add(&mut self, segment: SegmentId, runs: impl Iterator<Item = Run>, bytes: u64) {
        let at = match self.places.binary_search_by_key(&segment, |place| place.segment) {
            Ok(at) => at,
            Err(at) => {
                self.places.insert(at, Place { segment, bytes: 0, offsets: OffsetSet::new() });
                at
            }
        };
        for run in runs {
            if self.all.count_in(run) > 0 {
                self.places.iter_mut().for_each(|place| place.take(run));
            }
            self.all.insert_run(run);
            if let Some(place) = self.places.get_mut(at) {
                place.offsets.insert_run(run);
            }
        }
        if let Some(place) = self.places.get_mut(at) {
            place.bytes = place.bytes.saturating_add(bytes);
        }
        self.places.retain(|place| !place.offsets.is_empty());
    }

    /// The segment is gone, with what is in it.
    pub(super) fn retire(&mut self, segment: SegmentId) {
        let Ok(at) = self.places.binary_search_by_key(&segment, |place| place.segment) else { return };
        let place = self.places.remove(at);
        place.offsets.runs().for_each(|run| _ = self.all.remove_run(run));
    }

    /// Where a message was moved to.
    pub(crate) fn segment_of(&self, offset: Offset) -> Option<SegmentId> {
        if !self.all.contains(offset) {
            return None;
        }
        self.places.iter().rev().find(|place| place.offsets.contains(offset)).map(|place| place.segment)
    }

    pub(super) fn parts(&self) -> Vec<PlacePart<'_>> {
        let part = |place: &Place| {
            let mut offsets = Vec::new();
            packed::encode(&place.offsets, &mut offsets);
            PlacePart { segment: place.segment, bytes: place.bytes, offsets: Cow::Owned(offsets) }
        };
        self.places.iter().map(part).collect()
    }

    pub(super) fn from_parts(parts: &[PlacePart<'_>]) -> Option<Self> {
        let mut moved = Self::default();
        for part in parts {
            let offsets = packed::decode(&part.offsets)?;
            let runs: Vec<Run> = offsets.runs().collect();
            moved.add(part.segment, runs.into_iter(), part.bytes);
        }
        Some(moved)
    }
}

impl Place {
    /// These were moved on.
    fn take(&mut self, run: Run) {
        let before = self.offsets.len();
        let taken = self.offsets.remove_run(run);
        if taken > 0 {
            let share = u128::from(self.bytes) * u128::from(taken) / u128::from(before.max(1));
            self.bytes = self.bytes.saturating_sub(u64::try_from(share).unwrap_or(self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(first: u64, count: u64) -> Run {
        Run { first: Offset(first), count }
    }

    #[test]
    fn the_last_move_wins_and_holes_stay_holes() {
        let mut moved = Moved::default();
        moved.add(SegmentId(7), [run(1, 2), run(10, 1), run(20, 5)].into_iter(), 800);
        moved.add(SegmentId(5), [run(50, 1)].into_iter(), 10);
        moved.add(SegmentId(9), [run(2, 1), run(21, 3)].into_iter(), 400);
        let at = |offset: u64| moved.segment_of(Offset(offset)).map(SegmentId::get);
        assert_eq!([1, 2, 3, 10, 11].map(at), [Some(7), Some(9), None, Some(7), None]);
        assert_eq!([20, 21, 23, 24, 50].map(at), [Some(7), Some(9), Some(9), Some(7), Some(5)]);
        let bytes: Vec<_> = moved.places().iter().map(|place| (place.segment.get(), place.bytes)).collect();
        assert_eq!(bytes, [(5, 10), (7, 400), (9, 400)]);
        let parts = moved.parts();
        assert_eq!(Moved::from_parts(&parts), Some(moved.clone()));
        moved.retire(SegmentId(9));
        moved.retire(SegmentId(9));
        assert_eq!((moved.segment_of(Offset(21)), moved.segment_of(Offset(20))), (None, Some(SegmentId(7))));
        moved.add(SegmentId(11), [run(1, 1), run(10, 1), run(20, 5)].into_iter(), 1);
        assert_eq!(moved.places().len(), 2, "a place that holds nothing any more is forgotten");
    }
}
