//! Ordered groups: reading the keys of what comes next, and parking what a parked message takes along.
//!
//! The state knows which message of a key goes first only once it knows the keys (see `state::order`). They are read
//! here, ahead of the hand-out and outside the lock, each message once in an opening of the store. A store that is
//! opened reads nothing for that: the first lease does.

use super::decide::Decisions;
use super::kept::Kept;
use super::obstacle::Obstacle;
use super::{Core, Engine, ReadCursor};
use crate::error::{ErrorKind, Result};
use crate::event::BuryReason;
use crate::message::Record;
use crate::state::{KeyHash, Pick, Unread};
use crate::sync::Mutex;
use crate::types::{GroupId, Offset, Timestamp, TopicId};
use std::sync::atomic::Ordering;

/// How many messages are read ahead at a time: at least, so that a single lease does not take the lock for each; and at
/// most, so that a lease does not wait long for more than it needs.
const PIECE_MIN: usize = 64;
pub(super) const PIECE_MAX: usize = 1024;

/// How many messages are parked under one hold of the lock.
const PARKED: usize = 64;

/// Where the keys of a group are read, and what was read lately.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    cursor: Mutex<ReadCursor>,
    kept: Mutex<Kept>,
    refused: Mutex<Refused>,
}

/// So often is the disk asked for a message that it refuses to read, before it is believed.
const READ_TRIES: u32 = 10;

/// The message that the disk refused to read last, and how often in a row.
#[derive(Debug, Default)]
pub(super) struct Refused(Offset, u32);

impl Refused {
    /// It refuses this one once more. Whether it is to be asked again: until then nobody can say what the message is.
    pub(super) fn ask_again(&mut self, offset: Offset) -> bool {
        let Self(last, times) = self;
        *times = if std::mem::replace(last, offset) == offset { times.saturating_add(1) } else { 1 };
        *times < READ_TRIES
    }
}

impl Ahead {
    /// The message, if it was read for its key not long ago.
    pub(super) fn take(&self, offset: Offset) -> Option<Record> {
        self.kept.lock().take(offset)
    }
}

impl Engine {
    /// Reads the next keys of an ordered group, unless somebody else has come past `from` meanwhile.
    pub(super) fn read_ahead(&self, group: GroupId, from: Offset, wanted: usize) -> Result<()> {
        let reader = self.readers.of(group);
        let ahead = &reader.ahead;
        let mut cursor = ahead.cursor.lock();
        let (topic, unread) = {
            let mut core = self.open_core()?;
            let Some((topic, unread)) = core.unread(group, wanted.clamp(PIECE_MIN, PIECE_MAX)) else { return Ok(()) };
            if unread.from() != from {
                return Ok(());
            }
            (topic, unread)
        };
        let mut keys = Vec::with_capacity(unread.offsets.len());
        let mut records = Vec::with_capacity(unread.offsets.len());
        for offset in &unread.offsets {
            let record = self.for_its_key(topic, *offset, &mut cursor, ahead)?;
            keys.push(record.as_ref().and_then(|record| record.key()).map(|key| self.key_hash(key)));
            records.extend(record);
        }
        let mut kept = ahead.kept.lock();
        records.into_iter().for_each(|record| kept.put(record));
        reader.held_ahead.store(kept.bytes().saturating_add(cursor.held()), Ordering::Relaxed);
        drop(kept);
        self.readers.used(group, &reader);
        self.open_core()?.state.learn(group, &unread, &keys);
        Ok(())
    }

    /// Reads a message. One that is damaged has no key that could be known: it is in nobody's way, and its turn will
    /// say what is wrong with it. One that the disk refuses to read has one: nothing is handed out past it until the
    /// disk reads again, or has refused often enough to be believed.
    fn for_its_key(
        &self,
        topic: TopicId,
        offset: Offset,
        cursor: &mut ReadCursor,
        ahead: &Ahead,
    ) -> Result<Option<Record>> {
        match self.fetch(topic, offset, cursor) {
            Err(error) if error.kind() == ErrorKind::System && ahead.refused.lock().ask_again(offset) => Err(error),
            Err(error) if !matches!(error.kind(), ErrorKind::Closed | ErrorKind::Poisoned) => {
                tracing::error!(%topic, %offset, %error, "a message can't be read, so its key is not known");
                Ok(None)
            }
            read => read,
        }
    }

    /// The keyed hash of a key: half of that of an id.
    fn key_hash(&self, key: &[u8]) -> KeyHash {
        let [a, b, c, d, e, f, g, h, ..] = self.hash(key);
        KeyHash(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    /// The key of a message that is in the rest of its key's line: it is not in mind.
    pub(super) fn key_in_rest(&self, group: GroupId, offset: Offset) -> Result<Option<KeyHash>> {
        let topic = {
            let core = self.open_core()?;
            let Some(held) = core.state.group(group).filter(|held| held.is_in_rest(offset)) else { return Ok(None) };
            held.topic()
        };
        let record = self.for_its_key(topic, offset, &mut ReadCursor::default(), &self.readers.of(group).ahead)?;
        Ok(record.as_ref().and_then(|record| record.key()).map(|key| self.key_hash(key)))
    }

    /// Reads ahead until it is known what a message of an ordered group waits for, or the group looks no further.
    pub(super) fn read_up_to(&self, group: GroupId, offset: Offset) -> Result<()> {
        loop {
            // A statement of its own: the lock must be free again before anything is read.
            let next = self.open_core()?.read_to(group).filter(|read| *read <= offset);
            let Some(from) = next else { return Ok(()) };
            self.read_ahead(group, from, PIECE_MAX)?;
            let then = self.open_core()?.read_to(group);
            if then == Some(from) {
                return Ok(());
            }
        }
    }

    /// The next messages of a group, without leasing them: keys are read once if those at hand are too few.
    pub(super) fn peek(&self, group: GroupId, now: Timestamp, max: usize) -> Result<Vec<Pick>> {
        let mut read = false;
        loop {
            let mut core = self.open_core()?;
            let Some(topic) = core.state.group(group).map(|held| held.topic()) else { return Ok(Vec::new()) };
            self.turn_schedule(&mut core, topic);
            let visible = core.visible.end(topic);
            let picks = core.state.pick(group, now, visible, max);
            match core.read_to(group).filter(|_| !read && picks.len() < max) {
                Some(from) => {
                    drop(core);
                    self.read_ahead(group, from, max)?;
                    read = true;
                }
                None => return Ok(picks),
            }
        }
    }

    /// Parks what dead letters of an ordered group take along, as far as it is known.
    pub(super) fn park_keys(&self, group: GroupId) -> Result<()> {
        loop {
            let mut core = self.open_core()?;
            match self.park_some(&mut core, group) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(obstacle) => {
                    drop(core);
                    self.relieve(obstacle)?;
                }
            }
        }
    }

    /// Whether all are parked.
    fn park_some(&self, core: &mut Core, group: GroupId) -> Result<bool, Obstacle> {
        for _ in 0..PARKED {
            let Some((offset, dead)) = core.state.condemned(group) else { return Ok(true) };
            let Some(counters) = core.state.group(group).map(|held| held.counters(offset)) else { return Ok(true) };
            let why = format!("an earlier message of its key, at offset {dead}, is a dead letter");
            let mut decisions = Decisions::default();
            self.bury(core, &mut decisions, (group, offset), BuryReason::KeyParked, &why, counters)?;
            self.record_decided(core, &mut decisions)?;
        }
        Ok(false)
    }

    /// A message left a group: others of its key may go.
    pub(super) fn key_freed(&self, core: &mut Core, group: GroupId) {
        if core.state.group(group).is_some_and(|held| held.is_ordered()) {
            self.tell_arrival(core);
        }
    }

    /// Likewise, of every group of a topic.
    pub(super) fn keys_freed(&self, core: &mut Core, topic: TopicId) {
        let groups = core.state.topic(topic).map(|held| held.groups().to_vec()).unwrap_or_default();
        groups.into_iter().for_each(|group| self.key_freed(core, group));
    }
}

impl Core {
    /// What an ordered group has to read next.
    fn unread(&mut self, group: GroupId, most: usize) -> Option<(TopicId, Unread)> {
        let topic = self.state.group(group)?.topic();
        let visible = self.visible.end(topic);
        Some((topic, self.state.group_mut(group)?.unread(visible, most)?))
    }

    /// Whether something that goes before others may be where an ordered group has not read yet.
    pub(super) fn has_urgent_unread(&self, group: GroupId, (topic, visible): (TopicId, Offset)) -> bool {
        let held = self.state.group(group).zip(self.state.topic(topic));
        held.is_some_and(|(group, topic)| group.has_urgent_unread(topic.levels(), visible))
    }

    /// Whether an ordered group has to read the rest of a key's line, before it hands out anything else.
    pub(super) fn wants_rest(&self, group: GroupId) -> bool {
        self.state.group(group).is_some_and(|held| held.wants_rest())
    }

    /// From where on an ordered group has to read, if it wants to.
    pub(super) fn read_to(&mut self, group: GroupId) -> Option<Offset> {
        Some(self.unread(group, 1)?.1.from())
    }
}
