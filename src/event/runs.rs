//! Runs of offsets in an event's body: a count, then for each run the distance from the end of the run before (from
//! zero, for the first) and how many offsets it has, never none; all varints. Runs rise, and never end past the
//! largest offset.

use super::{Run, Runs};
use crate::types::Offset;
use serde::Deserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::{SerializeSeq, Serializer};
use std::borrow::Cow;
use std::fmt;

/// What is reserved ahead of reading at most, whatever count is declared.
const RESERVED_RUNS: usize = 1024;

/// Writes runs. Empty ones say nothing and are left out.
pub(super) fn serialize<S: Serializer>(runs: &Runs<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    let told = runs.iter().filter(|run| run.count > 0);
    let mut list = serializer.serialize_seq(Some(told.clone().count()))?;
    let mut end = Offset::ZERO;
    for run in told {
        debug_assert!(run.first >= end && run.first.get().checked_add(run.count).is_some(), "runs rise: {runs:?}");
        list.serialize_element(&(run.first.since(end), run.count))?;
        end = run.end();
    }
    list.end()
}

/// Reads runs.
pub(super) fn deserialize<'de, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Runs<'a>, D::Error> {
    deserializer.deserialize_seq(RunsVisitor).map(Cow::Owned)
}

struct RunsVisitor;

impl<'de> Visitor<'de> for RunsVisitor {
    type Value = Vec<Run>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("runs of offsets")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut runs = Vec::with_capacity(list.size_hint().unwrap_or(0).min(RESERVED_RUNS));
        let mut end = 0u64;
        while let Some((gap, count)) = list.next_element::<(u64, u64)>()? {
            let first = end.checked_add(gap).ok_or_else(|| A::Error::custom("a run starts past the largest offset"))?;
            if count == 0 {
                return Err(A::Error::custom("a run has no offsets"));
            }
            end = first.checked_add(count).ok_or_else(|| A::Error::custom("a run ends past the largest offset"))?;
            runs.push(Run { first: Offset::new(first), count });
        }
        Ok(runs)
    }
}
