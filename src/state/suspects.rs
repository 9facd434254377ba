//! Which messages may have brought the process down.
//!
//! When a process dies and its machine goes on, everything that was in flight becomes *suspect*. Suspects run one at a
//! time, before anything else of their group, until each is settled or its lease ends with the process alive, which
//! clears it. So the next death can be laid to exactly one message.
//!
//! A message is charged with a crash only if it was its group's only one in flight, and that is sure: what was named
//! ahead of the hand-out may never have been in anybody's hands. One that first became suspect in
//! company has a crash *uncharged*; if it then brings the process down alone, it was the culprit the first time too,
//! and that crash is added.
//!
//! | before | died alone | died in company |
//! |---|---|---|
//! | clear | crashes + 1, charged | uncharged |
//! | charged | crashes + 1, charged | uncharged |
//! | uncharged | crashes + 2, charged | uncharged |
//!
//! If the machine died, or the store was closed cleanly, nobody becomes suspect; who was suspect already stays so.

use super::group::Group;
use super::lease::Hands;
use crate::types::Offset;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Whether a message may have brought the process down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Suspicion {
    #[default]
    Clear = 0,
    /// Suspect, and every death it was in is in its counters.
    Charged = 1,
    /// Suspect, and one death is not in its counters.
    Uncharged = 2,
}

impl Suspicion {
    pub(crate) const fn is_suspect(self) -> bool {
        !matches!(self, Self::Clear)
    }
}

impl Serialize for Suspicion {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (*self as u8).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Suspicion {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u8::deserialize(from)? {
            0 => Ok(Self::Clear),
            1 => Ok(Self::Charged),
            2 => Ok(Self::Uncharged),
            _ => Err(serde::de::Error::custom("unknown suspicion")),
        }
    }
}

impl Group {
    /// The store was opened: every lease of the process before is over. `crashed`: that process died while its
    /// machine went on.
    pub(super) fn opened(&mut self, crashed: bool) {
        let handed = std::mem::take(&mut self.handed);
        if crashed {
            let alone = handed.len() == 1 && self.lone.is_some_and(|lone| handed.contains(lone));
            for run in handed.runs() {
                for offset in (run.first.0..run.end().0).map(Offset) {
                    self.suspect(offset, alone);
                }
            }
        }
        self.hands = Hands::new(self.settled.floor(), &self.history);
        self.reorder();
    }

    /// The process died while this message was in flight.
    fn suspect(&mut self, offset: Offset, alone: bool) {
        let past = self.history.entry(offset).or_default();
        // A fresh one was handed out this once.
        past.counters.leases = past.counters.leases.max(1);
        past.due = crate::types::Timestamp::ZERO;
        if !alone {
            past.suspicion = Suspicion::Uncharged;
            return;
        }
        let deaths = if past.suspicion == Suspicion::Uncharged { 2 } else { 1 };
        past.counters.crashes = past.counters.crashes.saturating_add(deaths);
        past.suspicion = Suspicion::Charged;
    }

    /// How many suspects there are.
    pub(crate) fn suspects(&self) -> usize {
        self.hands.suspects.len()
    }
}
