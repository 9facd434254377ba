//! Taking in messages.

use super::backlog::NoPlace;
use super::compose::note;
use super::ids::{self, Known, Probe, Unfit};
use super::line::{InLine, Work};
use super::overflow::line_full;
use super::{Core, Engine};
use crate::config::{Compression, Durability, Window};
use crate::error::{Code, Error, Result};
use crate::event::{Draft, ROOM};
use crate::journal::{Class, Flags, Refusal, pack};
use crate::message::{BatchReceipt, Duplicate, Message, Receipt};
use crate::seen::Seen;
use crate::ticket::{Admission, Slot, Ticket};
use crate::types::{Offset, Timestamp, TopicId};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::borrow::Cow;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const _: () = assert!(ROOM == crate::journal::FRAME_HEADER as usize, "a draft leaves room for the header of its frame");

/// Shorter messages, or batches, gain nothing from being packed.
const LEAST_PACKED: u64 = 256;

/// What `Core::admit` needs besides the message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) now: Timestamp,
    pub(super) level: Durability,
    /// The offset of the first message, behind the topic's end; nothing: there.
    pub(super) at: Option<Offset>,
}

impl Core {
    /// Whether what is published to a topic, or carried over of it, is written packed.
    pub(super) fn packs(&self, topic: TopicId) -> bool {
        self.state.topic(topic).is_some_and(|held| held.policy().compression == Compression::Lz4)
    }

    /// Takes in a draft: appends it, applies it, and says where it went. Whatever refuses it changes nothing.
    pub(super) fn admit(&mut self, draft: &mut Draft<'_>, terms: Terms) -> Result<Admission, Refusal> {
        let place = self.tail.place(draft.len_max(), Class::Publish)?;
        let first = self.next_offset(draft.topic());
        let stamp = draft.stamp(first, terms.now, place.base);
        let flags = if draft.is_packed() { Flags::COMPRESSED } else { Flags::NONE };
        let (crc, length, notes) = (draft.crc(&stamp), draft.body_len(&stamp), [note(draft, terms, first)]);
        let made = if self.tail.takes_buffers(length) { draft.take_gathered() } else { None };
        let span = match made {
            Some(buffer) => self.tail.append_buffer(crc, buffer, stamp.bytes(), &notes),
            None => self.tail.append(flags, crc, length, |out| draft.write_into(&stamp, out), &notes),
        };
        self.took_in_draft(draft, terms, first, span);
        let (end, level, count) = (span.end, terms.level, draft.count());
        Ok(Admission { first, count, ..Admission::empty(end, level, terms.now) })
    }
}

impl Engine {
    /// Publishes one message. A refusal is in the ticket, with the message.
    pub(crate) fn publish(self: Arc<Self>, topic: TopicId, mut message: Message) -> Ticket<Receipt> {
        if let Some((receipt, end, level)) = self.publish_short(topic, &mut message) {
            return Ticket::appended(self, end, level, receipt);
        }
        if let Err(error) = self.ready(topic, std::slice::from_mut(&mut message)) {
            return Ticket::refused(self, error.returning(message));
        }
        match self.offer(topic, Offer::One(&message), message.durability) {
            Submitted::Admitted(admission) => self.ticket(admission, receipt),
            Submitted::Refused(error) => Ticket::refused(self, error.returning(message)),
            Submitted::Wait(level, probe) => match self.stand_in_line(topic, Work::One(message), level, probe) {
                Ok(slot) => Ticket::in_line(self, slot, receipt),
                Err(error) => Ticket::refused(self, error),
            },
        }
    }

    /// Publishes a batch as one frame: all of it or nothing.
    pub(crate) fn publish_all(self: Arc<Self>, topic: TopicId, mut messages: Vec<Message>) -> Ticket<BatchReceipt> {
        if messages.is_empty() {
            let time = self.now();
            let receipt =
                self.end_of(topic).map(|first| BatchReceipt { first, count: 0, time, duplicates: Vec::new() });
            return Ticket::done(receipt);
        }
        if let Err(error) = self.ready(topic, &mut messages) {
            return Ticket::refused(self, error.returning(messages));
        }
        let level = messages.iter().filter_map(|message| message.durability).max();
        match self.offer(topic, Offer::Batch(&messages), level) {
            Submitted::Admitted(admission) => self.ticket(admission, batch_receipt),
            Submitted::Refused(error) => Ticket::refused(self, error.returning(messages)),
            Submitted::Wait(level, probe) => match self.stand_in_line(topic, Work::Batch(messages), level, probe) {
                Ok(slot) => Ticket::in_line(self, slot, batch_receipt),
                Err(error) => Ticket::refused(self, error),
            },
        }
    }

    fn ticket<T>(self: Arc<Self>, admission: Admission, make: fn(Admission) -> T) -> Ticket<T> {
        let (end, level) = (admission.end, admission.level);
        Ticket::appended(self, end, level, make(admission))
    }

    /// Checks limits and hashes ids: what can be done before the lock.
    pub(super) fn ready(&self, topic: TopicId, messages: &mut [Message]) -> Result<()> {
        let (limit, lifetimes) = (self.options.max_message_bytes as usize, self.lifetimes.load(Ordering::Relaxed));
        for message in messages {
            // Nothing is asked of one without attributes, unless its topic has a lifetime.
            if message.attributes.is_none() && message.payload.len() <= limit && !lifetimes {
                continue;
            }
            self.check_size(message)?;
            self.set_lifetime(topic, message);
            self.set_times(message);
            self.hash_id(topic, message);
        }
        Ok(())
    }

    pub(super) fn check_size(&self, message: &Message) -> Result<()> {
        let limit = self.options.max_message_bytes as usize;
        let size = message.payload.len() + message.attributes.as_ref().map_or(0, |attributes| attributes.size());
        if size <= limit {
            return Ok(());
        }
        let what = format!("the message has {size} bytes; `max_message_bytes` allows {limit}");
        Err(Error::new(Code::TooLarge, what))
    }

    pub(super) fn hash_id(&self, topic: TopicId, message: &mut Message) {
        if let Some(attributes) = &mut message.attributes
            && let Some(id) = &attributes.id
            && self.remembers_ids(topic)
        {
            attributes.id_hash = Some(self.hash(id));
            attributes.payload_hash = Some(self.hash(&message.payload));
        }
    }

    /// The keyed hash of an id, payload or key.
    pub(super) fn hash(&self, bytes: &[u8]) -> [u8; 16] {
        let mut hasher = SipHasher13::new_with_key(&self.identity.hash_key);
        hasher.write(bytes);
        hasher.finish128().as_bytes()
    }

    /// Whether the ids of what is published to a topic are to be remembered.
    fn remembers_ids(&self, topic: TopicId) -> bool {
        let off = |core: &Core| core.state.topic(topic).is_some_and(|held| held.policy().deduplicate == Window::Off);
        !self.forgetful.load(Ordering::Relaxed) || !off(&self.core.lock())
    }

    /// Offers messages: those whose id is known are left out, and the answer says which they were.
    fn offer(&self, topic: TopicId, offer: Offer<'_>, asked: Option<Durability>) -> Submitted {
        let mut probe = self.probe(topic, offer.messages());
        let mut known = Vec::new();
        // What is known is not encoded first, only to be left out.
        let mut ask = probe.has_found();
        loop {
            if !probe.is_asked() {
                match self.ask_later(topic, asked, &mut probe) {
                    Ok(None) => {}
                    Ok(Some(level)) => return Submitted::Wait(level, probe),
                    Err(error) => return Submitted::Refused(error),
                }
                ask = probe.has_found();
            }
            let fresh = if ask { Cow::Borrowed(&[][..]) } else { ids::without(offer.messages(), &known) };
            let draft = match offer {
                Offer::One(_) => fresh.first().map(|message| Draft::one(topic, message)),
                Offer::Batch(_) => (!fresh.is_empty()).then(|| Draft::batch(topic, &fresh)),
            };
            let mut draft = draft.map(|draft| self.packed(draft));
            ask = false;
            match self.submit(topic, (offer.messages(), draft.as_mut()), &probe, &known, asked) {
                Tried::Over(Submitted::Wait(level, _)) => return Submitted::Wait(level, probe),
                Tried::Over(submitted) => return submitted,
                Tried::Known(others) => known = others,
                Tried::Stale => probe = self.probe(topic, offer.messages()),
            }
        }
    }

    /// The disk has to be asked for ids, and who calls may be a task: it stands in line, at the level that is given.
    /// Where half of what may stand there does already, the disk is asked here and now, so that whoever publishes
    /// without ever waiting is slowed down and not refused.
    fn ask_later(&self, topic: TopicId, asked: Option<Durability>, probe: &mut Probe) -> Result<Option<Durability>> {
        {
            let core = self.open_core()?;
            let held = core.state.topic(topic);
            let held = held.ok_or_else(|| Error::new(Code::UnknownTopic, "the topic was dropped"))?;
            if core.waiting_publishes(topic) < self.options.max_waiting_publishes.div_ceil(2) {
                return Ok(Some(asked.or(held.durability()).unwrap_or(self.options.durability)));
            }
        }
        self.ask_line();
        self.serve_front();
        self.ask_now(probe)?;
        Ok(None)
    }

    /// Takes in a draft of those messages that are not `known`, if that is still all that is known. Without one, only
    /// asks what is.
    fn submit(
        &self,
        topic: TopicId,
        (messages, draft): (&[Message], Option<&mut Draft<'_>>),
        probe: &Probe,
        known: &[Known],
        asked: Option<Durability>,
    ) -> Tried {
        let refused = |error| Tried::Over(Submitted::Refused(error));
        let wait = |level| Tried::Over(Submitted::Wait(level, Probe::default()));
        let mut core = match self.open_core() {
            Ok(core) => core,
            Err(error) => return refused(error),
        };
        if core.closing {
            return refused(super::closed());
        }
        let Some(held) = core.state.topic(topic) else {
            return refused(Error::new(Code::UnknownTopic, "the topic was dropped"));
        };
        let level = asked.or(held.durability()).unwrap_or(self.options.durability);
        match core.judge(topic, messages, probe, || self.age_now()) {
            Ok(now_known) if now_known == known && draft.is_some() => {}
            // There is nothing to append, so there is nothing to be prepared for it.
            Ok(now_known) if now_known.len() == messages.len() => {
                let terms = Terms { now: self.now(), level, at: None };
                return Tried::Over(Submitted::Admitted(core.repeat(topic, &now_known, terms)));
            }
            Ok(now_known) => return Tried::Known(now_known),
            Err(Unfit::Stale) => return Tried::Stale,
            Err(Unfit::Reused { index, offset }) => return refused(core.reused(messages, index, offset)),
        }
        let terms = Terms { now: self.now(), level, at: None };
        let Some(draft) = draft else { return Tried::Known(Vec::new()) };
        if core.stands_in_line(topic) {
            return wait(level);
        }
        match self.room_for_ids(&core, probe, messages.len().saturating_sub(known.len())) {
            Ok(true) => {}
            Ok(false) => return wait(level),
            Err(error) => return refused(error),
        }
        let dropped = match core.make_way(draft) {
            Ok(dropped) => dropped,
            Err(NoPlace::Wait) => return wait(level),
            Err(NoPlace::Refused(error)) => return refused(error),
        };
        match core.admit_for(draft, terms, dropped) {
            Ok(admission) => {
                self.after_publish(&mut core, topic, level);
                Tried::Over(Submitted::Admitted(core.with_known(topic, admission, known)))
            }
            Err(Refusal::TooLarge { limit }) => refused(too_large(limit)),
            Err(Refusal::BufferFull) => wait(level),
            Err(Refusal::NoSegment { bytes }) => {
                core.wanted_bytes = core.wanted_bytes.max(bytes);
                Tried::Over(Self::no_room(&core, level))
            }
            Err(Refusal::Reserve) => {
                core.space.ask_beyond();
                Tried::Over(Self::no_room(&core, level))
            }
        }
    }

    /// As the topic wants it written. A setting that comes this moment goes for the next one.
    pub(super) fn packed<'a>(&self, draft: Draft<'a>) -> Draft<'a> {
        // What does not fit does not fit packed either: the limit is one of memory, too.
        let fits = draft.len_max() as u64 <= u64::from(self.options.max_frame_bytes);
        if !self.packs.load(Ordering::Relaxed) || draft.stored_bytes() < LEAST_PACKED || !fits {
            return draft;
        }
        let wanted = self.core.lock().packs(draft.topic());
        let draft = if wanted { draft.packed_by(pack) } else { draft };
        Seen::Packed.note_if(draft.is_packed());
        draft
    }

    fn no_room(core: &Core, level: Durability) -> Submitted {
        match core.full.clone() {
            // Known to be full: said at once, and looked at again by the upkeep.
            Some(source) => Submitted::Refused(disk_full(source)),
            None => Submitted::Wait(level, Probe::default()),
        }
    }

    /// Sees to it that what was appended is written in time, and that those who wait for it hear of it.
    pub(super) fn after_append(&self, core: &mut Core, level: Durability) {
        if level == Durability::Memory {
            self.tell_arrival(core);
            self.arm(core, false);
        }
        if core.ids.wants_flush() {
            self.call_upkeep(core);
        }
        self.after_growth(core);
    }

    /// The journal is longer: that may be too much to be kept in memory, or so much that a successor is needed.
    pub(super) fn after_growth(&self, core: &mut Core) {
        if core.tail.unwritten() >= self.options.write_threshold_bytes {
            self.arm(core, true);
        }
        self.want_successor(core);
    }

    fn stand_in_line(&self, topic: TopicId, work: Work, level: Durability, probe: Probe) -> Result<Arc<Slot>> {
        let mut core = self.core.lock();
        // Whoever closes has sent the line away, and nobody would come for one that joins it now.
        if core.closing || core.check().is_err() {
            return Err(work.hand_back(core.dismissal()));
        }
        let waiting = core.waiting_publishes(topic);
        if waiting >= self.options.max_waiting_publishes {
            return Err(line_full(work, waiting, core.backlogs.lines.contains_key(&topic)));
        }
        let slot = Arc::new(Slot::default());
        // One that lacks nothing but an answer is not pressed for: whoever waits for it asks.
        let pressing = probe.is_asked();
        core.put_in_line(InLine { topic, work, level, slot: slot.clone(), probe });
        self.arm(&mut core, pressing);
        if pressing {
            self.call_upkeep(&mut core);
        }
        Ok(slot)
    }
}

/// Messages that somebody wants to publish.
#[derive(Clone, Copy)]
enum Offer<'a> {
    One(&'a Message),
    Batch(&'a [Message]),
}

impl<'a> Offer<'a> {
    fn messages(self) -> &'a [Message] {
        match self {
            Self::One(message) => std::slice::from_ref(message),
            Self::Batch(messages) => messages,
        }
    }
}

enum Submitted {
    Admitted(Admission),
    Refused(Error),
    Wait(Durability, Probe),
}

enum Tried {
    Over(Submitted),
    /// These are known, and no others: the draft is not the right one.
    Known(Vec<Known>),
    /// The runs have to be asked again.
    Stale,
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
    match admission.known.first() {
        Some((_, offset, time)) => Receipt { offset: *offset, time: *time, duplicate: true },
        None => Receipt { offset: admission.first, time: admission.time, duplicate: false },
    }
}

pub(super) fn batch_receipt(admission: Admission) -> BatchReceipt {
    let Admission { first, count, time, known, .. } = admission;
    let duplicates = known.into_iter().map(|(index, offset, time)| Duplicate { index, offset, time }).collect();
    BatchReceipt { first, count, time, duplicates }
}
