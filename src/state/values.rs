//! Small values of the application, kept in the state itself and so in every snapshot.

use std::collections::BTreeMap;

/// What an entry is reckoned at besides its bytes: about what it takes in memory.
const ENTRY: u64 = 64;

/// The values, by key, and what they take together.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    by_key: BTreeMap<Box<str>, Box<[u8]>>,
    bytes: u64,
}

/// What one entry takes.
pub(crate) const fn value_cost(key: &str, value: &[u8]) -> u64 {
    (key.len() as u64).saturating_add(value.len() as u64).saturating_add(ENTRY)
}

impl Values {
    pub(super) fn new(by_key: BTreeMap<Box<str>, Box<[u8]>>) -> Self {
        let bytes = by_key.iter().map(|(key, value)| value_cost(key, value)).fold(0, u64::saturating_add);
        Self { by_key, bytes }
    }

    pub(super) fn set(&mut self, key: &str, value: Option<&[u8]>) {
        let before = match value {
            Some(value) => {
                self.bytes = self.bytes.saturating_add(value_cost(key, value));
                self.by_key.insert(key.into(), value.into())
            }
            None => self.by_key.remove(key),
        };
        if let Some(before) = before {
            self.bytes = self.bytes.saturating_sub(value_cost(key, &before));
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&[u8]> {
        self.by_key.get(key).map(AsRef::as_ref)
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn by_key(&self) -> &BTreeMap<Box<str>, Box<[u8]>> {
        &self.by_key
    }
}
