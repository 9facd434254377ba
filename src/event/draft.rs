//! Messages on their way to the journal: encoded and checksummed in the caller's thread, stamped with offset and time
//! under the lock, and copied once. The bytes are drawn in `publish`.

use super::attributes;
use super::codec::kind;
use super::plain::NOTHING;
use super::publish::{Published, check};
use super::slots::{Layout, carries_attributes};
use super::wire::{Inline, low_byte, minimal_len, put_measured, put_varint, varint_len};
use crate::message::{Attributes, Message};
use crate::types::{Offset, Timestamp, TopicId};
use crc32fast::Hasher;
use std::slice;

/// Kind, length, topic and count, at their longest: 1 + 10 + 5 + 10 bytes.
const LONGEST_LEAD: usize = 26;
/// Offset, time and their lengths, at their longest.
pub(super) const LONGEST_SHORT_STAMP: usize = 17;
/// First offset and time of a batch.
const BATCH_TAIL: usize = 16;
/// Contents of a batch are gathered in one piece if they are no longer than this on average: beyond it, going over each
/// where it lies costs less than another copy.
const GATHERED_CONTENT: u64 = 512;
/// And no more than so many bytes: they stay in the processor's cache, and an allocator has them at hand.
const GATHERED_MOST: u64 = 64 << 10;
/// Room that is left before contents that are gathered: what the journal puts before a frame's body.
pub(crate) const ROOM: usize = 16;
/// What attributes take beside names and values: two hashes, times, and lengths.
const BLOCK: usize = 64;

/// Messages of one topic, encoded but for what is known only when their turn comes.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    topic: TopicId,
    messages: &'a [Message],
    /// What stands before the heads.
    lead: Inline<LONGEST_LEAD>,
    /// The heads of a batch; a single message has none, and nothing is allocated for it.
    heads: Vec<u8>,
    /// The attributes of those that have some, each block behind its length.
    prefixes: Vec<u8>,
    /// For a batch: the checksum of each content.
    content_crcs: Vec<u32>,
    batch: bool,
    /// What stands before the stamp, in the form that is written, if that is another one.
    packed: Option<Vec<u8>>,
    /// All that stands before the stamp, of a batch of small messages, behind some room: under the lock it is copied at
    /// once, or becomes a buffer of the journal as it is.
    gathered: Option<Vec<u8>>,
    stored: u64,
    /// How many bytes there are before the stamp, and their checksum.
    before_stamp: usize,
    crc: Hasher,
}

/// The end of a draft's bytes: what is known only when its turn has come.
#[derive(Debug)]
pub(crate) struct Stamp(Tail);

#[derive(Debug)]
enum Tail {
    Short(Inline<LONGEST_SHORT_STAMP>),
    Long(Vec<u8>),
}

impl Stamp {
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Tail::Short(bytes) => bytes.as_slice(),
            Tail::Long(bytes) => bytes,
        }
    }
}

impl<'a> Draft<'a> {
    /// A message that will be alone in its frame. Allocates only for attributes.
    pub(crate) fn one(topic: TopicId, message: &'a Message) -> Self {
        let mut draft = Self::empty(topic, slice::from_ref(message), false);
        let plain = !carries_attributes(message);
        draft.lead.push(if plain { kind::PUBLISH_ONE } else { kind::PUBLISH_ONE_WITH_ATTRIBUTES });
        draft.lead.varint(u64::from(topic.get()));
        if !plain {
            draft.prefixes.reserve(block_bytes(message));
            put_prefix(message, &mut draft.prefixes);
        }
        draft.stored = draft.prefixes.len() as u64 + message.payload.len() as u64;
        draft.measure();
        draft
    }

    /// Messages of one topic that will have consecutive offsets. They may share their frame with other events.
    pub(crate) fn batch(topic: TopicId, messages: &'a [Message]) -> Self {
        let mut draft = Self::empty(topic, messages, true);
        // Two bytes are a head for up to 8 KiB.
        draft.heads.reserve(messages.len().saturating_mul(2));
        draft.content_crcs.reserve(messages.len());
        // Those of a batch are mostly alike.
        let first = messages.first().filter(|first| carries_attributes(first));
        draft.prefixes.reserve(first.map_or(0, block_bytes).saturating_mul(messages.len()));
        for message in messages {
            let before = draft.prefixes.len();
            let with_attributes = carries_attributes(message);
            if with_attributes {
                put_prefix(message, &mut draft.prefixes);
            }
            let prefix = draft.prefixes.get(before..).unwrap_or_default();
            let length = prefix.len() as u64 + message.payload.len() as u64;
            draft.content_crcs.push(super::publish::content_crc(prefix, &message.payload));
            put_varint(&mut draft.heads, length << 1 | u64::from(with_attributes));
            draft.stored += length;
        }
        let count = messages.len() as u64;
        let numbers = varint_len(u64::from(topic.get())) + varint_len(count);
        let length = numbers + draft.heads.len() as u64 + draft.stored + count * 4 + BATCH_TAIL as u64;
        draft.lead.push(kind::PUBLISH_BATCH);
        draft.lead.varint(length << 1);
        draft.lead.varint(u64::from(topic.get()));
        draft.lead.varint(count);
        if draft.stored <= GATHERED_MOST.min(count.saturating_mul(GATHERED_CONTENT)) {
            draft.gather();
        }
        // A second pass over the contents: combining the checksums of the messages takes five times as long.
        draft.measure();
        draft
    }

    /// The same messages, in the form that may share its frame with other events.
    pub(crate) fn for_company(&self) -> Self {
        Self::batch(self.topic, self.messages)
    }

    /// Writes what stands before the stamp as `pack` gives it, if it gives anything. Then the frame has to say so, and
    /// nothing else may be in it.
    pub(crate) fn packed_by(mut self, pack: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Self {
        let mut plain = Vec::with_capacity(self.before_stamp);
        self.pieces(|piece| plain.extend_from_slice(piece));
        self.packed = pack(&plain);
        if self.packed.is_some() {
            self.measure();
        }
        self
    }

    /// Whether that was done.
    pub(crate) fn is_packed(&self) -> bool {
        self.packed.is_some()
    }

    fn empty(topic: TopicId, messages: &'a [Message], batch: bool) -> Self {
        Self {
            topic,
            messages,
            lead: Inline::new(),
            heads: Vec::new(),
            prefixes: Vec::new(),
            content_crcs: Vec::new(),
            batch,
            packed: None,
            gathered: None,
            stored: 0,
            before_stamp: 0,
            crc: NOTHING.clone(),
        }
    }

    /// Where the messages go.
    pub(crate) fn topic(&self) -> TopicId {
        self.topic
    }

    /// How many messages there are.
    pub(crate) fn count(&self) -> u64 {
        self.messages.len() as u64
    }

    /// The sum of the lengths of their contents.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored
    }

    /// How many bytes this takes at most, whatever the stamp.
    pub(crate) fn len_max(&self) -> usize {
        let stamp = if self.batch { self.messages.len().saturating_mul(4) + BATCH_TAIL } else { LONGEST_SHORT_STAMP };
        self.before_stamp + stamp
    }

    /// The end of the bytes, for messages from offset `first` on, accepted at `time`, in a segment whose base time is
    /// `base`. For the lock: a few instructions, and for a batch an allocation of four bytes a message.
    pub(crate) fn stamp(&self, first: Offset, time: Timestamp, base: Timestamp) -> Stamp {
        if !self.batch {
            return Stamp(Tail::Short(short_stamp(first, time, base)));
        }
        let mut bytes = Vec::with_capacity(self.messages.len().saturating_mul(4).saturating_add(BATCH_TAIL));
        let mut offset = first;
        for (message, &crc) in self.messages.iter().zip(&self.content_crcs) {
            let check = check(crc, self.topic, offset, carries_attributes(message));
            bytes.extend_from_slice(&check.to_le_bytes());
            offset = offset.next();
        }
        bytes.extend_from_slice(&first.get().to_le_bytes());
        bytes.extend_from_slice(&time.get().to_le_bytes());
        Stamp(Tail::Long(bytes))
    }

    /// Appends all the bytes. Each payload is copied once, here.
    pub(crate) fn write_into(&self, stamp: &Stamp, out: &mut impl bytes::BufMut) {
        self.pieces(|piece| out.put_slice(piece));
        out.put_slice(stamp.bytes());
    }

    /// Bytes that `write_into` appends.
    pub(crate) fn body_len(&self, stamp: &Stamp) -> usize {
        self.before_stamp + stamp.bytes().len()
    }

    /// The checksum of exactly what `write_into` appends. Reads the stamp only.
    pub(crate) fn crc(&self, stamp: &Stamp) -> u32 {
        let mut hasher = self.crc.clone();
        hasher.update(stamp.bytes());
        hasher.finalize()
    }

    /// The event that this becomes, without decoding it.
    pub(crate) fn published(&self, first: Offset, time: Timestamp) -> Published<'_> {
        Published {
            topic: self.topic,
            first,
            end: first.plus(self.count()),
            count: self.count(),
            time,
            bytes: self.stored,
            layout: Layout::Draft { messages: self.messages, prefixes: &self.prefixes },
        }
    }

    /// Whether anything had to be allocated.
    #[cfg(test)]
    pub(super) fn allocates(&self) -> bool {
        self.heads.capacity() + self.prefixes.capacity() + self.content_crcs.capacity() > 0
    }

    fn gather(&mut self) {
        let contents: usize = self.messages.iter().map(|message| message.payload.len()).sum();
        let pieces = LONGEST_LEAD + self.heads.len() + self.prefixes.len() + contents;
        let stamp = self.messages.len().saturating_mul(4).saturating_add(BATCH_TAIL);
        let mut buffer = Vec::with_capacity(ROOM + pieces + stamp);
        buffer.extend_from_slice(&[0; ROOM]);
        self.pieces(|piece| buffer.extend_from_slice(piece));
        self.gathered = Some(buffer);
    }

    /// What stands before the stamp, behind [`ROOM`], to be kept; nothing if it is not in one piece. The draft can't be
    /// written afterwards.
    pub(crate) fn take_gathered(&mut self) -> Option<Vec<u8>> {
        if self.packed.is_some() { None } else { self.gathered.take() }
    }

    /// Goes over everything before the stamp, once.
    fn measure(&mut self) {
        let (mut length, mut hasher) = (0, NOTHING.clone());
        self.pieces(|piece| {
            length += piece.len();
            hasher.update(piece);
        });
        (self.before_stamp, self.crc) = (length, hasher);
    }

    /// Everything before the stamp, piece by piece, in the order of the bytes.
    fn pieces(&self, mut piece: impl FnMut(&[u8])) {
        if let Some(packed) = &self.packed {
            return piece(packed);
        }
        if let Some(gathered) = &self.gathered {
            return piece(gathered.get(ROOM..).unwrap_or_default());
        }
        piece(self.lead.as_slice());
        if self.batch {
            piece(&self.heads);
        } else if !self.prefixes.is_empty() {
            piece(&self.prefixes);
        }
        if self.prefixes.is_empty() || !self.batch {
            return self.messages.iter().for_each(|message| piece(&message.payload));
        }
        for slot in self.published(Offset::ZERO, Timestamp::ZERO).slots().flatten() {
            piece(slot.head);
            piece(slot.tail);
        }
    }
}

/// Appends a message's attributes block behind its length.
fn put_prefix(message: &Message, out: &mut Vec<u8>) {
    let put = |attributes: &Attributes, out: &mut Vec<u8>| {
        put_measured(out, |length| length, |out| attributes::encode(attributes, out));
    };
    match &message.attributes {
        Some(attributes) => put(attributes, out),
        None => put(&Attributes::default(), out),
    }
}

/// Bytes to be reserved for the attributes of a message: enough for most, hashes of an id included.
fn block_bytes(message: &Message) -> usize {
    message.attributes.as_ref().map_or(0, |attributes| attributes.size().saturating_add(BLOCK))
}

pub(super) fn short_stamp(offset: Offset, time: Timestamp, base: Timestamp) -> Inline<LONGEST_SHORT_STAMP> {
    let since = time.get().wrapping_sub(base.get());
    let (offset_len, time_len) = (minimal_len(offset.get()), minimal_len(since));
    // Both numbers in one, and cut off behind the second: byte by byte takes five times the instructions.
    let both = u128::from(offset.get()) | u128::from(since) << (8 * u32::from(offset_len));
    let mut stamp = Inline::new();
    stamp.extend(&both.to_le_bytes());
    stamp.truncate(usize::from(offset_len + time_len));
    stamp.push(low_byte(u64::from(time_len << 4 | offset_len)));
    stamp
}
