//! What a message is waiting for, in one sentence.

use super::flow::Gate;
use super::{Core, Engine};
use crate::error::Result;
use crate::event::Run;
use crate::state::{KeyHash, OffsetSet, Turn};
use crate::types::{GroupId, Offset, Timestamp};
use std::fmt;

/// What a message of a group is waiting for; see [`Consumer::why`](crate::Consumer::why). Its `Display` is a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// There is no such message yet: the topic ends before it.
    NotPublished {
        /// The offset that the next message gets.
        end: Offset,
    },
    /// It, or one before it, has not reached the durability that was asked for.
    NotCommitted,
    /// It is gone for everybody: a policy of its topic dropped it.
    Dropped,
    /// The group is done with it, or never wanted it: it comes before where the group started, or was sought to.
    Settled,
    /// The group has given up on it; [`Consumer::dead_letter`](crate::Consumer::dead_letter) says why.
    Dead {
        /// When it was parked.
        since: Timestamp,
    },
    /// A consumer has it.
    Leased {
        /// When its lease runs out.
        until: Timestamp,
    },
    /// It waits after a failure, or because it was snoozed.
    Waiting {
        /// When it can be handed out again.
        until: Timestamp,
        /// Its failures so far, in this life.
        failures: u32,
    },
    /// It was published for later and is not due yet.
    Delayed {
        /// When it is: by the wall clock for a deliver-at, by the engine's for a delay.
        due: Timestamp,
    },
    /// The group is paused.
    Paused {
        /// When it goes on by itself; the end of time if it doesn't.
        until: Timestamp,
    },
    /// A handler was told to come later, see [`Delivery::rate_limited`](crate::Delivery::rate_limited): until then the
    /// group hands out nothing.
    HeldOff {
        /// Until when, on the engine's clock.
        until: Timestamp,
    },
    /// The group hands out as quickly as its [`Rate`](crate::Rate) allows.
    RateLimited {
        /// When there is a token again, on the engine's clock; also if others take it then.
        until: Timestamp,
    },
    /// As many deliveries are out as [`Group::max_in_flight`](crate::Group::max_in_flight) allows.
    InFlight {
        /// How many that is.
        limit: u64,
    },
    /// The group's [`Breaker`](crate::Breaker) is open: too many failed in a row.
    BreakerOpen {
        /// When one message is tried, on the engine's clock.
        until: Timestamp,
    },
    /// The breaker has let out one message to see whether things work again.
    BehindProbe,
    /// Messages that were in flight when the process died go first, one at a time.
    BehindSuspects {
        /// How many of them there are, this one not counted.
        suspects: u64,
    },
    /// The group is ordered, and this message of its key goes first, or is in somebody's hands.
    BehindKey {
        /// Where that is: ask [`Consumer::why`](crate::Consumer::why) what it waits for in its turn.
        offset: Offset,
    },
    /// The group is ordered, and this dead letter holds the key until it is redriven or purged; or takes it along.
    KeyParked {
        /// Where that is.
        offset: Offset,
    },
    /// The group is ordered and looks no further than this: as many messages as
    /// [`Group::look_ahead`](crate::Group::look_ahead) says wait for others of their keys.
    BeyondLookAhead {
        /// The first message it has not looked at.
        from: Offset,
    },
    /// As many messages as [`Group::max_retrying`](crate::Group::max_retrying) says wait for a retry: no new one is
    /// leased before some of them are through.
    TooManyRetrying {
        /// How many there are.
        retrying: u64,
    },
    /// It is handed out to whoever asks next, once those before it are.
    Ready {
        /// How many go before it.
        before: u64,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPublished { end } => write!(f, "it is not published yet: the topic ends at offset {end}"),
            Self::NotCommitted => f.write_str("it, or a message before it, is not as durable yet as was asked for"),
            Self::Dropped => f.write_str("it is gone: a policy of its topic dropped it"),
            Self::Settled => f.write_str("the group is done with it"),
            Self::Dead { since } => write!(f, "it is a dead letter since {since}"),
            Self::Leased { until } => write!(f, "a consumer has it until {until}"),
            Self::Waiting { until, failures: 0 } => write!(f, "it waits until {until}"),
            Self::Waiting { until, failures: 1 } => write!(f, "it failed once, and waits until {until}"),
            Self::Waiting { until, failures } => write!(f, "it failed {failures} times, and waits until {until}"),
            Self::Delayed { due } => write!(f, "it was published for later, and is due at {due}"),
            Self::Paused { until } if *until == Timestamp(u64::MAX) => f.write_str("the group is paused"),
            Self::Paused { until } => write!(f, "the group is paused until {until}"),
            Self::HeldOff { until } => {
                write!(f, "a handler was told to come later: nothing is handed out until {until}")
            }
            Self::RateLimited { until } => write!(f, "the group's rate allows the next delivery at {until}"),
            Self::InFlight { limit } => {
                write!(f, "{limit} deliveries are out, and the group's `max_in_flight` allows no more")
            }
            Self::BreakerOpen { until } => {
                write!(f, "too many messages failed in a row: the group's breaker is open until {until}")
            }
            Self::BehindProbe => f.write_str("the group's breaker waits to see how one message fares"),
            Self::BehindSuspects { suspects } => {
                write!(f, "{suspects} that were in flight when the process died go first, one at a time")
            }
            Self::BehindKey { offset } => write!(f, "offset {offset} has the same key and goes first"),
            Self::KeyParked { offset } => write!(f, "the dead letter at offset {offset} holds its key"),
            Self::BeyondLookAhead { from } => {
                write!(f, "the group looks no further than offset {from}: too many before it wait for their keys")
            }
            Self::TooManyRetrying { retrying } => {
                write!(f, "{retrying} wait for a retry; no new one is handed out before some of them are through")
            }
            Self::Ready { before: 0 } => f.write_str("it is the next to be handed out"),
            Self::Ready { before } => write!(f, "it can be handed out; {before} go before it"),
        }
    }
}

impl Engine {
    /// What the message is waiting for in this group.
    pub(crate) fn why(&self, group: GroupId, offset: Offset) -> Result<Why> {
        self.read_up_to(group, offset)?;
        let key = self.key_in_rest(group, offset)?;
        let mut core = self.open_core()?;
        if let Some(topic) = core.state.group(group).map(|held| held.topic()) {
            self.turn_schedule(&mut core, topic);
        }
        let now = self.now();
        let why = core.why((group, offset), key, now)?;
        let shut = || match core.state.group(group).map(|held| self.gate(&core, held, now)) {
            Some(Gate::Shut { why, .. }) => Some(why),
            _ => None,
        };
        // What could be handed out, but for what keeps the group as a whole.
        let could = matches!(why, Why::BehindSuspects { .. } | Why::Ready { .. });
        Ok(could.then(shut).flatten().unwrap_or(why))
    }
}

impl Core {
    fn why(&self, (group, offset): (GroupId, Offset), key: Option<KeyHash>, now: Timestamp) -> Result<Why> {
        let held = self.state.group(group).ok_or_else(super::settle::no_group)?;
        let topic = self.state.topic(held.topic()).ok_or_else(super::read::no_topic)?;
        if offset >= topic.end() {
            return Ok(Why::NotPublished { end: topic.end() });
        }
        if let Some(letter) = held.dead().get(&offset) {
            return Ok(Why::Dead { since: letter.time });
        }
        if topic.gone().contains(offset) {
            return Ok(Why::Dropped);
        }
        if held.settled().contains(offset) {
            return Ok(Why::Settled);
        }
        if let Some(lease) = held.lease(offset) {
            return Ok(Why::Leased { until: lease.deadline });
        }
        if offset >= self.visible.end(held.topic()) {
            return Ok(Why::NotCommitted);
        }
        if let Some(due) = topic.schedule().due(offset) {
            return Ok(Why::Delayed { due });
        }
        let past = held.past(offset);
        if let Some(past) = past.filter(|past| past.due > now) {
            return Ok(Why::Waiting { until: past.due, failures: past.in_this_life(past.counters).failures });
        }
        if held.is_paused(now) {
            return Ok(Why::Paused { until: held.paused_until() });
        }
        match self.state.turn(held, offset) {
            Turn::Behind(offset) => return Ok(Why::BehindKey { offset }),
            Turn::Dead(offset) => return Ok(Why::KeyParked { offset }),
            Turn::InRest => {
                // What was in a rest a moment ago is not the first of its key, or will be before it is asked for again.
                let first = key.and_then(|key| held.first_of_key(key)).unwrap_or(offset);
                return Ok(Why::BehindKey { offset: first });
            }
            Turn::Unread => return Ok(Why::BeyondLookAhead { from: held.read_to().unwrap_or_default() }),
            Turn::Go | Turn::Over | Turn::Leased | Turn::Asleep => {}
        }
        let suspect = past.is_some_and(|past| past.suspicion.is_suspect());
        let suspects = held.suspects() as u64;
        if suspects > u64::from(suspect) {
            return Ok(Why::BehindSuspects { suspects: suspects - u64::from(suspect) });
        }
        if past.is_none() && held.retries_are_many(now) {
            return Ok(Why::TooManyRetrying { retrying: held.retrying(now) });
        }
        if held.is_ordered() {
            return Ok(Why::Ready { before: held.before_in_order(offset, now) });
        }
        // Due retries go first, in the order in which they fell due; then what was never handed out, in its own.
        let earlier = |(other, past): &(&Offset, &crate::state::History)| match held.past(offset) {
            Some(mine) => (past.due, **other) < (mine.due, offset),
            None => past.due <= now,
        };
        let retries = held.history().iter().filter(|(other, _)| held.lease(**other).is_none()).filter(earlier).count();
        let fresh = if past.is_some() { 0 } else { held.fresh_before(offset, topic.schedule().waiting()) };
        Ok(Why::Ready { before: fresh.saturating_add(retries as u64) })
    }
}

impl crate::state::Group {
    /// Messages before `offset` that were never handed out and are not done with.
    fn fresh_before(&self, offset: Offset, waiting: &OffsetSet) -> u64 {
        let all = Run { first: Offset::ZERO, count: offset.get() };
        let taken = self.dead().range(..offset).count()
            + self.history().range(..offset).filter(|(other, _)| self.lease(**other).is_none()).count()
            + self.leases().take_while(|(other, _)| *other < offset).count();
        let waiting: u64 = waiting.runs_in(all).map(|run| run.count - self.settled().count_in(run)).sum();
        all.count.saturating_sub(self.settled().count_in(all)).saturating_sub(taken as u64).saturating_sub(waiting)
    }
}
