//! [`Store`]: opening a directory, and closing it.

#[cfg(feature = "testing")]
use crate::clock::ManualClock;
use crate::config::{Options, TopicSettings};
#[cfg(feature = "testing")]
use crate::engine::SimDisk;
use crate::engine::{
    Cleaned, Engine, Environment, Events, IdStats, Progress, RecoveryReport, Repaired, Report, StoreStats,
};
use crate::error::Result;
use crate::link::{Link, or_default};
use crate::salvage::{Dump, Salvage};
#[cfg(feature = "testing")]
use crate::testing::SimTables;
use crate::ticket::Ticket;
use crate::topic::Topic;
use crate::transaction::Transaction;
use crate::types::Lsn;
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An open store: one directory, which belongs to this process until the store is closed.
///
/// Clones are cheap and stand for the same opening. The directory is free again when [`close`](Self::close) returns, or
/// when the last clone is gone; topics, consumers and deliveries don't keep it, and fail with
/// [`ErrorKind::Closed`](crate::ErrorKind::Closed) from then on.
#[derive(Clone, Debug)]
pub struct Store {
    guard: Arc<Guard>,
}

/// What all clones of a store share: when it goes, the store is closed.
#[derive(Debug)]
struct Guard {
    engine: Arc<Engine>,
    /// Somebody called `close` and was told how it went.
    told: AtomicBool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.told.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = self.engine.close() {
            tracing::error!(code = error.code(), %error, "the store was dropped, and closing it failed");
        }
    }
}

impl Store {
    /// Opens the store at `path`, or makes one if the directory is empty or absent. Opening is recovery: see
    /// [`recovery`](Self::recovery) for what it found.
    ///
    /// # Errors
    /// As for [`Options::open`].
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("data");
    /// let store = millpond::Store::open(&path)?;
    /// assert!(store.topics().is_empty());
    /// store.close()
    /// # }
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::options().open(path)
    }

    /// The default settings, to be changed and then [opened](Options::open) with.
    #[must_use]
    pub fn options() -> Options {
        Options::default()
    }

    /// Opens the topic `name`, or makes it; it is durable when this returns.
    ///
    /// # Errors
    /// `Misuse` with the code `bad-name` if there can be no such topic, and with `unknown-topic` if there is none and
    /// [`Options::create_topics`] says no; `Closed`; or whatever kept it from being made durable.
    pub fn topic(&self, name: &str) -> Result<Topic> {
        self.topic_with(name, TopicSettings::default())
    }

    /// Opens or makes the topic `name`, as [`topic`](Self::topic) does, and changes what `settings` sets.
    ///
    /// # Errors
    /// As for [`topic`](Self::topic).
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// use millpond::{Durability, TopicSettings};
    /// let clicks = store.topic_with("clicks", TopicSettings::default().durability(Durability::Os))?;
    /// # assert_eq!(clicks.name(), "clicks");
    /// # Ok(())
    /// # }
    /// ```
    pub fn topic_with(&self, name: &str, settings: TopicSettings) -> Result<Topic> {
        self.find_topic(name, Some(&settings))
    }

    /// Opens the topic `name` if it exists.
    ///
    /// # Errors
    /// `Misuse` with the code `unknown-topic` if it doesn't; `Closed`.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// assert_eq!(store.existing_topic("oders").unwrap_err().code(), "unknown-topic");
    /// # Ok(())
    /// # }
    /// ```
    pub fn existing_topic(&self, name: &str) -> Result<Topic> {
        self.find_topic(name, None)
    }

    fn find_topic(&self, name: &str, settings: Option<&TopicSettings>) -> Result<Topic> {
        let id = self.guard.engine.topic(name, settings)?;
        Ok(Topic::new(&self.guard.engine, id, name))
    }

    /// The names of all topics.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        self.guard.engine.topic_names()
    }

    /// Drops a topic with its messages, its groups and all they know; it is durable when this returns. Handles of it
    /// are told that it is gone (`unknown-topic`), and what was leased can't be settled any more. A topic of the same
    /// name that is made later has nothing to do with it. Its disk space is given back as that of any messages that
    /// nobody needs. Whether there was one.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`, or whatever kept it from being made durable.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = millpond::Store::open(dir.path())?;
    /// let orders = store.topic("orders")?;
    /// assert!(store.remove_topic("orders")?);
    /// assert!(!store.remove_topic("orders")?);
    /// assert_eq!(orders.publish("4711").wait().unwrap_err().code(), "unknown-topic");
    /// # store.close()
    /// # }
    /// ```
    pub fn remove_topic(&self, name: &str) -> Result<bool> {
        self.guard.engine.drop_topic(name)
    }

    /// Gives back the disk space of all that is done with, now: cleans every segment that is mostly dead (see
    /// [`Options::clean_below`](crate::Options::clean_below)) or was written under another key than the current one
    /// ([`Options::encryption`](crate::Options::encryption)), removes every dead one, and says what that was. The
    /// store does the like by itself, a little at a time; see the guide's chapter on [space](crate::guide::space).
    ///
    /// # Errors
    /// `Full` if there is no room to write what is needed again; `Closed`, `Poisoned`, or what kept it from the disk. A
    /// message that is damaged is no error: it is in the report, and its segment stays.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = millpond::Store::open(dir.path())?;
    /// assert_eq!(store.clean_now()?.segments, 0, "there is nothing to clean yet");
    /// # store.close()
    /// # }
    /// ```
    pub fn clean_now(&self) -> Result<Cleaned> {
        self.guard.engine.clean_now()
    }

    /// Begins a transaction: publishes, settlements and values that happen whole or not at all.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// let shipments = store.topic("shipments")?;
    /// let mut tx = store.transaction();
    /// tx.publish(&shipments, "box for 4711").set("last shipped", "4711");
    /// tx.commit().wait()?;
    /// assert_eq!(store.get("last shipped")?.as_deref(), Some(&b"4711"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn transaction(&self) -> Transaction {
        Transaction::new(Link::to(&self.guard.engine))
    }

    /// The value that a transaction has [set](Transaction::set) for this key; nothing if there is none. What a
    /// transaction set is seen when it, and every earlier one that changed the same key, has reached its level: what is
    /// seen here is not taken back by a crash that this level survives. A transaction whose ticket has resolved is
    /// seen.
    ///
    /// # Errors
    /// `Closed` or `Poisoned`.
    pub fn get(&self, key: &str) -> Result<Option<Bytes>> {
        self.guard.engine.value(key)
    }

    /// The keys that begin with `prefix` and have a value, as [`get`](Self::get) sees them, in the order of their
    /// bytes.
    ///
    /// # Errors
    /// `Closed` or `Poisoned`.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// let mut tx = store.transaction();
    /// tx.set("trip/7", "hotel booked").set("trip/8", "flight booked").set("cursor", "12");
    /// tx.commit().wait()?;
    /// assert_eq!(store.keys("trip/")?, ["trip/7", "trip/8"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        self.guard.engine.keys(prefix)
    }

    /// Numbers about the ids that the store remembers: how many, what they take, how many duplicates were answered. All
    /// are zero if the store does not answer, as for [`stats`](Self::stats).
    #[must_use]
    pub fn id_stats(&self) -> IdStats {
        or_default("id stats", self.guard.engine.id_stats())
    }

    /// Asks that everything published and settled so far be synced to the disk, whatever durability it asked for
    /// itself. The ticket resolves when it is.
    ///
    /// # Errors
    /// In the ticket: whatever kept it from the disk.
    pub fn sync(&self) -> Ticket<()> {
        self.guard.engine.sync()
    }

    /// The store's numbers now. All are zero if the store does not answer, being closed or poisoned: that is logged,
    /// and told by every call that can fail.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        or_default("store stats", self.try_stats())
    }

    /// The store's numbers now, or why there are none.
    ///
    /// # Errors
    /// `Closed` or `Poisoned`; or whatever kept a topic's rules of retention from being applied.
    pub fn try_stats(&self) -> Result<StoreStats> {
        self.guard.engine.stats()
    }

    /// A subscription to what becomes of messages from now on: published, leased, acked, retried, buried. It keeps at
    /// most `capacity` notices (two at least, a million at most) that nobody has taken; see [`Events`].
    ///
    /// # Errors
    /// `Closed` or `Poisoned`.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use millpond::{Notice, Store, What};
    /// let store = Store::open(dir.path())?;
    /// let events = store.events(1000)?;
    /// store.topic("orders")?.publish("4711").wait()?;
    /// let Some(Notice::Happened(first)) = events.try_next() else { panic!("nothing happened") };
    /// assert_eq!((&*first.topic, first.what), ("orders", What::Published));
    /// # store.close()
    /// # }
    /// ```
    pub fn events(&self, capacity: usize) -> Result<Events> {
        self.guard.engine.events(capacity)
    }

    /// What opening found: whether the store had been closed, and what was trimmed of a torn end.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        self.guard.engine.recovery()
    }

    /// Closes the store for all its clones: waiting leases end, what was accepted is written and synced, and the
    /// directory is free when this returns. Deliveries that are still held are handed out again after the next open,
    /// and nothing is charged for that.
    ///
    /// Closing a store that is closed does nothing.
    ///
    /// # Errors
    /// What kept the rest from the disk, or the first failure of a store that was poisoned before. The store is closed
    /// all the same.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use millpond::{ErrorKind, Store};
    /// let store = Store::open(dir.path())?;
    /// let orders = store.topic("orders")?;
    /// store.close()?;
    /// assert_eq!(orders.publish("4711").wait().unwrap_err().kind(), ErrorKind::Closed);
    /// # Ok(())
    /// # }
    /// ```
    pub fn close(self) -> Result<()> {
        let closed = self.guard.engine.close();
        self.guard.told.store(true, Ordering::Release);
        closed
    }

    /// Reads every byte of the store at `path` and says what is damaged. It changes nothing, and works on a store that
    /// refuses to open, and on one that is open: of that it reads what had been written when it began. `progress` is
    /// called now and then. With the keys of an encrypted store: [`Options::verify`].
    ///
    /// # Errors
    /// `Misuse` if there is none, or if it is encrypted; `Corrupt` if so much is damaged that nothing
    /// could be counted; `System` if the operating system refused. Damage that was found is no error: it is in the
    /// report.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use millpond::Store;
    /// Store::open(dir.path())?.close()?;
    /// assert!(Store::verify(dir.path(), |_| ())?.damage.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn verify(path: impl AsRef<Path>, mut progress: impl FnMut(Progress)) -> Result<Report> {
        crate::engine::verify(&Environment::on_disk(path.as_ref()), &mut progress)
    }

    /// Repairs the store at `path`, which must not be open, so that it opens again. Nothing is deleted: damaged files
    /// are moved aside (`NAME.damaged-N`, never looked at again), and what is whole of them is written anew in their
    /// place. Messages keep their offsets. Those that are lost stay lost: readers and groups pass over them, and
    /// [`Removed::lost`](crate::Removed::lost) counts them. The report says which, and stays in the store's directory
    /// as `repair-N.txt`. Acks that were in damaged places are lost too, so messages may come again.
    ///
    /// A repair that is cut short is finished by the next one; once files change places, the store does not open until
    /// then. In memory it holds the state, which offsets can be read where, and one frame at a time. Repairing a store
    /// that is whole does nothing. Make a copy of the directory first, if there is room: what this can't make out, a
    /// person might. With the keys of an encrypted store: [`Options::repair`], and likewise for the next two.
    ///
    /// # Errors
    /// `Locked` if the store is open somewhere; `Misuse` if there is none; `Corrupt` if not even its id is left, or no
    /// segment; `Unsupported` if a newer release wrote it; `System` if the operating system refused.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use millpond::Store;
    /// Store::open(dir.path())?.close()?;
    /// let repaired = Store::repair(dir.path())?;
    /// assert!(repaired.report.is_none(), "there was nothing to repair");
    /// # Ok(())
    /// # }
    /// ```
    pub fn repair(path: impl AsRef<Path>) -> Result<Repaired> {
        crate::engine::repair(&Environment::on_disk(path.as_ref()))
    }

    /// Reads every message that is whole from the store at `path`, which must not be open, however damaged the rest
    /// is. It changes nothing; see [`Salvage`](crate::Salvage).
    ///
    /// # Errors
    /// As for [`repair`](Self::repair).
    pub fn salvage(path: impl AsRef<Path>) -> Result<Salvage> {
        Salvage::open(&Environment::on_disk(path.as_ref()))
    }

    /// The journal of the store at `path` frame by frame from `from` on ([`Lsn::ZERO`](crate::Lsn::ZERO): all of it),
    /// damaged places included. It changes nothing, and works beside the store's owner: what is gone when its turn
    /// comes is not shown; see [`Dump`](crate::Dump).
    ///
    /// # Errors
    /// As for [`repair`](Self::repair).
    pub fn dump(path: impl AsRef<Path>, from: Lsn) -> Result<Dump> {
        Dump::open(&Environment::on_disk(path.as_ref()), from)
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.guard.engine
    }

    fn start(environment: Environment, options: Options, threads: bool) -> Result<Self> {
        let engine = Engine::open(environment, options, threads)?;
        Ok(Self { guard: Arc::new(Guard { engine, told: AtomicBool::new(false) }) })
    }
}

/// For tests and the simulator; no promise of stability covers it.
#[cfg(feature = "testing")]
impl Store {
    /// Opens a store on a simulated disk, without any threads: nothing is written or upkept but by those who wait, and
    /// by [`step_commit`](Self::step_commit) and [`step_upkeep`](Self::step_upkeep). All randomness follows from
    /// `seed`.
    ///
    /// # Errors
    /// As for [`Options::open`].
    pub fn open_simulated(disk: &SimDisk, clock: ManualClock, seed: u64, options: Options) -> Result<Self> {
        Self::open_simulated_with(disk, &SimTables::default(), clock, seed, options)
    }

    /// As [`open_simulated`](Self::open_simulated), with tables that outlive the opening.
    ///
    /// # Errors
    /// As for [`Options::open`].
    pub fn open_simulated_with(
        disk: &SimDisk,
        tables: &SimTables,
        clock: ManualClock,
        seed: u64,
        options: Options,
    ) -> Result<Self> {
        let environment = Environment::simulated(disk, &tables.0, clock, seed);
        Self::start(environment, options, false)
    }

    /// [`repair`](Self::repair) of a store on a simulated disk.
    ///
    /// # Errors
    /// As for [`repair`](Self::repair).
    pub fn repair_simulated(disk: &SimDisk, clock: ManualClock, seed: u64) -> Result<Repaired> {
        crate::engine::repair(&Environment::simulated(disk, &SimTables::default().0, clock, seed))
    }

    /// [`salvage`](Self::salvage) of a store on a simulated disk.
    ///
    /// # Errors
    /// As for [`repair`](Self::repair).
    pub fn salvage_simulated(disk: &SimDisk, clock: ManualClock) -> Result<Salvage> {
        Salvage::open(&Environment::simulated(disk, &SimTables::default().0, clock, 0))
    }

    /// [`verify`](Self::verify) of a store on a simulated disk.
    ///
    /// # Errors
    /// As for [`verify`](Self::verify).
    pub fn verify_simulated(disk: &SimDisk, clock: ManualClock) -> Result<Report> {
        crate::engine::verify(&Environment::simulated(disk, &SimTables::default().0, clock, 0), &mut |_| ())
    }

    /// Does what the commit thread would do next; whether there was anything to do.
    ///
    /// # Errors
    /// The write or sync that failed.
    pub fn step_commit(&self) -> Result<bool> {
        self.guard.engine.poll_commit()
    }

    /// Does what the leasing thread would do next: serves those who poll for the messages of one group. Whether there
    /// was anything to do.
    #[must_use]
    pub fn step_leases(&self) -> bool {
        self.guard.engine.poll_leases()
    }

    /// Does what the upkeep thread would do now; whether there was anything to do.
    ///
    /// # Errors
    /// What kept it from being done.
    pub fn step_upkeep(&self) -> Result<bool> {
        self.guard.engine.poll_upkeep()
    }
}

impl Options {
    /// Opens the store at `path` with these settings. The path is taken from the current directory of this moment.
    ///
    /// # Errors
    /// `Locked` if the store is open elsewhere, in this process or another; `Corrupt` if what was promised durable is
    /// damaged; `Unsupported` if a newer release wrote it; `Misuse` if the directory holds something else, if there is
    /// no store and [`Options::create`] says no, or if a setting makes no sense; `System` if the operating system
    /// refused.
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// use millpond::Store;
    /// let refused = Store::options().create(false).open(dir.path()).unwrap_err();
    /// assert_eq!(refused.code(), "no-such-store");
    /// ```
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store> {
        let environment = Environment::on_disk(path.as_ref());
        Store::start(environment, self, true)
    }
}
