//! What can be done to a store, as plain data: made by proptest, or from the bytes of a fuzzer.

/// How many topics there are, and groups of each.
pub(crate) const TOPICS: usize = 2;
pub(crate) const GROUPS: usize = 2;

/// One step. Numbers are taken modulo what there is: every sequence makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// To a topic, with so many bytes, at level `Memory`, `Os` or `Disk`.
    Publish {
        topic: u8,
        bytes: u8,
        level: u8,
    },
    Batch {
        topic: u8,
        count: u8,
    },
    Lease {
        group: u8,
    },
    Ack {
        held: u8,
    },
    Nack {
        held: u8,
    },
    Bury {
        held: u8,
    },
    Release {
        held: u8,
    },
    /// Seconds pass.
    Wait {
        seconds: u8,
    },
    /// All dead letters of a group.
    Redrive {
        group: u8,
    },
    Purge {
        group: u8,
    },
    Seek {
        group: u8,
        to: u8,
    },
    Sync,
    Upkeep,
    /// Closed and opened again.
    Reopen,
    /// The process dies.
    Kill,
    /// Power fails.
    Crash,
    /// From now on, the disk fails so often (in thousandths).
    Faults {
        often: u8,
    },
    /// The opening after the next death is cut at this step.
    Cut {
        step: u8,
    },
}

impl Action {
    /// Takes up to three bytes for an action; nothing at the end.
    pub(crate) fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut next = || -> Option<u8> {
            let (first, rest) = bytes.split_first()?;
            *bytes = rest;
            Some(*first)
        };
        let kind = next()?;
        let mut number = || next().unwrap_or(0);
        Some(match kind % 32 {
            0..6 => Self::Publish { topic: number(), bytes: number(), level: kind / 32 },
            6 | 7 => Self::Batch { topic: kind / 32, count: number() % 20 },
            8..13 => Self::Lease { group: number() },
            13..16 => Self::Ack { held: number() },
            16 => Self::Nack { held: number() },
            17 => Self::Bury { held: number() },
            18 => Self::Release { held: number() },
            19 | 20 => Self::Wait { seconds: number() },
            21 => Self::Redrive { group: number() },
            22 => Self::Purge { group: number() },
            23 => Self::Seek { group: number(), to: number() },
            24 => Self::Sync,
            25 | 26 => Self::Upkeep,
            27 => Self::Reopen,
            28 => Self::Kill,
            29 => Self::Crash,
            30 => Self::Faults { often: number() % 8 },
            _ => Self::Cut { step: number() % 16 },
        })
    }

    /// All actions that the bytes stand for.
    pub(crate) fn all(mut bytes: &[u8]) -> Vec<Self> {
        std::iter::from_fn(|| Self::take(&mut bytes)).collect()
    }

    /// Whether it makes the disk fail.
    pub(crate) const fn is_fault(self) -> bool {
        matches!(self, Self::Faults { .. } | Self::Cut { .. })
    }
}
