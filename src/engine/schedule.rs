//! Delayed messages: setting their times, following the clocks, listing and cancelling.

use super::removal::Whom;
use super::{Core, Engine};
use crate::error::Result;
use crate::event::{Cause, Run};
use crate::message::{Due, Message};
use crate::types::{Offset, Timestamp, TopicId};
use std::time::Duration;

/// How many entries of a schedule are listed under one hold of the lock.
const PAGE: usize = 256;

/// A message that waits for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) offset: Offset,
    pub(crate) due: Due,
}

impl Engine {
    /// Makes moments of the spans that the publisher gave. Before the lock: a message that waits in line for room is
    /// due when it would have been without.
    pub(super) fn set_times(&self, message: &mut Message) {
        let Some(attributes) = &mut message.attributes else { return };
        if let Some(delay) = attributes.delay {
            attributes.due = (!delay.is_zero()).then(|| Due { at: self.after(delay), wall: false });
        }
        if let Some(lifetime) = attributes.lifetime.or(attributes.default_lifetime) {
            let until_due = match attributes.due {
                None => Duration::ZERO,
                Some(Due { wall: false, .. }) => attributes.delay.unwrap_or_default(),
                Some(Due { at, wall: true }) => at.since(self.environment.clock.wall()),
            };
            attributes.expiry = Some(self.after(until_due.saturating_add(lifetime)));
        }
    }

    /// Follows the clocks in one topic. Whether more is due than was taken at once.
    pub(super) fn turn_schedule(&self, core: &mut Core, topic: TopicId) -> bool {
        // Most topics have none, and reading the clocks costs more than anything else here.
        if core.state.topic(topic).is_none_or(|held| held.schedule().is_empty()) {
            return false;
        }
        let (now, wall) = (self.now(), self.environment.clock.wall());
        let waiting = |core: &Core| core.state.topic(topic).map_or(0, |held| held.schedule().waiting().len());
        let before = waiting(core);
        let more = core.state.turn_schedule(topic, now, wall);
        if waiting(core) < before {
            core.backlogs.fell_due(topic);
        }
        more
    }

    /// Follows the clocks in every topic: whether something fell due, and when the next does.
    pub(super) fn turn_schedules(&self, core: &mut Core) -> (bool, Option<Timestamp>) {
        let topics: Vec<TopicId> = core.state.topics().map(|topic| topic.id()).collect();
        let mut more = false;
        let mut next = None;
        for topic in topics {
            more |= self.turn_schedule(core, topic);
            next = next.into_iter().chain(self.next_scheduled(core, topic)).min();
        }
        (more, next)
    }

    /// When, on the engine's clock, the next message of a topic falls due as things stand; the wall clock is looked at
    /// again at the latest after `Options::wall_check`, since it may be set meanwhile, or the machine sleep.
    pub(super) fn next_scheduled(&self, core: &Core, topic: TopicId) -> Option<Timestamp> {
        let (delay, deliver_at) = core.state.topic(topic)?.schedule().next();
        let deliver_at = deliver_at.map(|at| {
            let left = at.since(self.environment.clock.wall());
            self.after(left.min(self.options.wall_check))
        });
        delay.into_iter().chain(deliver_at).min()
    }

    /// The next page of what waits in a topic and is due in `from..to`, in the order of time, behind `after`. Nothing
    /// if there is no more.
    pub(crate) fn scheduled(
        &self,
        topic: TopicId,
        after: Option<Waiting>,
        from: Timestamp,
        to: Option<Timestamp>,
    ) -> Result<Vec<Waiting>> {
        let mut core = self.open_core()?;
        self.turn_schedule(&mut core, topic);
        let visible = core.visible.end(topic);
        let held = core.state.topic(topic).ok_or_else(super::read::no_topic)?;
        let after = after.map(|after| (after.due.at, after.offset));
        let entries = held.schedule().between(after, from, to);
        let waits = held.schedule().waiting();
        let waiting = entries.filter(|(_, offset)| *offset < visible && waits.contains(*offset));
        let waiting = waiting.filter(|(_, offset)| !core.state.is_gone(held, *offset));
        Ok(waiting.map(|(due, offset)| Waiting { offset, due }).take(PAGE).collect())
    }

    /// Drops a message that waits for its time, for every group. Whether it did: not if it is due, or gone.
    pub(crate) fn cancel(&self, topic: TopicId, offset: Offset) -> Result<bool> {
        loop {
            let mut core = self.open_core()?;
            self.turn_schedule(&mut core, topic);
            let held = core.state.topic(topic).ok_or_else(super::read::no_topic)?;
            let touched = held.groups().iter().filter_map(|group| core.state.group(*group));
            let touched = touched.filter(|group| group.lease(offset).is_some() || group.past(offset).is_some()).count();
            let waits = held.schedule().waiting().contains(offset) && !core.state.is_gone(held, offset);
            if !waits || touched > 0 {
                return Ok(false);
            }
            match core.remove(Whom::Everybody(topic), Cause::Cancelled, vec![Run::one(offset)]) {
                Ok(span) => {
                    core.disk_end = core.disk_end.max(span.end);
                    self.keys_freed(&mut core, topic);
                    drop(core);
                    self.drive(span.end, crate::config::Durability::Disk, None)?;
                    return Ok(true);
                }
                Err(refusal) => {
                    drop(core);
                    self.relieve(refusal)?;
                }
            }
        }
    }
}
