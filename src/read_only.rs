//! [`ReadOnlyStore`]: looking at a store that another process may have open.

use crate::config::Options;
use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::engine::{Engine, Environment, GroupProgress, ReadCursor, StoreStats, StoredSettings, TopicStats};
use crate::error::{Error, Result};
use crate::message::Record;
use crate::replay::Replay;
use crate::sync::Mutex;
use crate::types::{Offset, TopicId};
use bytes::Bytes;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

/// How often a message is looked for anew because its segment went meanwhile.
const ATTEMPTS: usize = 50;

/// A store as it was at one moment, for looking at: its owner, if it has one, goes on and is not held up.
///
/// It has no method that could change anything, and nothing is written to the directory. What it shows is a prefix of
/// the store's history: all that had reached the kernel when it was opened, or [refreshed](Self::refresh) last. So a
/// message published with [`Durability::Disk`](crate::Durability::Disk) can be shown a moment before its sync is over;
/// a power cut may take back what was seen then. What the owner knows in memory only is not seen: messages that are
/// leased count as ready, which [`GroupStats::leases_known`](crate::GroupStats::leases_known) says, and rules of
/// retention that have not been applied yet are not applied here. SQLite's readers in WAL mode see a snapshot likewise.
///
/// What the owner gives back to the disk while it is looked at is read from where it went, or left out if it is gone.
/// If bytes are damaged in the newest segment, with a megabyte of nothing whole behind them, that looks like its end;
/// [`Store::verify`](crate::Store::verify) tells them apart, once the owner has closed it.
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use millpond::{Durability, Message, Store};
/// let store = Store::open(dir.path())?;
/// let orders = store.topic("orders")?;
/// orders.publish("4711").wait()?;
/// // Elsewhere, mostly in another process:
/// let seen = Store::open_read_only(dir.path())?;
/// let read = || seen.topic("orders")?.read(..).map(|record| record.map(|record| record.payload().to_vec())).collect();
/// let before: millpond::Result<Vec<_>> = read();
/// assert_eq!(before?, [b"4711"]);
/// orders.publish("4712").wait()?;
/// assert!(seen.refresh()?);
/// let after: millpond::Result<Vec<_>> = read();
/// assert_eq!(after?.len(), 2);
/// # store.close()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReadOnlyStore {
    view: Arc<View>,
}

/// What was seen last, for all handles.
#[derive(Debug)]
pub(crate) struct View {
    environment: Environment,
    options: Options,
    engine: Mutex<Arc<Engine>>,
}

impl View {
    pub(crate) fn engine(&self) -> Arc<Engine> {
        self.engine.lock().clone()
    }

    /// Looks again, unless somebody else did since `seen`.
    fn look_again(&self, seen: &Arc<Engine>) -> Result<Arc<Engine>> {
        let mut engine = self.engine.lock();
        if Arc::ptr_eq(&engine, seen) {
            *engine = Engine::observe(&self.environment, &self.options, Some(seen))?;
        }
        Ok(engine.clone())
    }

    /// Reads as `engine` saw it, or as it is by now if the segment of a message went.
    pub(crate) fn read(
        &self,
        engine: &mut Arc<Engine>,
        topic: TopicId,
        from: Offset,
        cursor: &mut ReadCursor,
    ) -> Result<Option<Record>> {
        let mut attempts = 0;
        loop {
            match engine.read(topic, from, cursor) {
                Err(error) if error.is_not_found() && attempts < ATTEMPTS => {
                    attempts += 1;
                    *engine = self.look_again(engine)?;
                    *cursor = ReadCursor::default();
                }
                read => return read,
            }
        }
    }
}

impl ReadOnlyStore {
    pub(crate) fn open(environment: Environment, options: Options) -> Result<Self> {
        let environment = environment.read_only();
        let engine = Mutex::new(Engine::observe(&environment, &options, None)?);
        Ok(Self { view: Arc::new(View { environment, options, engine }) })
    }

    /// Does something with what is seen; anew if a segment went that was needed for it.
    pub(crate) fn retrying<T>(&self, what: impl Fn(&Engine) -> Result<T>) -> Result<T> {
        let mut engine = self.view.engine();
        for _ in 0..ATTEMPTS {
            match what(&engine) {
                Err(error) if error.is_not_found() => engine = self.view.look_again(&engine)?,
                outcome => return outcome,
            }
        }
        what(&engine)
    }

    /// Looks again, for all handles of this opening; whether there was anything new. It is cheap if there was not.
    ///
    /// # Errors
    /// As for [`Store::open_read_only`](crate::Store::open_read_only); what was seen before stays then.
    pub fn refresh(&self) -> Result<bool> {
        let seen = self.view.engine();
        if !seen.is_behind()? {
            return Ok(false);
        }
        self.view.look_again(&seen)?;
        Ok(true)
    }

    /// The names of all topics.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        self.view.engine().topic_names()
    }

    /// The topic `name`.
    ///
    /// # Errors
    /// `Misuse` with the code `unknown-topic` if there is none.
    pub fn topic(&self, name: &str) -> Result<ReadOnlyTopic> {
        let id = self.view.engine().topic(name, None)?;
        Ok(ReadOnlyTopic { view: self.view.clone(), id, name: name.into() })
    }

    /// The store's numbers, as of when it was seen.
    ///
    /// # Errors
    /// If something could not be read.
    pub fn stats(&self) -> Result<StoreStats> {
        self.view.engine().stats()
    }

    /// The application's value for this key; nothing if there is none.
    ///
    /// # Errors
    /// None are known; the signature is that of [`Store::get`](crate::Store::get).
    pub fn get(&self, key: &str) -> Result<Option<Bytes>> {
        self.view.engine().value(key)
    }

    /// The keys that begin with `prefix` and have a value, in the order of their bytes.
    ///
    /// # Errors
    /// None are known; the signature is that of [`Store::keys`](crate::Store::keys).
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        self.view.engine().keys(prefix)
    }
}

/// A topic of a store that is only looked at.
#[derive(Clone, Debug)]
pub struct ReadOnlyTopic {
    view: Arc<View>,
    id: TopicId,
    name: Arc<str>,
}

impl ReadOnlyTopic {
    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The messages of `range` that were there when the store was seen last; see [`Topic::read`](crate::Topic::read).
    /// What its owner drops before it is reached may be left out.
    pub fn read(&self, range: impl RangeBounds<Offset>) -> Replay {
        Replay::observing(&self.view, self.id, &range)
    }

    /// The offset of the oldest message there is, and the one after the newest: equal if there is none.
    ///
    /// # Errors
    /// `Misuse` with the code `unknown-topic` if the topic was dropped since.
    pub fn bounds(&self) -> Result<(Offset, Offset)> {
        self.view.engine().bounds(self.id)
    }

    /// The topic's settings, for [`Store::restore`](crate::Store::restore).
    ///
    /// # Errors
    /// As for [`bounds`](Self::bounds).
    pub fn settings(&self) -> Result<StoredSettings> {
        self.view.engine().topic_settings(self.id)
    }

    /// How far a group is, message by message, with its settings.
    ///
    /// # Errors
    /// `Misuse` with the code `unknown-group` if there is none of this name; or as for [`bounds`](Self::bounds).
    pub fn progress(&self, group: &str) -> Result<GroupProgress> {
        self.view.engine().group_progress(self.id, group)
    }

    /// The messages that a group had given up on when the store was seen last, by offset, with their records; see
    /// [`Consumer::dead_letters`](crate::Consumer::dead_letters).
    ///
    /// # Errors
    /// `Misuse` with the code `unknown-group` if there is none of this name.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use millpond::{Group, Store};
    /// let store = Store::open(dir.path())?;
    /// let orders = store.topic("orders")?;
    /// orders.publish("4711").wait()?;
    /// orders.consumer("email", Group::default())?.lease()?.bury("no such address").wait()?;
    /// // Elsewhere, mostly in another process:
    /// let seen = Store::open_read_only(dir.path())?.topic("orders")?;
    /// let letters = seen.dead_letters("email")?.collect::<millpond::Result<Vec<_>>>()?;
    /// assert_eq!(letters[0].errors()[0].1, "no such address");
    /// # store.close()
    /// # }
    /// ```
    pub fn dead_letters(&self, group: &str) -> Result<DeadLetters> {
        let group = self.view.engine().group_named(self.id, group)?;
        Ok(DeadLetters::observing(&self.view, self.id, group))
    }

    /// The dead letter at `offset`, if the message there was one when the store was seen last.
    ///
    /// # Errors
    /// As for [`dead_letters`](Self::dead_letters). A message that can't be read is no error here:
    /// [`DeadLetter::unreadable`] says why.
    pub fn dead_letter(&self, group: &str, offset: Offset) -> Result<Option<DeadLetter>> {
        let first = self.dead_letters(group)?.from(offset).next().transpose()?;
        Ok(first.filter(|letter| letter.offset() == offset))
    }

    /// The topic's numbers.
    ///
    /// # Errors
    /// As for [`bounds`](Self::bounds).
    pub fn stats(&self) -> Result<TopicStats> {
        let stats = self.view.engine().topic_stats(self.id)?;
        Ok(TopicStats { name: self.name.to_string(), ..stats })
    }
}

impl crate::store::Store {
    /// Looks at the store at `path` without owning it: it may be open elsewhere, in this process or another, and its
    /// owner notices nothing. See [`ReadOnlyStore`].
    ///
    /// # Errors
    /// `Misuse` if there is no store; `Corrupt` if what was promised durable is damaged; `Unsupported` if a newer
    /// release wrote it; `System` if the operating system refused.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<ReadOnlyStore, Error> {
        ReadOnlyStore::open(Environment::on_disk(path.as_ref()), Options::default())
    }

    /// As [`open_read_only`](Self::open_read_only), on a simulated disk. For tests and the simulator; no promise of
    /// stability covers it.
    ///
    /// # Errors
    /// As there.
    #[cfg(feature = "testing")]
    pub fn observe_simulated(
        disk: &crate::engine::SimDisk,
        clock: crate::clock::ManualClock,
        options: Options,
    ) -> Result<ReadOnlyStore> {
        let tables = crate::testing::SimTables::default();
        ReadOnlyStore::open(Environment::simulated(disk, &tables.0, clock, 0), options)
    }
}
