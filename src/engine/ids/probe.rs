//! What the runs know of the ids of a call: asked before the engine's lock is taken, since it may read from disk.

use super::hashes;
use crate::engine::Engine;
use crate::error::Result;
use crate::message::Message;
use crate::tables::{Found, Published, PublishedKey};
use crate::types::TopicId;

/// The answer; see [`Core::judge`](super::Core).
#[derive(Debug, Default)]
pub(in crate::engine) struct Probe {
    pub(super) keys: Keys,
    pub(super) found: Found,
    /// The place of each message whose id stands before it in the same call, and the place of the first that has it.
    within: Vec<(usize, usize)>,
    has_ids: bool,
}

/// The ids that are asked for, and the places of their messages in the call. For one nothing is allocated.
#[derive(Debug)]
pub(super) enum Keys {
    One([(usize, PublishedKey); 1]),
    Many(Vec<(usize, PublishedKey)>),
}

impl Default for Keys {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl std::ops::Deref for Keys {
    type Target = [(usize, PublishedKey)];

    fn deref(&self) -> &Self::Target {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }
}

impl Probe {
    pub(super) fn has_ids(&self) -> bool {
        self.has_ids
    }

    /// Whether some of the messages may be known.
    pub(in crate::engine) fn has_found(&self) -> bool {
        !self.found.rows.is_empty() || !self.within.is_empty()
    }

    pub(super) fn generation(&self) -> u64 {
        self.found.generation
    }

    pub(super) fn found(&self) -> &[(usize, Published)] {
        &self.found.rows
    }

    pub(super) fn within(&self) -> &[(usize, usize)] {
        &self.within
    }
}

impl Engine {
    /// Asks the runs. Without ids there is nothing to ask, and nothing is allocated.
    pub(in crate::engine) fn probe(&self, topic: TopicId, messages: &[Message]) -> Result<Probe> {
        let ids = messages.iter().enumerate();
        let mut ids = ids.filter_map(|(index, message)| Some((index, PublishedKey { id: hashes(message)?.0, topic })));
        let keys = match messages {
            [_] => ids.next().map_or_else(Keys::default, |one| Keys::One([one])),
            _ => Keys::Many(ids.collect()),
        };
        if keys.is_empty() {
            return Ok(Probe::default());
        }
        let mut within = Vec::new();
        if keys.len() > 1 {
            let mut sorted: Vec<_> = keys.iter().map(|(index, key)| (key.id, *index)).collect();
            sorted.sort_unstable();
            for same in sorted.chunk_by(|left, right| left.0 == right.0) {
                if let [(_, first), others @ ..] = same {
                    within.extend(others.iter().map(|(_, index)| (*index, *first)));
                }
            }
            within.sort_unstable();
        }
        Ok(Probe { found: self.find_ids(&keys)?, keys, within, has_ids: true })
    }

    /// Asks the runs for keys. One that can't be read is made anew first.
    pub(super) fn find_ids(&self, keys: &[(usize, PublishedKey)]) -> Result<Found> {
        loop {
            let runs = self.runs.lock().clone();
            match runs.find(&*self.environment.storage, keys) {
                Ok(found) => return Ok(found),
                Err((run, error)) => self.mend_run(&run, &error)?,
            }
        }
    }
}
