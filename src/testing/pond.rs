//! [`Pond`]: a store in memory with a clock that is moved by hand, for the tests of programs that use millpond.

use crate::clock::ManualClock;
use crate::config::Options;
use crate::engine::SimDisk;
use crate::error::Result;
use crate::store::Store;
use crate::types::Timestamp;
use std::time::Duration;

/// Where the clock begins: in November 2023.
const BEGIN: Timestamp = Timestamp::new(1_700_000_000_000);

/// Segments of a pond: small, since tests make many of them.
const SEGMENT: u32 = 1 << 20;

/// More steps than anything takes that comes to an end.
const STEPS_MAX: usize = 100_000;

/// A store in memory whose time passes when you say so, and which can be killed: for tests, with feature `testing`.
///
/// It is the engine itself, on a simulated disk, without threads of its own. What waits for nothing but the disk works
/// as ever: publishing, leasing without waiting, settling. What happens by time happens in
/// [`advance`](Self::advance): leases run out, retries and delayed messages fall due. A lease that waits for a message
/// ([`Consumer::lease`](crate::Consumer::lease)) would wait for ever; use [`try_lease`](crate::Consumer::try_lease).
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// use millpond::testing::Pond;
/// use millpond::{Group, Message, Retry};
/// use std::time::Duration;
///
/// let pond = Pond::new()?;
/// let orders = pond.store().topic("orders")?;
/// let email = orders.consumer("email", Group::default().retry(Retry::fixed(Duration::from_secs(60))))?;
/// orders.publish(Message::new("4711").delay(Duration::from_secs(3600))).wait()?;
/// assert!(email.try_lease()?.is_none());
/// pond.advance(Duration::from_secs(3600));
/// email.try_lease()?.unwrap().nack("the mail server is away").wait()?;
/// pond.advance(Duration::from_secs(60));
///
/// let pond = pond.kill()?; // as kill -9 does, and a new start
/// let email = pond.store().topic("orders")?.consumer("email", Group::default())?;
/// assert_eq!(email.try_lease()?.unwrap().counters().failures, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pond {
    disk: SimDisk,
    clock: ManualClock,
    options: Options,
    openings: u64,
    store: Store,
}

impl Pond {
    /// An empty one with the settings that a store has by default, but for smaller segments.
    ///
    /// # Errors
    /// None that a test has to expect.
    pub fn new() -> Result<Self> {
        Self::with(Store::options().segment_bytes(SEGMENT).first_segment_bytes(SEGMENT))
    }

    /// An empty one with these settings. Everything that is left to chance is the same each time.
    ///
    /// # Errors
    /// `Misuse` if a setting makes no sense.
    pub fn with(options: Options) -> Result<Self> {
        Self::open(SimDisk::new(1), ManualClock::starting_at(BEGIN), options, 1)
    }

    fn open(disk: SimDisk, clock: ManualClock, options: Options, openings: u64) -> Result<Self> {
        let store = Store::open_simulated(&disk, clock.clone(), openings, options.clone())?;
        Ok(Self { disk, clock, options, openings, store })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The clock, which can be set, too. After moving it, [`settle`](Self::settle) does what has fallen due.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Lets time pass, and does what falls due by it.
    pub fn advance(&self, span: Duration) {
        self.clock.advance(span);
        self.settle();
    }

    /// Does what the threads of an ordinary store would do now: writes what is buffered, ends leases, serves who
    /// awaits a message. A store that has failed does nothing.
    pub fn settle(&self) {
        for _ in 0..STEPS_MAX {
            let steps = [self.store.step_upkeep(), self.store.step_commit(), Ok(self.store.step_leases())];
            if !steps.into_iter().any(|step| step.unwrap_or(false)) {
                return;
            }
        }
    }

    /// The process dies as by `kill -9`, and the store is opened anew: what was written is there, what was only in
    /// memory is not, and every lease has ended. Handles of before are closed.
    ///
    /// # Errors
    /// None that a test has to expect.
    pub fn kill(self) -> Result<Self> {
        self.disk.kill();
        self.again()
    }

    /// The power goes, and the store is opened anew: what was not synced is there in part, or not at all.
    ///
    /// # Errors
    /// None that a test has to expect.
    pub fn cut_power(self) -> Result<Self> {
        self.disk.crash();
        self.again()
    }

    fn again(self) -> Result<Self> {
        let Self { disk, clock, options, openings, store } = self;
        drop(store);
        Self::open(disk, clock, options, openings.saturating_add(1))
    }
}
