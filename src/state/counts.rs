//! How many messages of a group are where.

use super::group::Group;
use super::offsets::OffsetSet;
use crate::event::Run;
use crate::types::{Offset, Timestamp};

/// Where a group's visible messages are. What is ready, leased, retrying, delayed, key-blocked or dead, is each in one
/// of them only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupCounts {
    /// Could be handed out now, if the group is not paused and no suspect has to run first.
    pub(crate) ready: u64,
    /// In somebody's hands.
    pub(crate) leased: u64,
    /// Waiting to be tried again.
    pub(crate) retrying: u64,
    /// Never handed out, and waiting for their time in the topic's schedule.
    pub(crate) delayed: u64,
    /// Suspected of having brought the process down; among the others too.
    pub(crate) suspects: u64,
    /// Of an ordered group: waiting for another message of their key, or for a dead letter to go.
    pub(crate) key_blocked: u64,
    /// Given up on.
    pub(crate) dead: u64,
    /// Neither settled nor dead: ready, leased, retrying, delayed and key-blocked together.
    pub(crate) backlog: u64,
    /// Settled above the first message that is not.
    pub(crate) settled_above: u64,
    /// The set above that first message takes about so many bytes.
    pub(crate) settled_heap_bytes: u64,
    pub(crate) paused: bool,
}

impl Group {
    /// See [`GroupCounts`]. Costs about one step for each retrying message, each chunk of the settled set, and each run
    /// of those that wait.
    pub(super) fn counts(&self, now: Timestamp, visible_end: Offset, waiting: &OffsetSet) -> GroupCounts {
        let visible = Run { first: Offset::ZERO, count: visible_end.0 };
        let unsettled = visible.count - self.settled.count_in(visible);
        let dead = number(self.dead.len());
        let leased = number(self.hands.leases.len());
        let after_now = (Timestamp(now.0.saturating_add(1)), Offset::ZERO);
        let retrying = match self.hands.due.last() {
            Some(last) if *last >= after_now => number(self.hands.due.range(after_now..).count()),
            _ => 0,
        };
        let backlog = unsettled.saturating_sub(dead);
        let delayed = self.delayed(visible_end, waiting);
        let key_blocked = self.key_blocked(now, visible_end, waiting);
        let elsewhere = leased.saturating_add(retrying).saturating_add(delayed).saturating_add(key_blocked);
        GroupCounts {
            ready: backlog.saturating_sub(elsewhere),
            leased,
            retrying,
            delayed,
            key_blocked,
            suspects: number(self.hands.suspects.len()),
            dead,
            backlog,
            settled_above: self.settled.above().len(),
            settled_heap_bytes: number(self.settled.above().heap_bytes()),
            paused: self.is_paused(now),
        }
    }

    /// How many visible messages wait in the schedule that the group would otherwise hand out.
    fn delayed(&self, visible_end: Offset, waiting: &OffsetSet) -> u64 {
        if waiting.is_empty() {
            return 0;
        }
        let first = self.settled.floor();
        let open = Run { first, count: visible_end.since(first) };
        let unsettled: u64 = waiting.runs_in(open).map(|run| run.count - self.settled.count_in(run)).sum();
        // Those in other places are few: what was handed out before the clock was set back, and came back since.
        let now_elsewhere = |offset: &&Offset| waiting.contains(**offset);
        let dead = self.dead.keys().filter(now_elsewhere).count();
        let leased = self.hands.leases.iter().filter(|(offset, _)| waiting.contains(*offset)).count();
        let retrying = self.history.keys().filter(now_elsewhere);
        let retrying = retrying.filter(|offset| !self.hands.leases.contains(**offset)).count();
        unsettled.saturating_sub(number(dead)).saturating_sub(number(leased)).saturating_sub(number(retrying))
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
