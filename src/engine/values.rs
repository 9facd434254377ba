//! Values of the application as they may be shown: a change is seen when the transaction that made it, and every
//! earlier one that changed the same key, has reached the level it asked for. So nobody acts on what a crash may still
//! take back; the same holds for messages (I12).

use super::{Core, Engine};
use crate::config::Durability;
use crate::error::{Code, Error, Result};
use crate::state::value_cost;
use crate::types::Lsn;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

/// Bytes in a key, as in any name.
const KEY_MAX: usize = 255;

/// What a transaction sets, in its order; no value removes the key.
pub(crate) type Setting = (String, Option<Bytes>);

/// A change that may not have reached its level yet.
#[derive(Debug)]
struct Change {
    end: Lsn,
    level: Durability,
    before: Option<Box<[u8]>>,
}

/// The changes that may not have reached their level yet, by key, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Unsettled(BTreeMap<Box<str>, VecDeque<Change>>);

impl Core {
    /// Refuses what would take the values beyond what all of them together may take.
    pub(super) fn check_total(&self, settings: &[Setting], limit: u64) -> Result<()> {
        let before = self.state.value_bytes();
        let last: BTreeMap<&str, Option<&Bytes>> =
            settings.iter().map(|(key, value)| (key.as_str(), value.as_ref())).collect();
        let mut after = before;
        for (key, value) in last {
            let old = self.state.value(key).map_or(0, |old| value_cost(key, old));
            let new = value.map_or(0, |new| value_cost(key, new));
            after = after.saturating_sub(old).saturating_add(new);
        }
        // What makes it less is welcome, also where the limit was lowered since.
        if after > limit && after > before {
            let what = format!(
                "the application's values would take {after} bytes; `max_values_bytes` allows {limit}: remove some"
            );
            return Err(Error::new(Code::ValuesFull, what));
        }
        Ok(())
    }

    /// What stands where something is about to be set.
    pub(super) fn values_before(&self, settings: &[Setting]) -> Vec<Option<Box<[u8]>>> {
        settings.iter().map(|(key, _)| self.state.value(key).map(Into::into)).collect()
    }

    /// A frame that ends at `end` has set these; `before` is what stood there.
    pub(super) fn values_changed(
        &mut self,
        settings: &[Setting],
        before: Vec<Option<Box<[u8]>>>,
        end: Lsn,
        level: Durability,
    ) {
        let mut unsettled = std::mem::take(&mut self.unsettled);
        unsettled.0.retain(|_, changes| {
            while changes.front().is_some_and(|oldest| self.reached(oldest.end, oldest.level)) {
                changes.pop_front();
            }
            !changes.is_empty()
        });
        for ((key, _), before) in settings.iter().zip(before) {
            // In line behind an earlier change that is not there yet, also one that needs not wait itself.
            if !self.reached(end, level) || unsettled.0.contains_key(key.as_str()) {
                unsettled.0.entry(key.as_str().into()).or_default().push_back(Change { end, level, before });
            }
        }
        self.unsettled = unsettled;
    }

    /// A value, as it may be shown.
    fn shown(&self, key: &str) -> Option<&[u8]> {
        let changes = self.unsettled.0.get(key).into_iter().flatten();
        match changes.into_iter().find(|change| !self.reached(change.end, change.level)) {
            Some(oldest) => oldest.before.as_deref(),
            None => self.state.value(key),
        }
    }
}

impl Engine {
    /// Refuses keys and values that can't be.
    pub(super) fn check_values(&self, settings: &[Setting]) -> Result<()> {
        let limit = self.options.max_value_bytes as usize;
        for (key, value) in settings {
            if key.is_empty() || key.len() > KEY_MAX {
                let what = format!("a value's key has 1 to {KEY_MAX} bytes, this one has {}", key.len());
                return Err(Error::new(Code::BadName, what));
            }
            if let Some(size) = value.as_ref().map(Bytes::len).filter(|size| *size > limit) {
                let what = format!("the value of {key:?} has {size} bytes; `max_value_bytes` allows {limit}");
                return Err(Error::new(Code::TooLarge, what));
            }
        }
        Ok(())
    }

    /// The value of a key, if it has one.
    pub(crate) fn value(&self, key: &str) -> Result<Option<Bytes>> {
        Ok(self.open_core()?.shown(key).map(Bytes::copy_from_slice))
    }

    /// The keys that begin with `prefix` and have a value, in their order.
    pub(crate) fn keys(&self, prefix: &str) -> Result<Vec<String>> {
        let core = self.open_core()?;
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let pending = core.unsettled.0.range::<str, _>(from).map(|(key, _)| key.as_ref());
        let pending = pending.take_while(|key| key.starts_with(prefix));
        let keys: BTreeSet<&str> = core.state.keys(prefix).chain(pending).collect();
        Ok(keys.into_iter().filter(|key| core.shown(key).is_some()).map(str::to_owned).collect())
    }
}
