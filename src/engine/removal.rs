//! The ways by which a message leaves without having been acked: each is a [`Cause`], and every one of them comes
//! through `Core::remove`, so nothing is ever dropped that no cause names and no counter counts.

use super::Core;
use crate::event::{Cause, Dropped, Event, Run, Settle};
use crate::journal::{Refusal, Span};
use crate::seen::Seen;
use crate::state::{Group, Topic};
use crate::types::{GroupId, TopicId};
use std::borrow::Cow;

/// For whom a message leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whom {
    /// For one group.
    Group(GroupId),
    /// For every group, and for readers.
    Everybody(TopicId),
}

/// How many messages have left without having been acked, by cause; in the statistics of a group those that left for
/// this group alone, in those of a topic those that left for everybody.
///
/// These are all the ways there are: what is not counted here was acked, or is still there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Removed {
    /// Expired: [`Message::expires_after`](crate::Message::expires_after) or
    /// [`TopicSettings::expires_after`](crate::TopicSettings::expires_after).
    pub expired: u64,
    /// Not selected by the group's filter.
    pub filtered: u64,
    /// Of a topic: older than [`Retention::max_age`](crate::Retention::max_age). Of a group: dead letters older than
    /// [`Group::keep_dead_letters`](crate::Group::keep_dead_letters).
    pub aged: u64,
    /// Beyond [`Retention::max_bytes`](crate::Retention::max_bytes).
    pub over_bytes: u64,
    /// Beyond [`Retention::max_count`](crate::Retention::max_count).
    pub over_count: u64,
    /// The oldest ones of a backlog that had reached its limit.
    pub overflowed: u64,
    /// Purged by a call.
    pub purged: u64,
    /// Cancelled before they were due, with [`Topic::cancel`](crate::Topic::cancel).
    pub cancelled: u64,
    /// Known to the group by their id as processed already.
    pub processed: u64,
    /// Of a topic: settled by every group and kept by no rule, as far as that had to be written down. Of a group: gone
    /// already when it was created or sought to before them.
    pub settled: u64,
    /// Lost to damage of the disk, and given up by [`Store::repair`](crate::Store::repair).
    pub lost: u64,
}

impl Removed {
    /// The counter of a cause: the one place where they are told apart.
    fn counter(&mut self, cause: Cause) -> &mut u64 {
        match cause {
            Cause::Expired => &mut self.expired,
            Cause::Filtered => &mut self.filtered,
            Cause::Age => &mut self.aged,
            Cause::Bytes => &mut self.over_bytes,
            Cause::Count => &mut self.over_count,
            Cause::Overflow => &mut self.overflowed,
            Cause::Purged => &mut self.purged,
            Cause::Cancelled => &mut self.cancelled,
            Cause::Processed => &mut self.processed,
            Cause::Settled => &mut self.settled,
            Cause::Lost => &mut self.lost,
        }
    }

    fn counted(count: impl Fn(Cause) -> u64) -> Self {
        let mut removed = Self::default();
        Cause::ALL.into_iter().for_each(|cause| *removed.counter(cause) = count(cause));
        removed
    }

    pub(super) fn of_topic(topic: &Topic) -> Self {
        Self::counted(|cause| topic.dropped(cause))
    }

    pub(super) fn of_group(group: &Group) -> Self {
        Self::counted(|cause| group.passed().get(cause))
    }
}

const fn seen(cause: Cause) -> Seen {
    match cause {
        Cause::Expired => Seen::Expired,
        Cause::Filtered => Seen::Filtered,
        Cause::Age => Seen::Aged,
        Cause::Bytes => Seen::OverBytes,
        Cause::Count => Seen::OverCount,
        Cause::Overflow => Seen::Overflowed,
        Cause::Purged => Seen::Purged,
        Cause::Cancelled => Seen::Cancelled,
        Cause::Processed => Seen::Processed,
        Cause::Settled => Seen::Settled,
        Cause::Lost => Seen::Lost,
    }
}

/// The event by which messages leave: the only constructor of such events.
pub(super) fn removal(whom: Whom, cause: Cause, runs: Vec<Run>) -> Event<'static> {
    seen(cause).note();
    let runs = Cow::Owned(runs);
    match whom {
        Whom::Group(group) => Event::Settle(Settle { group, runs, cause }),
        Whom::Everybody(topic) => Event::Dropped(Dropped { topic, runs, cause }),
    }
}

impl Core {
    /// Messages leave for this cause.
    pub(super) fn remove(&mut self, whom: Whom, cause: Cause, runs: Vec<Run>) -> Result<Span, Refusal> {
        tracing::debug!(?whom, ?cause, runs = runs.len(), "messages are removed");
        self.record(&removal(whom, cause, runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Offset;

    #[test]
    fn every_cause_has_a_counter_of_its_own() {
        let mut removed = Removed::default();
        for (number, cause) in (1..).zip(Cause::ALL) {
            *removed.counter(cause) = number;
        }
        let mut fields = format!("{removed:?}");
        for number in 1..=Cause::ALL.len() {
            let field = format!(": {number}");
            assert!(fields.contains(&field), "{removed:?}");
            fields = fields.replacen(&field, "", 1);
        }
        assert_eq!(fields.matches(',').count() + 1, Cause::ALL.len(), "a counter without a cause");
    }

    #[test]
    fn every_cause_is_told_in_the_guide() {
        let chapter = include_str!("../guide/retention.rs");
        let named = format!("{:?}", Removed::default());
        let fields = named.trim_start_matches("Removed {").split(',');
        for field in fields {
            let name = field.split(':').next().unwrap_or_default().trim();
            assert!(chapter.contains(&format!("| `{name}` |")), "the guide's table lacks {name}");
        }
    }

    #[test]
    fn a_removal_says_for_whom_and_why() {
        let runs = vec![Run::one(Offset(3))];
        let event = removal(Whom::Group(GroupId(1)), Cause::Expired, runs.clone());
        assert!(matches!(event, Event::Settle(Settle { cause: Cause::Expired, .. })), "{event:?}");
        let event = removal(Whom::Everybody(TopicId(1)), Cause::Age, runs);
        assert!(matches!(event, Event::Dropped(Dropped { cause: Cause::Age, .. })), "{event:?}");
    }
}
