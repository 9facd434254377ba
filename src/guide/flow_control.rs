//! Flow control: how much is taken in, how much is out, how quickly, and when nothing is.
//!
//! # How much a topic takes in
//!
//! A topic whose consumers are slower than its publishers grows until the disk is full. [`max_backlog`] bounds it, by
//! messages, by bytes, or both. The *backlog* is what at least one group is not done with; see
//! [`Backlog`](crate::Backlog) for what that means for dead letters, delays and topics without groups. What happens to
//! a publish that finds it full is for you to say:
//!
//! | [`Overflow`](crate::Overflow) | the publish | others call it |
//! |---|---|---|
//! | `Reject` | fails with code `backlog-full`, and the message comes back in the error | RabbitMQ `reject-publish`, NATS `DiscardNew` |
//! | `Wait` | waits in its ticket, in call order, until something is settled | a bounded channel |
//! | `DropOldest` | is taken in; the oldest that nobody holds are dropped and counted as [`overflowed`] | RabbitMQ `drop-head`, NATS `DiscardOld` |
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let store = millpond::Store::open(dir.path())?;
//! use millpond::{Backlog, Group, Overflow, TopicSettings};
//! use std::time::Duration;
//!
//! let limit = Backlog::messages(2).when_full(Overflow::Wait);
//! let orders = store.topic_with("orders", TopicSettings::default().max_backlog(limit))?;
//! let email = orders.consumer("email", Group::default())?;
//! orders.publish("4711").wait()?;
//! orders.publish("4712").wait()?;
//! let ticket = orders.publish("4713"); // its place is fixed now; there is no room for it yet
//! let ticket = ticket.wait_timeout(Duration::from_millis(10)).unwrap_err();
//! email.lease()?.ack().wait()?; // there is now
//! ticket.wait()?;
//! # store.close()
//! # }
//! ```
//!
//! RabbitMQ counts what is ready in one queue; here a message counts once, however many groups need it, and also while
//! it is leased. A leased message is never dropped: the next oldest goes, and if there is none the publish is refused.
//! When the store closes, what waits is refused and handed back.
//!
//! # How much a group has out, and how quickly
//!
//! * [`max_in_flight`] bounds the deliveries that are out at once: RabbitMQ's prefetch and NATS' `max_ack_pending`, for
//!   the group as a whole. SQS has a fixed one of 120,000. What waits for a retry is not out.
//! * [`rate`] is a token bucket: so many in a time, and so many at once.
//! * Both hold back the hand-out and nothing else. `lease` waits, and wakes when a place or a token is there;
//!   `try_lease` gives nothing; [`why`](crate::Consumer::why) says which of them it is.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let store = millpond::Store::open(dir.path())?;
//! use millpond::{Group, Offset, Rate, Why};
//! let orders = store.topic("orders")?;
//! let settings = Group::default().max_in_flight(1).rate(Rate::per_second(100).burst(10));
//! let email = orders.consumer("email", settings)?;
//! orders.publish_all(["4711".into(), "4712".into()]).wait()?;
//! let first = email.lease()?;
//! assert!(email.try_lease()?.is_none());
//! assert_eq!(email.why(Offset::new(1))?, Why::InFlight { limit: 1 });
//! first.ack().wait()?;
//! email.lease()?.ack().wait()?;
//! # Ok(())
//! # }
//! ```
//!
//! # When nothing is handed out
//!
//! * **Somebody pauses the group**: [`pause`], [`pause_until`], [`pause_for`], [`resume`]. It is durable: a group that
//!   was paused before a crash is paused after it. What is out can be settled.
//! * **Whoever the work is for says "later"**: [`rate_limited`] gives the message back uncharged and holds the group
//!   until then, as an HTTP client does with `429` and `Retry-After`. With `nack` it would burn an attempt for each of
//!   the messages that are told the same.
//! * **Everything fails**: with a [`breaker`] a group stops by itself when so many distinct messages fail in a row,
//!   tries one after a pause, and goes on when that is acked. So an outage of an hour costs no message its attempts.
//!   Which failures are charged is told at [`Breaker`](crate::Breaker). The states are those of resilience4j.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let store = millpond::Store::open(dir.path())?;
//! use millpond::{Breaker, BreakerState, Group};
//! use std::time::Duration;
//! let orders = store.topic("orders")?;
//! let pauses = (Duration::from_millis(50), Duration::from_secs(60));
//! let email = orders.consumer("email", Group::default().breaker(Breaker::after(2).pause(pauses.0, pauses.1)))?;
//! orders.publish_all(["4711".into(), "4712".into(), "4713".into()]).wait()?;
//! email.lease()?.nack("the mail server is down").wait()?;
//! email.lease()?.nack("the mail server is down").wait()?;
//! assert!(matches!(email.stats().breaker, BreakerState::Open { .. }));
//! email.lease()?.ack().wait()?; // waits for the pause to end, and is the probe
//! assert_eq!(email.stats().breaker, BreakerState::Closed);
//! # Ok(())
//! # }
//! ```
//!
//! | | survives a restart | counts by |
//! |---|---|---|
//! | limits and rates as set | yes | |
//! | a pause | yes | the engine's clock, which follows the wall clock only while the store is closed |
//! | tokens, a breaker's state, a group told to come later | no | a clock that nobody sets |
//! | the due time of a message given back with `rate_limited` | yes | the engine's clock |
//!
//! [`max_backlog`]: crate::TopicSettings::max_backlog
//! [`overflowed`]: crate::Removed::overflowed
//! [`max_in_flight`]: crate::Group::max_in_flight
//! [`rate`]: crate::Group::rate
//! [`breaker`]: crate::Group::breaker
//! [`pause`]: crate::Consumer::pause
//! [`pause_until`]: crate::Consumer::pause_until
//! [`pause_for`]: crate::Consumer::pause_for
//! [`resume`]: crate::Consumer::resume
//! [`rate_limited`]: crate::Delivery::rate_limited
