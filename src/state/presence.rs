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
    /// The groups, if what all of them have settled is gone at once.
    readers: Vec<&'a Settled>,
}

impl Gone<'_> {
    fn first_from(&self, from: Offset) -> Option<Offset> {
        let settled = if self.readers.is_empty() { None } else { first_settled_by_all(&self.readers, from) };
        self.dropped.next_settled(from).into_iter().chain(settled).min()
    }

    fn next_present(&self, from: Offset) -> Offset {
        let mut at = from;
        loop {
            at = self.dropped.next_unsettled(at);
            if self.readers.is_empty() || !self.readers.iter().all(|reader| reader.contains(at)) {
                return at;
            }
            let ends = self.readers.iter().map(|reader| reader.next_unsettled(at));
            at = ends.min().unwrap_or(at);
        }
    }
}

impl State {
    fn gone<'a>(&'a self, topic: &'a Topic) -> Gone<'a> {
        let kept = topic.policy.retention.keeps();
        Gone { dropped: &topic.gone, readers: if kept { Vec::new() } else { self.readers(topic) } }
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
        let readers = self.readers(topic);
        if readers.is_empty() {
            return Vec::new();
        }
        settled_by_all(&readers, within).filter(|run| topic.gone.count_in(*run) < run.count).collect()
    }
}
