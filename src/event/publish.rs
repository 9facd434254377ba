//! The bytes of messages, and how they are read.
//!
//! The **content** of a message is its payload, or, if it has attributes: varint length of the block, the attributes
//! block (see `attributes`), payload. Which of the two it is, is told beside it. How long the payload is, is not
//! stored: it is what is left.
//!
//! # One message in a frame of its own: kinds 0x01 and 0x02
//!
//! These have no length: they are the only event of their frame and go on to its end.
//!
//! ```text
//! 1 byte     kind: 0x01 plain, 0x02 with attributes
//! varint     topic
//! content    0x01: payload; 0x02: varint length, attributes block, payload
//! stamp:
//!   a bytes  offset, little-endian, without its leading zero bytes
//!   b bytes  time - base time of the segment, wrapping in 64 bits; little-endian, without its leading zero bytes
//!   1 byte   a in the low four bits, b in the high four; each 0 to 8
//! ```
//!
//! The stamp is at the end, and read from there, because offset and time are known only when the message's turn has
//! come, under a lock; the checksum of everything before it was made by then, in the caller's thread. The message has
//! no checksum of its own here: that of the frame's body covers exactly this, so it is read with its frame. An offset
//! is less than 2^64 - 1.
//!
//! # Several messages of a topic: kind 0x10
//!
//! In an event with a length (see `codec`), so that others may stand beside it; also used for one message among others.
//!
//! ```text
//! varint     topic
//! varint     n, how many messages
//! n heads    varint: length of the content << 1 | 1 if the content has attributes
//! n contents
//! n checks   4 bytes each, little-endian
//! 8 bytes    offset of the first message; the others follow it without gaps
//! 8 bytes    time of them all: milliseconds since the Unix epoch, not relative to anything
//! ```
//!
//! Everything up to the checks is made, and its checksum computed, in the caller's thread; the rest under the lock.
//!
//! # Messages moved out of a segment that is to go: kind 0x11
//!
//! ```text
//! varint     topic
//! varint     n, how many messages
//! n entries, offsets rising:
//!   varint   offset - (offset of the entry before + 1); of the first entry: its offset
//!   varint   time - time of the entry before (0 for the first), wrapping in 64 bits, zigzag
//!   4 bytes  check, little-endian
//!   varint   head as above
//! n contents
//! ```
//!
//! # The check of a message
//!
//! ```text
//! check = crc(content) ^ mix(topic, offset, a)        a: 1 if the content has attributes, otherwise 0
//!
//! mix(topic, offset, a), all in 64 bits, wrapping:
//!   x = offset + (topic << 1 | a) * 0x9E3779B97F4A7C15
//!   x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9
//!   x = (x ^ x >> 27) * 0x94D049BB133111EB
//!   x =  x ^ x >> 31
//!   the upper 32 bits of x; mix(1, 1000, 0) is 0xD07A9D82
//! ```
//!
//! `crc` is CRC-32 as in Ethernet and zlib (reflected, polynomial 0xEDB88320, all ones in and out; of `123456789` it is
//! 0xCBF43926). So one message can be read and verified without the rest of its frame, and is not taken for another
//! one: same bytes at another offset, in another topic, or with the attributes read as payload, have another check.
//! It does not cover the time; the frame's checksum does. Topic and offset are mixed in, not hashed with the content,
//! since the content is hashed before the offset is known. A message keeps its check when it is moved; one that was
//! alone in its frame gets it, by the same rule, when it is first moved.

use super::plain::NOTHING;
use super::slots::{Layout, Slot, Slots};
use super::wire::{DecodeError, Decoded};
use super::{attributes, wire};
use crate::message::{Attributes, Record};
use crate::types::{Offset, Timestamp, TopicId};
use bytes::Bytes;

/// Messages of one topic that were published together, or moved together.
#[derive(Clone, Debug)]
pub(crate) struct Published<'a> {
    /// Their topic.
    pub(crate) topic: TopicId,
    /// The offset of the first.
    pub(crate) first: Offset,
    /// The offset after that of the last; between them there may be others if these were moved.
    pub(crate) end: Offset,
    /// How many there are.
    pub(crate) count: u64,
    /// When they were accepted; the latest of those times if they were moved.
    pub(crate) time: Timestamp,
    /// The sum of the lengths of their contents.
    pub(crate) bytes: u64,
    pub(super) layout: Layout<'a>,
}

impl<'a> Published<'a> {
    /// Only the numbers, without messages: all that the state looks at.
    #[cfg(test)]
    pub(crate) fn bare(topic: TopicId, first: Offset, count: u64, time: Timestamp, bytes: u64) -> Self {
        Self { topic, first, end: first.plus(count), count, time, bytes, layout: Layout::Views(&[]) }
    }

    /// Messages to be moved: of one topic, in offset order, as they were read. Each has been verified.
    pub(crate) fn moved(topic: TopicId, views: &'a [MessageView<'a>]) -> Self {
        debug_assert!(views.is_sorted_by(|left, right| left.offset < right.offset), "moved in offset order");
        Self {
            topic,
            first: views.first().map_or(Offset::ZERO, |view| view.offset),
            end: views.last().map_or(Offset::ZERO, |view| view.offset.next()),
            count: views.len() as u64,
            time: views.iter().map(|view| view.time).max().unwrap_or_default(),
            bytes: views.iter().map(MessageView::content_len).sum(),
            layout: Layout::Views(views),
        }
    }

    /// The messages, in offset order.
    pub(crate) fn messages(&self) -> impl Iterator<Item = Decoded<MessageView<'a>>> + use<'a> {
        self.slots().map(|slot| slot?.view())
    }

    /// The messages from this offset on. Reads the heads of those before it and no content.
    pub(crate) fn messages_from(&self, offset: Offset) -> impl Iterator<Item = Decoded<MessageView<'a>>> + use<'a> {
        let before = move |slot: &Decoded<_>| slot.as_ref().is_ok_and(|slot: &Slot<'_>| slot.offset < offset);
        self.slots().skip_while(before).map(|slot| slot?.view())
    }

    /// Their offsets: one run, unless they were moved and there are others between them.
    pub(crate) fn runs(&self) -> impl Iterator<Item = super::Run> + use<'a> {
        let (first, count) = (self.first, self.count);
        let dense = self.end.since(first) == count;
        let whole = dense.then_some(super::Run { first, count });
        let single = (!dense).then(|| self.slots()).into_iter().flatten().map_while(Result::ok);
        whole.into_iter().chain(single.map(|slot| super::Run::one(slot.offset)))
    }

    /// Whether it is known, without a look at the messages, that none has attributes.
    pub(crate) fn is_plain(&self) -> bool {
        match self.layout {
            Layout::One { attributes, .. } => !attributes,
            Layout::Draft { prefixes, .. } => prefixes.is_empty(),
            Layout::Batch { .. } | Layout::Move { .. } | Layout::Views(_) => false,
        }
    }

    /// Whether it is known, without decoding anything, that none carries a time or a priority: nothing then that the
    /// state has to know of a message besides that it is there.
    pub(crate) fn is_calm(&self) -> bool {
        match self.layout {
            Layout::Draft { messages, .. } => messages.iter().all(|message| {
                let attributes = message.attributes.as_ref();
                attributes.is_none_or(|all| all.due.is_none() && all.expiry.is_none() && all.priority == 0)
            }),
            _ => self.is_plain(),
        }
    }

    pub(super) fn slots(&self) -> Slots<'a> {
        Slots::new(self)
    }
}

/// The same messages at the same places. Checks are not compared: one may know them and the other not.
impl PartialEq for Published<'_> {
    fn eq(&self, other: &Self) -> bool {
        let facts = |this: &Self| (this.topic, this.first, this.end, this.count, this.time, this.bytes);
        let told = |message: Decoded<MessageView<'_>>| {
            message.map(|view| (view.offset, view.time, view.attributes.map(<[u8]>::to_vec), view.payload.to_vec()))
        };
        facts(self) == facts(other) && self.messages().map(told).eq(other.messages().map(told))
    }
}

/// One message, where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageView<'a> {
    /// Its place in its topic.
    pub(crate) offset: Offset,
    /// When it was accepted.
    pub(crate) time: Timestamp,
    /// Its payload.
    pub(crate) payload: &'a [u8],
    /// Its attributes block.
    pub(crate) attributes: Option<&'a [u8]>,
    /// Its check, if it is stored beside it; otherwise its frame's checksum stands for it.
    pub(crate) check: Option<u32>,
    /// The attributes block with its length in front; empty if there is none.
    pub(super) prefix: &'a [u8],
}

impl MessageView<'_> {
    /// How many bytes of content it has: payload, and attributes with their length.
    pub(crate) fn content_len(&self) -> u64 {
        self.prefix.len() as u64 + self.payload.len() as u64
    }

    /// Its attributes, copied.
    pub(crate) fn attributes(&self) -> Decoded<Option<Box<Attributes>>> {
        self.attributes_with(Bytes::copy_from_slice)
    }

    /// Whether the bytes are those that were published at this place of this topic. True if there is no check to hold
    /// them to.
    pub(crate) fn verify(&self, topic: TopicId) -> bool {
        self.check.is_none_or(|check| check == self.check_for(topic))
    }

    /// The check of these bytes at this place of this topic.
    pub(crate) fn check_for(&self, topic: TopicId) -> u32 {
        check(content_crc(self.prefix, self.payload), topic, self.offset, self.attributes.is_some())
    }

    /// The message to be handed out. `body` is the buffer that this was decoded from: payload, id, key and header
    /// values are slices of it and keep it alive. What does not lie in it is copied.
    pub(crate) fn record(&self, body: &Bytes) -> Decoded<Record> {
        Ok(Record {
            offset: self.offset,
            time: self.time,
            payload: share(body, self.payload),
            attributes: self.attributes_with(|part| share(body, part))?,
        })
    }

    fn attributes_with(&self, own: impl Fn(&[u8]) -> Bytes) -> Decoded<Option<Box<Attributes>>> {
        self.attributes.map_or(Ok(None), |block| attributes::decode(block, own))
    }
}

/// `part` as a slice of `whole` if it lies in it, otherwise a copy.
fn share(whole: &Bytes, part: &[u8]) -> Bytes {
    let (outer, inner) = (whole.as_ptr_range(), part.as_ptr_range());
    if outer.start <= inner.start && inner.end <= outer.end {
        whole.slice_ref(part)
    } else {
        Bytes::copy_from_slice(part)
    }
}

/// The checksum of a content that may lie in two pieces.
pub(super) fn content_crc(prefix: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = NOTHING.clone();
    if !prefix.is_empty() {
        hasher.update(prefix);
    }
    hasher.update(payload);
    hasher.finalize()
}

/// The check of a message whose content has this checksum.
pub(super) const fn check(content_crc: u32, topic: TopicId, offset: Offset, attributes: bool) -> u32 {
    content_crc ^ mix(topic, offset, attributes)
}

/// Spreads a message's place over 32 bits: the finalizer of splitmix64.
const fn mix(topic: TopicId, offset: Offset, attributes: bool) -> u32 {
    let place = (topic.get() as u64) << 1 | attributes as u64;
    let x = offset.get().wrapping_add(place.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ x >> 31) >> 32) as u32
}

/// Splits a content that has attributes into what stands before the payload, the block alone, and the payload.
pub(super) fn split(content: &[u8]) -> Decoded<(&[u8], &[u8], &[u8])> {
    let mut reader = wire::Reader::new(content);
    let block = reader.counted()?;
    let payload = reader.rest();
    let prefix = content.len().checked_sub(payload.len()).and_then(|len| content.get(..len));
    Ok((prefix.ok_or(DecodeError::Truncated)?, block, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_is_the_one_drawn_above() {
        assert_eq!(content_crc(b"1234", b"56789"), 0xCBF4_3926);
        assert_eq!(mix(TopicId::new(1), Offset::new(1000), false), 0xD07A_9D82);
        assert_eq!(check(content_crc(b"", b"hello"), TopicId::new(1), Offset::new(1000), false), 0xE66A_3B04);
    }
}
