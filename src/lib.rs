//! millpond: an embedded, crash-safe message queue.
#![forbid(unsafe_code)]

mod clock;
mod config;
mod engine;
mod error;
mod event;
mod journal;
mod message;
mod state;
mod storage;
mod sync;
mod ticket;
mod types;

pub use clock::{Clock, Entropy, ManualClock, SeededEntropy, SystemClock, SystemEntropy};
pub use config::{Durability, Group, Options, Retry, Start, TopicSettings};
pub use engine::{GroupStats, Progress, RecoveryReport, Report, SegmentStats, StoreStats, TopicStats};
pub use error::{Damage, Error, ErrorKind, Result};
pub use journal::Trimmed;
pub use message::{BatchReceipt, Message, Receipt, Record};
pub use ticket::Ticket;
pub use types::{GroupId, Incarnation, LeaseId, Lsn, Offset, Position, SegmentId, StoreId, Timestamp, TopicId};

/// The simulated disk. For tests; no promise of stability covers it.
#[cfg(any(test, feature = "testing"))]
pub use storage::sim as testing;
