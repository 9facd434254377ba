//! Parking a message as a dead letter, with a copy of it for another topic if the group wants one: both in one frame.
//!
//! The copy needs the message itself, and reading that takes the lock and perhaps the disk. So what is decided under
//! the lock stops with [`Obstacle::Unread`]; whoever called lets go of the lock, reads, and comes again.

use super::publish::Terms;
use super::{Core, Engine, ReadCursor};
use crate::config::{Durability, WhenParked};
use crate::error::{ErrorKind, Result};
use crate::event::{Bury, BuryReason, Counters, Draft, Event, encode};
use crate::journal::{Class, Flags, Note, Refusal, Span};
use crate::message::{Attributes, Message, Record};
use crate::types::{GroupId, Offset, TopicId};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// So many messages are kept at most between being read and being parked: as many as threads that park at once.
const READ_MAX: usize = 64;

/// What the headers of origin begin with.
const ORIGIN: &str = "millpond-origin-";

/// Why something can't be recorded now. [`Engine::relieve`] does what is needed, without the lock.
#[derive(Debug)]
pub(super) enum Obstacle {
    Room(Refusal),
    /// A copy of this message is to be published, and it has not been read.
    Unread(GroupId, Offset),
}

impl From<Refusal> for Obstacle {
    fn from(refusal: Refusal) -> Self {
        Self::Room(refusal)
    }
}

/// Messages on their way to become copies.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// What was read; nothing if it can't be read.
    read: BTreeMap<(GroupId, Offset), Option<Record>>,
    /// What deliveries wait for that were dropped: a drop reads nothing.
    wanted: Vec<(GroupId, Offset)>,
}

impl Copies {
    pub(super) fn want(&mut self, group: GroupId, offset: Offset) {
        if !self.wanted.contains(&(group, offset)) {
            self.wanted.push((group, offset));
        }
    }
}

impl Engine {
    /// Parks a message as a dead letter.
    pub(super) fn bury_with(
        &self,
        core: &mut Core,
        (group, offset): (GroupId, Offset),
        reason: BuryReason,
        error: &str,
        counters: Counters,
    ) -> Result<Span, Obstacle> {
        let life = core.state.group(group).map_or(0, |held| held.life(offset));
        let (time, error) = (self.now(), Cow::Owned(self.bounded(core, error)));
        let bury = Bury { group, offset, reason, counters, life, time, error };
        let span = match self.copy_of(core, &bury)? {
            Some((topic, copy)) => self.bury_and_publish(core, bury, topic, &copy)?,
            None => core.record(&Event::Bury(bury))?,
        };
        core.copies.read.remove(&(group, offset));
        if core.state.group(group).is_some_and(|held| held.policy().ordered == Some(WhenParked::ParkKey)) {
            // It takes along what is behind it.
            self.upkeep_by(core, time);
        }
        tracing::warn!(%group, %offset, ?reason, "a message is parked as a dead letter");
        Ok(span)
    }

    /// The copy that is to be published when this is parked, and where.
    fn copy_of(&self, core: &Core, bury: &Bury<'_>) -> Result<Option<(TopicId, Message)>, Obstacle> {
        let Some(held) = core.state.group(bury.group) else { return Ok(None) };
        // One that is parked already is not parked again, by a holder that comes late.
        let Some(topic) = held.policy().forward.filter(|_| held.is_open(bury.offset)) else { return Ok(None) };
        if core.state.topic(topic).is_none() {
            tracing::error!(%topic, group = held.name(), "the topic for copies of dead letters is gone");
            return Ok(None);
        }
        match core.copies.read.get(&(bury.group, bury.offset)) {
            None => Err(Obstacle::Unread(bury.group, bury.offset)),
            Some(None) => Ok(None),
            Some(Some(record)) => {
                let from = core.state.topic(held.topic()).map_or("", |topic| topic.name());
                Ok(Some((topic, copy(record, from, held.name(), bury))))
            }
        }
    }

    /// One frame: a crash leaves both or neither.
    fn bury_and_publish(
        &self,
        core: &mut Core,
        bury: Bury<'_>,
        topic: TopicId,
        copy: &Message,
    ) -> Result<Span, Obstacle> {
        let level = core.state.topic(topic).and_then(|topic| topic.durability()).unwrap_or(self.options.durability);
        let terms = Terms { now: bury.time, level };
        let bury = Event::Bury(bury);
        // A copy lives as long as any message of its topic.
        let lifetime = core.state.topic(topic).and_then(|topic| topic.policy().expires_after);
        let mut copy = Cow::Borrowed(copy);
        if let Some(lifetime) = lifetime {
            copy.to_mut().attributes_mut().expiry = Some(self.after(lifetime));
        }
        match core.record_and_publish(&bury, &Draft::batch(topic, std::slice::from_ref(&*copy)), terms) {
            Err(Refusal::TooLarge { limit }) => {
                tracing::error!(%topic, limit, "a dead letter fits in no frame together with its copy: parked without");
                Ok(core.record(&bury)?)
            }
            outcome => {
                let span = outcome?;
                self.after_append(core, level);
                self.touched(core, topic);
                // Nobody waits for the copy.
                self.arm(core, false);
                Ok(span)
            }
        }
    }

    /// Reads a message that is about to be parked.
    pub(super) fn read_to_copy(&self, group: GroupId, offset: Offset) -> Result<()> {
        let topic = self.open_core()?.state.group(group).map(|held| held.topic());
        let Some(topic) = topic else { return Ok(()) };
        let read = match self.fetch(topic, offset, &mut ReadCursor::default()) {
            Ok(found) => found,
            Err(error) if matches!(error.kind(), ErrorKind::Closed | ErrorKind::Poisoned) => return Err(error),
            Err(error) => {
                tracing::error!(%topic, %offset, %error, "a dead letter can't be read: parked without a copy of it");
                None
            }
        };
        let mut core = self.open_core()?;
        let Core { copies, state, .. } = &mut *core;
        // What was settled in another way meanwhile is not needed any more.
        copies.read.retain(|(group, offset), _| state.group(*group).is_some_and(|held| held.is_open(*offset)));
        if copies.read.len() >= READ_MAX {
            copies.read.pop_first();
        }
        copies.read.insert((group, offset), read);
        Ok(())
    }

    /// Reads what dropped deliveries wait for. Whether there was anything.
    pub(super) fn read_wanted(&self) -> Result<bool> {
        let wanted = std::mem::take(&mut self.core.lock().copies.wanted);
        for (group, offset) in &wanted {
            self.read_to_copy(*group, *offset)?;
        }
        Ok(!wanted.is_empty())
    }
}

impl Core {
    /// Finds room for an event and a publish together, then appends and applies both.
    fn record_and_publish(&mut self, event: &Event<'_>, draft: &Draft<'_>, terms: Terms) -> Result<Span, Refusal> {
        let topic = draft.topic();
        let mut bytes = Vec::with_capacity(draft.len_max().saturating_add(64));
        encode(event, &mut bytes);
        let place = self.tail.place(bytes.len().saturating_add(draft.len_max()), Class::Copy)?;
        let first = self.state.topic(topic).map(|topic| topic.end()).unwrap_or_default();
        draft.write_into(&draft.stamp(first, terms.now, place.base), &mut bytes);
        let note = Note { stream: topic.get(), first: first.get(), count: draft.count(), time: terms.now };
        let crc = crc32fast::hash(&bytes);
        let span = self.tail.append(Flags::NONE, crc, bytes.len(), |out| out.extend_from_slice(&bytes), Some(note));
        self.apply(span.start, event);
        self.apply(span.start, &Event::Publish(draft.published(first, terms.now)));
        if terms.level == Durability::Disk {
            self.disk_end = span.end;
        }
        self.visible.appended(topic, first.plus(draft.count()), span.end, terms.level);
        Ok(span)
    }
}

/// A message with the payload, key, priority and headers of another, and headers that say where that is and why it was
/// parked. It has no id of its own: the copies that two groups make of one message are two messages.
fn copy(record: &Record, topic: &str, group: &str, bury: &Bury<'_>) -> Message {
    let attributes = record.attributes.as_deref();
    let mut headers: Vec<_> = attributes.map(|attributes| attributes.headers.clone()).unwrap_or_default();
    // A copy of a copy says where it came from last, so that it does not grow with each turn.
    headers.retain(|(name, _)| !name.starts_with(ORIGIN));
    let Counters { leases, failures, timeouts, crashes } = bury.counters;
    let reason = match bury.reason {
        BuryReason::Asked => "asked",
        BuryReason::Failures => "failures",
        BuryReason::Timeouts => "timeouts",
        BuryReason::Crashes => "crashes",
        BuryReason::Unreadable => "unreadable",
        BuryReason::KeyParked => "key-parked",
    };
    let mut say = |name: &str, value: &dyn std::fmt::Display| {
        headers.push((format!("{ORIGIN}{name}"), value.to_string().into()));
    };
    say("topic", &topic);
    say("group", &group);
    say("offset", &record.offset);
    say("time", &record.time);
    say("reason", &reason);
    say("error", &bury.error);
    say("leases", &leases);
    say("failures", &failures);
    say("timeouts", &timeouts);
    say("crashes", &crashes);
    say("life", &bury.life);
    if let Some(id) = attributes.and_then(|attributes| attributes.id.clone()) {
        headers.push((format!("{ORIGIN}id"), id));
    }
    let copied = Attributes {
        key: attributes.and_then(|attributes| attributes.key.clone()),
        headers,
        priority: attributes.map_or(0, |attributes| attributes.priority),
        content: attributes.map_or(0, |attributes| attributes.content),
        ..Attributes::default()
    };
    Message { payload: record.payload.clone(), attributes: Some(Box::new(copied)), durability: None }
}
