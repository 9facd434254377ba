//! Pausing a consumer group, and letting it go on.

use crate::consumer::Consumer;
use crate::error::Result;
use crate::types::Timestamp;
use std::time::Duration;

/// The end of time: paused until resumed.
const UNTIL_RESUMED: Timestamp = Timestamp::new(u64::MAX);

/// A group that is paused hands out nothing, to nobody, also after the store was closed or has crashed. Deliveries that
/// are out can be settled and extended as ever, and what fails or runs out meanwhile waits like the rest. Publishing
/// goes on. Pausing a group that is paused gives it the new end.
///
/// The end of a pause goes by the engine's clock: the wall clock when the store was opened, and from then on one that
/// nobody sets. So setting the machine's clock while the store is open makes no pause shorter or longer; across a
/// restart the wall clock counts, but never back behind what the store has seen.
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = millpond::Store::open(dir.path())?;
/// # let orders = store.topic("orders")?;
/// # orders.publish("4711").wait()?;
/// # let email = orders.consumer("email", millpond::Group::default())?;
/// email.pause()?;
/// assert!(email.try_lease()?.is_none());
/// email.resume()?;
/// email.lease()?.ack().wait()?;
/// # Ok(())
/// # }
/// ```
impl Consumer {
    /// Hands out nothing until [`resume`](Self::resume); durable when this returns.
    ///
    /// # Errors
    /// `Misuse` if the group was removed; `Closed`, `Poisoned`, or whatever kept it from being recorded.
    pub fn pause(&self) -> Result<()> {
        self.pause_until(UNTIL_RESUMED)
    }

    /// Hands out nothing before `time`, on the engine's clock; durable when this returns. Consumers that wait are woken
    /// then. A time that is over ends the pause.
    ///
    /// # Errors
    /// As for [`pause`](Self::pause).
    pub fn pause_until(&self, time: Timestamp) -> Result<()> {
        let (engine, group) = self.engine()?;
        engine.pause(group, time)
    }

    /// Hands out nothing for so long from now, in whole milliseconds rounded up; durable when this returns.
    ///
    /// # Errors
    /// As for [`pause`](Self::pause).
    pub fn pause_for(&self, span: Duration) -> Result<()> {
        let (engine, group) = self.engine()?;
        engine.pause(group, engine.moment(span))
    }

    /// Ends the pause; durable when this returns. Consumers that wait are woken. Nothing happens if there is none.
    ///
    /// # Errors
    /// As for [`pause`](Self::pause).
    pub fn resume(&self) -> Result<()> {
        self.pause_until(Timestamp::ZERO)
    }
}
