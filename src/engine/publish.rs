//! Taking in messages.

use super::backlog::NoPlace;
use super::line::{InLine, Work};
use super::overflow::line_full;
use super::{Core, Engine};
use crate::config::Durability;
use crate::error::{Code, Error, Result};
use crate::event::{Draft, Event};
use crate::journal::{Class, Flags, Note, Refusal};
use crate::message::{BatchReceipt, Message, Receipt};
use crate::ticket::{Admission, Slot, Ticket};
use crate::types::{Timestamp, TopicId};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;
use std::sync::Arc;

/// What `Core::admit` needs besides the message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) now: Timestamp,
    pub(super) level: Durability,
}

impl Core {
    /// Takes in a draft: appends it, applies it, and says where it went. Whatever refuses it changes nothing.
    pub(super) fn admit(&mut self, draft: &Draft<'_>, terms: Terms) -> Result<Admission, Refusal> {
        let topic = draft.topic();
        let place = self.tail.place(draft.len_max(), Class::Publish)?;
        let first = self.state.topic(topic).map(|topic| topic.end()).unwrap_or_default();
        let stamp = draft.stamp(first, terms.now, place.base);
        let note = Note { stream: topic.get(), first: first.get(), count: draft.count(), time: terms.now };
        let span = self.tail.append(
            Flags::NONE,
            draft.crc(&stamp),
            draft.body_len(&stamp),
            |out| draft.write_into(&stamp, out),
            Some(note),
        );
        self.apply(span.start, &Event::Publish(draft.published(first, terms.now)));
        if terms.level == Durability::Disk {
            self.disk_end = span.end;
        }
        self.visible.appended(topic, first.plus(draft.count()), span.end, terms.level);
        Ok(Admission { end: span.end, level: terms.level, first, count: draft.count(), time: terms.now })
    }
}

impl Engine {
    /// Publishes one message. A refusal is in the ticket, with the message.
    pub(crate) fn publish(self: Arc<Self>, topic: TopicId, mut message: Message) -> Ticket<Receipt> {
        if let Err(error) = self.ready(topic, std::slice::from_mut(&mut message)) {
            return Ticket::refused(self, error.returning(message));
        }
        let outcome = self.submit(&Draft::one(topic, &message), message.durability);
        match outcome {
            Submitted::Admitted(admission) => self.ticket(admission, receipt),
            Submitted::Refused(error) => Ticket::refused(self, error.returning(message)),
            Submitted::Wait(level) => match self.stand_in_line(topic, Work::One(message), level) {
                Ok(slot) => Ticket::in_line(self, slot, receipt),
                Err(error) => Ticket::refused(self, error),
            },
        }
    }

    /// Publishes a batch as one frame: all of it or nothing.
    pub(crate) fn publish_all(self: Arc<Self>, topic: TopicId, mut messages: Vec<Message>) -> Ticket<BatchReceipt> {
        if messages.is_empty() {
            let receipt = self.end_of(topic).map(|first| BatchReceipt { first, count: 0, time: self.now() });
            return Ticket::done(receipt);
        }
        if let Err(error) = self.ready(topic, &mut messages) {
            return Ticket::refused(self, error.returning(messages));
        }
        let level = messages.iter().filter_map(|message| message.durability).max();
        match self.submit(&Draft::batch(topic, &messages), level) {
            Submitted::Admitted(admission) => self.ticket(admission, batch_receipt),
            Submitted::Refused(error) => Ticket::refused(self, error.returning(messages)),
            Submitted::Wait(level) => match self.stand_in_line(topic, Work::Batch(messages), level) {
                Ok(slot) => Ticket::in_line(self, slot, batch_receipt),
                Err(error) => Ticket::refused(self, error),
            },
        }
    }

    fn ticket<T>(self: Arc<Self>, admission: Admission, make: fn(Admission) -> T) -> Ticket<T> {
        if admission.level == Durability::Memory {
            return Ticket::done(Ok(make(admission)));
        }
        Ticket::committing(self, admission.end, admission.level, make(admission))
    }

    /// Checks limits and hashes ids: what can be done before the lock.
    fn ready(&self, topic: TopicId, messages: &mut [Message]) -> Result<()> {
        for message in messages {
            let limit = self.options.max_message_bytes as usize;
            let size = message.payload.len() + message.attributes.as_ref().map_or(0, |attributes| attributes.size());
            if size > limit {
                let what = format!("the message has {size} bytes; `max_message_bytes` allows {limit}");
                return Err(Error::new(Code::TooLarge, what));
            }
            self.set_lifetime(topic, message);
            self.set_times(message);
            if let Some(attributes) = &mut message.attributes
                && let Some(id) = &attributes.id
            {
                attributes.id_hash = Some(self.hash(id));
                attributes.payload_hash = Some(self.hash(&message.payload));
            }
        }
        Ok(())
    }

    /// The keyed hash of an id, payload or key.
    pub(super) fn hash(&self, bytes: &[u8]) -> [u8; 16] {
        let mut hasher = SipHasher13::new_with_key(&self.identity.hash_key);
        hasher.write(bytes);
        hasher.finish128().as_bytes()
    }

    fn submit(&self, draft: &Draft<'_>, asked: Option<Durability>) -> Submitted {
        let mut core = match self.open_core() {
            Ok(core) => core,
            Err(error) => return Submitted::Refused(error),
        };
        if core.closing {
            return Submitted::Refused(super::closed());
        }
        let Some(topic) = core.state.topic(draft.topic()) else {
            return Submitted::Refused(Error::new(Code::UnknownTopic, "the topic was dropped"));
        };
        let level = asked.or(topic.durability()).unwrap_or(self.options.durability);
        if core.stands_in_line(draft.topic()) {
            return Submitted::Wait(level);
        }
        let dropped = match core.make_way(draft) {
            Ok(dropped) => dropped,
            Err(NoPlace::Wait) => return Submitted::Wait(level),
            Err(NoPlace::Refused(error)) => return Submitted::Refused(error),
        };
        let terms = Terms { now: self.now(), level };
        match core.admit_for(draft, terms, dropped) {
            Ok(admission) => {
                self.after_append(&mut core, level);
                self.touched(&mut core, draft.topic());
                Submitted::Admitted(admission)
            }
            Err(Refusal::TooLarge { limit }) => Submitted::Refused(too_large(limit)),
            Err(Refusal::BufferFull) => Submitted::Wait(level),
            Err(Refusal::NoSegment { bytes }) => {
                core.wanted_bytes = core.wanted_bytes.max(bytes);
                Self::no_room(&core, level)
            }
            Err(Refusal::Reserve) => {
                core.space.ask_beyond();
                Self::no_room(&core, level)
            }
        }
    }

    fn no_room(core: &Core, level: Durability) -> Submitted {
        match core.full.clone() {
            // Known to be full: said at once, and looked at again by the upkeep.
            Some(source) => Submitted::Refused(disk_full(source)),
            None => Submitted::Wait(level),
        }
    }

    /// Sees to it that what was appended is written in time, and that those who wait for it hear of it.
    pub(super) fn after_append(&self, core: &mut Core, level: Durability) {
        if level == Durability::Memory {
            self.tell_arrival(core);
            self.arm(core, false);
        }
        if core.tail.unwritten() >= self.options.write_threshold_bytes {
            self.arm(core, true);
        }
        self.want_successor(core);
    }

    fn stand_in_line(&self, topic: TopicId, work: Work, level: Durability) -> Result<Arc<Slot>> {
        let mut core = self.core.lock();
        let waiting = core.waiting_publishes(topic);
        if waiting >= self.options.max_waiting_publishes {
            return Err(line_full(work, waiting, core.backlogs.lines.contains_key(&topic)));
        }
        let slot = Arc::new(Slot::default());
        core.put_in_line(InLine { topic, work, level, slot: slot.clone() });
        self.arm(&mut core, true);
        self.call_upkeep(&mut core);
        Ok(slot)
    }
}

enum Submitted {
    Admitted(Admission),
    Refused(Error),
    Wait(Durability),
}

pub(super) fn too_large(limit: u32) -> Error {
    Error::new(Code::TooLarge, format!("it does not fit in one frame: `max_frame_bytes` allows {limit} bytes"))
}

pub(super) fn disk_full(source: Arc<std::io::Error>) -> Error {
    let code = match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::Io,
    };
    Error::new(code, "no room in the journal, and no new segment can be prepared").because(source)
}

fn receipt(admission: Admission) -> Receipt {
    Receipt { offset: admission.first, time: admission.time, duplicate: false }
}

fn batch_receipt(admission: Admission) -> BatchReceipt {
    BatchReceipt { first: admission.first, count: admission.count, time: admission.time }
}
