//! Finding messages by topic and offset, in memory or on the disk, each verified.

use super::onward::Cleared;
use super::{Core, Engine};
use crate::error::{Code, Error, ErrorKind, Result};
use crate::event::{DecodeError, Event, events};
use crate::journal::{Files, Flags, Frame, Locked, Window, damaged};
use crate::message::Record;
use crate::types::{Lsn, Offset, Position, Timestamp, TopicId};
use bytes::BytesMut;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

/// Bytes that are read at a time: at first, since an index leads to within 4 KiB of a message; and at most, once a
/// reader has gone on in order for a while, twice as many each time.
const READ_LEAST: usize = 8 << 10;
const READ_MOST: usize = 128 << 10;

/// So far ahead of such a reader the disk fetches what comes next: it is about as fast as the reader.
const FETCH: u32 = 4 << 20;

/// Messages that a reader in order takes out of a batch at a time, and the part of a large batch that it takes: the way
/// to a message leads through the heads of all before it, so going there for each alone would be quadratic.
const TAKEN: u64 = 1024;
const TAKEN_PART: u64 = 64;

/// Where a reader is: what it has at hand, and the frame it took its last message from.
#[derive(Debug, Default)]
pub(crate) struct ReadCursor {
    pub(super) windows: VecDeque<Window>,
    /// How many bytes it reads next.
    step: usize,
    /// What the last window held that was left behind.
    left: usize,
    /// The frame after the current one.
    pub(super) next: Lsn,
    pub(super) current: Option<Frame>,
    base: Timestamp,
    /// Messages that come after the last one, as far as they were taken out of their frames: of the current one, or of
    /// those before the next.
    pub(super) ahead: VecDeque<Record>,
    /// What is known to be there.
    pub(super) cleared: Option<Cleared>,
    /// The memory of a window that was used up.
    buffer: BytesMut,
    /// Up to where the disk was asked to fetch what comes next.
    asked: Lsn,
    /// The offset that a reader in order asks for next; only then is `next` a good place to look.
    pub(super) expected: Option<(TopicId, Offset)>,
    /// The current frame holds what was carried over: the next message is not behind it.
    pub(super) carried: bool,
    /// The segment that was to be read on was retired.
    retired: bool,
}

/// Where to look for a message.
enum Located {
    Nowhere,
    /// From the cursor's next frame on.
    Ahead,
    /// In one of these frames.
    Carried(Vec<Lsn>),
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

impl ReadCursor {
    /// Bytes that it keeps in memory.
    pub(super) fn held(&self) -> usize {
        let windows = self.windows.iter().map(Window::held).fold(0, usize::saturating_add);
        let within = |frame: &Frame| self.windows.iter().any(|window| window.has(frame));
        // A frame whose window went holds all of that.
        let last = self.current.as_ref().filter(|frame| !within(frame)).map_or(0, |_| self.left);
        let unpacked = self.current.as_ref().filter(|frame| frame.is_unpacked()).map_or(0, |frame| frame.body.len());
        let last = last.saturating_add(unpacked);
        let ahead = self.ahead.capacity().saturating_mul(size_of::<Record>());
        windows.saturating_add(last).saturating_add(ahead).saturating_add(self.buffer.capacity())
    }

    /// Of a reader in order that has read a lot already, the disk gets on with what comes next.
    fn fetch_ahead(&mut self, files: &Files, window: &Window) {
        if self.step <= READ_MOST {
            self.asked = Lsn::ZERO;
            return;
        }
        let end = window.end();
        let known = self.asked.segment() == end.segment() && self.asked > end;
        let from = if known { self.asked.position().get() - end.position().get() } else { 0 };
        if from <= FETCH / 2 {
            window.will_go_on(files, from, FETCH - from);
            self.asked = Lsn::new(end.segment(), Position(end.position().get().saturating_add(FETCH)));
        }
    }

    /// Goes to read on at `to`. One that does not go on where it was reads little at first.
    fn aim(&mut self, to: Lsn, in_order: bool) {
        let near = self.next.segment() == to.segment()
            && to >= self.next
            && (to.position().get() - self.next.position().get()) as usize <= self.step;
        if !in_order && !near {
            self.step = READ_LEAST;
        }
        self.next = to;
    }

    /// The window at the front is used up. Whether there is another one.
    fn pop_window(&mut self) -> bool {
        if let Some(window) = self.windows.pop_front() {
            self.left = window.held();
            self.buffer = window.into_buffer().unwrap_or_default();
        }
        !self.windows.is_empty()
    }
}

impl Engine {
    /// The record at `offset`, if it is there to be read.
    #[inline]
    pub(super) fn fetch(&self, topic: TopicId, offset: Offset, cursor: &mut ReadCursor) -> Result<Option<Record>> {
        self.look_up(topic, offset, cursor).inspect_err(|error| {
            if error.kind() == ErrorKind::Corrupt {
                self.found_damage();
            }
        })
    }

    /// A message is damaged, or is not where it should be.
    pub(super) fn found_damage(&self) {
        self.corrupt.fetch_add(1, Ordering::Relaxed);
    }

    /// Likewise, and nothing is counted.
    pub(super) fn look_up(&self, topic: TopicId, offset: Offset, cursor: &mut ReadCursor) -> Result<Option<Record>> {
        let in_order = cursor.come_to(topic, offset);
        if let Some(record) = cursor.pop_ahead(topic) {
            return Ok(Some(record));
        }
        if let Some(frame) = &cursor.current
            && let Found::Here(record, ahead) = look_in(frame, cursor.base, topic, offset, in_order)?
        {
            cursor.ahead.extend(ahead);
            cursor.expected = Some((topic, offset.next()));
            return Ok(Some(record));
        }
        if in_order && !cursor.carried {
            cursor.take_ahead(topic, offset);
            if let Some(record) = cursor.pop_ahead(topic) {
                return Ok(Some(record));
            }
        }
        // One that skips a little goes on from where it is, as one in order does.
        let skips = cursor.expected.filter(|(of, next)| *of == topic && *next < offset && !cursor.carried);
        let mut skips = skips.map(|_| (cursor.next, cursor.step));
        let (mut look, mut located) = (!in_order || cursor.carried, false);
        cursor.expected = None;
        loop {
            if std::mem::take(&mut look) {
                located = true;
                match self.locate(topic, offset, cursor, in_order)? {
                    Located::Nowhere => return Ok(None),
                    Located::Ahead => {
                        let found = cursor.next;
                        let here = |(next, _): &(Lsn, usize)| next.segment() == found.segment() && *next > found;
                        if let Some((next, step)) = skips.take().filter(here) {
                            (cursor.next, cursor.step, located) = (next, step, false);
                        }
                    }
                    Located::Carried(places) => {
                        let found = self.fetch_carried(topic, offset, cursor, &places)?;
                        if found.is_some() || !std::mem::take(&mut cursor.retired) {
                            return Ok(found);
                        }
                        look = true;
                        continue;
                    }
                }
            }
            let Some(frame) = self.next_frame(cursor)? else {
                // The segment's end, or the segment went meanwhile: the message is in another one.
                if !std::mem::take(&mut cursor.retired) && located {
                    return Ok(None);
                }
                look = true;
                continue;
            };
            match look_in(&frame, cursor.base, topic, offset, in_order)? {
                Found::Here(record, ahead) => {
                    cursor.current = Some(frame);
                    cursor.ahead.extend(ahead);
                    cursor.expected = Some((topic, offset.next()));
                    return Ok(Some(record));
                }
                Found::Before => {}
                Found::Behind if located => return Ok(None),
                Found::Behind => look = true,
            }
        }
    }

    /// A message that was carried over, from one of the frames that may have it.
    fn fetch_carried(
        &self,
        topic: TopicId,
        offset: Offset,
        cursor: &mut ReadCursor,
        places: &[Lsn],
    ) -> Result<Option<Record>> {
        for place in places {
            cursor.aim(*place, false);
            let Some(frame) = self.next_frame(cursor)? else { continue };
            if let Found::Here(record, ahead) = look_in(&frame, cursor.base, topic, offset, true)? {
                cursor.current = Some(frame);
                cursor.ahead.extend(ahead);
                cursor.expected = Some((topic, offset.next()));
                cursor.carried = true;
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Points the cursor at or before the frame of a message, or says in which frames it may be. What is at hand stays:
    /// where it has the frame, nothing is read again, and otherwise it goes.
    fn locate(&self, topic: TopicId, offset: Offset, cursor: &mut ReadCursor, in_order: bool) -> Result<Located> {
        cursor.current = None;
        (cursor.carried, cursor.retired) = (false, false);
        let core = self.open_core()?;
        let Some(segment) = core.state.topic(topic).and_then(|topic| topic.extent_of(offset)) else {
            return Ok(Located::Nowhere);
        };
        let (stream, ordinal) = (topic.get(), offset.get());
        // Between its seal and the upkeep's next turn, the index is still with the tail.
        let known = core.tail.sealed_index(segment).or_else(|| self.files.known(segment).and_then(|known| known.index));
        let index = if segment == core.tail.active().id { Some(core.tail.index()) } else { known.as_deref() };
        let carried = index.map(|index| index.locate_carried(stream, ordinal)).unwrap_or_default();
        let position = index.and_then(|index| index.locate(stream, ordinal));
        let is_carried =
            core.state.topic(topic).is_some_and(|topic| topic.places().segment_of(offset) == Some(segment));
        match position {
            _ if is_carried && !carried.is_empty() => {
                Ok(Located::Carried(carried.into_iter().map(|position| Lsn::new(segment, position)).collect()))
            }
            Some(position) if !is_carried => {
                cursor.aim(Lsn::new(segment, position), in_order);
                Ok(Located::Ahead)
            }
            _ => {
                let what = format!("segment {segment} has no index entry for topic {topic} offset {offset}");
                Err(Error::new(Code::Damaged, what))
            }
        }
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
                if cursor.pop_window() && !cut {
                    continue;
                }
            }
            cursor.windows.clear();
            let step = cursor.step.clamp(READ_LEAST, READ_MOST);
            cursor.step = step.saturating_mul(2);
            let written = {
                let core = self.open_core()?;
                if cursor.next >= core.tail.end() {
                    return Ok(None);
                }
                cursor.windows = core.tail.recent(cursor.next, step).into_iter().map(Window::from).collect();
                core.tail.written()
            };
            let buffer = std::mem::take(&mut cursor.buffer);
            if cursor.windows.is_empty() {
                match Window::read(&self.files, cursor.next, step, written, buffer)? {
                    Some(mut window) => {
                        // Who goes on in order wants most of it.
                        if step > READ_LEAST {
                            window.decrypt_from(cursor.next.position());
                        }
                        cursor.fetch_ahead(&self.files, &window);
                        cursor.windows.push_back(window);
                    }
                    None => {
                        cursor.retired = true;
                        return Ok(None);
                    }
                }
            } else if cursor.windows.front().is_some_and(|window| window.segment().id != cursor.next.segment()) {
                return Ok(None);
            }
        }
    }

    /// The first visible record at or after `from`.
    pub(crate) fn read(&self, topic: TopicId, from: Offset, cursor: &mut ReadCursor) -> Result<Option<Record>> {
        let mut missing = None;
        loop {
            let offset = if cursor.is_cleared(topic, from) {
                from
            } else {
                let core = self.open_core()?;
                let (first, end) = core.bounds(topic)?;
                let held = core.state.topic(topic).ok_or_else(no_topic)?;
                let offset = core.state.next_present(held, from.max(first));
                if offset >= end {
                    return Ok(None);
                }
                // Who goes on in order asks for those behind it next.
                let goes_on = cursor.expected == Some((topic, offset));
                cursor.cleared = if goes_on { core.cleared(topic, offset, end) } else { None };
                offset
            };
            match self.fetch(topic, offset, cursor)? {
                Some(record) => return Ok(Some(record)),
                // It may have left since it was looked up, and its segment with it.
                None if missing.replace(offset) != Some(offset) => cursor.cleared = None,
                None => {
                    self.found_damage();
                    let what = format!("topic {topic} offset {offset} is not where the index says");
                    return Err(Error::new(Code::Damaged, what));
                }
            }
        }
    }

    /// The oldest offset there is and the one after the newest that is visible.
    pub(crate) fn bounds(&self, topic: TopicId) -> Result<(Offset, Offset)> {
        self.retain_for_reading(topic)?;
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
    readable(frame)?;
    if !frame.flags.is_events() {
        return Ok(found);
    }
    for event in events(&frame.body, base) {
        let (published, carried) = match event.map_err(|error| undecodable(frame, error))? {
            Event::Publish(published) => (published, false),
            Event::Move(published) => (published, true),
            _ => continue,
        };
        if published.topic != topic {
            continue;
        }
        if offset < published.first {
            // What was carried over stands in no order with what was published.
            found = if carried { found } else { Found::Behind };
        } else if offset < published.end {
            let mut views = published.messages_from(offset);
            let view = views.next().transpose().map_err(|error| undecodable(frame, error))?;
            if let Some(view) = view.filter(|view| view.offset == offset) {
                let record = view.record(&frame.body).map_err(|error| undecodable(frame, error))?;
                let taken = if more { TAKEN.max(published.count / TAKEN_PART) } else { 0 };
                let taken = usize::try_from(taken.min(published.end.since(offset))).unwrap_or(usize::MAX);
                let mut ahead = Vec::with_capacity(taken.min(frame.body.len()));
                // What can't be decoded is looked at again when its turn comes, and is an error then.
                for view in views.take(taken) {
                    let Some(record) = view.ok().and_then(|view| view.record(&frame.body).ok()) else { break };
                    ahead.push(record);
                }
                return Ok(Found::Here(record, ahead));
            }
        }
    }
    Ok(found)
}

/// Fails if this build can't look into the frame: what it says is not passed over.
pub(super) fn readable(frame: &Frame) -> Result<()> {
    match &frame.locked {
        Some(Locked::Refused(refused)) => return Err(refused.error()),
        // Nobody looks for a message in it.
        Some(Locked::Altered) if frame.flags.has(Flags::SNAPSHOT) => return Ok(()),
        Some(Locked::Altered) => {
            let mut place = damaged(frame.lsn.segment(), frame.lsn.position(), "it is not what was encrypted there");
            place.to = u64::from(frame.next.get());
            return Err(Error::new(Code::Damaged, "a frame of the journal is damaged").with_damage(vec![place]));
        }
        None => {}
    }
    let Some(how) = frame.flags.unknown() else { return Ok(()) };
    let what = format!("the frame at {} is {how}; this build can't read it", frame.lsn);
    Err(Error::new(Code::FutureVersion, what))
}

/// A frame that verifies, but whose body is none: written by a bug, or by a release that knows more.
pub(super) fn undecodable(frame: &Frame, error: DecodeError) -> Error {
    Error::new(Code::Damaged, format!("the frame at {} can't be decoded: {error}", frame.lsn))
}

pub(super) fn no_topic() -> Error {
    Error::new(Code::UnknownTopic, "the topic was dropped")
}
