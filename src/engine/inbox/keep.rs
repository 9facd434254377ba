//! What a segment holds of processed ids, for those who want to remove it: what has to be appended again before.

use super::Terms;
use crate::engine::ids::events_of;
use crate::engine::{Core, Engine};
use crate::error::{Code, Error, Result};
use crate::event::{Event, KeepProcessed, table_of};
use crate::tables::{ProcessedKey, Range, Seen};
use crate::types::{GroupId, Position, SegmentId, Timestamp};
use std::collections::BTreeMap;

/// Bytes of the event that carries an id over, about.
const ID_BYTES: u64 = 36;

impl Core {
    /// What each segment has of processed ids that may be in their window, in bytes, about.
    pub(in crate::engine) fn processed_to_keep(&self, now: Timestamp) -> BTreeMap<SegmentId, u64> {
        let windows = super::windows(&self.state, now);
        let mut kept: BTreeMap<SegmentId, u64> = BTreeMap::new();
        for ((segment, table), tally) in self.state.processed_in() {
            let newest = Seen { time: tally.latest, sequence: tally.last };
            if covered(&windows, *table, newest) {
                let bytes = kept.entry(*segment).or_default();
                *bytes = bytes.saturating_add(tally.count.saturating_mul(ID_BYTES));
            }
        }
        kept
    }
}

/// Whether any group that uses a table still wants to know of an id that was seen so.
fn covered(windows: &BTreeMap<u64, Vec<Terms>>, table: u64, seen: Seen) -> bool {
    windows.get(&table).is_some_and(|terms| terms.iter().any(|terms| terms.covers(seen)))
}

impl Engine {
    /// The events by which processed ids of a sealed segment are kept: of the frames from `from` on, until there are
    /// about `most`. Where to go on; nothing at the segment's end.
    ///
    /// Each has to be appended again and be durable before the segment is retired: the tables never allow a removal,
    /// they may be gone tomorrow.
    pub(in crate::engine) fn processed_of(
        &self,
        segment: SegmentId,
        from: Position,
        most: usize,
        kept: &mut Vec<Event<'static>>,
    ) -> Result<Option<Position>> {
        let (windows, any) = {
            let core = self.open_core()?;
            let (first, last) = ((segment, 0), (segment, u64::MAX));
            let any = core.state.processed_in().range(first..=last).next().is_some();
            (super::windows(&core.state, self.age_now()), any)
        };
        if !any {
            return Ok(None);
        }
        let known = self.files.known(segment);
        let known = known.ok_or_else(|| Error::new(Code::SegmentMissing, format!("segment {segment} is not there")))?;
        let range = Range { from, to: Range::END };
        let mut next = None;
        events_of(&*self.environment.storage, &known.segment, range, &mut |events, end| {
            for one in events.iter().flat_map(|event| processed(event)) {
                let key = ProcessedKey { table: table_of(one.group, one.table), id: one.id_hash };
                let seen = Seen { time: one.time, sequence: one.sequence };
                if covered(&windows, key.table, seen) && self.is_newest(key, seen)? {
                    kept.push(Event::KeepProcessed(one));
                }
            }
            next = (kept.len() >= most).then(|| end.position());
            Ok(next.is_none())
        })?;
        Ok(next)
    }

    /// Whether no later one of the same id has taken its place: this one must not come behind that.
    fn is_newest(&self, key: ProcessedKey, seen: Seen) -> Result<bool> {
        let known = self.open_core()?.inbox.get(key);
        let known = if known.is_some() { known } else { self.in_tables(&[key])?.pop().flatten() };
        Ok(known.is_none_or(|known| known.sequence <= seen.sequence))
    }
}

/// The processed ids of an event, as they are kept.
fn processed(event: &Event<'_>) -> Vec<KeepProcessed> {
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
