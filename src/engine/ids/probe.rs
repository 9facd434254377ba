//! What the runs know of the ids of a call. Where it is called only what is in memory is asked: that nearly always
//! says that an id is new. Otherwise the disk has to be asked, and the call stands in line until somebody has: see
//! [`Engine::ask_line`].

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
    /// Somebody is asking the disk.
    pub(super) asking: bool,
}

/// In place of the generation of an answer: there is none yet. So many runs are never made.
const UNASKED: u64 = u64::MAX;

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

    /// Whether the runs have been asked, of whatever generation they were.
    pub(in crate::engine) fn is_asked(&self) -> bool {
        !self.has_ids || self.found.generation != UNASKED
    }

    /// Whether the disk has to be asked, and nobody does so yet.
    pub(super) fn wants_asking(&self, generation: u64) -> bool {
        self.has_ids && !self.asking && self.found.generation != generation
    }

    /// Whether somebody asks the disk.
    pub(in crate::engine) fn is_asking(&self) -> bool {
        self.asking
    }

    pub(super) fn found(&self) -> &[(usize, Published)] {
        &self.found.rows
    }

    pub(super) fn within(&self) -> &[(usize, usize)] {
        &self.within
    }
}

impl Engine {
    /// Asks what is in memory of the runs. Without ids there is nothing to ask, and nothing is allocated.
    pub(in crate::engine) fn probe(&self, topic: TopicId, messages: &[Message]) -> Probe {
        let ids = messages.iter().enumerate();
        let mut ids = ids.filter_map(|(index, message)| Some((index, PublishedKey { id: hashes(message)?.0, topic })));
        let keys = match messages {
            [_] => ids.next().map_or_else(Keys::default, |one| Keys::One([one])),
            _ => Keys::Many(ids.collect()),
        };
        if keys.is_empty() {
            return Probe::default();
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
        let found = self.runs.lock().clone().look(&keys);
        let found = found.unwrap_or(Found { generation: UNASKED, rows: Vec::new() });
        Probe { found, keys, within, has_ids: true, asking: false }
    }

    /// Asks the disk, here and now.
    pub(in crate::engine) fn ask_now(&self, probe: &mut Probe) -> Result<()> {
        probe.found = self.find_ids(&probe.keys)?;
        Ok(())
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
