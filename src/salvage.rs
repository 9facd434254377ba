//! [`Salvage`]: the messages of a damaged store that are whole; [`Dump`]: its journal as it lies there.

use crate::engine::{self, Dumped, Environment};
use crate::error::{Damage, Result};
use crate::message::Record;
use crate::types::Lsn;
use std::iter::FusedIterator;

/// A message that was read back from a damaged store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvaged {
    /// The topic's name; `number N` if that is lost.
    pub topic: String,
    /// The message.
    pub record: Record,
}

/// Every message of a store whose bytes are whole, in the order in which they were written, those that are settled
/// already included as long as their bytes are there; see [`Store::salvage`](crate::Store::salvage). It changes
/// nothing, and holds a shared lock, so that nobody opens the store meanwhile.
///
/// Each is verified: what lies in a damaged place, or only looks like a message inside somebody's payload, is not among
/// them.
///
/// # Errors
/// Each item may be one: the operating system refused a read. That is the last item.
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = millpond::Store::open(dir.path())?;
/// # store.topic("orders")?.publish("4711").wait()?;
/// # store.close()?;
/// use millpond::Store;
/// let salvage = Store::salvage(dir.path())?;
/// assert!(salvage.damage().is_empty());
/// for message in salvage {
///     let message = message?;
///     assert_eq!((&*message.topic, message.record.payload()), ("orders", &b"4711"[..]));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is read until it is iterated"]
pub struct Salvage {
    inner: engine::Salvage,
    ended: bool,
}

impl Salvage {
    pub(crate) fn open(environment: &Environment) -> Result<Self> {
        Ok(Self { inner: engine::salvage(environment)?, ended: false })
    }

    /// What is damaged: everything there is was looked at before the first message is given out.
    #[must_use]
    pub fn damage(&self) -> &[Damage] {
        self.inner.damage()
    }
}

impl Iterator for Salvage {
    type Item = Result<Salvaged>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.inner.next().map(|next| next.map(|(topic, record)| Salvaged { topic, record }));
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

impl FusedIterator for Salvage {}

/// The frames of a store's journal, in order, and the damaged places between them; see
/// [`Store::dump`](crate::Store::dump). Frames that the journal writes for itself, as seals, are not shown.
///
/// # Errors
/// Each item may be one: the operating system refused a read. That is the last item.
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = millpond::Store::open(dir.path())?;
/// # store.topic("orders")?.publish("4711").wait()?;
/// # store.close()?;
/// use millpond::{Dumped, Lsn, Store};
/// let mut published = 0;
/// for entry in Store::dump(dir.path(), Lsn::ZERO)? {
///     if let Dumped::Frame(frame) = entry? {
///         published += frame.events.iter().filter(|(kind, _)| kind == "Publish").count();
///     }
/// }
/// assert_eq!(published, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is read until it is iterated"]
pub struct Dump {
    inner: engine::Dump,
    ended: bool,
}

impl Dump {
    pub(crate) fn open(environment: &Environment, from: Lsn) -> Result<Self> {
        Ok(Self { inner: engine::dump(environment, from)?, ended: false })
    }
}

impl Iterator for Dump {
    type Item = Result<Dumped>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.inner.next();
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }
}

impl FusedIterator for Dump {}
