//! Reading what is whole of a damaged store, changing nothing.

use super::super::Environment;
use super::super::open::share_lock;
use super::identity;
use super::inventory::Inventory;
use crate::error::{Damage, Result};
use crate::event::{Event, Run, events};
use crate::journal::{Frame, Recovery, Segment};
use crate::message::Record;
use crate::state::OffsetSet;
use crate::storage::StorageFile;
use crate::types::TopicId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// See [`crate::Salvage`].
#[derive(Debug)]
pub(crate) struct Salvage {
    _lock: Option<Arc<dyn StorageFile>>,
    recovery: Recovery,
    found: Inventory,
    seen: BTreeMap<TopicId, OffsetSet>,
    ready: VecDeque<(String, Record)>,
    ended: bool,
}

/// A store that is locked against being opened, and that nothing was read of yet.
pub(crate) struct Opened {
    pub(crate) lock: Option<Arc<dyn StorageFile>>,
    pub(crate) recovery: Recovery,
    /// Headers that could be made out.
    pub(crate) mended: Vec<Damage>,
}

/// Finds out which store it is, and which segments it has.
pub(crate) fn open_for_reading(environment: &Environment) -> Result<Opened> {
    let storage = environment.storage.clone();
    let known = identity::find(&*storage, &*environment.clock, &*environment.entropy)?;
    let lock = share_lock(&*storage)?;
    let mut recovery = Recovery::begin(storage, known.identity.store, &environment.keys)?;
    let mended = recovery.mend()?;
    Ok(Opened { lock, recovery, mended })
}

/// Looks through everything once, and makes ready to read it.
pub(crate) fn salvage(environment: &Environment) -> Result<Salvage> {
    let Opened { lock, mut recovery, mended } = open_for_reading(environment)?;
    let found = Inventory::take(&mut recovery, mended)?;
    recovery.start_anywhere()?;
    Ok(Salvage { _lock: lock, recovery, found, seen: BTreeMap::new(), ready: VecDeque::new(), ended: false })
}

impl Salvage {
    pub(crate) fn damage(&self) -> &[Damage] {
        &self.found.damage
    }

    /// The next whole message, with its topic's name.
    pub(crate) fn next(&mut self) -> Result<Option<(String, Record)>> {
        loop {
            if let Some(next) = self.ready.pop_front() {
                return Ok(Some(next));
            }
            if self.ended {
                return Ok(None);
            }
            match self.recovery.next_whole() {
                Ok(None) => self.ended = true,
                Ok(Some((frame, segment))) => self.take(&frame, &segment),
                Err(error) => {
                    self.ended = true;
                    return Err(error);
                }
            }
        }
    }

    fn take(&mut self, frame: &Frame, segment: &Segment) {
        if !frame.flags.is_events() {
            return;
        }
        for event in events(&frame.body, segment.base).map_while(Result::<_, _>::ok) {
            let (Event::Publish(published) | Event::Move(published)) = event else { continue };
            let name = self.found.name_of(published.topic);
            let seen = self.seen.entry(published.topic).or_default();
            for view in published.messages().map_while(Result::<_, _>::ok).filter(|view| view.verify(published.topic)) {
                // One that was moved is in the journal twice.
                if seen.insert_run(Run::one(view.offset)) > 0
                    && let Ok(record) = view.record(&frame.body)
                {
                    self.ready.push_back((name.clone(), record));
                }
            }
        }
    }
}
