//! Frames: events and messages that are appended together, so that they are there whole or not at all, and then
//! applied in their order. Whatever is to be one step for a crash is one frame.

use super::publish::Terms;
use super::{Core, Engine};
use crate::config::Durability;
use crate::event::{Draft, Event, encode};
use crate::journal::{Class, Flags, Note, Refusal, Span};
use crate::types::{Offset, TopicId};

/// Bytes that are kept for the next event.
const SCRATCH_MAX: usize = 64 << 10;

/// Where a frame went, and the offset of the first message of each of its drafts.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) span: Span,
    pub(super) firsts: Vec<Offset>,
}

impl Core {
    /// Finds room for an event, then appends and applies it.
    pub(super) fn record(&mut self, event: &Event<'_>) -> Result<Span, Refusal> {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        encode(event, &mut bytes);
        let span = self.tail.place(bytes.len(), Class::Settle).map(|_| {
            let write = |out: &mut Vec<u8>| out.extend_from_slice(&bytes);
            self.tail.append(Flags::NONE, crc32fast::hash(&bytes), bytes.len(), write, &[])
        });
        // A large one came of a large event, and the next one is not that.
        if bytes.capacity() <= SCRATCH_MAX {
            self.scratch = bytes;
        }
        let span = span?;
        self.apply(span.start, event);
        Ok(span)
    }

    /// Appends events as one frame, and applies them in their order.
    pub(super) fn record_all(&mut self, events: &[Event<'_>]) -> Result<Span, Refusal> {
        Ok(self.record_frame(Class::Settle, events, &[])?.span)
    }

    /// Appends events and, behind them, messages as one frame, and applies all of it. A refusal changes nothing.
    pub(super) fn record_frame(
        &mut self,
        class: Class,
        events: &[Event<'_>],
        drafts: &[(&Draft<'_>, Terms)],
    ) -> Result<Recorded, Refusal> {
        let mut bytes = Vec::with_capacity(64);
        events.iter().for_each(|event| encode(event, &mut bytes));
        let most = drafts.iter().fold(bytes.len(), |sum, (draft, _)| sum.saturating_add(draft.len_max()));
        let place = self.tail.place(most, class)?;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes);
        let mut length = bytes.len();
        let (mut stamps, mut notes) = (Vec::with_capacity(drafts.len()), Vec::with_capacity(drafts.len()));
        for (draft, terms) in drafts {
            let next = || next_offset(&notes, draft.topic()).unwrap_or_else(|| self.next_offset(draft.topic()));
            let first = terms.at.unwrap_or_else(next);
            let stamp = draft.stamp(first, terms.now, place.base);
            let draft_length = draft.body_len(&stamp);
            // The caller's thread went over the contents already; nobody does so under the lock.
            crc.combine(&crc32fast::Hasher::new_with_initial_len(draft.crc(&stamp), draft_length as u64));
            length += draft_length;
            stamps.push(stamp);
            notes.push(note(draft, *terms, first));
        }
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(&bytes);
            drafts.iter().zip(&stamps).for_each(|((draft, _), stamp)| draft.write_into(stamp, out));
        };
        let span = self.tail.append(Flags::NONE, crc.finalize(), length, write, &notes);
        events.iter().for_each(|event| self.apply(span.start, event));
        let firsts: Vec<Offset> = notes.iter().map(|note| Offset(note.first)).collect();
        for ((draft, terms), first) in drafts.iter().zip(&firsts) {
            self.took_in_draft(draft, *terms, *first, span);
        }
        Ok(Recorded { span, firsts })
    }

    /// The offset of the next message of a topic.
    pub(super) fn next_offset(&self, topic: TopicId) -> Offset {
        self.state.topic(topic).map(|topic| topic.end()).unwrap_or_default()
    }

    /// Messages have been appended: they are there from now on, and visible when they have reached their level.
    pub(super) fn took_in_draft(&mut self, draft: &Draft<'_>, terms: Terms, first: Offset, span: Span) {
        self.apply(span.start, &Event::Publish(draft.published(first, terms.now)));
        self.took_in(draft.topic(), first.plus(draft.count()), span, terms.level);
    }

    /// Messages of a topic up to `end` have been appended and applied.
    pub(super) fn took_in(&mut self, topic: TopicId, end: Offset, span: Span, level: Durability) {
        if level == Durability::Disk {
            self.disk_end = span.end;
        }
        self.visible.appended(topic, end, span.end, level);
    }
}

impl Engine {
    /// What follows from messages that were appended, besides what their publisher does.
    pub(super) fn after_publish(&self, core: &mut Core, topic: TopicId, level: Durability) {
        self.after_append(core, level);
        self.touched(core, topic);
    }
}

/// What the journal's index says of a draft.
pub(super) fn note(draft: &Draft<'_>, terms: Terms, first: Offset) -> Note {
    Note { stream: draft.topic().get(), first: first.get(), count: draft.count(), time: terms.now }
}

/// The offset behind those that a frame in the making gives to messages of a topic, if it gives any.
fn next_offset(notes: &[Note], topic: TopicId) -> Option<Offset> {
    let last = notes.iter().rev().find(|note| note.stream == topic.get())?;
    Some(Offset(last.first).plus(last.count))
}
