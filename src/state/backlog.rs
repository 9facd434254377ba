//! What of a topic somebody still has before him: its backlog.
//!
//! A message is part of it as long as one group is not done with it, done being settled or a dead letter of that group.
//! In a topic without groups everything is part of it that is not gone. The engine counts along the way, by asking for
//! the same runs before and after each event; nothing here keeps a count.

use super::settled::Settled;
use super::{Group, State, Topic};
use crate::event::Run;
use crate::types::Offset;

impl State {
    fn groups_in<'a>(&'a self, topic: &'a Topic) -> impl Iterator<Item = &'a Group> + Clone {
        topic.groups.iter().filter_map(|group| self.groups.get(group))
    }

    /// How many messages of `span` are part of the backlog. A few steps for one message, or in a topic with one group;
    /// otherwise it follows the runs of what the groups have settled.
    pub(crate) fn backlog_in(&self, topic: &Topic, span: Run) -> u64 {
        let span = Run { first: span.first, count: span.end().min(topic.end).since(span.first) };
        let mut groups = self.groups_in(topic);
        match (groups.next(), groups.next()) {
            _ if span.count == 0 => 0,
            (None, _) => span.count - topic.gone.count_in(span),
            _ if span.count == 1 => u64::from(self.groups_in(topic).any(|group| group.is_open(span.first))),
            (Some(only), None) => {
                let dead = only.dead.range(span.first..span.end()).count();
                (span.count - only.settled.count_in(span)).saturating_sub(dead as u64)
            }
            _ => span.count.saturating_sub(self.done_by_all(topic, span)),
        }
    }

    /// How many messages of `span` every group is done with.
    fn done_by_all(&self, topic: &Topic, span: Run) -> u64 {
        let readers: Vec<&Settled> = self.readers(topic);
        let settled: u64 = super::liveness::settled_by_all(&readers, span).map(|run| run.count).sum();
        let dead = self.groups_in(topic).flat_map(|group| group.dead.range(span.first..span.end()));
        let mut dead: Vec<Offset> = dead.map(|(offset, _)| *offset).collect();
        dead.sort_unstable();
        dead.dedup();
        let parked = dead.into_iter().filter(|offset| !self.groups_in(topic).any(|group| group.is_open(*offset)));
        // A dead letter is not settled where it is one, so none of these is counted already.
        settled.saturating_add(parked.count() as u64)
    }

    /// The oldest message from `from` on that is part of the backlog and could be dropped: in nobody's hands, no dead
    /// letter of any group, and not waiting for its time.
    pub(crate) fn next_droppable(&self, topic: &Topic, from: Offset) -> Option<Offset> {
        let waiting = topic.schedule.waiting();
        let mut at = from;
        loop {
            let unsettled = self.groups_in(topic).map(|group| group.settled.next_unsettled(at)).min();
            at = unsettled.unwrap_or_else(|| topic.gone.next_unsettled(at));
            if at >= topic.end {
                return None;
            }
            if waiting.contains(at) {
                at = waiting.next_absent(at);
                continue;
            }
            let held = |group: &Group| group.hands.leases.contains(at) || group.dead.contains_key(&at);
            if !self.groups_in(topic).any(held) {
                return Some(at);
            }
            at = at.next();
        }
    }
}
