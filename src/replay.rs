//! [`Replay`]: reading a topic without consuming it.

use crate::engine::{Engine, ReadCursor};
use crate::error::{Error, Result};
use crate::link::Link;
use crate::message::Record;
use crate::read_only::View;
use crate::types::{Offset, TopicId};
use std::iter::FusedIterator;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// The messages of a range of a topic, in offset order; see [`Topic::read`](crate::Topic::read).
///
/// It ends at what was visible when it was made; read again from [`position`](Self::position) for what came since. It
/// changes nothing for any group, and holds nothing up: messages that go away before it reaches them are not in it.
///
/// # Errors
/// Each item may be one: a message that can't be read whole is never passed over in silence. An error is the last item.
/// To go on behind a damaged message, read again from the offset after [`position`](Self::position).
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = millpond::Store::open(dir.path())?;
/// use millpond::Offset;
/// let orders = store.topic("orders")?;
/// orders.publish_all(["a".into(), "b".into()]).wait()?;
/// let records = orders.read(Offset::new(1)..).collect::<millpond::Result<Vec<_>>>()?;
/// assert_eq!(records.iter().map(|record| record.payload()).collect::<Vec<_>>(), [b"b"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is read until it is iterated"]
pub struct Replay {
    source: Source,
    topic: TopicId,
    next: Offset,
    /// The offset after the last one wanted.
    end: Offset,
    cursor: ReadCursor,
    /// Why it could not begin, until that is told.
    failed: Option<Error>,
}

/// Where it reads.
#[derive(Debug)]
enum Source {
    Store(Link),
    /// A store that somebody else may have open, as it was seen.
    View(Arc<View>, Arc<Engine>),
}

impl Replay {
    pub(crate) fn new(link: Link, topic: TopicId, range: &impl RangeBounds<Offset>) -> Self {
        let visible = link.engine().and_then(|engine| engine.bounds(topic));
        Self::over(Source::Store(link), topic, range, visible)
    }

    pub(crate) fn observing(view: &Arc<View>, topic: TopicId, range: &impl RangeBounds<Offset>) -> Self {
        let engine = view.engine();
        let visible = engine.bounds(topic);
        Self::over(Source::View(view.clone(), engine), topic, range, visible)
    }

    fn over(
        source: Source,
        topic: TopicId,
        range: &impl RangeBounds<Offset>,
        visible: Result<(Offset, Offset)>,
    ) -> Self {
        let next = match range.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before.next(),
            Bound::Unbounded => Offset::ZERO,
        };
        let wanted = match range.end_bound() {
            Bound::Included(last) => last.next(),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => Offset::new(u64::MAX),
        };
        let (end, failed) = match visible {
            Ok((_, end)) => (wanted.min(end), None),
            Err(error) => (next, Some(error)),
        };
        Self { source, topic, next, end, cursor: ReadCursor::default(), failed }
    }

    /// The offset from which on the next message is looked for: after the last one that was read, and, after an error,
    /// that of the message it is about or of one before it.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.next
    }

    fn read(&mut self) -> Result<Option<Record>> {
        let record = match &mut self.source {
            Source::Store(link) => link.engine()?.read(self.topic, self.next, &mut self.cursor)?,
            Source::View(view, engine) => view.read(engine, self.topic, self.next, &mut self.cursor)?,
        };
        Ok(record.filter(|record| record.offset() < self.end))
    }
}

impl Iterator for Replay {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        if self.next >= self.end {
            return None;
        }
        if let Some(record) = self.cursor.ready(self.topic, self.next) {
            self.next = record.offset().next();
            return Some(Ok(record));
        }
        match self.read() {
            Ok(Some(record)) => {
                self.next = record.offset().next();
                Some(Ok(record))
            }
            Ok(None) => {
                self.next = self.end;
                None
            }
            Err(error) => {
                // The end moves here, not the position: that still says where it failed.
                self.end = self.next;
                Some(Err(error))
            }
        }
    }
}

impl FusedIterator for Replay {}
