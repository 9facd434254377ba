//! Which messages of a topic are there for readers, seeks and new groups.
//!
//! A message is gone if a policy dropped it, or if every group has settled it and no rule keeps it. The second is not
//! written down as it happens: while a topic keeps nothing that is settled, it follows from what its groups have
//! settled. So before anything may happen that would make it look otherwise (a group goes back, a new one comes, the
//! last one leaves, a rule is made), the engine writes it down, see [`State::settled_runs`]: what is gone stays gone.
//! A topic without groups has nothing that is settled.

use super::liveness::{first_settled_by_all, settled_by_all};
use super::settled::Settled;
use super::{State, Topic};
use crate::event::Run;
use crate::types::Offset;

/// What is gone of one topic.
struct Gone<'a> {
    dropped: &'a Settled,
    /// The topic with its groups, if it has any, and what all of them have settled is gone at once.
    readers: Option<(&'a State, &'a Topic)>,
}

impl Gone<'_> {
    fn first_from(&self, from: Offset) -> Option<Offset> {
        let settled = self.readers.and_then(|(state, topic)| first_settled_by_all(|| state.each_reader(topic), from));
        self.dropped.next_settled(from).into_iter().chain(settled).min()
    }

    fn next_present(&self, from: Offset) -> Offset {
        let mut at = from;
        loop {
            at = self.dropped.next_unsettled(at);
            let Some((state, topic)) = self.readers else { return at };
            if !state.each_reader(topic).all(|reader| reader.contains(at)) {
                return at;
            }
            let ends = state.each_reader(topic).map(|reader| reader.next_unsettled(at));
            at = ends.min().unwrap_or(at);
        }
    }
}

impl State {
    fn gone<'a>(&'a self, topic: &'a Topic) -> Gone<'a> {
        let keeps = topic.policy.retention.keeps() || topic.groups.is_empty();
        Gone { dropped: &topic.gone, readers: (!keeps).then_some((self, topic)) }
    }

    /// Whether a message is gone.
    pub(crate) fn is_gone(&self, topic: &Topic, offset: Offset) -> bool {
        self.gone(topic).next_present(offset) != offset
    }

    /// The first offset from `from` on that is not gone; it may be past the end.
    pub(crate) fn next_present(&self, topic: &Topic, from: Offset) -> Offset {
        self.gone(topic).next_present(from)
    }

    /// The first offset from `from` on that is gone; nothing if none is.
    pub(crate) fn first_gone(&self, topic: &Topic, from: Offset) -> Option<Offset> {
        self.gone(topic).first_from(from)
    }

    /// The first offset that is neither gone nor in a segment that is; the end if there is none.
    pub(crate) fn earliest(&self, topic: &Topic) -> Offset {
        let gone = self.gone(topic);
        let present = |extent: &super::Extent| {
            let first = gone.next_present(extent.first);
            (first <= extent.last).then_some(first)
        };
        // Those that were published rise, so the first one will do.
        let published = topic.extents.iter().find_map(present);
        let moved = topic.moved.all();
        let mut at = Offset::ZERO;
        while let Some(first) = moved.next_present(at) {
            at = gone.next_present(first);
            if at == first {
                return published.map_or(first, |published| published.min(first));
            }
        }
        published.unwrap_or(topic.end)
    }

    /// What is gone within these offsets.
    pub(crate) fn gone_runs(&self, topic: &Topic, within: Run) -> Vec<Run> {
        let gone = self.gone(topic);
        let mut runs = Vec::new();
        let mut at = within.first;
        while let Some(first) = gone.first_from(at).filter(|first| *first < within.end()) {
            at = gone.next_present(first).min(within.end());
            runs.push(Run { first, count: at.since(first) });
        }
        runs
    }

    /// What every group has settled within these offsets and is not written down as gone yet.
    pub(crate) fn settled_runs(&self, topic: &Topic, within: Run) -> Vec<Run> {
        // Mostly there is one that has settled nothing here.
        let first = first_settled_by_all(|| self.each_reader(topic), within.first);
        if topic.groups.is_empty() || first.is_none_or(|first| first >= within.end()) {
            return Vec::new();
        }
        let readers = self.readers(topic);
        settled_by_all(&readers, within).filter(|run| topic.gone.count_in(*run) < run.count).collect()
    }
}
