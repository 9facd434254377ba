//! How much waits in a topic that has a limit, and whether a publish still fits.
//!
//! The count follows every event as it is applied: what the runs it names hold is taken off before, and put back as it
//! is after. So a publish asks a number and no set. What changes more than runs (a seek, a group that comes or goes, a
//! new limit) has everything counted again. Topics without a limit are not counted at all.
//!
//! Lengths of messages are not in memory. As in `liveness`, the bytes of a segment's messages are shared out evenly.

use super::Core;
use super::line::InLine;
use crate::config::{Backlog, Overflow};
use crate::error::{Code, Error};
use crate::event::{Draft, Event, Published, Run};
use crate::state::{State, Topic};
use crate::types::{GroupId, Lsn, Offset, SegmentId, TopicId};
use std::collections::{BTreeMap, VecDeque};

/// The topics that have a limit.
#[derive(Debug, Default)]
pub(super) struct Backlogs {
    counts: BTreeMap<TopicId, Count>,
    /// Publishes that wait for room in the backlog of their topic, in call order; none is empty.
    pub(super) lines: BTreeMap<TopicId, VecDeque<InLine>>,
    /// There may be room now for somebody who waits.
    pub(super) freed: bool,
}

/// How much waits in one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// By their first offsets.
    parts: BTreeMap<Offset, Part>,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// Nothing before this could be dropped when it was last looked for.
    oldest: Offset,
}

/// Messages of one topic that lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    segment: SegmentId,
    end: Offset,
    /// How many were written, and how long they are together.
    written: u64,
    bytes: u64,
    /// How many of them are part of the backlog.
    open: u64,
}

impl Part {
    fn share(&self) -> u64 {
        let share = u128::from(self.bytes) * u128::from(self.open) / u128::from(self.written.max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    }
}

impl Count {
    /// Counts everything there is.
    pub(super) fn of(state: &State, topic: &Topic) -> Self {
        let mut count = Self::default();
        for extent in topic.extents() {
            let lain = Part {
                segment: extent.segment,
                end: extent.last.next(),
                written: extent.count,
                bytes: extent.bytes,
                open: 0,
            };
            count.cover(extent.first, lain);
        }
        // What was carried over counts where it was before, as long as that is known.
        for place in topic.places().places() {
            let written = place.offsets.len();
            for run in place.offsets.runs() {
                let lain = Part { segment: place.segment, end: run.end(), written, bytes: place.bytes, open: 0 };
                count.cover(run.first, lain);
            }
        }
        let all = Run { first: Offset::ZERO, count: topic.end().get() };
        count.shift(state, topic, all, u64::saturating_add);
        count
    }

    /// Counts what lies from here to the part's end, but for what is counted already.
    fn cover(&mut self, from: Offset, part: Part) {
        let (mut at, end) = (from, part.end);
        while at < end {
            if let Some((_, known)) = self.parts.range(..=at).next_back().filter(|(_, known)| known.end > at) {
                at = known.end;
                continue;
            }
            let free = self.parts.range(at..).next().map_or(end, |(first, _)| (*first).min(end));
            self.parts.insert(at, Part { end: free, ..part });
            at = free;
        }
    }

    /// Takes messages on that are being published.
    fn append(&mut self, segment: SegmentId, run: &Published<'_>) {
        let end = run.first.plus(run.count);
        let last = self.parts.last_entry();
        if let Some(mut last) = last.filter(|last| last.get().segment == segment && last.get().end == run.first) {
            let part = last.get_mut();
            let before = part.share();
            part.end = end;
            part.written = part.written.saturating_add(run.count);
            part.bytes = part.bytes.saturating_add(run.bytes);
            let after = part.share();
            self.bytes = self.bytes.saturating_sub(before).saturating_add(after);
            return;
        }
        self.parts.insert(run.first, Part { segment, end, written: run.count, bytes: run.bytes, open: 0 });
    }

    /// Adds or takes off what these offsets hold now.
    fn shift(&mut self, state: &State, topic: &Topic, run: Run, change: fn(u64, u64) -> u64) {
        let from = self.parts.range(..=run.first).next_back().map_or(run.first, |(first, _)| *first);
        for (first, part) in self.parts.range_mut(from..run.end()) {
            let (first, end) = (run.first.max(*first), run.end().min(part.end));
            let open = state.backlog_in(topic, Run { first, count: end.since(first) });
            if open > 0 {
                let before = part.share();
                part.open = change(part.open, open);
                self.messages = change(self.messages, open);
                self.bytes = self.bytes.saturating_sub(before).saturating_add(part.share());
            }
        }
    }

    /// How many bytes a message is taken to have.
    fn bytes_of(&self, offset: Offset) -> u64 {
        let part = self.parts.range(..=offset).next_back();
        part.map_or(0, |(_, part)| part.bytes / part.written.max(1))
    }

    /// The limit that is exceeded with so much more.
    fn exceeded(&self, limits: Backlog, messages: u64, bytes: u64) -> Option<Limit> {
        let over = |most: Option<u64>, held: u64, more: u64| most.filter(|most| held.saturating_add(more) > *most);
        let by_messages = over(limits.messages, self.messages, messages).map(|most| Limit::Messages { most });
        by_messages.or_else(|| over(limits.bytes, self.bytes, bytes).map(|most| Limit::Bytes { most }))
    }
}

/// A limit that leaves no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Messages { most: u64 },
    Bytes { most: u64 },
}

/// Why a publish has no place in the backlog of its topic.
#[derive(Debug)]
pub(super) enum NoPlace {
    /// It may wait for one.
    Wait,
    Refused(Error),
}

/// What an event touches.
fn touched<'a>(state: &State, event: &'a Event<'_>) -> Option<(TopicId, &'a [Run])> {
    let of = |group: GroupId| state.group(group).map(|group| group.topic());
    Some(match event {
        Event::Ack(event) => (of(event.group)?, &event.runs),
        Event::Settle(event) => (of(event.group)?, &event.runs),
        Event::Redrive(event) => (of(event.group)?, &event.runs),
        Event::Dropped(event) => (event.topic, &event.runs),
        _ => return None,
    })
}

/// The topic of which an event changes more than the runs it names, or one message.
fn unsettled(state: &State, event: &Event<'_>) -> Option<TopicId> {
    let of = |group: GroupId| state.group(group).map(|group| group.topic());
    match event {
        Event::CreateTopic(event) => Some(event.topic),
        Event::ConfigureTopic(event) => Some(event.topic),
        Event::DropTopic(event) => Some(event.topic),
        Event::CreateGroup(event) => Some(event.topic),
        Event::DropGroup(event) => of(event.group),
        Event::Seek(event) => of(event.group),
        _ => None,
    }
}

/// What is still to be done when the event is applied.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    Nothing,
    /// The runs of the event count again.
    Runs(TopicId),
    One(TopicId, Offset),
    Everything(TopicId),
}

impl Backlogs {
    pub(super) fn of(state: &State) -> Self {
        let mut backlogs = Self::default();
        for topic in state.topics().filter(|topic| topic.policy().backlog.is_limited()) {
            backlogs.counts.insert(topic.id(), Count::of(state, topic));
        }
        backlogs
    }

    pub(super) fn count(&self, topic: TopicId) -> Option<&Count> {
        self.counts.get(&topic)
    }

    /// An event is about to be applied.
    pub(super) fn before(&mut self, state: &State, event: &Event<'_>) -> Then {
        if let Some(topic) = unsettled(state, event) {
            return Then::Everything(topic);
        }
        if self.counts.is_empty() {
            return Then::Nothing;
        }
        // What comes back may be older than what was last found to be there to be dropped.
        let returned = match event {
            Event::Nack(event) => Some((event.group, Some(event.offset))),
            Event::Release(event) => Some((event.group, event.runs.first().map(|run| run.first))),
            Event::Redrive(event) => Some((event.group, event.runs.first().map(|run| run.first))),
            _ => None,
        };
        if let Some((group, Some(offset))) = returned {
            self.came_back(state, group, offset);
        }
        let (topic, runs, then) = match event {
            Event::Publish(run) => return Then::One(run.topic, run.first),
            Event::Bury(event) => {
                let Some(topic) = state.group(event.group).map(|group| group.topic()) else { return Then::Nothing };
                (topic, &[Run::one(event.offset)][..], Then::One(topic, event.offset))
            }
            event => match touched(state, event) {
                Some((topic, runs)) => (topic, runs, Then::Runs(topic)),
                None => return Then::Nothing,
            },
        };
        let (Some(count), Some(held)) = (self.counts.get_mut(&topic), state.topic(topic)) else {
            return Then::Nothing;
        };
        runs.iter().for_each(|run| count.shift(state, held, *run, u64::saturating_sub));
        then
    }

    /// It was applied.
    pub(super) fn after(&mut self, state: &State, lsn: Lsn, event: &Event<'_>, then: Then) {
        let topic = match then {
            Then::Nothing => return,
            Then::Runs(topic) | Then::One(topic, _) | Then::Everything(topic) => topic,
        };
        if let Then::Everything(_) = then {
            self.counts.remove(&topic);
            if let Some(held) = state.topic(topic).filter(|held| held.policy().backlog.is_limited()) {
                self.counts.insert(topic, Count::of(state, held));
            }
            self.freed |= self.lines.contains_key(&topic);
            return;
        }
        let (Some(count), Some(held)) = (self.counts.get_mut(&topic), state.topic(topic)) else { return };
        match (event, then) {
            (Event::Publish(run), _) => {
                count.append(lsn.segment(), run);
                count.shift(state, held, Run { first: run.first, count: run.count }, u64::saturating_add);
            }
            (_, Then::One(_, offset)) => count.shift(state, held, Run::one(offset), u64::saturating_add),
            (event, _) => {
                let runs = touched(state, event).map_or(&[][..], |(_, runs)| runs);
                runs.iter().for_each(|run| count.shift(state, held, *run, u64::saturating_add));
            }
        }
        self.freed |= !matches!(event, Event::Publish(_)) && self.lines.contains_key(&topic);
    }

    /// A message is in nobody's hands any more.
    pub(super) fn came_back(&mut self, state: &State, group: GroupId, offset: Offset) {
        let count = state.group(group).and_then(|group| self.counts.get_mut(&group.topic()));
        if let Some(count) = count {
            count.oldest = count.oldest.min(offset);
        }
    }

    /// A message may have fallen due: what was passed over since it waited is looked at again.
    pub(super) fn fell_due(&mut self, topic: TopicId) {
        if let Some(count) = self.counts.get_mut(&topic) {
            count.oldest = Offset::ZERO;
        }
    }
}

impl Core {
    /// What has to be dropped so that this fits into the backlog of its topic: mostly nothing.
    pub(super) fn make_way(&mut self, draft: &Draft<'_>) -> Result<Vec<Run>, NoPlace> {
        let (topic, messages, bytes) = (draft.topic(), draft.count(), draft.stored_bytes());
        let Some(count) = self.backlogs.counts.get_mut(&topic) else { return Ok(Vec::new()) };
        let Some(held) = self.state.topic(topic) else { return Ok(Vec::new()) };
        let limits = held.policy().backlog;
        let Some(limit) = count.exceeded(limits, messages, bytes) else { return Ok(Vec::new()) };
        if let Some(limit) = Count::default().exceeded(limits, messages, bytes) {
            return Err(NoPlace::Refused(too_much(held.name(), limit, messages, bytes)));
        }
        match limits.overflow {
            Overflow::Wait => return Err(NoPlace::Wait),
            Overflow::Reject => return Err(NoPlace::Refused(full(held.name(), limit, ""))),
            Overflow::DropOldest => {}
        }
        let (mut left, mut dropped, mut at) = (count.clone_totals(), Vec::new(), count.oldest);
        while left.exceeded(limits, messages, bytes).is_some() {
            let Some(offset) = self.state.next_droppable(held, at) else {
                let why = ", and what is there is leased, delayed or a dead letter";
                return Err(NoPlace::Refused(full(held.name(), limit, why)));
            };
            if dropped.is_empty() {
                count.oldest = offset;
            }
            left.messages = left.messages.saturating_sub(1);
            left.bytes = left.bytes.saturating_sub(count.bytes_of(offset));
            dropped.push(offset);
            at = offset.next();
        }
        Ok(super::settle::runs(&dropped))
    }
}

impl Count {
    #[cfg(test)]
    pub(super) fn counts_like(&self, other: &Self) -> bool {
        (&self.parts, self.messages, self.bytes) == (&other.parts, other.messages, other.bytes)
    }

    fn clone_totals(&self) -> Self {
        Self { messages: self.messages, bytes: self.bytes, ..Self::default() }
    }
}

fn full(topic: &str, limit: Limit, why: &str) -> Error {
    let what = match limit {
        Limit::Messages { most } => format!("{most} messages"),
        Limit::Bytes { most } => format!("{most} bytes"),
    };
    Error::new(Code::BacklogFull, format!("the backlog of topic {topic:?} is full: `max_backlog` allows {what}{why}"))
}

fn too_much(topic: &str, limit: Limit, messages: u64, bytes: u64) -> Error {
    let what = match limit {
        Limit::Messages { most } => {
            format!("{messages} messages at once never fit into topic {topic:?}, whose `max_backlog` allows {most}")
        }
        Limit::Bytes { most } => {
            format!("{bytes} bytes at once never fit into topic {topic:?}, whose `max_backlog` allows {most}")
        }
    };
    Error::new(Code::TooLarge, what)
}
