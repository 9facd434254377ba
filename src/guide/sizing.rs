//! Sizing: how much disk, memory and time a store takes, by arithmetic, and how to measure it where it will run.
//!
//! # Disk
//!
//! * A message of 100 bytes takes 24 bytes more at most if it is published alone, less in a batch. An ack is a few
//!   bytes, and none of its own where many are settled at once.
//! * All files together stay below twice what lives, plus eight segments and three snapshots ([`space`](super::space)).
//!   *Lives* what some group has not settled, what a rule of retention keeps, and ids in their window at 64 bytes each.
//!   So: the largest backlog you want to survive, times the size of a message, times two, plus half a gigabyte for the
//!   default segments of 64 MiB.
//! * Plan for the day when nobody consumes: [`TopicSettings::max_backlog`](crate::TopicSettings::max_backlog) says what
//!   happens then, and a full disk refuses publishes and nothing else.
//!
//! # Memory
//!
//! * The backlog takes none. What is leased, retrying, delayed or dead takes at most 48 bytes a message and group, 44
//!   more for one that waits for its key in an ordered group.
//! * The buffer of what is not written yet: [`Options::buffer_bytes`](crate::Options::buffer_bytes), 8 MiB.
//! * What readers have read ahead, all groups together:
//!   [`Options::read_ahead_bytes`](crate::Options::read_ahead_bytes).
//! * Ids: [`Options::id_memory_bytes`](crate::Options::id_memory_bytes).
//! * Counters: six kilobytes for each of the first 1024 groups that settle something
//!   ([`monitoring`](super::monitoring)).
//!
//! # Time
//!
//! A durable publish takes what a sync takes: `millpond doctor DIR` says how long that is, and `millpond bench DIR`
//! what becomes of it. One publisher that waits for each message does one sync a message, whatever else you do. More
//! come by more publishers at once (they share a sync), by [`publish_all`](crate::Topic::publish_all), by waiting for
//! tickets later, or by a lower [`Durability`](crate::Durability). [`speed`](super::speed) has the order in which to
//! try them.
//!
//! Opening takes what was written since the last snapshot, not the backlog.
//!
//! # Workers
//!
//! Little's law: as many workers as messages come a second, times the seconds that one takes. At 200 a second and 50 ms
//! each, ten are busy; have twice as many. The lease should be longer than the slowest handler, or be extended, as the
//! [workers](super::workers) do; a lease that runs out is a message handled twice.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::{Durability, Message, Store};
//! // Measure with messages like yours.
//! let store = Store::options().durability(Durability::Os).open(dir.path())?;
//! let orders = store.topic("orders")?;
//! orders.publish_all((0..1000).map(|_| Message::new(vec![7; 300]))).wait()?;
//! let bytes: u64 = store.stats().segments.iter().map(|segment| segment.bytes).sum();
//! assert!(bytes / 1000 < 400, "{bytes}");
//! # store.close()
//! # }
//! ```
//!
//! # When it is too small
//!
//! One store is one journal with one writer. If that is not enough, two stores on two disks are two of everything; a
//! topic by itself moves to another store with `millpond export` and `import`. If one machine is not enough, or must
//! not be the only one, millpond is not what you need: [`comparison`](super::comparison).
