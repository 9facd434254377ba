//! The only room with doors to journal and state: commands go in here, recovery happens here.
//!
//! Everything that changes is behind one lock, [`Core`]; I/O happens outside it. A command decides, appends its event
//! to
//! the journal's tail and applies it to the state under that lock, in the order of the journal. Commits are led by
//! whoever needs one (`commit`); what happens by itself, by time, is `upkeep`. Neither needs a thread: `driver` has
//! the three that an ordinary store runs, and a simulator calls [`Engine::poll_commit`], [`Engine::poll_upkeep`] and
//! [`Engine::poll_leases`] instead.

mod arrivals;
#[cfg(test)]
mod arrivals_tests;
mod assemble;
mod backlog;
#[cfg(test)]
mod backlog_tests;
mod backup;
mod breaker;
mod clean;
mod close;
mod commit;
mod compose;
mod count;
mod create;
mod create_store;
mod deal;
mod decide;
mod deliver;
mod driver;
mod drop_topic;
mod dump;
mod expiry;
mod extend;
mod filter;
mod flow;
mod ids;
mod inbox;
#[cfg(all(test, millpond_shuttle))]
mod interleavings;
mod kept;
mod lifetime;
mod line;
mod meter;
mod observe;
mod obstacle;
mod onward;
mod open;
mod order;
mod overflow;
#[cfg(test)]
mod overlap_tests;
mod park;
mod plain;
mod publish;
mod purge;
mod read;
mod readers;
#[cfg(test)]
mod readers_tests;
mod rebuild;
mod removal;
mod restore;
mod retention;
mod room;
mod rounds;
mod salvage;
mod schedule;
mod seek;
mod settle;
mod settling;
mod snapshot;
mod space;
mod stats;
mod stride;
mod sweep;
#[cfg(test)]
mod tests;
mod transaction;
mod unsettled;
mod upkeep;
mod values;
mod verify;
mod visible;
mod watch;
mod why;

pub(crate) use arrivals::Ask;
pub use backup::Backup;
pub use breaker::BreakerState;
pub use clean::Cleaned;
pub(crate) use deal::Deal;
pub(crate) use deliver::{Leased, Shape, Wait};
pub(crate) use dump::{Dump, dump};
pub use dump::{Dumped, DumpedFrame};
pub use ids::IdStats;
pub(crate) use meter::{Age, METERED_MAX};
pub use meter::{GroupMetrics, Metrics, TopicMetrics};
pub use open::RecoveryReport;
pub(crate) use read::ReadCursor;
pub use removal::Removed;
pub(crate) use restore::Placed;
pub use salvage::Repaired;
pub(crate) use salvage::{Salvage, repair, salvage};
pub(crate) use schedule::Waiting as Scheduled;
pub use seek::SeekReport;
pub(crate) use settle::Outcome;
pub(crate) use settling::RunPart;
pub use stats::{GroupStats, SegmentStats, StoreStats, TopicStats};
pub use sweep::Swept;
pub(crate) use sweep::{Fate, Order};
pub(crate) use transaction::{Changes, Settlement};
pub use unsettled::{GroupProgress, Past, StoredSettings};
pub(crate) use verify::verify;
pub use verify::{Progress, Report};
pub use watch::{Events, Happening, Notice, What};
pub use why::Why;

use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::{Durability, Keys, Options};
use crate::error::{Code, Error, Result};
use crate::journal::{Files, Identity, Stage, Tail};
pub(crate) use crate::state::DeadLetter as ParkedLetter;
use crate::state::State;
#[cfg(any(test, feature = "testing"))]
pub(crate) use crate::storage::sim::SimDisk;
use crate::storage::{RealDisk, Storage, StorageFile};
use crate::sync::{Condvar, Mutex, MutexGuard, thread};
use crate::tables::{Checked, ProcessedKey, Runs, SledTables, TablesDoor};
use crate::types::{GroupId, Incarnation, LeaseId, Lsn, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::task::Waker;
use std::time::Duration;

/// What the engine is given: it reaches for nothing by itself.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) tables: Arc<dyn TablesDoor>,
    pub(crate) keys: Keys,
}

impl Environment {
    /// The same for an encrypted store.
    pub(crate) fn with_keys(self, keys: &Keys) -> Self {
        Self { keys: keys.clone(), ..self }
    }

    /// The store at `path` of this machine.
    pub(crate) fn on_disk(path: &Path) -> Self {
        Self {
            storage: Arc::new(RealDisk::new(path)),
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy),
            tables: Arc::new(SledTables::new(path)),
            keys: Keys::none(),
        }
    }

    /// A store on a simulated disk, all of whose randomness follows from `seed`.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn simulated(
        disk: &SimDisk,
        tables: &crate::tables::MemoryTables,
        clock: crate::clock::ManualClock,
        seed: u64,
    ) -> Self {
        Self {
            storage: Arc::new(disk.clone()),
            clock: Arc::new(clock),
            entropy: Arc::new(crate::clock::SeededEntropy::new(seed)),
            tables: Arc::new(tables.clone()),
            keys: Keys::none(),
        }
    }
}

/// The first failure of a write or sync, remembered with its stage.
#[derive(Debug)]
struct Poison {
    stage: Stage,
    file: String,
    source: Arc<std::io::Error>,
}

impl Poison {
    fn error(&self, code: Code) -> Error {
        let doing = match self.stage {
            Stage::Write => "a write to",
            Stage::Sync => "a sync of",
        };
        let after = if code == Code::OutcomeUnknown {
            "whether this call took effect is not known; reopen the store, and publish again with the same id"
        } else {
            "the store takes nothing more; reopen it"
        };
        Error::new(code, format!("{doing} {} failed, {after}", self.file)).because(self.source.clone())
    }
}

/// Somebody who wants to be told when the journal has come so far.
#[derive(Debug)]
struct Waiting {
    end: Lsn,
    level: Durability,
    waker: Waker,
}

/// Everything that changes, behind one lock.
#[derive(Debug)]
struct Core {
    tail: Tail,
    state: State,
    visible: visible::Visible,
    line: VecDeque<line::InLine>,
    /// Deliveries that were dropped while there was no room to write it down.
    let_go: VecDeque<settling::Settling<'static>>,
    backlogs: backlog::Backlogs,
    lanes: plain::Lanes,
    flows: flow::Flows,
    filters: filter::Filters,
    watchers: watch::Watchers,
    meters: meter::Meters,
    copies: park::Copies,
    /// Changes of values that may not be shown yet.
    unsettled: values::Unsettled,
    /// How many publishes were refused whose tickets nobody holds any more, and why the first was. `close` says it.
    unheard: Option<(u64, Error)>,
    waiting: Vec<Waiting>,
    /// Calls that wait for messages, of any group; all are told and look again.
    leasing: usize,
    /// Those who poll for messages.
    arrivals: arrivals::Arrivals,
    windows: BTreeMap<GroupId, deliver::HandOut>,
    /// Bytes of events on their way to the journal: used again each time.
    scratch: Vec<u8>,
    poison: Option<Arc<Poison>>,
    closing: bool,
    closed: bool,
    /// What may have left.
    departures: onward::Departures,
    /// Somebody writes, and somebody syncs; it may be the same one.
    committing: bool,
    syncing: bool,
    writes: rounds::Round,
    syncs: rounds::Round,
    /// The end of the last frame that asked for `Disk`.
    disk_end: Lsn,
    /// The commit thread has something to wait for; and it is to come at once.
    armed: bool,
    urgent: bool,
    last_sync: Duration,
    last_disk: Option<Duration>,
    /// The next segment is written in advance at a lower rate than the active one is filled.
    preparing_behind: bool,
    /// Bytes that such a commit writes, smoothed.
    disk_share: u64,
    upkeep_due: bool,
    /// When the next thing falls due by itself.
    next_upkeep: Option<Timestamp>,
    /// `Mark` frames that were written.
    marks: u64,
    epoch: u64,
    /// Why the last preparation failed, until one succeeds.
    full: Option<Arc<std::io::Error>>,
    wanted_bytes: u32,
    snapshot: snapshot::Progress,
    space: space::Space,
    retaining: retention::Agenda,
    jitter: fastrand::Rng,
    ids: ids::Ids,
    inbox: inbox::Inbox,
    /// By the clock of ages.
    next_expiry_of_ids: Timestamp,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Engine {
    environment: Environment,
    options: Options,
    identity: Identity,
    incarnation: Incarnation,
    /// The engine's clock at open, and the monotonic clock at that moment.
    start: (Timestamp, Duration),
    report: RecoveryReport,
    /// By how many milliseconds ages lag behind the time at first.
    doubted: u64,
    /// Whether any topic gives its messages a lifetime: otherwise nobody needs to ask.
    lifetimes: AtomicBool,
    files: Files,
    core: Mutex<Core>,
    /// Those who wait for writes that others lead, and for syncs.
    written: rounds::Followers,
    committed: rounds::Followers,
    /// A place in a backlog may be free.
    admitted: Condvar,
    arrived: Condvar,
    commit_work: Condvar,
    upkeep_work: Condvar,
    lease_work: Condvar,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    /// Where the groups read.
    readers: readers::Readers,
    /// Published ids that are on disk, taken after the core if both are; and whoever writes them, one at a time.
    runs: Mutex<Arc<Runs>>,
    mending: Mutex<()>,
    /// Whoever makes one run of several.
    merging: Mutex<ids::Merging>,
    /// Whether any topic remembers no ids: otherwise nobody needs to ask.
    forgetful: AtomicBool,
    /// Whether some topic is, or was in this opening, written packed.
    packs: AtomicBool,
    /// Processed ids that are on disk, once anybody asked; one checkpoint at a time; and how far the tables were looked
    /// through for rows that have left their window.
    tables: Mutex<Option<Arc<Checked>>>,
    checkpointing: Mutex<()>,
    swept: Mutex<Option<ProcessedKey>>,
    /// Held while the store is being closed; true once that is done.
    closing: Mutex<bool>,
    /// Only one is preparing a segment at a time.
    preparing: Mutex<room::Preparer>,
    /// Only one is cleaning at a time.
    cleaning: Mutex<clean::Cleaner>,
    /// Only one works on a snapshot at a time.
    snapshotting: Mutex<()>,
    removing: Mutex<()>,
    /// Messages that could not be read.
    corrupt: AtomicU64,
    /// Somebody else owns the store: nothing is ever decided here.
    observes: bool,
    lock: Mutex<Option<Arc<dyn StorageFile>>>,
}

impl Engine {
    /// The engine's clock: it never goes back, and what is stored is never ahead of it.
    fn now(&self) -> Timestamp {
        let (wall, passed) = self.uptime();
        // Rounded down, and `after` up: what is due then is never early by a part of a millisecond.
        wall.after_whole(passed)
    }

    /// When, on the engine's clock, so much time will have passed.
    fn after(&self, span: Duration) -> Timestamp {
        if span.is_zero() {
            return self.now();
        }
        let (wall, passed) = self.uptime();
        wall.plus(passed.saturating_add(span))
    }

    /// The engine's clock at open, and how long ago that was.
    fn uptime(&self) -> (Timestamp, Duration) {
        let (wall, monotonic) = self.start;
        (wall, self.environment.clock.monotonic().saturating_sub(monotonic))
    }

    /// What opening found.
    pub(crate) fn recovery(&self) -> &RecoveryReport {
        &self.report
    }

    /// The id of the lease with this epoch.
    pub(crate) fn lease_id(&self, epoch: u64) -> LeaseId {
        LeaseId { incarnation: self.incarnation, epoch }
    }

    /// The core, if the store still takes calls.
    fn open_core(&self) -> Result<MutexGuard<'_, Core>> {
        let core = self.core.lock();
        core.check()?;
        Ok(core)
    }

    /// Wakes every waiting lease, to look at its stop flag.
    pub(crate) fn wake(&self) {
        // Under the lock, so that nobody is between looking and waiting.
        let mut core = self.core.lock();
        self.arrived.notify_all();
        let wakers = core.dismiss_asks();
        drop(core);
        arrivals::wake_all(wakers);
    }
}

impl Core {
    fn new(tail: Tail, state: State, seed: u64, ids: ids::Ids) -> Self {
        Self {
            ids,
            inbox: inbox::Inbox::default(),
            next_expiry_of_ids: Timestamp::ZERO,
            tail,
            backlogs: backlog::Backlogs::of(&state),
            lanes: plain::Lanes::default(),
            flows: flow::Flows::default(),
            filters: filter::Filters::default(),
            state,
            visible: visible::Visible::default(),
            line: VecDeque::new(),
            let_go: VecDeque::new(),
            watchers: watch::Watchers::default(),
            meters: meter::Meters::default(),
            copies: park::Copies::default(),
            unsettled: values::Unsettled::default(),
            unheard: None,
            waiting: Vec::new(),
            leasing: 0,
            arrivals: arrivals::Arrivals::default(),
            windows: BTreeMap::new(),
            scratch: Vec::new(),
            poison: None,
            closing: false,
            closed: false,
            departures: onward::Departures::default(),
            committing: false,
            syncing: false,
            writes: rounds::Round::default(),
            syncs: rounds::Round::default(),
            disk_end: Lsn::ZERO,
            armed: false,
            urgent: false,
            last_sync: Duration::ZERO,
            last_disk: None,
            preparing_behind: false,
            disk_share: 0,
            upkeep_due: true,
            next_upkeep: Some(Timestamp::ZERO),
            marks: 0,
            epoch: 0,
            full: None,
            wanted_bytes: 0,
            snapshot: snapshot::Progress::default(),
            space: space::Space::default(),
            retaining: retention::Agenda::default(),
            jitter: fastrand::Rng::with_seed(seed),
        }
    }

    /// Whether the store takes nothing more.
    const fn is_over(&self) -> bool {
        self.poison.is_some() || self.closed
    }

    /// Refuses if the store is closed or poisoned.
    fn check(&self) -> Result<()> {
        if let Some(poison) = &self.poison {
            return Err(poison.error(Code::Poisoned));
        }
        if self.closed { Err(closed()) } else { Ok(()) }
    }

    /// Whether everything up to `end` has reached `level`.
    fn reached(&self, end: Lsn, level: Durability) -> bool {
        match level {
            Durability::Memory => true,
            Durability::Os => end <= self.tail.written(),
            Durability::Disk => end <= self.tail.durable(),
        }
    }
}

fn closed() -> Error {
    Error::new(Code::Closed, "the store is closed")
}
