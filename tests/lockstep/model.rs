//! Topics and groups as plain collections: what the store must show after each action.

use crate::action::GROUPS;
use std::collections::{BTreeMap, BTreeSet};

/// Where a message of a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stand {
    Ready,
    Held,
    /// It failed, and waits until this time.
    Retrying {
        due: u64,
    },
    Dead,
    Settled,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    /// Of every offset; those that are missing are `Ready`.
    pub(crate) stands: BTreeMap<u64, Stand>,
    /// Failures of those that have some.
    pub(crate) failures: BTreeMap<u64, u32>,
    /// Acks and the like that a crash may take back, with where they stood before.
    pub(crate) unsure: BTreeMap<u64, BTreeSet<u8>>,
    /// What was handed out since the group was last sought.
    pub(crate) handed: BTreeSet<u64>,
    /// Failures at the beginning of the life that they are in.
    pub(crate) base: BTreeMap<u64, u32>,
    /// A call that changes many of them is under way: either is right.
    pub(crate) anything: bool,
    /// It was sought, or lost an answer: failures are not compared any more.
    pub(crate) sought: bool,
}

impl Group {
    pub(crate) fn stand(&self, offset: u64) -> Stand {
        self.stands.get(&offset).copied().unwrap_or(Stand::Ready)
    }

    pub(crate) fn put(&mut self, offset: u64, stand: Stand) {
        self.stands.insert(offset, stand);
    }

    /// Whether it may be handed out now.
    pub(crate) fn claimable(&self, offset: u64, now: u64) -> bool {
        match self.stand(offset) {
            Stand::Ready => true,
            Stand::Retrying { due } => due <= now,
            _ => false,
        }
    }
}

/// One topic with its groups.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topic {
    pub(crate) payloads: Vec<Vec<u8>>,
    /// So many of them survive the death of the process, and a power cut.
    pub(crate) written: usize,
    pub(crate) durable: usize,
    /// It keeps what every group has settled.
    pub(crate) keeps: bool,
    pub(crate) groups: [Group; GROUPS],
    /// What every group had settled at some time: it does not come back, whatever the groups do then.
    pub(crate) gone: BTreeSet<u64>,
}

impl Topic {
    /// Notes what has gone by now.
    pub(crate) fn settle(&mut self) {
        if self.keeps {
            return;
        }
        for offset in 0..self.payloads.len() as u64 {
            if self.groups.iter().all(|group| group.stand(offset) == Stand::Settled) {
                self.gone.insert(offset);
            }
        }
    }

    /// The offsets that a reader sees.
    pub(crate) fn readable(&self) -> Vec<u64> {
        (0..self.payloads.len() as u64).filter(|offset| !self.gone.contains(offset)).collect()
    }
}
