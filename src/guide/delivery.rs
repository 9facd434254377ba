//! At least once: leases, and what becomes of a message that was handed out.
//!
//! Each consumer group gets every message of its topic, and keeps its own progress: what is acked, exactly, however
//! many holes there are. A message is *leased*: it belongs to one consumer until a deadline (others call this a
//! visibility timeout), and comes back if it was not settled by then.
//!
//! | to say | call | charged |
//! |---|---|---|
//! | done | [`ack`](crate::Delivery::ack) | nothing |
//! | it failed; try again after the group's backoff | [`nack`](crate::Delivery::nack) | a failure |
//! | somebody else shall have it | [`release`](crate::Delivery::release) | nothing |
//! | not now, but later | [`snooze`](crate::Delivery::snooze) | nothing |
//! | it will never work | [`bury`](crate::Delivery::bury) | nothing; it becomes a dead letter |
//! | I need longer | [`extend`](crate::Delivery::extend) | nothing |
//!
//! A delivery is settled by value, so that a double ack does not compile. One that is dropped unsettled, by a `?` or a
//! panic, counts as a failure, and never waits for the disk.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::{ErrorKind, Group, Store};
//! use std::time::Duration;
//!
//! let store = Store::open(dir.path())?;
//! let orders = store.topic("orders")?;
//! orders.publish("4711").wait()?;
//! let email = orders.consumer("email", Group::default().lease(Duration::from_millis(20)))?;
//!
//! let first = email.lease()?;
//! // The first holder is slow: its lease runs out, the wait after a timeout passes, and a second one gets the message.
//! let second = email.lease_timeout(Duration::from_secs(60))?.expect("within a minute");
//! assert_eq!((first.offset(), second.counters().timeouts), (second.offset(), 1));
//! // The first is told so, and does no harm to the second.
//! assert_eq!(first.ack().wait().unwrap_err().kind(), ErrorKind::LeaseLost);
//! second.ack().wait()?;
//! # store.close()
//! # }
//! ```
//!
//! As long as nobody else was given the message, a late ack is as good as one in time. To tell a late holder from the
//! present one outside the store, use the [`LeaseId`](crate::LeaseId) as a fencing token (Kleppmann, *How to do
//! distributed locking*, 2016): it rises with each hand-out of the store's life.
//!
//! # After a crash
//!
//! Leases live in memory: opening the store ends all of them at once, with no timeout to wait for. What was acked at
//! level `Disk`, or at `Os` if only the process died, does not come back. What was in flight comes again: handlers need
//! to bear that.
