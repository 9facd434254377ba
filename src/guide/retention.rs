//! What stays, what leaves, and why.
//!
//! # What stays
//!
//! A message stays until every group of its topic has settled it. A topic that never had a group keeps everything, and
//! removing the last group takes nothing away. From the moment on at which no group needs a message and no rule keeps
//! it, it is gone for readers, seeks and new groups, whether or not its bytes are still on the disk. Offsets are never
//! used again.
//!
//! To read or seek what is settled, a topic has to keep it:
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let store = millpond::Store::open(dir.path())?;
//! use millpond::{Group, Retention, Start, TopicSettings};
//! use std::time::Duration;
//!
//! let week = Retention::until_settled().keep_age(Duration::from_secs(7 * 86_400));
//! let orders = store.topic_with("orders", TopicSettings::default().retention(week))?;
//! let email = orders.consumer("email", Group::default())?;
//! orders.publish("4711").wait()?;
//! email.lease()?.ack().wait()?;
//!
//! let would = email.seek_dry_run(Start::Earliest)?;
//! assert_eq!((would.again, would.gone), (1, 0));
//! email.seek(Start::Earliest)?;
//! email.lease()?.ack().wait()?; // once more
//! # Ok(())
//! # }
//! ```
//!
//! | rule | it says |
//! |---|---|
//! | [`keep_age`], [`keep_bytes`], [`keep_count`] | what is settled stays as long as one of these holds |
//! | [`max_age`], [`max_bytes`], [`max_count`] | what is not settled goes as soon as one of these is exceeded |
//! | [`expires_after`] | a message is not delivered any more after this time, and settled for each group in its turn |
//! | [`keep_dead_letters`] | a group's dead letters go when they are older than this |
//!
//! No `max_..` rule drops a message that is leased, delayed or a dead letter before that is over. Ages count from when
//! a
//! message was accepted, or fell due, and count the time that the store has seen pass. `keep_age` and `max_age`
//! together
//! are Kafka's `retention.ms`; that an expired message behind one that lives longer waits for its turn is as in
//! RabbitMQ.
//!
//! # Every way out
//!
//! Besides being acked, these are all the ways by which a message leaves. Each is counted in [`Removed`], for a group
//! in
//! [`GroupStats`](crate::GroupStats), for everybody in [`TopicStats`](crate::TopicStats).
//!
//! | counter | for a group | for everybody |
//! |---|---|---|
//! | `expired` | its lifetime was over | |
//! | `filtered` | the group's filter did not select it | |
//! | `aged` | a dead letter older than [`keep_dead_letters`] | older than [`max_age`] |
//! | `over_bytes` | | beyond [`max_bytes`] |
//! | `over_count` | | beyond [`max_count`] |
//! | `overflowed` | | dropped as the oldest of a full backlog |
//! | `purged` | a dead letter that was purged | purged by a call of [`Topic::purge`](crate::Topic::purge) |
//! | `cancelled` | | cancelled before it was due, see [`Topic::cancel`](crate::Topic::cancel) |
//! | `processed` | its id was known as processed | |
//! | `settled` | gone before the group came to it | settled by every group and kept by no rule |
//!
//! [`keep_age`]: crate::Retention::keep_age
//! [`keep_bytes`]: crate::Retention::keep_bytes
//! [`keep_count`]: crate::Retention::keep_count
//! [`max_age`]: crate::Retention::max_age
//! [`max_bytes`]: crate::Retention::max_bytes
//! [`max_count`]: crate::Retention::max_count
//! [`expires_after`]: crate::Message::expires_after
//! [`keep_dead_letters`]: crate::Group::keep_dead_letters
//! [`Removed`]: crate::Removed
