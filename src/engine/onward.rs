//! Reading on in order: the next messages of a topic are taken out of the frames that are at hand many at a time, and
//! handed out one by one without the engine's lock, as long as nothing has left the store that they may be among.

use super::{Core, ReadCursor};
use crate::event::{Sight, only_published, sight};
use crate::journal::{Flags, Glance, Window};
use crate::message::Record;
use crate::types::{Lsn, Offset, TopicId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Messages that are taken out of frames at a time, at most; a batch is taken whole, or it is not for this way. Enough
/// that what is done once for all of them counts for nothing, and few enough that a reader stays small.
const AHEAD: usize = 256;
const LARGEST_BATCH: u64 = 1024;

/// Counts what may make a message that was there be there no more, and the end of the store. Who knows the count under
/// the lock, and finds it unchanged later, knows that what was there still is.
#[derive(Clone, Debug, Default)]
pub(super) struct Departures(Arc<AtomicU64>);

impl Departures {
    /// Something may have left. Under the lock.
    pub(super) fn note(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Offsets of a topic that were all there, and visible, at some count of departures.
#[derive(Debug)]
pub(super) struct Cleared {
    departures: Departures,
    count: u64,
    topic: TopicId,
    first: Offset,
    end: Offset,
}

impl Cleared {
    fn has(&self, topic: TopicId, offset: Offset) -> bool {
        self.topic == topic && self.first <= offset && offset < self.end && self.departures.count() == self.count
    }
}

impl Core {
    /// What is there from `first`, which is, to the first that is not, or is not visible yet.
    pub(super) fn cleared(&self, topic: TopicId, first: Offset, visible: Offset) -> Option<Cleared> {
        let held = self.state.topic(topic)?;
        let end = self.state.first_gone(held, first).map_or(visible, |gone| gone.min(visible));
        let departures = self.departures.clone();
        Some(Cleared { count: departures.count(), departures, topic, first, end })
    }
}

impl ReadCursor {
    /// Whether this message is known to be there still.
    pub(super) fn is_cleared(&self, topic: TopicId, offset: Offset) -> bool {
        self.cleared.as_ref().is_some_and(|cleared| cleared.has(topic, offset))
    }

    /// The message at `offset`, if it was taken out of its frame already and is still there.
    #[inline]
    pub(crate) fn ready(&mut self, topic: TopicId, offset: Offset) -> Option<Record> {
        let next = self.ahead.front()?;
        if next.offset != offset || self.expected != Some((topic, offset)) || !self.is_cleared(topic, offset) {
            return None;
        }
        self.pop_ahead(topic)
    }

    /// Goes to `offset` among the messages that were taken out already, letting go of those before it. Whether it is
    /// the one that a reader in order asks for next; if there are any left, it is the first of them.
    pub(super) fn come_to(&mut self, topic: TopicId, offset: Offset) -> bool {
        let Some((of, mut next)) = self.expected.filter(|(of, next)| *of == topic && *next <= offset) else {
            // It begins anew, small.
            self.ahead = VecDeque::new();
            return false;
        };
        while self.ahead.front().is_some_and(|first| first.offset < offset) {
            next = self.ahead.pop_front().map_or(next, |passed| passed.offset.next());
        }
        match self.ahead.front() {
            Some(first) if first.offset == offset => next = offset,
            _ => self.ahead.clear(),
        }
        self.expected = Some((of, next));
        next == offset
    }

    /// The first of the messages that were taken out.
    pub(super) fn pop_ahead(&mut self, topic: TopicId) -> Option<Record> {
        let record = self.ahead.pop_front()?;
        self.expected = Some((topic, record.offset.next()));
        Some(record)
    }

    /// Takes the messages of `topic` from `next` on out of the frames at hand that have nothing else in them, moving
    /// the cursor behind those frames. Stops before the first frame that is another one, or not whole: what it is comes
    /// out when it is read for itself.
    pub(super) fn take_ahead(&mut self, topic: TopicId, mut next: Offset) {
        while self.ahead.len() < AHEAD {
            let at = self.next;
            let here = |window: &&mut Window| window.segment().id == at.segment() && window.end() > at;
            let Some(window) = self.windows.front_mut().filter(here) else { return };
            window.decrypt_from(at.position());
            let window = &*window;
            let Some(frame) = window.glance(at.position()) else { return };
            let base = window.segment().base;
            let flags = frame.header.flags;
            let seen = if flags.is_events() { sight(frame.body, base, topic) } else { Sight::Unclear };
            match seen {
                // Believed without its checksum: if it lies, an offset is missing in what follows, and is looked for by
                // the index.
                Sight::Other => {}
                Sight::Plain(one) if one.offset == next && window.is_whole(&frame) => {
                    let payload = window.bytes().slice_ref(one.content);
                    self.ahead.push_back(Record { offset: next, time: one.time, payload, attributes: None });
                    next = next.next();
                }
                Sight::Unclear if flags.has(Flags::SNAPSHOT) => {}
                Sight::Unclear if flags.is_events() => match take(window, &frame, topic, next, &mut self.ahead) {
                    Some(end) => next = end,
                    None => return,
                },
                Sight::Plain(_) | Sight::Unclear => return,
            }
            self.next = Lsn::new(at.segment(), frame.next);
            self.current = None;
        }
    }
}

/// Takes the messages out of a frame that publishes to one topic and does nothing else. The offset after the last; that
/// of `next` if they are of another topic. Nothing if they are not those that come next, or not whole.
fn take(
    window: &Window,
    frame: &Glance<'_>,
    topic: TopicId,
    next: Offset,
    ahead: &mut VecDeque<Record>,
) -> Option<Offset> {
    let published = only_published(frame.body, window.segment().base)?;
    if published.topic != topic {
        return Some(next);
    }
    if published.first != next || published.count > LARGEST_BATCH || !window.is_whole(frame) {
        return None;
    }
    let before = ahead.len();
    for view in published.messages() {
        let Ok(record) = view.and_then(|view| view.record(window.bytes())) else {
            ahead.truncate(before);
            return None;
        };
        ahead.push_back(record);
    }
    Some(published.end)
}
