//! How many messages of a group are where.

use super::group::Group;
use crate::event::Run;
use crate::types::{Offset, Timestamp};

/// Where a group's visible messages are. What is ready, leased, retrying or dead, is each in one of them only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupCounts {
    /// Could be handed out now, if the group is not paused and no suspect has to run first.
    pub(crate) ready: u64,
    /// In somebody's hands.
    pub(crate) leased: u64,
    /// Waiting for their time.
    pub(crate) retrying: u64,
    /// Suspected of having brought the process down; among the others too.
    pub(crate) suspects: u64,
    /// Given up on.
    pub(crate) dead: u64,
    /// Neither settled nor dead: ready, leased and retrying together.
    pub(crate) backlog: u64,
    /// Settled above the first message that is not.
    pub(crate) settled_above: u64,
    /// The set above that first message takes about so many bytes.
    pub(crate) settled_heap_bytes: u64,
    pub(crate) paused: bool,
}

impl Group {
    /// See [`GroupCounts`]. Costs about one step for each retrying message and each chunk of the settled set.
    pub(crate) fn counts(&self, now: Timestamp, visible_end: Offset) -> GroupCounts {
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
        GroupCounts {
            ready: backlog.saturating_sub(leased).saturating_sub(retrying),
            leased,
            retrying,
            suspects: number(self.hands.suspects.len()),
            dead,
            backlog,
            settled_above: self.settled.above().len(),
            settled_heap_bytes: number(self.settled.above().heap_bytes()),
            paused: self.is_paused(now),
        }
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
