//! The tables when a store is opened, and when they fail while it is open: made anew from the journal.

use super::{Fresh, ID_BYTES, insert, sorted};
use crate::engine::Engine;
use crate::engine::ids::events_of;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::journal::Segment;
use crate::state::State;
use crate::storage::Storage;
use crate::tables::{Checked, Hash, MemoryTables, ProcessedKey, Range, Seen, TablesDoor};
use crate::types::{Lsn, Position};
use std::io;
use std::sync::Arc;

/// What the journal does not name is not believed by anybody: any number will do for it.
const UNNAMED: Hash = [0; 16];

/// What recovery found.
#[derive(Debug, Default)]
pub(in crate::engine) struct RecoveredInbox {
    pub(in crate::engine) inbox: super::Inbox,
    pub(in crate::engine) tables: Option<Arc<Checked>>,
    /// Why the tables were made anew, if they were.
    pub(in crate::engine) rebuilt: Option<String>,
}

/// Where processed ids are read from: all segments there are, in order, and how far the last one goes.
pub(in crate::engine) struct Source<'a> {
    pub(in crate::engine) storage: &'a dyn Storage,
    pub(in crate::engine) segments: Vec<Arc<Segment>>,
    pub(in crate::engine) end: Lsn,
}

impl Source<'_> {
    /// Gives every processed id between two places, in pieces of about `limit` bytes.
    fn read(&self, from: Lsn, to: Lsn, limit: usize, piece: &mut dyn FnMut(&mut Fresh) -> Result<()>) -> Result<Fresh> {
        let mut fresh = Fresh::new();
        let last = to.min(self.end);
        for segment in self.segments.iter().filter(|segment| (from.segment()..=last.segment()).contains(&segment.id)) {
            let first = Position(crate::journal::SEGMENT_HEADER);
            let begin = if segment.id == from.segment() { from.position().max(first) } else { first };
            let end = if segment.id == last.segment() { last.position() } else { Range::END };
            tracing::info!(segment = %segment.id, last = %last.segment(), "processed ids are read from the journal");
            events_of(self.storage, segment, Range { from: begin, to: end }, &mut |events: &[Event<'_>], _| {
                for event in events {
                    event.processed(|processed| {
                        let key = ProcessedKey { table: processed.table, id: processed.id };
                        insert(&mut fresh, key, Seen { time: processed.time, sequence: processed.sequence });
                    });
                }
                if fresh.len().saturating_mul(ID_BYTES) > limit {
                    piece(&mut fresh)?;
                }
                Ok(true)
            })?;
        }
        Ok(fresh)
    }

    /// Opens the tables as of the checkpoint that the journal names; or says why they can't be used.
    fn trust(door: &dyn TablesDoor, state: &State) -> Result<Arc<Checked>, String> {
        let trusted = state.tables_trusted().ok_or("the journal names no checkpoint")?;
        let tables = door.open().map_err(|error| format!("they can't be opened: {error}"))?;
        match Checked::open(tables, trusted.checkpoint) {
            Ok(Some(tables)) => Ok(Arc::new(tables)),
            Ok(None) => Err("they are not those that the journal names".to_owned()),
            Err(error) => Err(format!("their checkpoint can't be read: {error}")),
        }
    }

    /// Makes the tables anew from everything up to `to`.
    fn rebuild(&self, door: &dyn TablesDoor, to: Lsn, limit: usize) -> Result<Arc<Checked>> {
        let fresh_ones = || door.set_aside().and_then(|()| door.open());
        let tables = fresh_ones().unwrap_or_else(|error| {
            tracing::error!(%error, "no tables can be made; processed ids stay in memory until the next opening");
            Arc::new(MemoryTables::default())
        });
        let tables = Arc::new(Checked::new(tables, limit));
        let put = |fresh: &mut Fresh| -> Result<()> {
            // Pieces are in the order of the journal, and a later row of a key is the newer one.
            let put = tables.commit(&sorted(&std::mem::take(fresh)), &[], UNNAMED);
            put.map(drop).map_err(|source| Error::io("making the tables anew", source))
        };
        let mut rest = self.read(Lsn::ZERO, to, limit, &mut { put })?;
        put(&mut rest)?;
        Ok(tables)
    }

    /// The tables, and what came since they were last written.
    pub(in crate::engine) fn recover(
        &self,
        door: &dyn TablesDoor,
        state: &State,
        limit: usize,
    ) -> Result<RecoveredInbox> {
        let mut found = RecoveredInbox::default();
        if !state.has_processed() {
            // Whatever is there is nothing that anybody needs.
            return Ok(found);
        }
        match Self::trust(door, state) {
            Ok(tables) => {
                let upto = state.tables_trusted().map_or(Lsn::ZERO, |trusted| trusted.upto);
                let mut pieces = false;
                let put = |fresh: &mut Fresh| -> Result<()> {
                    // More than memory may take: it is in the journal, so it may enter. The journal is told soon.
                    pieces = true;
                    let put = tables.commit(&sorted(&std::mem::take(fresh)), &[], UNNAMED);
                    put.map(drop).map_err(|source| Error::io("writing processed ids", source))
                };
                match self.read(upto, self.end, limit, &mut { put }) {
                    Ok(fresh) => {
                        (found.inbox.fresh, found.inbox.upto, found.inbox.unmarked) = (fresh, upto, pieces);
                        found.tables = Some(tables);
                        return Ok(found);
                    }
                    Err(error) if error.kind() == crate::error::ErrorKind::Corrupt => return Err(error),
                    Err(error) => found.rebuilt = Some(error.to_string()),
                }
            }
            Err(why) => {
                // A store that never came so far as to write its tables lacks nothing.
                found.rebuilt = Some(why).filter(|_| state.tables_trusted().is_some() || door.exists());
            }
        }
        if let Some(why) = &found.rebuilt {
            tracing::warn!(why, "the tables of processed ids are made anew from the journal");
        }
        if found.rebuilt.is_none() {
            // All that there is fits in memory, or is put into new tables.
            let held = self.read(Lsn::ZERO, self.end, usize::MAX, &mut |_| Ok(()))?;
            if held.len().saturating_mul(ID_BYTES) <= limit {
                found.inbox.fresh = held;
                return Ok(found);
            }
        }
        found.tables = Some(self.rebuild(door, self.end, limit)?);
        (found.inbox.upto, found.inbox.unmarked) = (self.end, true);
        Ok(found)
    }
}

impl Engine {
    /// Asks the tables, opening them if they are not. If that fails, they are set aside and made anew, and asked again.
    pub(super) fn with_tables<T>(&self, ask: impl Fn(&Checked) -> io::Result<T>) -> Result<T> {
        let door = &*self.environment.tables;
        let held = self.tables.lock().clone();
        let tables = match held {
            Some(tables) => tables,
            None => {
                let mut slot = self.tables.lock();
                match &*slot {
                    Some(tables) => tables.clone(),
                    None => {
                        // Nothing that is there is known to the journal: it is of another time.
                        let opened = if door.exists() { door.set_aside() } else { Ok(()) }.and_then(|()| door.open());
                        let opened = opened.unwrap_or_else(|error| {
                            tracing::error!(%error, "no tables can be made; processed ids stay in memory");
                            Arc::new(MemoryTables::default())
                        });
                        let opened = Arc::new(Checked::new(opened, self.options.id_memory_bytes));
                        *slot = Some(opened.clone());
                        opened
                    }
                }
            }
        };
        match ask(&tables) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                tracing::warn!(%error, "the tables of processed ids fail; they are made anew from the journal");
                let again = self.remake_tables(&tables)?;
                ask(&again).map_err(|source| Error::io("asking tables that were just made anew", source))
            }
        }
    }

    /// Takes failed tables out of use and makes new ones, unless somebody else just did.
    fn remake_tables(&self, failed: &Arc<Checked>) -> Result<Arc<Checked>> {
        let mut slot = self.tables.lock();
        if let Some(tables) = slot.as_ref().filter(|tables| !Arc::ptr_eq(tables, failed)) {
            return Ok(tables.clone());
        }
        *slot = None;
        let (segments, end) = {
            let core = self.open_core()?;
            let mut segments: Vec<Arc<Segment>> = self.files.all().into_iter().map(|known| known.segment).collect();
            segments.retain(|segment| segment.id <= core.tail.active().id);
            (segments, core.tail.durable())
        };
        let source = Source { storage: &*self.environment.storage, segments, end };
        let tables = source.rebuild(&*self.environment.tables, end, self.options.id_memory_bytes)?;
        *slot = Some(tables.clone());
        let mut core = self.core.lock();
        core.inbox.unmarked = true;
        self.call_upkeep(&mut core);
        Ok(tables)
    }
}
