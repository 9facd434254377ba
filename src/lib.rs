//! millpond: an embedded, crash-safe message queue.
#![forbid(unsafe_code)]

mod clock;
mod config;
mod error;
mod event;
mod message;
mod state;
mod storage;
mod types;

pub use clock::{Clock, Entropy, ManualClock, SeededEntropy, SystemClock, SystemEntropy};
pub use config::{Durability, Group, Options, Retry, Start, TopicSettings};
pub use error::{Damage, Error, ErrorKind, Result};
pub use message::{BatchReceipt, Message, Receipt, Record};
pub use types::{GroupId, Incarnation, LeaseId, Lsn, Offset, Position, SegmentId, StoreId, Timestamp, TopicId};

/// The simulated disk. For tests; no promise of stability covers it.
#[cfg(any(test, feature = "testing"))]
pub use storage::sim as testing;
