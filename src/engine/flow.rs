//! What keeps a group from handing out what it could: how much is out already, its rate, a handler that was told to
//! come later, its breaker. All of it lives in memory; a pause is durable and lies with the group.

use super::breaker::{BreakerState, Fuse};
use super::{Core, Engine, Why};
use crate::config::Rate;
use crate::error::Result;
use crate::event::{Event, Pause};
use crate::state::{Group, Hold};
use crate::types::{GroupId, Offset, Timestamp};
use std::collections::HashMap;
use std::time::Duration;

/// What is kept in mind of the groups that were ever held up.
#[derive(Debug, Default)]
pub(super) struct Flows {
    groups: HashMap<GroupId, Flow>,
    /// Something was settled in a group that has turned somebody away.
    pub(super) freed: bool,
}

/// One group's.
#[derive(Debug, Default)]
pub(super) struct Flow {
    bucket: Bucket,
    /// A handler was told to come later: nothing is handed out before.
    held_until: Timestamp,
    pub(super) fuse: Fuse,
    /// Somebody asked and was given nothing, for what a settlement may change.
    turned_away: bool,
}

/// A token bucket, kept as the moment at which it would be full if nothing more were taken; on the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full_at: Duration,
}

impl Bucket {
    /// How many tokens there are; if there is none, how long until there is one.
    fn tokens(&self, rate: Rate, now: Duration) -> Result<u64, Duration> {
        let Some(interval) = rate.interval() else { return Ok(u64::MAX) };
        let missing = self.full_at.saturating_sub(now);
        let taken = u64::try_from(missing.as_nanos().div_ceil(interval.as_nanos())).unwrap_or(u64::MAX);
        match rate.burst.saturating_sub(taken) {
            0 => {
                let whole = u32::try_from(rate.burst.saturating_sub(1)).unwrap_or(u32::MAX);
                Err(missing.saturating_sub(interval.saturating_mul(whole)))
            }
            tokens => Ok(tokens),
        }
    }

    fn take(&mut self, rate: Rate, now: Duration, count: usize) {
        if let Some(interval) = rate.interval() {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            self.full_at = self.full_at.max(now).saturating_add(interval.saturating_mul(count));
        }
    }

    fn put_back(&mut self, rate: Rate, count: usize) {
        if let Some(interval) = rate.interval() {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            self.full_at = self.full_at.saturating_sub(interval.saturating_mul(count));
        }
    }
}

/// Whether a group may hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// So many at most.
    Open(u64),
    Shut {
        why: Why,
        /// When that ends by itself, if it does.
        until: Option<Timestamp>,
    },
}

impl Flows {
    /// What is kept of a group, from now on.
    /// Whether a group was ever held up, or may be.
    pub(super) fn know(&self, group: GroupId) -> bool {
        self.groups.contains_key(&group)
    }

    pub(super) fn of(&mut self, group: GroupId) -> &mut Flow {
        self.groups.entry(group).or_default()
    }

    /// An event was applied. The group whose breaker that closes, if any.
    pub(super) fn saw(&mut self, event: &Event<'_>) -> Option<GroupId> {
        if self.groups.is_empty() {
            return None;
        }
        let group = match event {
            Event::Ack(event) => event.group,
            Event::Settle(event) => event.group,
            Event::Nack(event) => event.group,
            Event::Release(event) => event.group,
            Event::Bury(event) => event.group,
            Event::Seek(event) => event.group,
            Event::Dropped(_) => {
                self.freed |= self.groups.values().any(|flow| flow.turned_away);
                return None;
            }
            Event::DropGroup(event) => {
                self.groups.remove(&event.group);
                return None;
            }
            _ => return None,
        };
        let flow = self.groups.get_mut(&group)?;
        self.freed |= flow.turned_away;
        let Event::Ack(ack) = event else { return None };
        flow.fuse.acked(&ack.runs).then_some(group)
    }
}

impl Engine {
    /// Whether a group may hand out now, pauses aside.
    pub(super) fn gate(&self, core: &Core, held: &Group, now: Timestamp) -> Gate {
        static NEVER_HELD_UP: Flow = Flow {
            bucket: Bucket { full_at: Duration::ZERO },
            held_until: Timestamp::ZERO,
            fuse: Fuse::Closed { failed: Vec::new() },
            turned_away: false,
        };
        let flow = core.flows.groups.get(&held.id()).unwrap_or(&NEVER_HELD_UP);
        let shut = |why, until| Gate::Shut { why, until };
        let mut most = u64::MAX;
        match flow.breaker(held, now) {
            BreakerState::Closed => {}
            BreakerState::Open { until } => return shut(Why::BreakerOpen { until }, Some(until)),
            BreakerState::HalfOpen if flow.fuse.is_probing(held) => return shut(Why::BehindProbe, None),
            BreakerState::HalfOpen => most = 1,
        }
        if flow.held_until > now {
            return shut(Why::HeldOff { until: flow.held_until }, Some(flow.held_until));
        }
        let limit = held.policy().max_in_flight;
        match limit.saturating_sub(held.leased() as u64) {
            0 => return shut(Why::InFlight { limit }, None),
            places => most = most.min(places),
        }
        match flow.bucket.tokens(held.policy().rate, self.environment.clock.monotonic()) {
            Ok(tokens) => Gate::Open(most.min(tokens)),
            Err(left) => {
                let until = self.after(left);
                shut(Why::RateLimited { until }, Some(until))
            }
        }
    }

    /// How many a group may hand out now: zero, if it is shut. Then whoever asks is told when that ends: `until`, or
    /// when something is settled.
    pub(super) fn let_out(&self, core: &mut Core, group: GroupId, now: Timestamp) -> (usize, Option<Timestamp>) {
        let Some(held) = core.state.group(group) else { return (0, None) };
        match self.gate(core, held, now) {
            Gate::Open(most) => {
                if let Some(flow) = core.flows.groups.get_mut(&group) {
                    flow.turned_away = false;
                }
                (usize::try_from(most).unwrap_or(usize::MAX), None)
            }
            Gate::Shut { until, .. } => {
                core.flows.of(group).turned_away = true;
                if let Some(until) = until {
                    // Those who wait without a thread are told by the upkeep.
                    self.upkeep_by(core, until);
                }
                (0, until)
            }
        }
    }

    /// Messages were granted: tokens are taken, and one that goes out of an open breaker is its probe.
    pub(super) fn went_out(&self, core: &mut Core, group: GroupId, granted: usize, first: Option<(Offset, u64)>) {
        let Some(policy) = core.state.group(group).map(|held| held.policy()) else { return };
        let (rate, breaks) = (policy.rate, policy.breaker.failures > 0);
        if rate.interval().is_some() {
            let now = self.environment.clock.monotonic();
            core.flows.of(group).bucket.take(rate, now, granted);
        }
        if breaks && let (Some(flow), Some((offset, epoch))) = (core.flows.groups.get_mut(&group), first) {
            flow.fuse.granted(offset, epoch);
        }
    }

    /// Some of those that were granted were seen by nobody: as if they had not been.
    pub(super) fn came_back(&self, core: &mut Core, group: GroupId, offsets: &[Offset]) {
        if let Some(rate) = core.state.group(group).map(|held| held.policy().rate)
            && let Some(flow) = core.flows.groups.get_mut(&group)
        {
            flow.bucket.put_back(rate, offsets.len());
        }
        let Core { backlogs, state, .. } = core;
        offsets.iter().for_each(|offset| backlogs.came_back(state, group, *offset));
        self.tell_waiting(core);
    }

    /// Has those who wait for messages look again.
    pub(super) fn tell_waiting(&self, core: &mut Core) {
        core.flows.freed = false;
        self.tell_arrival(core);
    }

    /// When, after `now`, something in the way of a group goes by itself.
    pub(super) fn gate_due(&self, core: &Core, group: GroupId, now: Timestamp) -> Option<Timestamp> {
        let held = core.state.group(group).filter(|_| core.flows.groups.contains_key(&group))?;
        match self.gate(core, held, now) {
            Gate::Shut { until, .. } => until.filter(|until| *until > now),
            Gate::Open(_) => None,
        }
    }

    /// The holder was told to come later: the group hands out nothing for so long, if the lease is still good.
    pub(crate) fn hold_off(&self, group: GroupId, (offset, epoch): (Offset, u64), until: Timestamp) {
        let Ok(mut core) = self.open_core() else { return };
        if core.state.group(group).is_some_and(|held| held.check(offset, epoch) != Hold::Lost) {
            let flow = core.flows.of(group);
            flow.held_until = flow.held_until.max(until);
            self.upkeep_by(&mut core, until);
        }
    }

    /// How long it is until `time`, on the engine's clock.
    pub(crate) fn until(&self, time: Timestamp) -> Duration {
        time.since(self.now())
    }

    /// Pauses a group until `until`, or ends its pause if that is zero; durable when this returns.
    pub(crate) fn pause(&self, group: GroupId, until: Timestamp) -> Result<()> {
        let until = if until <= self.now() { Timestamp::ZERO } else { until };
        self.establish(|core| {
            let held = core.state.group(group).ok_or_else(super::settle::no_group)?;
            // Said again, it is so already; and one that is over needs no end.
            let over = until == Timestamp::ZERO && !held.is_paused(self.now());
            let same = over || held.paused_until() == until;
            let event = Event::Pause(Pause { group, until });
            Ok(((), if same { Vec::new() } else { vec![event] }))
        })?;
        let mut core = self.open_core()?;
        if until != Timestamp(u64::MAX) && until > self.now() {
            self.upkeep_by(&mut core, until);
        }
        self.tell_leasing(&mut core);
        Ok(())
    }

    /// The moment that is so far off, on the engine's clock.
    pub(crate) fn moment(&self, span: Duration) -> Timestamp {
        self.after(span)
    }
}

impl Core {
    /// What of this is shown in the statistics: until when nothing is handed out, and the breaker.
    pub(super) fn held_up(&self, held: &Group, now: Timestamp) -> (Option<Timestamp>, BreakerState) {
        let Some(flow) = self.flows.groups.get(&held.id()) else { return (None, BreakerState::Closed) };
        (Some(flow.held_until).filter(|until| *until > now), flow.breaker(held, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_the_rate() {
        let rate = Rate::per_second(10).burst(3);
        let at = Duration::from_millis;
        let mut bucket = Bucket::default();
        assert_eq!(bucket.tokens(rate, at(5000)), Ok(3));
        bucket.take(rate, at(5000), 3);
        assert_eq!(bucket.tokens(rate, at(5000)), Err(at(100)));
        assert_eq!(bucket.tokens(rate, at(5099)), Err(at(1)));
        assert_eq!(bucket.tokens(rate, at(5100)), Ok(1));
        assert_eq!(bucket.tokens(rate, at(5250)), Ok(2));
        bucket.put_back(rate, 1);
        assert_eq!(bucket.tokens(rate, at(5000)), Ok(1));
        assert_eq!(bucket.tokens(rate, at(9000)), Ok(3), "and no more than its burst");
        assert_eq!(bucket.tokens(Rate::unlimited(), at(0)), Ok(u64::MAX));
    }

    #[test]
    fn over_a_long_time_no_more_goes_out_than_the_rate_says() {
        let rate = Rate::new(7, Duration::from_millis(100)).burst(2);
        let (mut bucket, mut out) = (Bucket::default(), 0);
        for millis in 0..10_000 {
            let now = Duration::from_millis(millis);
            if let Ok(tokens) = bucket.tokens(rate, now) {
                let count = usize::try_from(tokens).unwrap();
                bucket.take(rate, now, count);
                out += count;
            }
        }
        assert!((698..=702).contains(&out), "{out} in ten seconds");
    }
}
