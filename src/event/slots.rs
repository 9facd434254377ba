//! Where the messages of a `Published` lie: in the bytes of an event, in a draft that was never decoded, or in views
//! of several frames that are to be moved. The bytes are drawn in `publish`.

use super::publish::{MessageView, Published, check, content_crc, split};
use super::wire::{DecodeError, Decoded, Reader, from_minimal, put_varint, unzigzag, zigzag};
use crate::message::Message;
use crate::types::{Offset, Timestamp, TopicId};
use std::slice;

/// Least bytes of a message in a batch: head and check.
const LEAST_IN_BATCH: u64 = 5;
/// Least bytes of a moved message: distance, time, check, head.
const LEAST_IN_MOVE: u64 = 7;

/// Where messages lie.
#[derive(Clone, Copy, Debug)]
pub(super) enum Layout<'a> {
    /// One message, decoded.
    One { content: &'a [u8], attributes: bool },
    /// A batch, decoded.
    Batch { heads: &'a [u8], contents: &'a [u8], checks: &'a [u8] },
    /// Moved messages, decoded.
    Move { entries: &'a [u8], contents: &'a [u8] },
    /// A draft's messages; `prefixes` has the attributes of those that have some, each block behind its length.
    Draft { messages: &'a [Message], prefixes: &'a [u8] },
    /// Messages read from anywhere.
    Views(&'a [MessageView<'a>]),
}

/// A message whose content was not looked into yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<'a> {
    pub(super) offset: Offset,
    pub(super) time: Timestamp,
    pub(super) check: Option<u32>,
    /// Whether the content has attributes.
    pub(super) attributes: bool,
    /// The content, whole or its beginning: the cut, if there is one, is where the payload begins.
    pub(super) head: &'a [u8],
    /// The rest of the content.
    pub(super) tail: &'a [u8],
}

impl<'a> Slot<'a> {
    /// How many bytes the content has.
    pub(super) fn content_len(&self) -> u64 {
        self.head.len() as u64 + self.tail.len() as u64
    }

    /// What is stored in front of the content in a batch.
    pub(super) fn head_number(&self) -> u64 {
        self.content_len() << 1 | u64::from(self.attributes)
    }

    /// The check that is kept, or else is made now.
    pub(super) fn check_for(&self, topic: TopicId) -> u32 {
        let made = || check(content_crc(self.head, self.tail), topic, self.offset, self.attributes);
        self.check.unwrap_or_else(made)
    }

    /// The message.
    pub(super) fn view(self) -> Decoded<MessageView<'a>> {
        let (prefix, attributes, payload) = if self.attributes {
            let (prefix, block, rest) = split(self.head)?;
            // Either the head is the whole content, or it ends with the block and the payload is the tail.
            (prefix, Some(block), if self.tail.is_empty() { rest } else { self.tail })
        } else {
            (&[][..], None, self.head)
        };
        Ok(MessageView { offset: self.offset, time: self.time, payload, attributes, check: self.check, prefix })
    }
}

/// Walks the messages of a `Published`, reading heads only. Ends after the first error.
#[derive(Clone, Debug)]
pub(super) struct Slots<'a> {
    source: Source<'a>,
    left: u64,
    offset: Offset,
    time: Timestamp,
}

#[derive(Clone, Debug)]
enum Source<'a> {
    One { content: &'a [u8], attributes: bool },
    Batch { heads: Reader<'a>, contents: Reader<'a>, checks: Reader<'a> },
    Move { entries: Reader<'a>, contents: Reader<'a> },
    Draft { messages: slice::Iter<'a, Message>, prefixes: Reader<'a> },
    Views(slice::Iter<'a, MessageView<'a>>),
}

impl<'a> Slots<'a> {
    pub(super) fn new(published: &Published<'a>) -> Self {
        let mut slots = Self {
            source: Source::Views([].iter()),
            left: published.count,
            offset: published.first,
            time: published.time,
        };
        slots.source = match published.layout {
            Layout::One { content, attributes } => Source::One { content, attributes },
            Layout::Batch { heads, contents, checks } => Source::Batch {
                heads: Reader::new(heads),
                contents: Reader::new(contents),
                checks: Reader::new(checks),
            },
            Layout::Move { entries, contents } => {
                // Both are told as differences, the first ones from zero.
                (slots.offset, slots.time) = (Offset::ZERO, Timestamp::ZERO);
                Source::Move { entries: Reader::new(entries), contents: Reader::new(contents) }
            }
            Layout::Draft { messages, prefixes } => {
                Source::Draft { messages: messages.iter(), prefixes: Reader::new(prefixes) }
            }
            Layout::Views(views) => Source::Views(views.iter()),
        };
        slots
    }

    fn read(&mut self) -> Decoded<Slot<'a>> {
        let whole = |offset, time, check, head, attributes| Slot { offset, time, check, attributes, head, tail: &[] };
        let slot = match &mut self.source {
            Source::One { content, attributes } => whole(self.offset, self.time, None, content, *attributes),
            Source::Batch { heads, contents, checks } => {
                let (len, attributes) = head(heads)?;
                whole(self.offset, self.time, Some(checks.u32()?), contents.take_counted(len)?, attributes)
            }
            Source::Move { entries, contents } => {
                let entry = Entry::read(entries, self.offset, self.time)?;
                let content = contents.take_counted(entry.len)?;
                whole(entry.offset, entry.time, Some(entry.check), content, entry.attributes)
            }
            Source::Draft { messages, prefixes } => {
                let message = messages.next().ok_or(DecodeError::Truncated)?;
                let payload = message.payload.as_ref();
                if carries_attributes(message) {
                    let before = *prefixes;
                    prefixes.counted()?;
                    let (head, tail) = (prefixes.since(&before), payload);
                    Slot { offset: self.offset, time: self.time, check: None, attributes: true, head, tail }
                } else {
                    whole(self.offset, self.time, None, payload, false)
                }
            }
            Source::Views(views) => {
                let view = views.next().ok_or(DecodeError::Truncated)?;
                let attributes = view.attributes.is_some();
                let (head, tail) = if attributes { (view.prefix, view.payload) } else { (view.payload, &[][..]) };
                Slot { offset: view.offset, time: view.time, check: view.check, attributes, head, tail }
            }
        };
        (self.offset, self.time) = (slot.offset.next(), slot.time);
        Ok(slot)
    }
}

impl<'a> Iterator for Slots<'a> {
    type Item = Decoded<Slot<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let slot = self.read();
        if slot.is_err() {
            self.left = 0;
        }
        Some(slot)
    }
}

/// Whether a message is stored with an attributes block.
pub(super) fn carries_attributes(message: &Message) -> bool {
    message.attributes.as_ref().is_some_and(|attributes| !attributes.is_empty())
}

/// Reads a head: length of the content, and whether it has attributes.
fn head(reader: &mut Reader<'_>) -> Decoded<(u64, bool)> {
    let number = reader.varint()?;
    Ok((number >> 1, number & 1 == 1))
}

/// What is stored of a moved message besides its content.
struct Entry {
    offset: Offset,
    time: Timestamp,
    check: u32,
    len: u64,
    attributes: bool,
}

impl Entry {
    /// Reads an entry. `least` is the offset after the entry before, `time` that entry's time.
    fn read(reader: &mut Reader<'_>, least: Offset, time: Timestamp) -> Decoded<Self> {
        let offset = least.get().checked_add(reader.varint()?).ok_or(DecodeError::Overlong)?;
        let time = Timestamp::new(unzigzag(time.get(), reader.varint()?));
        let check = reader.u32()?;
        let (len, attributes) = head(reader)?;
        Ok(Self { offset: checked_offset(offset)?, time, check, len, attributes })
    }
}

/// The largest number is no offset, so that there is always one after it.
fn checked_offset(offset: u64) -> Decoded<Offset> {
    if offset == u64::MAX { Err(DecodeError::bad("an offset", offset)) } else { Ok(Offset::new(offset)) }
}

/// A message that is alone in its frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alone<'a> {
    pub(crate) offset: Offset,
    pub(crate) time: Timestamp,
    pub(crate) content: &'a [u8],
}

/// Reads one message in a frame of its own, from behind its kind to the frame's end.
pub(super) fn decode_one(rest: &[u8], attributes: bool, base: Timestamp) -> Decoded<Published<'_>> {
    let mut reader = Reader::new(rest);
    let topic = TopicId::new(reader.varint_u32()?);
    let Alone { offset, time, content } = decode_alone(reader.rest(), base)?;
    if attributes {
        split(content)?;
    }
    let layout = Layout::One { content, attributes };
    Ok(Published { topic, first: offset, end: offset.next(), count: 1, time, bytes: content.len() as u64, layout })
}

/// The same, from behind its topic.
#[inline]
pub(super) fn decode_alone(rest: &[u8], base: Timestamp) -> Decoded<Alone<'_>> {
    let (&lengths, before) = rest.split_last().ok_or(DecodeError::Truncated)?;
    let (offset_len, time_len) = (usize::from(lengths & 15), usize::from(lengths >> 4));
    let cut = |bytes: &'_ [u8], len| bytes.len().checked_sub(len).ok_or(DecodeError::Truncated);
    let (before, time) = before.split_at_checked(cut(before, time_len)?).ok_or(DecodeError::Truncated)?;
    let (content, offset) = before.split_at_checked(cut(before, offset_len)?).ok_or(DecodeError::Truncated)?;
    let offset = checked_offset(from_minimal(offset)?)?;
    Ok(Alone { offset, time: Timestamp::new(base.get().wrapping_add(from_minimal(time)?)), content })
}

/// Reads how many messages there are: not more than there can be in the bytes that follow.
fn message_count(reader: &mut Reader<'_>, least: u64) -> Decoded<u64> {
    let count = reader.varint()?;
    if count > reader.len() as u64 / least { Err(DecodeError::Truncated) } else { Ok(count) }
}

/// Reads the body of a batch. Walks the heads once, to find what is behind the contents.
pub(super) fn decode_batch(body: &[u8]) -> Decoded<Published<'_>> {
    let mut reader = Reader::new(body);
    let topic = TopicId::new(reader.varint_u32()?);
    let count = message_count(&mut reader, LEAST_IN_BATCH)?;
    let start = reader;
    let mut bytes = 0u64;
    for _ in 0..count {
        bytes = bytes.checked_add(head(&mut reader)?.0).ok_or(DecodeError::Truncated)?;
    }
    let heads = reader.since(&start);
    let contents = reader.take_counted(bytes)?;
    let checks = reader.take_counted(count.saturating_mul(4))?;
    let first = reader.u64()?;
    let end = first.checked_add(count).ok_or(DecodeError::bad("a first offset", first))?;
    Ok(Published {
        topic,
        first: Offset::new(first),
        end: Offset::new(end),
        count,
        time: Timestamp::new(reader.u64()?),
        bytes,
        layout: Layout::Batch { heads, contents, checks },
    })
}

/// Reads the body of a move. Walks the entries once, to find the contents.
pub(super) fn decode_move(body: &[u8]) -> Decoded<Published<'_>> {
    let mut reader = Reader::new(body);
    let topic = TopicId::new(reader.varint_u32()?);
    let count = message_count(&mut reader, LEAST_IN_MOVE)?;
    let start = reader;
    let (mut bytes, mut first, mut end) = (0u64, None, Offset::ZERO);
    let (mut time, mut latest) = (Timestamp::ZERO, Timestamp::ZERO);
    for _ in 0..count {
        let entry = Entry::read(&mut reader, end, time)?;
        bytes = bytes.checked_add(entry.len).ok_or(DecodeError::Truncated)?;
        (end, time, latest) = (entry.offset.next(), entry.time, latest.max(entry.time));
        first = first.or(Some(entry.offset));
    }
    let entries = reader.since(&start);
    let contents = reader.take_counted(bytes)?;
    let first = first.unwrap_or_default();
    Ok(Published { topic, first, end, count, time: latest, bytes, layout: Layout::Move { entries, contents } })
}

/// Appends the body of a batch: also of messages that came alone, so that they can stand beside other events.
pub(super) fn encode_batch(published: &Published<'_>, out: &mut Vec<u8>) {
    // What was decoded was walked by then, and what is live can't be wrong: no slot is an error.
    let slots = || published.slots().flatten();
    put_varint(out, u64::from(published.topic.get()));
    put_varint(out, published.count);
    slots().for_each(|slot| put_varint(out, slot.head_number()));
    put_contents(published, out);
    slots().for_each(|slot| out.extend_from_slice(&slot.check_for(published.topic).to_le_bytes()));
    out.extend_from_slice(&published.first.get().to_le_bytes());
    out.extend_from_slice(&published.time.get().to_le_bytes());
}

/// Appends the body of a move.
pub(super) fn encode_move(published: &Published<'_>, out: &mut Vec<u8>) {
    put_varint(out, u64::from(published.topic.get()));
    put_varint(out, published.count);
    let (mut least, mut time) = (Offset::ZERO, Timestamp::ZERO);
    for slot in published.slots().flatten() {
        put_varint(out, slot.offset.since(least));
        put_varint(out, zigzag(time.get(), slot.time.get()));
        out.extend_from_slice(&slot.check_for(published.topic).to_le_bytes());
        put_varint(out, slot.head_number());
        (least, time) = (slot.offset.next(), slot.time);
    }
    put_contents(published, out);
}

fn put_contents(published: &Published<'_>, out: &mut Vec<u8>) {
    // Known, so that growing doesn't copy what is there again and again.
    out.reserve(usize::try_from(published.bytes).unwrap_or(0));
    for slot in published.slots().flatten() {
        out.extend_from_slice(slot.head);
        out.extend_from_slice(slot.tail);
    }
}
