//! The bytes of events.
//!
//! The body of a frame that isn't one of the journal's own is a sequence of events, and nothing else. Varints and
//! zigzag numbers are as in `wire`; all else is little-endian; times are milliseconds since the Unix epoch.
//!
//! # What protects them
//!
//! Events have no checksum: that of the frame's body covers all of them, whole, and holds before any of them is
//! looked at. Messages in batches have a check of their own besides (see `publish`), so that one of them can be read
//! without its frame. Decoding trusts neither: every length and count is held against the bytes that are there.
//!
//! # An event
//!
//! ```text
//! 1 byte   kind
//! varint   length of the body << 1 | 1 if a reader that doesn't know the kind may skip it
//! body
//! ```
//!
//! but for kinds 0x01 to 0x0F, which have no length and no body of this form: such an event is the first and only one
//! of its frame, and goes on to the frame's end (see `publish`).
//!
//! | kinds | what they are about |
//! |---|---|
//! | 0x00 | never used: zeros are no event |
//! | 0x01 to 0x0F | one event that is the whole frame |
//! | 0x10 to 0x1F | several messages |
//! | 0x20 to 0x2F | the store |
//! | 0x30 to 0x3F | topics |
//! | 0x40 to 0x5F | groups |
//! | 0x60 to 0x6F | ids |
//! | 0x70 to 0xEF | later |
//! | 0xF0 to 0xFF | never used: bytes that were wiped to ones are no event |
//!
//! A kind that isn't known is an error, unless it is one of 0x10 to 0xEF and marked as safe to skip. This release
//! marks none of its own.
//!
//! # Bodies
//!
//! Fields one after another, in this order. Numbers are varints if nothing else is said. `text` and `bytes` are a
//! varint length and that many bytes (text is UTF-8), `hash` is 16 bytes, `flag` is one byte, 0 or 1. (This is the
//! postcard format, of which no more is used than this.)
//!
//! **New fields come at the end, and zero means that they are not given.** A reader takes what a body lacks at its end
//! as zeros, and ignores what it has beyond the fields it knows. This goes for bodies, not for what is inside them,
//! and not for 0x10, 0x11 and 0x24, of which only the second half holds.
//!
//! ```text
//! 0x10 PublishBatch    see `publish`
//! 0x11 MoveBatch       see `publish`
//!
//! 0x20 Opened          incarnation, time, boot id (text), clean (flag), doubted (milliseconds; left out if 0)
//! 0x21 SegmentRetired  segment
//! 0x22 TablesTrusted   LSN, checkpoint (hash)
//! 0x23 SetValue        key (text), given (flag), value (bytes) if given is 1; otherwise the key is removed
//! 0x24 SnapshotPart    opaque to the end of the body
//!
//! 0x30 CreateTopic     topic, time, name (text), settings
//! 0x31 ConfigureTopic  topic, settings
//! 0x32 DropTopic       topic
//! 0x33 Dropped         topic, runs, cause
//!
//! 0x40 CreateGroup     group, topic, time, start, name (text), settings
//! 0x41 ConfigureGroup  group, settings
//! 0x42 DropGroup       group
//! 0x43 Ack             group, runs, processed (count, then a hash each), time, sequence, table (both left out if 0)
//! 0x44 Nack            group, offset, counters, time, due, error (text)
//! 0x45 Release         group, runs, due, given (flag), counters if given is 1
//! 0x46 Bury            group, offset, reason, counters, life, time, error (text)
//! 0x47 Redrive         group, runs, time
//! 0x48 Seek            group, to
//! 0x49 Settle          group, runs, cause
//! 0x4A Delivered       group, runs
//! 0x4B Pause           group, until
//! 0x4C Unseen          group, runs
//!
//! 0x60 KeepId          topic, offset, time, id (hash), payload (hash)
//! 0x61 KeepProcessed   group, time, id (hash), sequence, table
//! 0x62 ForgetId        topic, offset, time, id (hash)
//!
//! topic, group, segment   varint that fits in 32 bits
//! counters                leases, failures, timeouts, crashes: each a varint that fits in 32 bits
//! life                    varint that fits in 32 bits
//! runs                    count, then for each: distance from the end of the run before (from zero for the first),
//!                         how many offsets, at least one
//! settings                count, then for each: tag (fits in 16 bits, not 0), count of its values, the values;
//!                         the tags are in `settings`
//! reason                  1 byte: 0 asked for, 1 failures, 2 timeouts, 3 crashes, 4 unreadable
//! cause                   1 byte: 0 expired, 1 filtered, 2 age, 3 bytes, 4 count, 5 overflow, 6 purged, 7 cancelled,
//!                         8 processed, 9 settled by every group, 10 lost to damage
//! ```

use super::extend::{put_body, read_body};
use super::slots::{Alone, decode_alone, decode_batch, decode_move, decode_one, encode_batch, encode_move};
use super::wire::{DecodeError, Decoded, Reader, put_measured, put_varint};
use super::{Event, Published, Setting};
use crate::types::{Timestamp, TopicId};

/// The kinds of events. A number keeps its meaning for ever.
pub(super) mod kind {
    pub(in crate::event) const PUBLISH_ONE: u8 = 0x01;
    pub(in crate::event) const PUBLISH_ONE_WITH_ATTRIBUTES: u8 = 0x02;
    /// The last kind that has no length.
    pub(in crate::event) const LAST_WHOLE_FRAME: u8 = 0x0F;
    pub(in crate::event) const PUBLISH_BATCH: u8 = 0x10;
    pub(in crate::event) const MOVE_BATCH: u8 = 0x11;
    pub(in crate::event) const OPENED: u8 = 0x20;
    pub(in crate::event) const SEGMENT_RETIRED: u8 = 0x21;
    pub(in crate::event) const TABLES_TRUSTED: u8 = 0x22;
    pub(in crate::event) const SET_VALUE: u8 = 0x23;
    pub(in crate::event) const SNAPSHOT_PART: u8 = 0x24;
    pub(in crate::event) const CREATE_TOPIC: u8 = 0x30;
    pub(in crate::event) const CONFIGURE_TOPIC: u8 = 0x31;
    pub(in crate::event) const DROP_TOPIC: u8 = 0x32;
    pub(in crate::event) const DROPPED: u8 = 0x33;
    pub(in crate::event) const CREATE_GROUP: u8 = 0x40;
    pub(in crate::event) const CONFIGURE_GROUP: u8 = 0x41;
    pub(in crate::event) const DROP_GROUP: u8 = 0x42;
    pub(in crate::event) const ACK: u8 = 0x43;
    pub(in crate::event) const NACK: u8 = 0x44;
    pub(in crate::event) const RELEASE: u8 = 0x45;
    pub(in crate::event) const BURY: u8 = 0x46;
    pub(in crate::event) const REDRIVE: u8 = 0x47;
    pub(in crate::event) const SEEK: u8 = 0x48;
    pub(in crate::event) const SETTLE: u8 = 0x49;
    pub(in crate::event) const DELIVERED: u8 = 0x4A;
    pub(in crate::event) const UNSEEN: u8 = 0x4C;
    pub(in crate::event) const PAUSE: u8 = 0x4B;
    pub(in crate::event) const KEEP_ID: u8 = 0x60;
    pub(in crate::event) const KEEP_PROCESSED: u8 = 0x61;
    pub(in crate::event) const FORGET_ID: u8 = 0x62;
    /// The first of those that are never used.
    pub(in crate::event) const FIRST_NEVER: u8 = 0xF0;
}

/// Appends an event. A message that was decoded from a frame of its own becomes a batch of one: only a `Draft` writes
/// the short form, which can't stand beside other events.
pub(crate) fn encode(event: &Event<'_>, out: &mut Vec<u8>) {
    match event {
        Event::Publish(messages) => put_event(kind::PUBLISH_BATCH, out, |out| encode_batch(messages, out)),
        Event::Move(messages) => put_event(kind::MOVE_BATCH, out, |out| encode_move(messages, out)),
        Event::Opened(body) => put_event(kind::OPENED, out, |out| put_body(body, out)),
        Event::SegmentRetired(body) => put_event(kind::SEGMENT_RETIRED, out, |out| put_body(body, out)),
        Event::TablesTrusted(body) => put_event(kind::TABLES_TRUSTED, out, |out| put_body(body, out)),
        Event::SetValue(body) => put_event(kind::SET_VALUE, out, |out| put_body(body, out)),
        Event::SnapshotPart(part) => {
            // Large, and its length is known: nothing has to be moved to make room for it.
            out.push(kind::SNAPSHOT_PART);
            put_varint(out, (part.len() as u64) << 1);
            out.extend_from_slice(part);
        }
        Event::CreateTopic(body) => put_event(kind::CREATE_TOPIC, out, |out| put_body(body, out)),
        Event::ConfigureTopic(body) => put_event(kind::CONFIGURE_TOPIC, out, |out| put_body(body, out)),
        Event::DropTopic(body) => put_event(kind::DROP_TOPIC, out, |out| put_body(body, out)),
        Event::Dropped(body) => put_event(kind::DROPPED, out, |out| put_body(body, out)),
        Event::CreateGroup(body) => put_event(kind::CREATE_GROUP, out, |out| put_body(body, out)),
        Event::ConfigureGroup(body) => put_event(kind::CONFIGURE_GROUP, out, |out| put_body(body, out)),
        Event::DropGroup(body) => put_event(kind::DROP_GROUP, out, |out| put_body(body, out)),
        Event::Ack(body) => put_event(kind::ACK, out, |out| put_body(body, out)),
        Event::Nack(body) => put_event(kind::NACK, out, |out| put_body(body, out)),
        Event::Release(body) => put_event(kind::RELEASE, out, |out| put_body(body, out)),
        Event::Bury(body) => put_event(kind::BURY, out, |out| put_body(body, out)),
        Event::Redrive(body) => put_event(kind::REDRIVE, out, |out| put_body(body, out)),
        Event::Seek(body) => put_event(kind::SEEK, out, |out| put_body(body, out)),
        Event::Settle(body) => put_event(kind::SETTLE, out, |out| put_body(body, out)),
        Event::Delivered(body) => put_event(kind::DELIVERED, out, |out| put_body(body, out)),
        Event::Unseen(body) => put_event(kind::UNSEEN, out, |out| put_body(body, out)),
        Event::Pause(body) => put_event(kind::PAUSE, out, |out| put_body(body, out)),
        Event::KeepId(body) => put_event(kind::KEEP_ID, out, |out| put_body(body, out)),
        Event::KeepProcessed(body) => put_event(kind::KEEP_PROCESSED, out, |out| put_body(body, out)),
        Event::ForgetId(body) => put_event(kind::FORGET_ID, out, |out| put_body(body, out)),
        // Its body is not known any more: an empty one that may be skipped, as it was.
        Event::Unknown { kind } => out.extend_from_slice(&[*kind, 1]),
    }
}

fn put_event(kind: u8, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    put_measured(out, |length| length << 1, body);
}

/// The events of a frame's body, in order. `base` is the base time of the frame's segment. Ends after the first error.
pub(crate) fn events(body: &[u8], base: Timestamp) -> Events<'_> {
    Events { reader: Reader::new(body), base, first: true }
}

/// What a frame's body is to a reader of one topic.
#[derive(Debug)]
pub(crate) enum Sight<'a> {
    /// A message of another topic, and nothing else.
    Other,
    /// A message of the topic without attributes, and nothing else.
    Plain(Alone<'a>),
    /// To be looked at closely.
    Unclear,
}

/// Looks at a body as far as it takes to tell a lone message of `topic` from one of another.
#[inline]
pub(crate) fn sight(body: &[u8], base: Timestamp, topic: TopicId) -> Sight<'_> {
    let mut reader = Reader::new(body);
    let kind = reader.byte().unwrap_or(kind::FIRST_NEVER);
    if kind > kind::PUBLISH_ONE_WITH_ATTRIBUTES {
        return Sight::Unclear;
    }
    match reader.varint_u32() {
        Ok(other) if other != topic.get() => Sight::Other,
        Ok(_) if kind == kind::PUBLISH_ONE => decode_alone(reader.rest(), base).map_or(Sight::Unclear, Sight::Plain),
        _ => Sight::Unclear,
    }
}

/// What a frame publishes if it does that and nothing else. Nothing for any other body, and for one that is none.
#[inline]
pub(crate) fn only_published(body: &[u8], base: Timestamp) -> Option<Published<'_>> {
    let mut reader = Reader::new(body);
    match reader.byte().ok()? {
        kind::PUBLISH_ONE => decode_one(reader.rest(), false, base).ok(),
        kind::PUBLISH_ONE_WITH_ATTRIBUTES => decode_one(reader.rest(), true, base).ok(),
        kind::PUBLISH_BATCH => {
            let length = reader.varint().ok()?;
            let batch = reader.take_counted(length >> 1).ok()?;
            if reader.len() == 0 { decode_batch(batch).ok() } else { None }
        }
        _ => None,
    }
}

/// See [`events`].
#[derive(Clone, Debug)]
pub(crate) struct Events<'a> {
    reader: Reader<'a>,
    base: Timestamp,
    first: bool,
}

impl<'a> Events<'a> {
    fn read(&mut self) -> Decoded<Event<'a>> {
        let kind = self.reader.byte()?;
        if kind <= kind::LAST_WHOLE_FRAME {
            let attributes = match kind {
                kind::PUBLISH_ONE => false,
                kind::PUBLISH_ONE_WITH_ATTRIBUTES => true,
                _ => return Err(DecodeError::UnknownKind(kind)),
            };
            if !self.first {
                return Err(DecodeError::bad("an event behind others", kind));
            }
            let rest = self.reader.take(self.reader.len())?;
            return Ok(Event::Publish(decode_one(rest, attributes, self.base)?));
        }
        let length = self.reader.varint()?;
        let body = self.reader.take_counted(length >> 1)?;
        match decode_body(kind, body)? {
            Some(event) => Ok(event),
            None if length & 1 == 1 && kind < kind::FIRST_NEVER => Ok(Event::Unknown { kind }),
            None => Err(DecodeError::UnknownKind(kind)),
        }
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Decoded<Event<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.len() == 0 {
            return None;
        }
        let event = self.read();
        self.first = false;
        if event.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(event)
    }
}

/// The event of this kind, or nothing if the kind isn't known.
fn decode_body(kind: u8, body: &[u8]) -> Decoded<Option<Event<'_>>> {
    let event = match kind {
        kind::PUBLISH_BATCH => Event::Publish(decode_batch(body)?),
        kind::MOVE_BATCH => Event::Move(decode_move(body)?),
        kind::OPENED => Event::Opened(read_body(kind, body)?),
        kind::SEGMENT_RETIRED => Event::SegmentRetired(read_body(kind, body)?),
        kind::TABLES_TRUSTED => Event::TablesTrusted(read_body(kind, body)?),
        kind::SET_VALUE => Event::SetValue(read_body(kind, body)?),
        kind::SNAPSHOT_PART => Event::SnapshotPart(body),
        kind::CREATE_TOPIC => Event::CreateTopic(read_body(kind, body)?),
        kind::CONFIGURE_TOPIC => Event::ConfigureTopic(read_body(kind, body)?),
        kind::DROP_TOPIC => Event::DropTopic(read_body(kind, body)?),
        kind::DROPPED => Event::Dropped(read_body(kind, body)?),
        kind::CREATE_GROUP => Event::CreateGroup(read_body(kind, body)?),
        kind::CONFIGURE_GROUP => Event::ConfigureGroup(read_body(kind, body)?),
        kind::DROP_GROUP => Event::DropGroup(read_body(kind, body)?),
        kind::ACK => Event::Ack(read_body(kind, body)?),
        kind::NACK => Event::Nack(read_body(kind, body)?),
        kind::RELEASE => Event::Release(read_body(kind, body)?),
        kind::BURY => Event::Bury(read_body(kind, body)?),
        kind::REDRIVE => Event::Redrive(read_body(kind, body)?),
        kind::SEEK => Event::Seek(read_body(kind, body)?),
        kind::SETTLE => Event::Settle(read_body(kind, body)?),
        kind::DELIVERED => Event::Delivered(read_body(kind, body)?),
        kind::UNSEEN => Event::Unseen(read_body(kind, body)?),
        kind::PAUSE => Event::Pause(read_body(kind, body)?),
        kind::KEEP_ID => Event::KeepId(read_body(kind, body)?),
        kind::KEEP_PROCESSED => Event::KeepProcessed(read_body(kind, body)?),
        kind::FORGET_ID => Event::ForgetId(read_body(kind, body)?),
        _ => return Ok(None),
    };
    let settings: &[Setting] = match &event {
        Event::CreateTopic(create) => &create.settings,
        Event::ConfigureTopic(configure) => &configure.settings,
        Event::CreateGroup(create) => &create.settings,
        Event::ConfigureGroup(configure) => &configure.settings,
        _ => &[],
    };
    // What a list of settings lacks at its end reads as zeros: that is a list cut off, not an older one.
    if settings.iter().any(|setting| setting.tag == 0) {
        return Err(DecodeError::BadBody { kind, what: "a setting without a tag" });
    }
    Ok(Some(event))
}
