//! How much of each segment is still needed.
//!
//! A message is needed until every group of its topic has settled it, or a policy dropped it for everybody; a dead
//! letter is not settled, so it is needed. A topic without groups needs everything, and so does one that keeps what is
//! settled: there, what is not kept any more is dropped. Nothing is counted along the way:
//! the answer is made from the sets when it is asked for, so it can't drift from them.
//!
//! Bytes are shared out evenly among the messages of an extent. A message that was moved counts in both places until
//! its old segment is retired: the answer errs on the side of keeping.

use super::State;
use super::settled::Settled;
use super::topic::{Extent, Topic};
use crate::event::Run;
use crate::types::{Offset, SegmentId};
use std::collections::BTreeMap;

impl State {
    /// For each segment that holds messages, how many bytes of them are needed.
    pub(crate) fn live_bytes(&self) -> BTreeMap<SegmentId, u64> {
        let mut live = BTreeMap::new();
        for topic in self.topics.values() {
            let readers = self.holders(topic);
            for extent in topic.extents() {
                let sum: &mut u64 = live.entry(extent.segment).or_default();
                *sum = sum.saturating_add(live_part(extent, needed(topic, &readers, extent)));
            }
        }
        live
    }

    /// How many messages of a topic are needed.
    pub(crate) fn needed_messages(&self, topic: &Topic) -> u64 {
        let readers = self.holders(topic);
        topic.extents().map(|extent| needed(topic, &readers, extent)).sum()
    }

    /// The groups, if only what they have not settled is needed.
    fn holders(&self, topic: &Topic) -> Vec<&Settled> {
        if topic.policy.retention.keeps() { Vec::new() } else { self.readers(topic) }
    }

    pub(super) fn readers(&self, topic: &Topic) -> Vec<&Settled> {
        topic.groups.iter().filter_map(|group| Some(&self.groups.get(group)?.settled)).collect()
    }
}

fn live_part(extent: &Extent, needed: u64) -> u64 {
    let share = u128::from(extent.bytes) * u128::from(needed) / u128::from(extent.count.max(1));
    u64::try_from(share).unwrap_or(extent.bytes)
}

/// How many offsets of the extent somebody needs.
fn needed(topic: &Topic, readers: &[&Settled], extent: &Extent) -> u64 {
    let span = Run { first: extent.first, count: extent.last.next().since(extent.first) };
    let gone = topic.gone.count_in(span);
    let idle = match readers {
        [] => 0,
        [only] if gone == 0 => only.count_in(span),
        _ => settled_by_all(readers, span).map(|run| run.count - topic.gone.count_in(run)).sum(),
    };
    (span.count - gone - idle).min(extent.count)
}

/// The runs of `span` that every reader has settled.
pub(super) fn settled_by_all(readers: &[&Settled], span: Run) -> impl Iterator<Item = Run> {
    let mut at = span.first;
    std::iter::from_fn(move || {
        let first = first_settled_by_all(readers, at).filter(|first| *first < span.end())?;
        at = readers.iter().map(|reader| reader.next_unsettled(first)).fold(span.end(), Offset::min);
        Some(Run { first, count: at.since(first) })
    })
}

/// Each reader in turn moves the candidate on, until one round leaves it where it is.
pub(super) fn first_settled_by_all(readers: &[&Settled], from: Offset) -> Option<Offset> {
    let mut candidate = from;
    loop {
        let before = candidate;
        for reader in readers {
            candidate = reader.next_settled(candidate)?;
        }
        if candidate == before {
            return Some(candidate);
        }
    }
}
