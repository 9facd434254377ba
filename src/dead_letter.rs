//! [`DeadLetter`]: a message that a group has given up on, and why.

use crate::delivery::Counters;
use crate::engine::{Engine, ParkedLetter, ReadCursor};
use crate::error::{Error, ErrorKind, Result};
use crate::event;
use crate::link::Link;
use crate::message::Record;
use crate::read_only::View;
use crate::types::{GroupId, Offset, Timestamp, TopicId};
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

/// Letters that are looked up at once.
const PAGE: usize = 64;

/// Why a group gave up on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BuryReason {
    /// The consumer said so: [`Delivery::bury`](crate::Delivery::bury).
    Asked,
    /// It failed as often as [`Retry::attempts`](crate::Retry::attempts) allows.
    Failures,
    /// Its lease ran out as often as [`Group::max_timeouts`](crate::Group::max_timeouts) allows.
    Timeouts,
    /// It brought the process down as often as [`Group::max_crashes`](crate::Group::max_crashes) allows.
    Crashes,
    /// Its bytes could not be read back whole.
    Unreadable,
    /// An earlier message of its key was parked, and the group parks the whole key then:
    /// [`WhenParked::ParkKey`](crate::WhenParked::ParkKey). It was not handed out since.
    KeyParked,
}

impl From<event::BuryReason> for BuryReason {
    fn from(stored: event::BuryReason) -> Self {
        match stored {
            event::BuryReason::Asked => Self::Asked,
            event::BuryReason::Failures => Self::Failures,
            event::BuryReason::Timeouts => Self::Timeouts,
            event::BuryReason::Crashes => Self::Crashes,
            event::BuryReason::Unreadable => Self::Unreadable,
            event::BuryReason::KeyParked => Self::KeyParked,
        }
    }
}

impl fmt::Display for BuryReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Asked => "the consumer asked for it",
            Self::Failures => "it failed too often",
            Self::Timeouts => "its lease ran out too often",
            Self::Crashes => "it brought the process down too often",
            Self::Unreadable => "its bytes could not be read back whole",
            Self::KeyParked => "an earlier message of its key was parked",
        })
    }
}

/// A message that a group has given up on. It is still where it was in the topic; this is a copy of what was known when
/// it was asked for. See [`Consumer::dead_letters`](crate::Consumer::dead_letters).
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = millpond::Store::open(dir.path())?;
/// # let orders = store.topic("orders")?;
/// # orders.publish("4711").wait()?;
/// # let email = orders.consumer("email", millpond::Group::default())?;
/// use millpond::BuryReason;
/// email.lease()?.bury("no such address").wait()?;
/// for letter in email.dead_letters() {
///     let letter = letter?;
///     assert_eq!(letter.reason(), BuryReason::Asked);
///     assert_eq!(letter.record().unwrap().payload(), b"4711");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DeadLetter {
    offset: Offset,
    reason: BuryReason,
    counters: Counters,
    life: u32,
    time: Timestamp,
    errors: Vec<(Timestamp, String)>,
    record: Result<Option<Record>>,
}

impl DeadLetter {
    /// The message's place in its topic.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// Why the group gave up on it.
    #[must_use]
    pub fn reason(&self) -> BuryReason {
        self.reason
    }

    /// When it was parked, on the engine's clock.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// What has happened to it in this group, over all its lives.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Times it was handed out.
    #[must_use]
    pub fn leases(&self) -> u32 {
        self.counters.leases
    }

    /// Times its handling failed.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.counters.failures
    }

    /// Times its lease ran out while the process lived.
    #[must_use]
    pub fn timeouts(&self) -> u32 {
        self.counters.timeouts
    }

    /// Deaths of the process that are laid to it.
    #[must_use]
    pub fn crashes(&self) -> u32 {
        self.counters.crashes
    }

    /// How often it had been made deliverable again before.
    #[must_use]
    pub fn life(&self) -> u32 {
        self.life
    }

    /// The errors that are kept, each with its time; the newest last.
    #[must_use]
    pub fn errors(&self) -> &[(Timestamp, String)] {
        &self.errors
    }

    /// The message itself; `None` if it is gone or [can't be read](Self::unreadable).
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref().ok().and_then(Option::as_ref)
    }

    /// Why the message can't be read, if it is there and can't.
    #[must_use]
    pub fn unreadable(&self) -> Option<&Error> {
        self.record.as_ref().err()
    }
}

/// The dead letters of a group, by offset; see [`Consumer::dead_letters`](crate::Consumer::dead_letters) and
/// [`ReadOnlyTopic::dead_letters`](crate::ReadOnlyTopic::dead_letters).
///
/// They are looked up a page at a time, and each message is read when its turn comes: however many there are, a few are
/// in memory. What is parked or redriven meanwhile may be among them or not.
///
/// # Errors
/// Each item may be one, `Closed` or `Poisoned`; it is the last item then. A message that can't be read is none:
/// [`DeadLetter::unreadable`] says why.
#[derive(Debug)]
#[must_use = "nothing is looked up until it is iterated"]
pub struct DeadLetters {
    source: Source,
    topic: TopicId,
    group: GroupId,
    next: Offset,
    page: std::vec::IntoIter<(Offset, ParkedLetter)>,
    cursor: ReadCursor,
    ended: bool,
}

/// Where it looks.
#[derive(Debug)]
enum Source {
    Store(Link),
    /// A store that somebody else may have open, as it was seen.
    View(Arc<View>),
}

impl DeadLetters {
    pub(crate) fn new(link: Link, topic: TopicId, group: GroupId) -> Self {
        Self::of(Source::Store(link), topic, group)
    }

    pub(crate) fn observing(view: &Arc<View>, topic: TopicId, group: GroupId) -> Self {
        Self::of(Source::View(view.clone()), topic, group)
    }

    fn of(source: Source, topic: TopicId, group: GroupId) -> Self {
        let (page, cursor) = (Vec::new().into_iter(), ReadCursor::default());
        Self { source, topic, group, next: Offset::ZERO, page, cursor, ended: false }
    }

    /// Only those from an offset on.
    pub(crate) fn from(mut self, offset: Offset) -> Self {
        self.next = offset;
        self
    }

    fn read(&mut self) -> Result<Option<DeadLetter>> {
        let mut engine = match &self.source {
            Source::Store(link) => link.engine()?,
            Source::View(view) => view.engine(),
        };
        if self.page.len() == 0 {
            self.page = engine.letters(self.group, self.next, PAGE)?.into_iter();
        }
        let Some((offset, letter)) = self.page.next() else { return Ok(None) };
        self.next = offset.next();
        let read = match &self.source {
            Source::Store(_) => engine.read(self.topic, offset, &mut self.cursor),
            Source::View(view) => view.read(&mut engine, self.topic, offset, &mut self.cursor),
        };
        with_record(offset, letter, read).map(Some)
    }
}

impl Iterator for DeadLetters {
    type Item = Result<DeadLetter>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.read().transpose();
        self.ended = !matches!(item, Some(Ok(_)));
        item
    }
}

impl FusedIterator for DeadLetters {}

/// A dead letter with its message.
pub(crate) fn view(
    engine: &Engine,
    topic: TopicId,
    offset: Offset,
    letter: ParkedLetter,
    cursor: &mut ReadCursor,
) -> Result<DeadLetter> {
    with_record(offset, letter, engine.read(topic, offset, cursor))
}

fn with_record(offset: Offset, letter: ParkedLetter, read: Result<Option<Record>>) -> Result<DeadLetter> {
    let record = match read {
        // The first one from there on need not be this one.
        Ok(found) => Ok(found.filter(|record| record.offset() == offset)),
        // One message that can't be read doesn't hide the others; a store that is closed has none to show.
        Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::System | ErrorKind::Retry) => Err(error),
        Err(error) => return Err(error),
    };
    Ok(DeadLetter {
        offset,
        reason: letter.reason.into(),
        counters: letter.counters.into(),
        life: letter.life,
        time: letter.time,
        errors: letter.errors.into_iter().map(|(time, text)| (time, text.into())).collect(),
        record,
    })
}
