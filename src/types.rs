//! The numbers of the store, each a type of its own: a topic's offset can't be handed to something that wants
//! a place in the journal.
//!
//! How they are ordered: `durable <= written <= end` for [`Lsn`]s of one journal at any moment, and
//! `ack floor <= next to hand out <= visible end <= end` for [`Offset`]s of one topic.

use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub(crate) $inner);

        impl $name {
            /// The smallest value.
            pub const ZERO: Self = Self(0);

            /// Wraps a plain number.
            #[must_use]
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The plain number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

number!(
    /// A message's place in its topic: dense from 0, never reused.
    Offset,
    u64
);
number!(
    /// A segment of the journal. Numbers rise and are never used twice.
    SegmentId,
    u32
);
number!(
    /// A byte position inside one segment.
    Position,
    u32
);
number!(
    /// A topic's number, unique in its store and never reused.
    TopicId,
    u32
);
number!(
    /// A consumer group's number, unique in its store and never reused.
    GroupId,
    u32
);
number!(
    /// Counts the times a store was opened for writing; the first is 1.
    Incarnation,
    u64
);
number!(
    /// Milliseconds since the Unix epoch on the engine's clock.
    Timestamp,
    u64
);

impl Offset {
    /// The offset `count` messages further on, or the largest offset there is.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// The offset right after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// How many offsets lie from `earlier` up to, and without, this one; 0 if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Timestamp {
    /// This time moved on by `span`, or the last time there is.
    #[must_use]
    pub fn plus(self, span: core::time::Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }

    /// This time moved on by the whole milliseconds of `span`.
    pub(crate) fn after_whole(self, span: core::time::Duration) -> Self {
        let whole = span.as_secs().saturating_mul(1000).saturating_add(u64::from(span.subsec_millis()));
        Self(self.0.saturating_add(whole))
    }

    /// The time from `earlier` to this one; nothing if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> core::time::Duration {
        core::time::Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in whole milliseconds, rounded up, so that nothing is ever early by the rounding.
pub(crate) fn millis(span: core::time::Duration) -> u64 {
    // Not by way of `as_nanos`: a division in 128 bits is the dearest part of looking at the clock.
    let rest = u64::from(span.subsec_nanos().div_ceil(1_000_000));
    span.as_secs().saturating_mul(1_000).saturating_add(rest)
}

/// A log sequence number: where a frame starts (or where the log ends) in the journal.
///
/// Segment number in the high 32 bits, byte position in the low 32: rising, not dense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lsn(u64);

impl Lsn {
    /// Before everything.
    pub const ZERO: Self = Self(0);

    /// The byte at `position` of segment `segment`.
    #[must_use]
    pub const fn new(segment: SegmentId, position: Position) -> Self {
        Self(((segment.0 as u64) << 32) | position.0 as u64)
    }

    /// From the number stored on disk.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The number stored on disk.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The segment this points into.
    #[must_use]
    pub const fn segment(self) -> SegmentId {
        SegmentId((self.0 >> 32) as u32)
    }

    /// The byte position in that segment.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the low 32 bits are what is wanted")]
    pub const fn position(self) -> Position {
        Position(self.0 as u32)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment(), self.position())
    }
}

/// Names one lease: the opening of the store it was given in, and a number that rises with every lease.
///
/// A later lease of the same message has a larger id, so a holder that was replaced can be told from the one
/// that replaced it, also after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId {
    /// The opening of the store.
    pub incarnation: Incarnation,
    /// The lease's number in that opening.
    pub epoch: u64,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.epoch)
    }
}

/// 16 random bytes that tell one store's files from another's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StoreId(pub(crate) [u8; 16]);

impl StoreId {
    /// The bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lsn_is_segment_then_position() {
        let lsn = Lsn::new(SegmentId(7), Position(4096));
        assert_eq!((lsn.segment(), lsn.position()), (SegmentId(7), Position(4096)));
        assert!(lsn < Lsn::new(SegmentId(8), Position(0)));
        assert_eq!(lsn.to_string(), "7:4096");
    }

    #[test]
    fn milliseconds_round_up() {
        assert_eq!(millis(core::time::Duration::from_nanos(1)), 1);
        assert_eq!(millis(core::time::Duration::from_millis(5)), 5);
        assert_eq!(millis(core::time::Duration::new(2, 999_000_001)), 3_000);
        assert_eq!(millis(core::time::Duration::MAX), u64::MAX);
    }
}
