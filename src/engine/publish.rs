//! Taking in messages.

use super::compose::note;
use super::line::{InLine, Work};
use super::{Core, Engine};
use crate::config::Durability;
use crate::error::{Code, Error, Result};
use crate::event::Draft;
use crate::journal::{Class, Flags, Refusal};
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
        let place = self.tail.place(draft.len_max(), Class::Publish)?;
        let first = self.next_offset(draft.topic());
        let stamp = draft.stamp(first, terms.now, place.base);
        let span = self.tail.append(
            Flags::NONE,
            draft.crc(&stamp),
            draft.body_len(&stamp),
            |out| draft.write_into(&stamp, out),
            &[note(draft, terms, first)],
        );
        self.took_in(draft, terms, first, span);
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
        Ticket::appended(self, admission.end, admission.level, make(admission))
    }

    /// Checks limits and hashes ids: what can be done before the lock.
    pub(super) fn ready(&self, topic: TopicId, messages: &mut [Message]) -> Result<()> {
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

    /// The keyed hash of an id or payload.
    fn hash(&self, bytes: &[u8]) -> [u8; 16] {
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
        if core.line.iter().any(|waiting| waiting.topic == draft.topic()) {
            return Submitted::Wait(level);
        }
        let terms = Terms { now: self.now(), level };
        match core.admit(draft, terms) {
            Ok(admission) => {
                self.after_publish(&mut core, draft.topic(), level);
                Submitted::Admitted(admission)
            }
            Err(Refusal::TooLarge { limit }) => Submitted::Refused(too_large(limit)),
            Err(Refusal::BufferFull) => Submitted::Wait(level),
            Err(Refusal::NoSegment { bytes }) => {
                core.wanted_bytes = core.wanted_bytes.max(bytes);
                match core.full.clone() {
                    // Known to be full: said at once, and looked at again by the upkeep.
                    Some(source) => Submitted::Refused(disk_full(source)),
                    None => Submitted::Wait(level),
                }
            }
        }
    }

    /// Sees to it that what was appended is written in time, and that those who wait for it hear of it.
    pub(super) fn after_append(&self, core: &mut Core, level: Durability) {
        if level == Durability::Memory {
            if core.leasing > 0 {
                self.arrived.notify_all();
            }
            self.arm(core, false);
        }
        if core.tail.unwritten() >= self.options.write_threshold_bytes {
            self.arm(core, true);
        }
        self.want_successor(core);
    }

    fn stand_in_line(&self, topic: TopicId, work: Work, level: Durability) -> Result<Arc<Slot>> {
        let mut core = self.core.lock();
        let waiting = core.line.iter().filter(|waiting| waiting.topic == topic).count();
        if waiting >= self.options.max_waiting_publishes {
            let what = format!("{waiting} publishes wait for room already (`max_waiting_publishes`); try again later");
            return Err(work.hand_back(Error::new(Code::BufferFull, what)));
        }
        let slot = Arc::new(Slot::default());
        core.line.push_back(InLine { topic, work, level, slot: slot.clone() });
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
