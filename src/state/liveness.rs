//! How much of each segment is still needed.
//!
//! A message is needed until every group of its topic has settled it, or a policy dropped it for everybody; a dead
//! letter is not settled, so it is needed. A topic without groups needs everything, and so does one that keeps what is
//! settled: there, what is not kept any more is dropped. Nothing is counted along the way:
//! the answer is made from the sets when it is asked for, so it can't drift from them.
//!
//! Bytes are shared out evenly among the messages of an extent. A message that was moved counts where it was moved to.

use super::State;
use super::common::Idle;
use super::settled::Settled;
use super::topic::{Extent, Topic};
use crate::event::Run;
use crate::types::{Offset, SegmentId};
use std::collections::BTreeMap;

/// Every offset there can be.
const ALL: Run = Run { first: Offset::ZERO, count: u64::MAX };

/// What of a segment somebody needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) messages: u64,
    /// The sum of their contents, without framing.
    pub(crate) bytes: u64,
    /// That of all that was ever written there, before it was packed.
    all: u64,
}

impl Live {
    /// What of the segment's `length` bytes that is: all of it may have been written packed.
    pub(crate) fn within(self, length: u64) -> Self {
        let share = u128::from(self.bytes) * u128::from(length) / u128::from(self.all.max(1));
        let packed = self.all > length;
        Self { bytes: if packed { u64::try_from(share).unwrap_or(self.bytes) } else { self.bytes }, ..self }
    }

    fn add(&mut self, messages: u64, bytes: u64) {
        self.messages = self.messages.saturating_add(messages);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl State {
    /// For each segment that holds messages, what of them is needed. What is not needed never is again: so a segment
    /// that is dead stays dead.
    pub(crate) fn live(&self) -> BTreeMap<SegmentId, Live> {
        let mut live: BTreeMap<SegmentId, Live> = BTreeMap::new();
        for topic in self.topics.values() {
            let readers = self.holders(topic);
            let idle = Idle { gone: &topic.gone, readers: &readers };
            for extent in topic.extents() {
                let needed = needed(topic, &idle, extent);
                let live = live.entry(extent.segment).or_default();
                live.add(needed, extent.share(needed));
                live.all = live.all.saturating_add(extent.bytes);
            }
            for place in topic.places().places() {
                let needed = idle.needed_of(&place.offsets, ALL);
                let share = u128::from(place.bytes) * u128::from(needed) / u128::from(place.offsets.len().max(1));
                let live = live.entry(place.segment).or_default();
                live.add(needed, u64::try_from(share).unwrap_or(place.bytes));
                live.all = live.all.saturating_add(place.bytes);
            }
        }
        live
    }

    /// How many messages of a topic are needed.
    pub(crate) fn needed_messages(&self, topic: &Topic) -> u64 {
        let readers = self.holders(topic);
        let idle = Idle { gone: &topic.gone, readers: &readers };
        let moved = idle.needed_of(topic.places().all(), ALL);
        topic.extents().map(|extent| needed(topic, &idle, extent)).chain([moved]).sum()
    }

    /// Whether somebody needs this message.
    pub(crate) fn is_needed(&self, topic: &Topic, offset: Offset) -> bool {
        Idle { gone: &topic.gone, readers: &self.holders(topic) }.count_in(Run::one(offset)) == 0
    }

    /// The groups, if only what they have not settled is needed.
    fn holders<'a>(&'a self, topic: &'a Topic) -> Vec<&'a Settled> {
        if topic.policy.retention.keeps() { Vec::new() } else { self.readers(topic) }
    }

    pub(super) fn readers<'a>(&'a self, topic: &'a Topic) -> Vec<&'a Settled> {
        self.each_reader(topic).collect()
    }

    /// The same, one by one: whoever can do with the first few need not know them all, however many there are. The
    /// newest comes first, which has settled the least, mostly.
    pub(super) fn each_reader<'a>(&'a self, topic: &'a Topic) -> impl Iterator<Item = &'a Settled> {
        topic.groups.iter().rev().filter_map(|group| {
            #[cfg(test)]
            LOOKS.with(|looks| looks.set(looks.get() + 1));
            Some(&self.groups.get(group)?.settled)
        })
    }
}

#[cfg(test)]
thread_local! {
    /// How often this thread looked at what a group has settled.
    pub(crate) static LOOKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// How many offsets of the extent somebody needs who finds them nowhere else.
fn needed(topic: &Topic, idle: &Idle<'_>, extent: &Extent) -> u64 {
    let span = Run { first: extent.first, count: extent.last.next().since(extent.first) };
    let away = idle.needed_of(topic.places().all(), span);
    span.count.saturating_sub(idle.count_in(span)).saturating_sub(away).min(extent.count)
}

/// The runs of `span` that every reader has settled.
pub(super) fn settled_by_all(readers: &[&Settled], span: Run) -> impl Iterator<Item = Run> {
    let mut at = span.first;
    std::iter::from_fn(move || {
        let first = first_settled_by_all(|| readers.iter().copied(), at).filter(|first| *first < span.end())?;
        at = readers.iter().map(|reader| reader.next_unsettled(first)).fold(span.end(), Offset::min);
        Some(Run { first, count: at.since(first) })
    })
}

/// Each reader in turn moves the candidate on, until one round leaves it where it is.
pub(super) fn first_settled_by_all<'a, I>(readers: impl Fn() -> I, from: Offset) -> Option<Offset>
where
    I: Iterator<Item = &'a Settled>,
{
    let mut candidate = from;
    loop {
        let before = candidate;
        for reader in readers() {
            candidate = reader.next_settled(candidate)?;
        }
        if candidate == before {
            return Some(candidate);
        }
    }
}
