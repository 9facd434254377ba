//! Groups that want some of their topic's messages: what they do not want is settled before anybody is given it.
//!
//! Whether a message is wanted stands in the message, and reading takes time that the lock does not have. So a message
//! is looked at before it is granted, and what was found is remembered: an offset in the set is wanted, or settled.
//! What is not in it stops the grant, is read without the lock, and then everybody looks again. The upkeep goes ahead
//! of that, so that what nobody asks for is settled too. The set takes next to nothing where it has no holes.

use super::order::Refused;
use super::removal::Whom;
use super::{Core, Engine, ReadCursor};
use crate::config::{Condition, Filter};
use crate::error::{ErrorKind, Result};
use crate::event::{Cause, Event, Run};
use crate::message::Record;
use crate::state::OffsetSet;
use crate::types::{GroupId, Offset, Timestamp, TopicId};
use std::collections::HashMap;

/// How many messages are looked at ahead of a hand-out, at first and at most.
const AHEAD: usize = 16;
const AHEAD_MAX: usize = 1024;

/// What the upkeep looks at of a group in one step of a topic's rules: messages, and bytes of them.
const STEP_MESSAGES: usize = 16 << 10;
const STEP_BYTES: usize = 32 << 20;

/// What is known of the messages of groups that have a filter.
#[derive(Debug, Default)]
pub(super) struct Filters {
    seen: HashMap<GroupId, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Wanted by the present filter, or settled.
    wanted: OffsetSet,
    /// How far ahead the next look goes: further, if the last one found nothing.
    ahead: usize,
    refused: Refused,
}

/// Messages that have to be looked at before any can be granted.
#[derive(Debug)]
pub(super) struct Unseen {
    topic: TopicId,
    offsets: Vec<Offset>,
    filter: Filter,
}

impl Filters {
    /// An event is applied: what is known may be so no longer.
    pub(super) fn saw(&mut self, event: &Event<'_>) {
        match event {
            Event::ConfigureGroup(event) => _ = self.seen.remove(&event.group),
            Event::DropGroup(event) => _ = self.seen.remove(&event.group),
            // What was settled is open again.
            Event::Seek(event) => _ = self.seen.remove(&event.group),
            _ => {}
        }
    }
}

impl Filter {
    fn selects(&self, record: &Record) -> bool {
        let holds = |condition: &Condition| match condition {
            Condition::Header { name, value } => record.headers().any(|(of, is)| of == name && is == value),
            Condition::KeyPrefix(prefix) => record.key().is_some_and(|key| key.starts_with(prefix)),
        };
        self.is_everything() || self.conditions.iter().any(holds)
    }
}

impl Core {
    /// What has to be looked at before these can be granted; nothing, mostly.
    pub(super) fn unseen(
        &mut self,
        group: GroupId,
        picked: impl Iterator<Item = Offset>,
        now: Timestamp,
    ) -> Option<Unseen> {
        let held = self.state.group(group).filter(|held| !held.policy().filter.is_everything())?;
        let (topic, filter) = (held.topic(), held.policy().filter.clone());
        let seen = self.filters.seen.entry(group).or_default();
        let mut offsets: Vec<Offset> = picked.filter(|offset| !seen.wanted.contains(*offset)).collect();
        if offsets.is_empty() {
            return None;
        }
        let (visible, ahead) = (self.visible.end(topic), seen.ahead.clamp(AHEAD, AHEAD_MAX));
        let next = self.state.pick(group, now, visible, ahead).into_iter().map(|pick| pick.offset);
        offsets.extend(next.filter(|offset| !seen.wanted.contains(*offset)));
        offsets.sort_unstable();
        offsets.dedup();
        Some(Unseen { topic, offsets, filter })
    }
}

impl Engine {
    /// Looks at messages and settles those that the group does not want.
    pub(super) fn see(&self, group: GroupId, unseen: &Unseen) -> Result<()> {
        let mut unwanted = Vec::new();
        let mut cursor = ReadCursor::default();
        for offset in &unseen.offsets {
            match self.fetch(unseen.topic, *offset, &mut cursor) {
                Ok(Some(record)) if !unseen.filter.selects(&record) => unwanted.push(*offset),
                Err(error) if matches!(error.kind(), ErrorKind::Closed | ErrorKind::Poisoned) => return Err(error),
                Err(error) if error.kind() == ErrorKind::System && self.filter_again(group, *offset) => {
                    return Err(error);
                }
                // What can't be read is said to whoever is given it.
                _ => {}
            }
        }
        self.note_seen(group, unseen, unwanted)
    }

    fn filter_again(&self, group: GroupId, offset: Offset) -> bool {
        self.core.lock().filters.seen.entry(group).or_default().refused.ask_again(offset)
    }

    fn note_seen(&self, group: GroupId, unseen: &Unseen, unwanted: Vec<Offset>) -> Result<()> {
        loop {
            let mut core = self.open_core()?;
            let Some(held) = core.state.group(group) else { return Ok(()) };
            if held.policy().filter != unseen.filter {
                return Ok(());
            }
            // What somebody was given meanwhile, or is a dead letter, is looked at again when it comes back.
            let free = |offset: &&Offset| held.lease(**offset).is_none() && held.is_open(**offset);
            let settled: Vec<Offset> = unwanted.iter().filter(free).copied().collect();
            if !settled.is_empty() {
                let runs = super::settle::runs(&settled);
                if let Err(refusal) = core.remove(Whom::Group(group), Cause::Filtered, runs) {
                    drop(core);
                    self.relieve(refusal)?;
                    continue;
                }
                self.tell_freed(&mut core);
                self.arm(&mut core, false);
                self.want_successor(&mut core);
            }
            let nothing = settled.len() == unseen.offsets.len();
            let seen = core.filters.seen.entry(group).or_default();
            seen.ahead = if nothing { seen.ahead.clamp(AHEAD, AHEAD_MAX) * 2 } else { AHEAD };
            let open =
                |offset: &&Offset| unwanted.binary_search(offset).is_ok() && settled.binary_search(offset).is_err();
            let known = unseen.offsets.iter().filter(|offset| !open(offset));
            known.for_each(|offset| _ = seen.wanted.insert(*offset));
            return Ok(());
        }
    }

    /// Looks at messages ahead of their turn. Whether there are more.
    pub(super) fn sweep_filtered(&self, group: GroupId) -> Result<bool> {
        let (mut messages, mut bytes) = (0, 0);
        let mut at = Offset::ZERO;
        loop {
            let unseen = {
                let mut core = self.open_core()?;
                let Some(held) = core.state.group(group).filter(|held| !held.policy().filter.is_everything()) else {
                    return Ok(false);
                };
                let (topic, filter) = (held.topic(), held.policy().filter.clone());
                let end = core.visible.end(topic);
                let Core { filters, state, .. } = &mut *core;
                let wanted = &mut filters.seen.entry(group).or_default().wanted;
                let Some(held) = state.group(group) else { return Ok(false) };
                // What is settled needs no look: with it the set has fewer holes.
                let floor = held.settled().floor();
                wanted.insert_run(Run { first: Offset::ZERO, count: floor.get() });
                let mut offsets = Vec::new();
                while offsets.len() < AHEAD_MAX {
                    at = held.settled().next_unsettled(wanted.next_absent(at));
                    if at >= end {
                        break;
                    }
                    if !wanted.contains(at) {
                        if held.is_open(at) && held.lease(at).is_none() {
                            offsets.push(at);
                        }
                        at = at.next();
                    }
                }
                if offsets.is_empty() {
                    return Ok(false);
                }
                Unseen { topic, offsets, filter }
            };
            self.see(group, &unseen)?;
            messages += unseen.offsets.len();
            bytes += self.bytes_of(&unseen);
            if messages >= STEP_MESSAGES || bytes >= STEP_BYTES {
                return Ok(true);
            }
        }
    }

    /// About how long these messages are together: as in `liveness`, by the average of their topic.
    fn bytes_of(&self, unseen: &Unseen) -> usize {
        let core = self.core.lock();
        let Some(held) = core.state.topic(unseen.topic) else { return 0 };
        let (count, bytes) =
            held.extents().fold((0_u64, 0_u64), |sum, part| (sum.0 + part.count, sum.1.saturating_add(part.bytes)));
        let average = usize::try_from(bytes / count.max(1)).unwrap_or(usize::MAX);
        unseen.offsets.len().saturating_mul(average)
    }
}
