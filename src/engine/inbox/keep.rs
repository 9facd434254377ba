//! What a segment holds of processed ids, for those who want to remove it: what has to be appended again before.

use crate::engine::Engine;
use crate::engine::ids::events_of;
use crate::error::{Code, Error, Result};
use crate::event::{Event, KeepProcessed};
use crate::tables::{ProcessedKey, Range};
use crate::types::{GroupId, Position, SegmentId};

impl Engine {
    /// Gives the event for each processed id of a sealed segment that may still be in its window, in the order of the
    /// journal. Each has to be appended again and be durable before the segment is retired: the tables never allow a
    /// removal, they may be gone tomorrow.
    pub(in crate::engine) fn each_processed(
        &self,
        segment: SegmentId,
        each: &mut dyn FnMut(Event<'static>) -> Result<()>,
    ) -> Result<()> {
        let known = self.files.known(segment);
        let known = known.ok_or_else(|| Error::new(Code::SegmentMissing, format!("segment {segment} is not there")))?;
        let first = Position(crate::journal::SEGMENT_HEADER);
        let range = Range { from: first, to: Range::END };
        events_of(&*self.environment.storage, &known.segment, range, &mut |events, _| {
            for event in events {
                for kept in kept(event) {
                    let terms = self.open_core()?.inbox_terms(kept.group, || self.age_now());
                    let seen = crate::tables::Seen { time: kept.time, sequence: kept.sequence };
                    let Some(terms) = terms.filter(|terms| terms.covers(seen)) else { continue };
                    // A later one of the same id has taken its place: this one must not come behind it.
                    let key = ProcessedKey { table: terms.table, id: kept.id_hash };
                    let known = self.open_core()?.inbox.get(key);
                    let known = if known.is_some() { known } else { self.in_tables(key)? };
                    if known.is_none_or(|known| known.sequence <= kept.sequence) {
                        each(Event::KeepProcessed(kept))?;
                    }
                }
            }
            Ok(true)
        })
    }
}

/// The processed ids of an event, as they are kept.
fn kept(event: &Event<'_>) -> Vec<KeepProcessed> {
    let (group, table): (GroupId, u64) = match event {
        Event::Ack(ack) => (ack.group, ack.table),
        Event::KeepProcessed(kept) => (kept.group, kept.table),
        _ => return Vec::new(),
    };
    let mut all = Vec::new();
    event.processed(|processed| {
        let (time, id_hash, sequence) = (processed.time, processed.id, processed.sequence);
        all.push(KeepProcessed { group, time, id_hash, sequence, table });
    });
    all
}
