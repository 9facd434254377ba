//! Messages that expire: never handed out, and settled with their own cause for each group that comes to them.
//!
//! When a message expires is stored with it and kept nowhere else, so that expiring costs no memory. It is looked at
//! when the message's turn comes, and by the upkeep for those whose turn is next; behind one that lives longer, an
//! expired one waits for its turn, as in RabbitMQ's classic queues.

use super::removal::Whom;
use super::{Engine, ReadCursor};
use crate::error::Result;
use crate::event::Cause;
use crate::message::Record;
use crate::types::{GroupId, Offset, Timestamp};
use std::sync::atomic::Ordering;

/// How many messages are looked at, and, if all of them have expired, at a time from then on.
const LOOK: usize = 16;
const LOOK_MORE: usize = 1024;

/// Whether a message's time is over.
pub(super) fn is_over(record: &Record, now: Timestamp) -> bool {
    record.expiry().is_some_and(|expiry| expiry <= now)
}

impl Engine {
    /// Settles what has expired among the next messages of a group. When the next of those expires.
    pub(super) fn sweep_expired(&self, group: GroupId) -> Result<Option<Timestamp>> {
        let mut look = LOOK;
        let mut cursor = ReadCursor::default();
        loop {
            let now = self.now();
            let topic = {
                let core = self.open_core()?;
                let Some(topic) = core.state.group(group).map(|held| held.topic()) else { return Ok(None) };
                if !core.state.topic(topic).is_some_and(|held| held.expires()) {
                    return Ok(None);
                }
                topic
            };
            let picks = self.peek(group, now, look)?;
            let mut over = Vec::new();
            let mut next: Option<Timestamp> = None;
            for pick in &picks {
                // What can't be read says so when it is handed out.
                let Ok(Some(record)) = self.fetch(topic, pick.offset, &mut cursor) else { continue };
                if is_over(&record, now) {
                    over.push(pick.offset);
                } else {
                    next = next.into_iter().chain(record.expiry()).min();
                }
            }
            self.settle_expired(group, &over)?;
            if over.is_empty() || over.len() < picks.len() {
                return Ok(next);
            }
            look = LOOK_MORE;
        }
    }

    /// Settles messages that expired, but for those that somebody was given meanwhile.
    fn settle_expired(&self, group: GroupId, over: &[Offset]) -> Result<()> {
        loop {
            let mut core = self.open_core()?;
            let Some(held) = core.state.group(group) else { return Ok(()) };
            let free = |offset: &Offset| held.lease(*offset).is_none() && held.is_open(*offset);
            let mut free: Vec<Offset> = over.iter().copied().filter(free).collect();
            free.sort_unstable();
            if free.is_empty() {
                return Ok(());
            }
            match core.remove(Whom::Group(group), Cause::Expired, super::settle::runs(&free)) {
                Ok(_) => {
                    self.arm(&mut core, false);
                    self.key_freed(&mut core, group);
                    return Ok(());
                }
                Err(refusal) => {
                    drop(core);
                    self.relieve(refusal)?;
                }
            }
        }
    }

    /// Settles messages that expired before they could be handed out, though they were granted already.
    pub(super) fn settle_unseen(&self, group: GroupId, granted: &[(Offset, u64)]) -> Result<()> {
        let mut offsets = Vec::new();
        {
            let mut core = self.open_core()?;
            let Some(held) = core.state.group_mut(group) else { return Ok(()) };
            for (offset, epoch) in granted {
                if held.forget_lease(*offset, *epoch) {
                    offsets.push(*offset);
                }
            }
            self.came_back(&mut core, group, &offsets);
        }
        self.settle_expired(group, &offsets)?;
        self.sweep_expired(group).map(drop)
    }

    /// Gives a message the lifetime of its topic, if it has none of its own.
    pub(super) fn set_lifetime(&self, topic: crate::types::TopicId, message: &mut crate::message::Message) {
        if !self.lifetimes.load(Ordering::Relaxed) {
            return;
        }
        let held = self.core.lock();
        let Some(lifetime) = held.state.topic(topic).and_then(|held| held.policy().expires_after) else { return };
        drop(held);
        if message.attributes.as_ref().is_none_or(|attributes| attributes.lifetime.is_none()) {
            message.attributes_mut().default_lifetime = Some(lifetime);
        }
    }
}
