//! Finding the end of a journal that somebody else is writing.
//!
//! It is judged by the same table as in recovery, but nothing is made durable, and a torn tail is simply where the
//! journal ends for now. What looks damaged may only have been read too early: so it is looked at again, and what is
//! still so then is damage. Segments come and go meanwhile; who finds one gone starts over.

use super::finish::Found;
use super::listing::Listing;
use super::recover::Recovery;
use super::scan::Sighting;
use crate::config::Keys;
use crate::error::{Error, Result};
use crate::storage::Storage;
use crate::types::{Position, StoreId};
use std::sync::Arc;

/// So far behind the end it is looked for frames that would show it to be none: what is written at once, and more. To
/// look through all of a recycled segment each time would take longer than anything else.
const LOOKED_AHEAD: u32 = 1 << 20;

impl Recovery {
    /// As [`begin`](Self::begin), beside an owner who goes on writing.
    pub(crate) fn observe(storage: Arc<dyn Storage>, store: StoreId, keys: &Keys) -> Result<Self> {
        let mut recovery = Self::begin(storage, store, keys)?;
        recovery.observing = true;
        Ok(recovery)
    }

    /// How far behind a bad place to search.
    pub(super) fn search_to(&self, position: Position, capacity: u32) -> u32 {
        if self.observing { position.get().saturating_add(LOOKED_AHEAD).min(capacity) } else { capacity }
    }

    /// Whether a place that looked damaged holds a whole frame by now. It is the next one then.
    pub(super) fn is_whole_by_now(&mut self, position: Position) -> Result<bool> {
        let Some(scanner) = self.scanner.as_mut().filter(|_| self.observing) else { return Ok(false) };
        scanner.forget();
        scanner.seek(position);
        let id = scanner.segment.id;
        let sighting = scanner.next().map_err(|source| self.reading(id, source))?;
        if let Some(scanner) = &mut self.scanner {
            scanner.seek(position);
        }
        Ok(matches!(sighting, Sighting::Frame(_)))
    }

    /// Reads the directory again if a segment is not listed that may have come meanwhile.
    pub(super) fn list_again(&mut self) -> Result<()> {
        if self.observing {
            self.listing = Listing::read(&*self.storage, self.store, &self.keys)?;
        }
        Ok(())
    }

    /// What was found, as it is.
    pub(crate) fn observed(self) -> Result<(Found, Listing), Error> {
        let end = self.ending()?;
        self.found(end)
    }
}
