//! Failures, their waits, and dead letters.
//!
//! # Who is charged what
//!
//! For each message and group four things are counted, each on its own ([`Counters`](crate::Counters)):
//!
//! | what happens | leases | failures | timeouts | crashes | the message waits |
//! |---|---|---|---|---|---|
//! | it is handed out | + 1 | | | | |
//! | `nack`, a panic, a delivery dropped after it was taken from its batch | | + 1 | | | as [`Retry`](crate::Retry) says |
//! | `release`, `snooze`, `close`, dropped from a batch before it was taken | | | | | as long as `snooze` says |
//! | its lease runs out | | | + 1 | | as [`Retry`](crate::Retry) says |
//! | the process dies while it is out | | | | + 1, if it was alone | no; see [`poison`](super::poison) |
//!
//! Failures, timeouts and crashes have a limit each: [`Retry::attempts`](crate::Retry::attempts) (10),
//! [`Group::max_timeouts`](crate::Group::max_timeouts) (10), [`Group::max_crashes`](crate::Group::max_crashes) (3). A
//! message that reaches one is *parked* as a dead letter. Limits are looked at when a lease ends, and again when they
//! are changed: lowering one parks what is above it already.
//!
//! # Waits
//!
//! A failure is followed by a wait, always: a handler that fails at once can't burn its attempts in milliseconds.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::{Group, Retry, Store};
//! use std::time::Duration;
//!
//! let store = Store::open(dir.path())?;
//! let orders = store.topic("orders")?;
//! orders.publish("4711").wait()?;
//! // 1 minute, 10 minutes, an hour, with nothing left to chance; the fourth failure parks.
//! let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
//! let retry = Retry::waits([minutes(1), minutes(10), minutes(60)]).without_jitter();
//! let email = orders.consumer("email", Group::default().retry(retry))?;
//!
//! // This once, the other side has said when to come again.
//! email.lease()?.nack_after("429: try again later", Duration::from_millis(5)).wait()?;
//! let again = email.lease()?;
//! assert_eq!((again.attempt(), again.counters().failures), (2, 1));
//! # again.ack().wait()?;
//! # store.close()
//! # }
//! ```
//!
//! # Dead letters
//!
//! A dead letter stays where it is in the topic: what is parked is a state of this message in this group, with the
//! reason, the last errors, the counters and the time. Other groups know nothing of it. It can be looked at, given
//! another life, or dropped for good:
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::{BuryReason, Group, Purge, Redrive, Store};
//!
//! let store = Store::open(dir.path())?;
//! let orders = store.topic("orders")?;
//! orders.publish_all(["good".into(), "odd".into(), "bad".into()]).wait()?;
//! let email = orders.consumer("email", Group::default())?;
//! for _ in 0..3 {
//!     email.lease()?.bury("the mail server is down").wait()?;
//! }
//!
//! for letter in email.dead_letters() {
//!     let letter = letter?;
//!     assert_eq!(letter.reason(), BuryReason::Asked);
//!     assert_eq!(letter.errors().last().unwrap().1, "the mail server is down");
//! }
//! let bad = |letter: &millpond::DeadLetter| letter.record().is_some_and(|record| record.payload() == b"bad");
//! assert_eq!(email.purge(Purge::matching(bad))?.changed, 1);
//!
//! // How many would it be? Then at most 50 a second, so that the mail server is not overrun.
//! assert_eq!(email.redrive(Redrive::all().dry_run())?.matched, 2);
//! assert_eq!(email.redrive(Redrive::all().per_second(50))?.changed, 2);
//! let again = email.lease()?;
//! assert_eq!((again.offset().get(), again.life(), again.attempt()), (0, 1, 1));
//! # again.ack().wait()?;
//! # store.close()
//! # }
//! ```
//!
//! Redriven, a message keeps its offset, id, key, time and headers. Limits and waits begin anew; the totals go on, and
//! so does the list of errors. [`Cancel`](crate::Cancel) ends a redrive from another thread; what was redriven by then
//! stays so, the rest are dead letters as before. The same holds if the process dies in the middle.
//!
//! # Copies for another topic
//!
//! [`Group::forward_dead_letters`](crate::Group::forward_dead_letters) has a copy of each parked message published to
//! another topic, for those who watch that one: in one frame with the parking, so that a crash leaves both or neither.
//! The copy has the payload, key, priority and headers, no id, delay or expiry of its own, and these headers:
//!
//! | header | value |
//! |---|---|
//! | `millpond-origin-topic`, `-group`, `-offset`, `-time`, `-id` | which message of which group; the id if it had one |
//! | `millpond-origin-reason` | `asked`, `failures`, `timeouts`, `crashes`, `unreadable` or `key-parked` |
//! | `millpond-origin-error` | the last error |
//! | `millpond-origin-leases`, `-failures`, `-timeouts`, `-crashes`, `-life` | the counters; how often it was redriven |
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::{Group, Store};
//!
//! let store = Store::open(dir.path())?;
//! let orders = store.topic("orders")?;
//! orders.publish("4711").wait()?;
//! let email = orders.consumer("email", Group::default().forward_dead_letters("failed"))?;
//! email.lease()?.bury("no such address").wait()?;
//! store.sync().wait()?;
//!
//! let copy = store.existing_topic("failed")?.read(..).next().unwrap()?;
//! assert_eq!(copy.payload(), b"4711");
//! assert!(copy.headers().any(|header| header == ("millpond-origin-error", &b"no such address"[..])));
//! # store.close()
//! # }
//! ```
//!
//! A copy becomes visible at the level of its topic. A message that can't be read, or that fits in no frame together
//! with the headers, is parked without a copy, and that is logged. While the disk is full, copies use the room that is
//! kept for settling. Groups that forward to each other's topics send a message round as long as it fails everywhere.
