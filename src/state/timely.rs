//! What of a group depends on its topic's schedule: what it may hand out, and when the next thing happens by itself.
//!
//! All of it is volatile. Times are given, never read: `now` is of the engine's clock, `wall` of the wall clock.

use super::counts::GroupCounts;
use super::lease::{Lease, Pick};
use super::offsets::OffsetSet;
use super::order::{KeyHash, Unread};
use super::priority::Levels;
use super::turn::Turn;
use super::{Group, State, Topic};
use crate::event::Run;
use crate::types::{GroupId, Offset, Timestamp, TopicId};
use std::collections::BTreeMap;

/// So many messages fall due under one hold of the lock; the rest follows at the next turn.
const TURN_MAX: usize = 4096;

/// Nothing waits in a topic that isn't there.
static NONE: OffsetSet = OffsetSet::new();
static NO_LEVELS: Levels = Levels::new();

fn waiting<'a>(topics: &'a BTreeMap<TopicId, Topic>, group: &Group) -> &'a OffsetSet {
    topics.get(&group.topic).map_or(&NONE, |topic| topic.schedule.waiting())
}

impl State {
    /// Follows the clocks: what has fallen due in a topic is there for its groups to take, and what is not due any
    /// more, because the wall clock was set back, is not. Says whether anything fell due.
    pub(crate) fn turn_schedule(&mut self, topic: TopicId, now: Timestamp, wall: Timestamp) -> bool {
        let Some(held) = self.topics.get_mut(&topic) else { return false };
        let mut turned = held.schedule.turn(now, wall, TURN_MAX, held.policy.retention.longest_age().is_some());
        turned.waits_again.retain(|offset| !held.gone.contains(*offset));
        for group in &held.groups {
            if let Some(group) = self.groups.get_mut(group) {
                group.fell_due(&turned.due);
                group.wait_again(&turned.waits_again);
            }
        }
        let sweeps_levels = held.levels.wants_sweep();
        if held.schedule.wants_sweep() {
            self.sweep_schedule(topic, now);
        }
        if sweeps_levels {
            self.sweep_levels(topic);
        }
        !turned.due.is_empty()
    }

    /// Of what was redriven in an ordered group, some may be in the schedule again, since the clock was set back.
    pub(super) fn sleep_redriven(&mut self, group: GroupId, runs: &[Run]) {
        let Some(held) = self.groups.get_mut(&group).filter(|held| held.is_ordered()) else { return };
        let waiting = waiting(&self.topics, held);
        if !waiting.is_empty() {
            let again = runs.iter().flat_map(|run| waiting.runs_in(*run));
            let offsets: Vec<Offset> = again.flat_map(|run| (run.first.0..run.end().0).map(Offset)).collect();
            held.sleep_in_line(&offsets);
        }
    }

    /// Leaves out of the schedule what every group is done with, unless its age still counts from when it was due.
    fn sweep_schedule(&mut self, topic: TopicId, now: Timestamp) {
        let Some(held) = self.topics.get_mut(&topic) else { return };
        let groups: Vec<&Group> = held.groups.iter().filter_map(|group| self.groups.get(group)).collect();
        let (gone, age) = (&held.gone, held.policy.retention.longest_age());
        held.schedule.sweep(|due, offset| {
            let aging = age.is_some_and(|age| due.at.plus(age) > now);
            let unsettled = groups.is_empty() || groups.iter().any(|group| !group.settled.contains(offset));
            !gone.contains(offset) && (aging || (due.wall && unsettled))
        });
    }

    /// Forgets the levels of what is gone for everybody.
    fn sweep_levels(&mut self, topic: TopicId) {
        let earliest = self.topics.get(&topic).map(|held| self.earliest(held));
        if let (Some(earliest), Some(held)) = (earliest, self.topics.get_mut(&topic)) {
            held.levels.sweep(earliest);
        }
    }

    /// Everything of a topic before `upto` has waited too long to be passed by what has a higher priority.
    pub(crate) fn set_aged(&mut self, topic: TopicId, upto: Offset) {
        if let Some(held) = self.topics.get_mut(&topic) {
            held.levels.set_aged(upto);
        }
    }

    /// See [`Group::pick`].
    pub(crate) fn pick(&mut self, group: GroupId, now: Timestamp, visible_end: Offset, max: usize) -> Vec<Pick> {
        self.pick_some(group, now, visible_end, max, false)
    }

    /// Up to `max` messages in runs of a key. See [`Group::pick`].
    pub(crate) fn pick_runs(&mut self, group: GroupId, now: Timestamp, visible_end: Offset, max: usize) -> Vec<Pick> {
        self.pick_some(group, now, visible_end, max, true)
    }

    fn pick_some(&mut self, group: GroupId, now: Timestamp, end: Offset, max: usize, runs: bool) -> Vec<Pick> {
        let Some(held) = self.groups.get_mut(&group) else { return Vec::new() };
        let waiting = waiting(&self.topics, held);
        let levels = self.topics.get(&held.topic).map_or(&NO_LEVELS, |topic| &topic.levels);
        held.pick(now, end, waiting, levels, max, runs)
    }

    /// The keys that were to be read, see [`Group::unread`].
    pub(crate) fn learn(&mut self, group: GroupId, unread: &Unread, keys: &[Option<KeyHash>]) {
        if let Some(held) = self.groups.get_mut(&group) {
            let waiting = waiting(&self.topics, held);
            held.learn(unread, keys, waiting);
        }
    }

    /// A message that an ordered group is to park because an earlier one of its key is a dead letter; and that one.
    pub(crate) fn condemned(&mut self, group: GroupId) -> Option<(Offset, Offset)> {
        let held = self.groups.get_mut(&group)?;
        held.condemned(waiting(&self.topics, held))
    }

    /// Whether it is a message's turn in its group.
    pub(crate) fn turn(&self, group: &Group, offset: Offset) -> Turn {
        group.turn(offset, waiting(&self.topics, group))
    }

    /// See [`Group::grant`].
    pub(crate) fn grant(&mut self, group: GroupId, offset: Offset, lease: Lease) {
        if let Some(held) = self.groups.get_mut(&group) {
            let waiting = waiting(&self.topics, held);
            held.grant(offset, lease, waiting);
        }
    }

    /// See [`Group::next_run`].
    pub(crate) fn next_run(&mut self, group: GroupId, now: Timestamp, visible_end: Offset, max: u64) -> Option<Run> {
        let held = self.groups.get_mut(&group)?;
        let topic = self.topics.get(&held.topic).filter(|topic| topic.levels.is_empty())?;
        held.next_run(now, visible_end, topic.schedule.waiting(), max)
    }

    /// Leases a run that comes from [`State::next_run`]. The epochs of its messages follow that of the first.
    pub(crate) fn grant_run(&mut self, group: GroupId, run: Run, lease: Lease) {
        if let Some(held) = self.groups.get_mut(&group) {
            held.grant_run(run, lease);
        }
    }

    /// See [`GroupCounts`].
    pub(crate) fn counts(&self, group: &Group, now: Timestamp, visible_end: Offset) -> GroupCounts {
        group.counts(now, visible_end, waiting(&self.topics, group))
    }

    /// See [`Group::oldest_claimable`].
    pub(crate) fn oldest_claimable(&self, group: &Group, now: Timestamp, visible_end: Offset) -> Option<Offset> {
        group.oldest_claimable(now, visible_end, waiting(&self.topics, group))
    }
}
