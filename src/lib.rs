//! An embedded, crash-safe message queue: a directory on disk, opened by one process, with no server. It is to queues
//! what SQLite is to tables.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("data");
//! use millpond::{Group, Message, Store};
//!
//! let store = Store::open(&path)?; // opening is recovery
//! let orders = store.topic("orders")?;
//! orders.publish(Message::new("4711").key("customer-7")).wait()?; // on the disk now
//!
//! let email = orders.consumer("email", Group::default())?;
//! let order = email.lease()?;
//! assert_eq!(order.payload(), b"4711");
//! order.ack().wait()?;
//! store.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! * **Durable.** A message published with [`Durability::Disk`], the default, is there after a power cut once its
//!   [`Ticket`] has resolved.
//! * **True.** What is delivered was published, byte for byte: everything read from the disk is checked first.
//! * **Ordered.** Offsets are dense and rise in the order of the calls; who reads a topic sees them in order. A group
//!   can keep the messages of each key in order: one at a time, a failed one before its successors.
//! * **At least once.** Every group gets every message until it is acked or parked as a [`DeadLetter`]. A message whose
//!   ack is durable does not come back.
//! * **Deduplicated.** A message published with an id that was accepted within the topic's window is not accepted
//!   again, across crash and restart, and is answered with the first one's receipt.
//! * **Atomic.** A [`Transaction`] happens whole or not at all: publishes to any topics, settlements of any groups, and
//!   small values.
//! * **Poison-proof.** A message that brings its process down every time is found and parked, and those that were in
//!   flight beside it are not charged for that.
//! * **Damage is never silent.** A torn end that nobody was promised is trimmed and reported; damage to what was
//!   promised is an error that names topics and offsets. Nothing is passed over in silence, nothing panics.
//!
//! # What it is not
//!
//! * It is not a server, and not for several processes at once: a directory belongs to the one that opened it.
//! * It is not replicated: it is as durable as the disk under it.
//! * It is not exactly once: after a crash a message can be delivered again, so handlers need to bear that. The
//!   [`LeaseId`] helps to tell a late holder from the present one.
//! * It is not for network file systems, whose locks and syncs promise less than this needs.
//!
//! # The map of the house
//!
//! | to | there is |
//! |---|---|
//! | open, close, verify a directory | [`Store`], [`Options`] |
//! | publish | [`Topic::publish`], [`Topic::publish_all`], [`Message`], [`Receipt`], [`BatchReceipt`] |
//! | publish and process each id once | [`Message::id`], [`TopicSettings::deduplicate`], [`Group::remember_processed`], [`Window`] |
//! | wait for an outcome, or `.await` it | [`Ticket`] |
//! | say how durable | [`Durability`], [`TopicSettings`], [`Store::sync`] |
//! | consume | [`Topic::consumer`], [`Consumer`], [`Group`], [`Retry`], [`Start`] |
//! | settle | [`Delivery`]: `ack`, `nack`, `release`, `snooze`, `bury`, `extend`; [`Consumer::ack_all`] for many |
//! | keep the messages of a key in order | [`Group::ordered`], [`WhenParked`], [`Consumer::lease_runs`], [`Run`], [`Delivery::skipped`] |
//! | `.await` the next message | [`Consumer::next`], [`Consumer::next_many`]; `Consumer::stream` with feature `stream` |
//! | have it all done by workers | [`Consumer::run`], [`Workers`], [`Handled`]; `Consumer::run_async` with feature `tokio` |
//! | publish and consume values | `Store::typed_topic` with feature `typed` |
//! | do several things as one, and keep small values | [`Store::transaction`], [`Transaction`], [`Committed`], [`Store::get`]; [`Topic::publish_if`] |
//! | stop waiting | [`Consumer::stopper`] |
//! | have the urgent first | [`TopicSettings::priorities`], [`Message::priority`] |
//! | want some messages of a topic | [`Group::filter`], [`Filter`] |
//! | bound what waits and what is out | [`TopicSettings::max_backlog`], [`Group::max_in_flight`], [`Group::rate`], [`Group::breaker`], [`Consumer::pause`], [`Delivery::rate_limited`] |
//! | see what was given up, and end it | [`Consumer::dead_letters`], [`DeadLetter`], [`BuryReason`]; [`Consumer::redrive`], [`Consumer::purge`] |
//! | read without consuming | [`Topic::read`], [`Replay`], [`Record`]; [`Consumer::seek`] to consume again |
//! | have messages take less of the disk | [`TopicSettings::compression`], [`Compression`] |
//! | encrypt what is on the disk | [`Options::encryption`], [`Keys`], [`KeyId`], with feature `encrypt`; [`guide::encryption`] |
//! | give back disk space | it happens by itself; [`Store::clean_now`], [`Store::remove_topic`], [`guide::space`] |
//! | get back what is whole of a damaged store | [`Store::repair`], [`Store::salvage`] |
//! | look inside | [`Store::dump`], [`Store::stats`], [`Consumer::why`], [`Store::events`], [`Store::recovery`], [`Store::verify`] |
//! | count, and have it on a page | [`Store::metrics`], [`Metrics::to_prometheus`], [`Histogram`]; `MetricsFeed` with feature `metrics` |
//! | follow a message by its trace | [`Message::trace_parent`], [`Delivery::trace_context`], [`guide::tracing`] |
//! | test with time by hand, and handlers that are killed | `testing::Pond`, `testing::Chaos` with feature `testing` |
//! | look at a store that is open elsewhere | [`Store::open_read_only`], [`ReadOnlyStore`], [`ReadOnlyTopic`] |
//! | back it up while it runs | [`Store::backup`], [`Backup`] |
//! | bring a topic from another store | [`Store::restore`], [`Restore`], [`ReadOnlyTopic::progress`] |
//! | know what to do about an error | [`Error`], [`ErrorKind`], [`explanations`] |
//!
//! The [`guide`] has a chapter for each promise.
//!
//! One group is one independent reader of a topic: several threads with clones of one [`Consumer`] share its messages,
//! several groups each get all of them.
#![forbid(unsafe_code)]

mod backup;
mod clock;
mod config;
mod consumer;
mod dead_letter;
mod delivery;
mod encryption;
mod engine;
mod error;
#[cfg_attr(not(test), expect(dead_code, reason = "the format is fixed before every part that writes it is built"))]
#[expect(unused_imports, reason = "likewise")]
mod event;
pub mod guide;
mod histogram;
#[expect(dead_code, reason = "likewise, and cleaning will read more of it")]
mod journal;
mod leasing;
mod link;
mod message;
#[cfg(feature = "metrics")]
mod metering;
mod options;
mod pause;
mod prometheus;
mod read_only;
mod redrive;
mod replay;
mod restore;
mod retention;
mod run;
mod salvage;
mod schedule;
mod seen;
#[expect(dead_code, reason = "the fold keeps what later parts will ask for")]
#[cfg_attr(not(test), expect(unused_imports, reason = "likewise"))]
mod state;
#[expect(dead_code, reason = "the seam is complete before all of it is used")]
mod storage;
mod store;
mod sync;
#[expect(dead_code, reason = "cleaning and removal will call the rest")]
mod tables;
mod ticket;
mod topic;
mod trace;
mod transaction;
#[cfg(feature = "typed")]
mod typed;
mod types;
mod workers;

pub use clock::{Clock, Entropy, ManualClock, SeededEntropy, SystemClock, SystemEntropy};
pub use config::{
    Backlog, Breaker, Compression, Durability, Filter, Group, IdBudget, KeyId, Keys, Options, Overflow, Rate,
    Retention, Retry, Start, TopicSettings, WhenFull, WhenParked, Window,
};
pub use consumer::{Batch, Consumer, Stopper};
pub use dead_letter::{BuryReason, DeadLetter, DeadLetters};
pub use delivery::{Counters, Delivery};
pub use engine::{Backup, GroupMetrics, GroupProgress, Metrics, Past, StoredSettings, TopicMetrics};
pub use engine::{
    BreakerState, Cleaned, Dumped, DumpedFrame, Events, GroupStats, Happening, IdStats, Notice, Progress,
    RecoveryReport, Removed, Repaired, Report, SeekReport,
};
pub use engine::{SegmentStats, StoreStats, Swept, TopicStats, What, Why};
pub use error::{Damage, Error, ErrorKind, Explanation, Result, explanations};
pub use histogram::Histogram;
pub use journal::Trimmed;
#[cfg(feature = "stream")]
pub use leasing::DeliveryStream;
pub use leasing::{Deliveries, Leasing};
pub use message::{BatchReceipt, Duplicate, Message, Receipt, Record};
#[cfg(feature = "metrics")]
pub use metering::MetricsFeed;
pub use read_only::{ReadOnlyStore, ReadOnlyTopic};
pub use redrive::{Cancel, Purge, Redrive};
pub use replay::Replay;
pub use restore::Restore;
pub use run::Run;
pub use salvage::{Dump, Salvage, Salvaged};
pub use schedule::{Schedule, Scheduled};
pub use store::Store;
pub use ticket::Ticket;
pub use topic::Topic;
pub use trace::TraceContext;
pub use transaction::{Committed, Transaction};
#[cfg(feature = "json")]
pub use typed::Json;
#[cfg(all(feature = "typed", feature = "stream"))]
pub use typed::TypedStream;
#[cfg(feature = "typed")]
pub use typed::{
    Codec, CodecResult, Postcard, SCHEMA_HEADER, TypedBatch, TypedConsumer, TypedDelivery, TypedLeasing, TypedTopic,
};
pub use types::{GroupId, Incarnation, LeaseId, Lsn, Offset, Position, SegmentId, StoreId, Timestamp, TopicId};
pub use workers::{BatchHandled, Handled, IntoBatchHandled, IntoHandled, Worked, Workers};

#[cfg(any(test, feature = "testing"))]
pub mod testing;

/// The programs of the README are compiled with the documentation's tests. They are not run: they leave a directory.
#[cfg(all(doctest, feature = "tokio", feature = "typed"))]
#[doc = include_str!("../README.md")]
mod readme {}
