//! What a group remembers of one message: its counters, when it is due, what went wrong, and in which life.

use super::suspects::Suspicion;
use crate::event::{BuryReason, Cause, Counters};
use crate::types::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// So many error texts of one message are kept.
const ERRORS: usize = 10;
/// Beyond the newest error, texts are kept while all together are at most this long.
const ERROR_BYTES: usize = 2048;

/// An error text and when it happened.
pub(crate) type Failure = (Timestamp, Box<str>);

/// The past of a message that is neither settled nor dead. One without a past is in its first life, with nothing to
/// its charge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct History {
    /// Totals over all its lives.
    pub(crate) counters: Counters,
    /// Not to be handed out before; zero: at once.
    pub(crate) due: Timestamp,
    /// How often it was redriven.
    pub(crate) life: u32,
    pub(crate) suspicion: Suspicion,
    /// Most messages that come back have neither error nor former life.
    rest: Option<Box<Rest>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Rest {
    /// The counters at the beginning of this life: limits and backoff count from here.
    base: Counters,
    errors: Vec<Failure>,
}

impl History {
    /// The history of a dead letter that begins a new life.
    pub(super) fn of_redriven(letter: DeadLetter) -> Self {
        let rest = Rest { base: letter.counters, errors: letter.errors.into_vec() };
        Self {
            counters: letter.counters,
            life: letter.life.saturating_add(1),
            rest: Some(Box::new(rest)),
            ..Self::default()
        }
    }

    /// The counters at the beginning of this life.
    pub(crate) fn before(&self) -> Counters {
        self.rest.as_deref().map(|rest| rest.base).unwrap_or_default()
    }

    /// The errors that are kept, the newest last.
    pub(crate) fn errors(&self) -> &[Failure] {
        self.rest.as_deref().map_or(&[], |rest| &rest.errors)
    }

    /// What happened in this life, out of `totals`.
    pub(crate) fn in_this_life(&self, totals: Counters) -> Counters {
        let Some(Rest { base, .. }) = self.rest.as_deref() else { return totals };
        Counters {
            leases: totals.leases.saturating_sub(base.leases),
            failures: totals.failures.saturating_sub(base.failures),
            timeouts: totals.timeouts.saturating_sub(base.timeouts),
            crashes: totals.crashes.saturating_sub(base.crashes),
        }
    }

    pub(super) fn add_error(&mut self, time: Timestamp, text: &str) {
        if !text.is_empty() {
            push(&mut self.rest.get_or_insert_default().errors, time, text);
        }
    }

    pub(super) fn into_errors(self) -> Vec<Failure> {
        self.rest.map(|rest| rest.errors).unwrap_or_default()
    }
}

/// Adds an error and drops the oldest ones that are too many.
pub(super) fn push(errors: &mut Vec<Failure>, time: Timestamp, text: &str) {
    if text.is_empty() {
        return;
    }
    errors.push((time, text.into()));
    let mut room = ERROR_BYTES;
    let kept = errors.iter().rev().take(ERRORS).enumerate().take_while(|(age, (_, text))| {
        let fits = text.len() <= room;
        room = room.saturating_sub(text.len());
        fits || *age == 0
    });
    let kept = kept.count();
    errors.drain(..errors.len() - kept);
    errors.shrink_to_fit();
}

/// A message that its group has given up on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeadLetter {
    #[serde(serialize_with = "put_reason", deserialize_with = "take_reason")]
    pub(crate) reason: BuryReason,
    /// Totals over all its lives.
    pub(crate) counters: Counters,
    /// How often it was redriven before it died.
    pub(crate) life: u32,
    /// When it was parked.
    pub(crate) time: Timestamp,
    /// The errors that are kept, the newest last.
    pub(crate) errors: Box<[Failure]>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn put_reason<S: Serializer>(reason: &BuryReason, to: S) -> Result<S::Ok, S::Error> {
    (*reason as u8).serialize(to)
}

fn take_reason<'de, D: Deserializer<'de>>(from: D) -> Result<BuryReason, D::Error> {
    let number = u8::deserialize(from)?;
    BuryReason::try_from(number).map_err(|_| serde::de::Error::custom("unknown reason of a dead letter"))
}

/// How many messages were settled or dropped, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ByCause(std::collections::BTreeMap<u8, u64>);

impl ByCause {
    pub(super) fn add(&mut self, cause: Cause, count: u64) {
        let sum = self.0.entry(cause as u8).or_default();
        *sum = sum.saturating_add(count);
    }

    pub(crate) fn get(&self, cause: Cause) -> u64 {
        self.0.get(&(cause as u8)).copied().unwrap_or(0)
    }
}
