//! Finding messages by topic and offset, in memory or on the disk, each verified.

use super::{Core, Engine};
use crate::error::{Code, Error, Result};
use crate::event::{DecodeError, Event, events};
use crate::journal::{Frame, Window};
use crate::message::Record;
use crate::types::{Lsn, Offset, Timestamp, TopicId};

/// Bytes read ahead of a reader that goes on in order.
const READ_AHEAD: usize = 128 << 10;

/// Messages that a reader in order takes out of a batch at a time, and the part of a large batch that it takes: the way
/// to a message leads through the heads of all before it, so going there for each alone would be quadratic.
const TAKEN: u64 = 256;
const TAKEN_PART: u64 = 64;

/// Where a reader is: what it has at hand, and the frame it took its last message from.
#[derive(Debug, Default)]
pub(crate) struct ReadCursor {
    windows: std::collections::VecDeque<Window>,
    /// The frame after the current one.
    next: Lsn,
    current: Option<Frame>,
    base: Timestamp,
    /// Messages of the current frame that come after the last one, as far as they were taken out of it.
    ahead: std::vec::IntoIter<Record>,
    /// The offset that a reader in order asks for next; only then is `next` a good place to look.
    expected: Option<(TopicId, Offset)>,
}

/// What a frame says of a message.
enum Found {
    /// It, and those of the same batch that come next.
    Here(Record, Vec<Record>),
    /// The topic's messages in this frame come before the one looked for, or there are none.
    Before,
    /// They come behind it.
    Behind,
}

impl Engine {
    /// The record at `offset`, if it is there to be read.
    pub(super) fn fetch(&self, topic: TopicId, offset: Offset, cursor: &mut ReadCursor) -> Result<Option<Record>> {
        let in_order = cursor.expected == Some((topic, offset));
        if in_order && cursor.ahead.as_slice().first().is_some_and(|next| next.offset == offset) {
            cursor.expected = Some((topic, offset.next()));
            return Ok(cursor.ahead.next());
        }
        cursor.ahead = Vec::new().into_iter();
        if let Some(frame) = &cursor.current
            && let Found::Here(record, ahead) = look_in(frame, cursor.base, topic, offset, in_order)?
        {
            cursor.ahead = ahead.into_iter();
            cursor.expected = Some((topic, offset.next()));
            return Ok(Some(record));
        }
        // One that skips a little goes on from where it is, as one in order does.
        let skips = cursor.expected.filter(|(of, next)| *of == topic && *next < offset).map(|_| cursor.next);
        let mut located = !in_order;
        cursor.expected = None;
        if located && !self.locate(topic, offset, cursor)? {
            return Ok(None);
        }
        if let Some(next) = skips.filter(|next| next.segment() == cursor.next.segment() && *next > cursor.next) {
            (cursor.next, located) = (next, false);
        }
        loop {
            let Some(frame) = self.next_frame(cursor)? else {
                // The segment's end: the message is in another one.
                if std::mem::replace(&mut located, true) || !self.locate(topic, offset, cursor)? {
                    return Ok(None);
                }
                continue;
            };
            match look_in(&frame, cursor.base, topic, offset, in_order)? {
                Found::Here(record, ahead) => {
                    cursor.current = Some(frame);
                    cursor.ahead = ahead.into_iter();
                    cursor.expected = Some((topic, offset.next()));
                    return Ok(Some(record));
                }
                Found::Before => {}
                Found::Behind if located => return Ok(None),
                Found::Behind => {
                    located = true;
                    if !self.locate(topic, offset, cursor)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Points the cursor at or before the frame of a message. False if no segment has it. What is at hand stays: where
    /// it has the frame, nothing is read again, and otherwise it goes.
    fn locate(&self, topic: TopicId, offset: Offset, cursor: &mut ReadCursor) -> Result<bool> {
        cursor.current = None;
        let core = self.open_core()?;
        let Some(segment) = core.state.topic(topic).and_then(|topic| topic.extent_of(offset)) else {
            return Ok(false);
        };
        let (stream, ordinal) = (topic.get(), offset.get());
        let position = if segment == core.tail.active().id {
            core.tail.index().locate(stream, ordinal)
        } else {
            // Between its seal and the upkeep's next turn, the index is still with the tail.
            core.tail
                .sealed_index(segment)
                .or_else(|| self.files.known(segment).and_then(|known| known.index))
                .and_then(|index| index.locate(stream, ordinal))
        };
        let Some(position) = position else {
            let what = format!("segment {segment} has no index entry for topic {topic} offset {offset}");
            return Err(Error::new(Code::Damaged, what));
        };
        cursor.next = Lsn::new(segment, position);
        Ok(true)
    }

    /// The cursor's next frame; nothing at the end of its segment.
    fn next_frame(&self, cursor: &mut ReadCursor) -> Result<Option<Frame>> {
        loop {
            if let Some(window) = cursor.windows.front() {
                let here = window.segment().id == cursor.next.segment() && window.end() > cursor.next;
                if here && let Some(frame) = window.frame(cursor.next.position())? {
                    cursor.base = window.segment().base;
                    // Nothing comes behind a seal.
                    if crate::journal::seal_of(&frame).is_some() {
                        return Ok(None);
                    }
                    cursor.next = Lsn::new(cursor.next.segment(), frame.next);
                    return Ok(Some(frame));
                }
                let cut = here && cursor.windows.len() == 1 && window.end() > cursor.next;
                cursor.windows.pop_front();
                if !cut && !cursor.windows.is_empty() {
                    continue;
                }
            }
            cursor.windows.clear();
            let written = {
                let core = self.open_core()?;
                if cursor.next >= core.tail.end() {
                    return Ok(None);
                }
                cursor.windows = core.tail.recent(cursor.next, READ_AHEAD).into_iter().map(Window::from).collect();
                core.tail.written()
            };
            if cursor.windows.is_empty() {
                cursor.windows.push_back(Window::read(&self.files, cursor.next, READ_AHEAD, written)?);
            } else if cursor.windows.front().is_some_and(|window| window.segment().id != cursor.next.segment()) {
                return Ok(None);
            }
        }
    }

    /// The first visible record at or after `from`.
    pub(crate) fn read(&self, topic: TopicId, from: Offset, cursor: &mut ReadCursor) -> Result<Option<Record>> {
        let offset = {
            let core = self.open_core()?;
            let (first, end) = core.bounds(topic)?;
            let held = core.state.topic(topic).ok_or_else(no_topic)?;
            let offset = core.state.next_present(held, from.max(first));
            if offset >= end {
                return Ok(None);
            }
            offset
        };
        match self.fetch(topic, offset, cursor)? {
            Some(record) => Ok(Some(record)),
            None => {
                let what = format!("topic {topic} offset {offset} is not where the index says");
                Err(Error::new(Code::Damaged, what))
            }
        }
    }

    /// The oldest offset there is and the one after the newest that is visible.
    pub(crate) fn bounds(&self, topic: TopicId) -> Result<(Offset, Offset)> {
        self.retain(topic)?;
        self.open_core()?.bounds(topic)
    }

    /// The offset that the next message will get.
    pub(super) fn end_of(&self, topic: TopicId) -> Result<Offset> {
        let core = self.open_core()?;
        core.state.topic(topic).map(|topic| topic.end()).ok_or_else(no_topic)
    }
}

impl Core {
    pub(super) fn bounds(&self, topic: TopicId) -> Result<(Offset, Offset)> {
        let held = self.state.topic(topic).ok_or_else(no_topic)?;
        Ok((self.state.earliest(held), self.visible.end(topic)))
    }
}

/// Looks for a message in a frame; with `more` those that come next are taken along.
fn look_in(frame: &Frame, base: Timestamp, topic: TopicId, offset: Offset, more: bool) -> Result<Found> {
    let mut found = Found::Before;
    if !frame.header.flags.is_events() {
        return Ok(found);
    }
    for event in events(&frame.body, base) {
        let (Event::Publish(published) | Event::Move(published)) = event.map_err(|error| undecodable(frame, error))?
        else {
            continue;
        };
        if published.topic != topic {
            continue;
        }
        if offset < published.first {
            found = Found::Behind;
        } else if offset < published.end {
            let mut views = published.messages_from(offset);
            let view = views.next().transpose().map_err(|error| undecodable(frame, error))?;
            if let Some(view) = view.filter(|view| view.offset == offset) {
                let record = view.record(&frame.body).map_err(|error| undecodable(frame, error))?;
                let taken = if more { TAKEN.max(published.count / TAKEN_PART) } else { 0 };
                // What can't be decoded is looked at again when its turn comes, and is an error then.
                let decoded = views.map_while(|view| view.ok()?.record(&frame.body).ok());
                let ahead = decoded.take(usize::try_from(taken).unwrap_or(usize::MAX)).collect();
                return Ok(Found::Here(record, ahead));
            }
        }
    }
    Ok(found)
}

/// A frame that verifies, but whose body is none: written by a bug, or by a release that knows more.
pub(super) fn undecodable(frame: &Frame, error: DecodeError) -> Error {
    Error::new(Code::Damaged, format!("the frame at {} can't be decoded: {error}", frame.lsn))
}

pub(super) fn no_topic() -> Error {
    Error::new(Code::UnknownTopic, "the topic was dropped")
}
