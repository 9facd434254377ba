//! Copies of dead letters for another topic, if the group wants them: parked and copied is one frame.
//!
//! The copy needs the message itself, and reading that takes the lock and perhaps the disk. So what is decided under
//! the lock stops with [`Obstacle::Unread`]; whoever called lets go of the lock, reads, and comes again.

use super::obstacle::Obstacle;
use super::publish::Terms;
use super::{Core, Engine, ReadCursor};
use crate::error::{ErrorKind, Result};
use crate::event::{Bury, BuryReason, Counters};
use crate::message::{Attributes, Message, Record};
use crate::types::{GroupId, Offset, TopicId};
use std::collections::BTreeMap;

/// So many messages are kept at most between being read and being parked: as many as threads that park at once.
const READ_MAX: usize = 64;

/// So often a read that failed is tried again: a disk that can't for a moment must not cost the copy. One that never
/// can must not keep a poison message from being parked.
const READ_TRIES: u32 = 3;

/// What the headers of origin begin with.
const ORIGIN: &str = "millpond-origin-";

/// Messages that were read to be copied; nothing in place of one that can't be read.
pub(super) type Reads = BTreeMap<(GroupId, Offset), Option<Record>>;

/// A copy that is to be published.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) topic: TopicId,
    pub(super) message: Message,
    pub(super) terms: Terms,
}

/// Messages on their way to become copies.
#[derive(Debug, Default)]
pub(super) struct Copies {
    pub(super) read: Reads,
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
    /// The copy that is to be published when this is parked, and where. `known` are messages that were read for this
    /// alone.
    pub(super) fn copy_of(
        &self,
        core: &Core,
        bury: &Bury<'_>,
        known: Option<&Reads>,
    ) -> Result<Option<Copy>, Obstacle> {
        let Some(held) = core.state.group(bury.group) else { return Ok(None) };
        // One that is parked already is not parked again, by a holder that comes late.
        let Some(to) = held.policy().forward.filter(|_| held.is_open(bury.offset)) else { return Ok(None) };
        let Some(topic) = core.state.topic(to) else {
            tracing::error!(topic = %to, group = held.name(), "the topic for copies of dead letters is gone");
            return Ok(None);
        };
        let at = (bury.group, bury.offset);
        let read = known.and_then(|known| known.get(&at)).or_else(|| core.copies.read.get(&at));
        let Some(read) = read else { return Err(Obstacle::Unread(bury.group, bury.offset)) };
        let Some(record) = read else { return Ok(None) };
        let from = core.state.topic(held.topic()).map_or("", |topic| topic.name());
        let mut message = copy(record, from, held.name(), bury);
        // A copy lives as long as any message of its topic.
        if let Some(lifetime) = topic.policy().expires_after {
            message.attributes_mut().expiry = Some(self.after(lifetime));
        }
        let level = topic.durability().unwrap_or(self.options.durability);
        Ok(Some(Copy { topic: to, message, terms: Terms { now: bury.time, level, at: None } }))
    }

    /// Reads a message that is about to be parked. Nothing if it can't be read.
    pub(super) fn read_dead(&self, group: GroupId, offset: Offset) -> Result<Option<Record>> {
        let topic = self.open_core()?.state.group(group).map(|held| held.topic());
        let Some(topic) = topic else { return Ok(None) };
        let mut tries = 0;
        loop {
            match self.fetch(topic, offset, &mut ReadCursor::default()) {
                Ok(found) => return Ok(found),
                Err(error) if matches!(error.kind(), ErrorKind::Closed | ErrorKind::Poisoned) => return Err(error),
                Err(error) if error.kind() != ErrorKind::Corrupt && tries < READ_TRIES => tries += 1,
                Err(error) => {
                    tracing::error!(%topic, %offset, %error, "a dead letter can't be read: parked without its copy");
                    return Ok(None);
                }
            }
        }
    }

    /// Reads a message that is about to be parked, and keeps it until then.
    pub(super) fn read_to_copy(&self, group: GroupId, offset: Offset) -> Result<()> {
        let read = self.read_dead(group, offset)?;
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
