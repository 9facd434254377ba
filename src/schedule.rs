//! [`Schedule`]: the messages of a topic that wait for their time.

use crate::engine::Scheduled as Waiting;
use crate::error::Result;
use crate::link::Link;
use crate::types::{Offset, Timestamp, TopicId};
use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};

/// A message that is not due yet; [`Topic::read`](crate::Topic::read) has the rest of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Scheduled {
    /// The message's place in its topic.
    pub offset: Offset,
    /// From when on it is delivered, in milliseconds since 1970 (UTC).
    pub due: Timestamp,
    /// Whether that is a moment of the wall clock ([`Message::deliver_at`](crate::Message::deliver_at)); otherwise it
    /// is one of the engine's clock ([`Message::delay`](crate::Message::delay)).
    pub deliver_at: bool,
}

/// What waits in a topic, in the order of time; see [`Topic::scheduled`](crate::Topic::scheduled). A page of it is
/// looked up at a time: what is published, falls due or is cancelled meanwhile may be seen or not.
#[derive(Debug)]
#[must_use = "nothing is looked up until it is iterated"]
pub struct Schedule {
    link: Link,
    topic: TopicId,
    from: Timestamp,
    to: Option<Timestamp>,
    page: std::vec::IntoIter<Waiting>,
    last: Option<Waiting>,
    over: bool,
}

impl Schedule {
    pub(crate) fn new(link: Link, topic: TopicId, range: &impl RangeBounds<Timestamp>) -> Self {
        let next = |time: Timestamp| Timestamp::new(time.get().saturating_add(1));
        let from = match range.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => next(*before),
            Bound::Unbounded => Timestamp::ZERO,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => Some(next(*last)),
            Bound::Excluded(end) => Some(*end),
            Bound::Unbounded => None,
        };
        Self { link, topic, from, to, page: Vec::new().into_iter(), last: None, over: false }
    }

    fn turn_page(&mut self) -> Result<()> {
        let engine = self.link.engine()?;
        self.page = engine.scheduled(self.topic, self.last, self.from, self.to)?.into_iter();
        self.over = self.page.len() == 0;
        Ok(())
    }
}

impl Iterator for Schedule {
    type Item = Result<Scheduled>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0
            && !self.over
            && let Err(error) = self.turn_page()
        {
            self.over = true;
            return Some(Err(error));
        }
        let waiting = self.page.next()?;
        self.last = Some(waiting);
        Some(Ok(Scheduled { offset: waiting.offset, due: waiting.due.at, deliver_at: waiting.due.wall }))
    }
}

impl FusedIterator for Schedule {}
