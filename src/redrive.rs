//! [`Redrive`] and [`Purge`]: which dead letters are to have another life, or to go. [`Cancel`]: an end before the end.

use crate::dead_letter::{self, DeadLetter};
use crate::engine::{Fate, Order, ReadCursor, Swept};
use crate::error::Result;
use crate::link::Link;
use crate::sync::Mutex;
use crate::types::{GroupId, Offset, TopicId};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which dead letters are made deliverable again, and how; see [`Consumer::redrive`](crate::Consumer::redrive).
///
/// The letters that are there when it begins are looked at once each, in the order of offsets; what dies again
/// meanwhile is left alone. Amazon SQS calls the like of it a dead-letter queue redrive; here nothing is moved.
#[derive(Debug)]
#[must_use = "nothing is redriven until it is given to a consumer"]
pub struct Redrive<'a>(pub(crate) Sweep<'a>);

impl<'a> Redrive<'a> {
    /// All of them.
    pub fn all() -> Self {
        Self(Sweep::of(Which::All))
    }

    /// Those at these offsets. What is no dead letter is passed over.
    pub fn offsets(offsets: impl IntoIterator<Item = Offset>) -> Self {
        Self(Sweep::at(offsets))
    }

    /// Those for which `predicate` says yes. It is called without any lock held, with the letter's message read.
    pub fn matching(predicate: impl FnMut(&DeadLetter) -> bool + Send + 'a) -> Self {
        Self(Sweep::of(Which::Matching(Box::new(predicate))))
    }

    /// Only says how many it would be.
    pub fn dry_run(mut self) -> Self {
        self.0.dry_run = true;
        self
    }

    /// So many a second at most, so that those who have to handle them are not overrun; the call waits in between. 0 is
    /// taken as 1.
    pub fn per_second(mut self, letters: u32) -> Self {
        self.0.per_second = Some(letters.max(1));
        self
    }

    /// Can be cancelled from another thread.
    pub fn cancelled_by(mut self, cancel: &Cancel) -> Self {
        self.0.cancel = cancel.clone();
        self
    }
}

/// Which dead letters are dropped for good, and how; see [`Consumer::purge`](crate::Consumer::purge).
///
/// The letters that are there when it begins are looked at once each, in the order of offsets. Only this group is
/// done with them: for others, and for [`Topic::read`](crate::Topic::read), they are what they were.
#[derive(Debug)]
#[must_use = "nothing is purged until it is given to a consumer"]
pub struct Purge<'a>(pub(crate) Sweep<'a>);

impl<'a> Purge<'a> {
    /// Forgets the ids of what is purged, in one step with it, so that they can be published again at once. Without
    /// this an id outlives its message, to the end of its topic's [window](crate::TopicSettings::deduplicate).
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// # let orders = store.topic("orders")?;
    /// # let email = orders.consumer("email", millpond::Group::default())?;
    /// use millpond::{Message, Purge};
    /// orders.publish(Message::new("3 mils").id("order-4711")).wait()?;
    /// email.lease()?.bury("no such article").wait()?;
    /// email.purge(Purge::all().forget_ids())?;
    /// assert!(!orders.publish(Message::new("3 mills").id("order-4711")).wait()?.duplicate);
    /// # Ok(())
    /// # }
    /// ```
    pub fn forget_ids(mut self) -> Self {
        self.0.forget_ids = true;
        self
    }

    /// All of them.
    pub fn all() -> Self {
        Self(Sweep::of(Which::All))
    }

    /// Those at these offsets. What is no dead letter is passed over.
    pub fn offsets(offsets: impl IntoIterator<Item = Offset>) -> Self {
        Self(Sweep::at(offsets))
    }

    /// Those for which `predicate` says yes. It is called without any lock held, with the letter's message read.
    pub fn matching(predicate: impl FnMut(&DeadLetter) -> bool + Send + 'a) -> Self {
        Self(Sweep::of(Which::Matching(Box::new(predicate))))
    }

    /// Only says how many it would be.
    pub fn dry_run(mut self) -> Self {
        self.0.dry_run = true;
        self
    }

    /// Can be cancelled from another thread.
    pub fn cancelled_by(mut self, cancel: &Cancel) -> Self {
        self.0.cancel = cancel.clone();
        self
    }
}

/// Cancels a redrive or a purge, from any thread. What is done by then stays done, what is not stays as it was.
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = millpond::Store::open(dir.path())?;
/// # let orders = store.topic("orders")?;
/// # orders.publish_all(["a".into(), "b".into()]).wait()?;
/// # let email = orders.consumer("email", millpond::Group::default())?;
/// use millpond::{Cancel, Redrive};
/// email.lease()?.bury("no such address").wait()?;
/// email.lease()?.bury("no such address").wait()?;
/// let cancel = Cancel::new();
/// let redrive = Redrive::all().per_second(1).cancelled_by(&cancel);
/// let swept = std::thread::scope(|scope| {
///     let redriving = scope.spawn(|| email.redrive(redrive));
///     cancel.cancel();
///     redriving.join().unwrap()
/// })?;
/// assert!(swept.cancelled && swept.changed < 2);
/// assert_eq!(email.stats().dead, 2 - swept.changed);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    cancelled: AtomicBool,
    /// Where somebody may be waiting for the turn of the next letters.
    used: Mutex<Vec<Link>>,
}

impl Cancel {
    /// One that nobody has used yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels whatever was given this or a clone of it, and whatever will be.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
        let used = std::mem::take(&mut *self.shared.used.lock());
        // If an engine is gone, nobody waits in it.
        used.iter().filter_map(|link| link.engine().ok()).for_each(|engine| engine.wake());
    }
}

enum Which<'a> {
    All,
    /// Rising.
    At(Vec<Offset>),
    Matching(Box<dyn FnMut(&DeadLetter) -> bool + Send + 'a>),
}

impl fmt::Debug for Which<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("All"),
            Self::At(offsets) => f.debug_tuple("At").field(offsets).finish(),
            Self::Matching(_) => f.write_str("Matching(..)"),
        }
    }
}

/// What a redrive and a purge have in common.
#[derive(Debug)]
pub(crate) struct Sweep<'a> {
    which: Which<'a>,
    dry_run: bool,
    per_second: Option<u32>,
    cancel: Cancel,
    forget_ids: bool,
}

impl<'a> Sweep<'a> {
    fn of(which: Which<'a>) -> Self {
        Self { which, dry_run: false, per_second: None, cancel: Cancel::new(), forget_ids: false }
    }

    fn at(offsets: impl IntoIterator<Item = Offset>) -> Self {
        let mut offsets: Vec<Offset> = offsets.into_iter().collect();
        offsets.sort_unstable();
        offsets.dedup();
        Self::of(Which::At(offsets))
    }

    pub(crate) fn run(self, link: &Link, topic: TopicId, group: GroupId, fate: Fate) -> Result<Swept> {
        let Self { which, dry_run, per_second, cancel, forget_ids } = self;
        let engine = link.engine()?;
        // Before the flag is looked at for the first time: whoever sets it later finds this.
        cancel.shared.used.lock().push(link.clone());
        let (offsets, mut predicate) = match which {
            Which::All => (None, None),
            Which::At(offsets) => (Some(offsets), None),
            Which::Matching(predicate) => (None, Some(predicate)),
        };
        let (offsets, cancelled) = (offsets.as_deref(), &cancel.shared.cancelled);
        let order = Order { offsets, dry_run, per_second, cancelled, forget_ids };
        let mut cursor = ReadCursor::default();
        engine.sweep(group, fate, order, &mut |offset, letter| match &mut predicate {
            None => Ok(true),
            Some(predicate) => Ok(predicate(&dead_letter::view(&engine, topic, offset, letter, &mut cursor)?)),
        })
    }
}
