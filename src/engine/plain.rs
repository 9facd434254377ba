//! The short way of a publish that nothing special is asked of: one message without attributes, or with nothing but an
//! id that nobody has, into a topic without rules, while nobody waits in line. It does what [`Core::admit`] and what
//! comes after it do, and leaves out what is known to change nothing. Whatever is in its way, the long way is there,
//! and decides.

use super::{Core, Engine};
use crate::config::Durability;
use crate::event::{Bare, Event, Identified, Plain};
use crate::journal::{Class, Flags, Note};
use crate::message::{Message, Receipt};
use crate::tables::PublishedKey;
use crate::types::{Lsn, TopicId};
use std::sync::atomic::Ordering;

/// Topics that are known to be plain at a time: those that are published to in turn.
const KNOWN: usize = 16;

/// What is known of a topic that has no rules: it stays so until an event says something else.
#[derive(Clone, Copy, Debug)]
struct Lane {
    topic: TopicId,
    level: Durability,
}

/// Topics without rules, each in the place that its number gives it.
#[derive(Debug, Default)]
pub(super) struct Lanes([Option<Lane>; KNOWN]);

impl Lanes {
    fn place(&mut self, topic: TopicId) -> Option<&mut Option<Lane>> {
        self.0.get_mut(topic.get() as usize % KNOWN)
    }

    /// An event is applied: after one that may make rules, or end them, nothing is known.
    pub(super) fn saw(&mut self, event: &Event<'_>) {
        let ordinary = match event {
            Event::Publish(run) => run.is_calm(),
            Event::Ack(_) | Event::Delivered(_) | Event::Unseen(_) | Event::Release(_) | Event::Nack(_) => true,
            _ => false,
        };
        if !ordinary {
            self.0 = [None; KNOWN];
        }
    }
}

impl Core {
    /// The level of what is published into a topic without saying one, if the topic has no rules.
    fn lane(&mut self, topic: TopicId, otherwise: Durability) -> Option<Durability> {
        if let Some(Some(lane)) = self.lanes.place(topic)
            && lane.topic == topic
        {
            return Some(lane.level);
        }
        let held = self.state.topic(topic)?;
        if self.backlogs.count(topic).is_some() || self.has_rules(held) || self.packs(topic) {
            return None;
        }
        let level = held.durability().unwrap_or(otherwise);
        *self.lanes.place(topic)? = Some(Lane { topic, level });
        Some(level)
    }

    /// Whether somebody has to be told, or has to be let in first.
    #[inline]
    fn is_busy(&self) -> bool {
        self.is_over() || self.closing || !self.line.is_empty() || !self.backlogs.lines.is_empty() || self.is_watched()
    }
}

/// What a short way ends with: the receipt, where the message ends in the journal, and the level at which its publish
/// resolves.
pub(super) type Short = (Receipt, Lsn, Durability);

impl Engine {
    /// Takes in a message that is asked nothing special of, if nothing is in the way of it.
    #[inline]
    pub(super) fn publish_short(&self, topic: TopicId, message: &mut Message) -> Option<Short> {
        let large = message.payload.len() > self.options.max_message_bytes as usize;
        if large || self.lifetimes.load(Ordering::Relaxed) {
            return None;
        }
        if message.attributes.is_some() {
            return self.publish_identified(topic, message);
        }
        let plain = Bare::new(topic, &message.payload);
        let mut guard = self.core.lock();
        let core = &mut *guard;
        if core.is_busy() {
            return None;
        }
        self.admit_short(core, &plain, (topic, message), |core, lsn, event| {
            if core.ids_turn(lsn) {
                core.note_ids(lsn, event);
                if core.ids.wants_flush() {
                    self.call_upkeep(core);
                }
            }
        })
    }

    /// The same for one with nothing but an id. Where it may be known already, the long way finds out.
    fn publish_identified(&self, topic: TopicId, message: &mut Message) -> Option<Short> {
        let attributes = message.attributes.as_mut()?;
        let id = attributes.id.as_ref().filter(|_| !self.forgetful.load(Ordering::Relaxed))?;
        if id.len().saturating_add(message.payload.len()) > self.options.max_message_bytes as usize {
            return None;
        }
        let (id, payload) = (self.hash(id), self.hash(&message.payload));
        (attributes.id_hash, attributes.payload_hash) = (Some(id), Some(payload));
        let plain = Identified::of(topic, message)?;
        let key = PublishedKey { topic, id };
        let generation = {
            let runs = self.runs.lock().clone();
            if runs.may_have(&key.id) {
                return None;
            }
            runs.generation
        };
        let mut guard = self.core.lock();
        let core = &mut *guard;
        let busy = core.is_busy() || generation != core.ids_generation();
        if busy || core.may_know(key) || !core.has_room_for_id(&self.options.id_budget) {
            return None;
        }
        self.admit_short(core, &plain, (topic, message), |core, lsn, event| {
            core.note_identified(lsn, event, (key, payload));
            if core.ids.wants_flush() {
                self.call_upkeep(core);
            }
        })
    }

    /// Appends and applies it. `note` remembers the ids of what is there now.
    #[inline]
    fn admit_short<const LEAD: usize>(
        &self,
        core: &mut Core,
        plain: &Plain<'_, LEAD>,
        (topic, message): (TopicId, &Message),
        note: impl FnOnce(&mut Core, Lsn, &Event<'_>),
    ) -> Option<Short> {
        let usual = core.lane(topic, self.options.durability)?;
        let level = message.durability.unwrap_or(usual);
        let now = self.now();
        // What refuses it has said nothing yet that the long way would not say again.
        let place = core.tail.place(plain.len_max(), Class::Publish).ok()?;
        let first = core.state.topic(topic)?.end();
        let stamp = plain.stamp(first, now, place.base);
        let span = core.tail.append(
            Flags::NONE,
            plain.crc(&stamp),
            plain.body_len(&stamp),
            |out| plain.write_into(&stamp, out),
            &[Note { stream: topic.get(), first: first.get(), count: 1, time: now }],
        );
        let published = plain.published(first, now);
        let bytes = published.bytes;
        let event = Event::Publish(published);
        core.state.apply(span.start, &event);
        core.meters.published(topic, 1, bytes);
        note(core, span.start, &event);
        core.took_in(topic, first.next(), span, level);
        if level == Durability::Memory {
            self.tell_arrival(core);
            self.arm(core, false);
        }
        self.after_growth(core);
        Some((Receipt { offset: first, time: now, duplicate: false }, span.end, level))
    }
}
