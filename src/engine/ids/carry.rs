//! Carrying ids over: those of a segment that is to go are appended again, where they are still in their window and
//! do not lie further on already with their message.
//!
//! A piece at a time, as messages are. The segment is retired only behind all of it in the journal, so that a crash
//! anywhere leaves each id in one of both at least; in both it does no harm, since of two rows of one key the order
//! does not matter.

use super::in_window;
use crate::engine::{Core, Engine};
use crate::error::Result;
use crate::event::{Event, ForgetId, KeepId};
use crate::journal::Class;
use crate::seen::Seen;
use crate::tables::{Published, PublishedKey, Rows, Run};
use crate::types::{Offset, Position, SegmentId, TopicId};
use std::io;
use std::sync::Arc;

/// Ids that are carried over in one frame.
const FRAME_IDS: usize = 256;

/// Ids of one piece of the work, about.
const PIECE_IDS: usize = 2048;

/// How far a segment's ids have been carried over.
#[derive(Debug)]
pub(in crate::engine) struct Carrying {
    segment: SegmentId,
    /// Its runs that are still to be gone through, the next one last, and the next block of that.
    runs: Vec<Arc<Run>>,
    block: usize,
    /// From where on its processed ids are to be read.
    position: Position,
}

impl Carrying {
    pub(in crate::engine) const fn segment(&self) -> SegmentId {
        self.segment
    }
}

impl Engine {
    /// Begins with the ids of a sealed segment. Nothing if not all of them are in runs yet: then it can't go yet
    /// either.
    pub(in crate::engine) fn begin_carrying(&self, segment: SegmentId) -> Result<Option<Carrying>> {
        let core = self.open_core()?;
        if !core.ids_are_in_runs(segment) {
            return Ok(None);
        }
        let runs = self.runs.lock().all().iter().filter(|run| run.owner.segment == segment).cloned().collect();
        Ok(Some(Carrying { segment, runs, block: 0, position: super::START }))
    }

    /// Appends some of them again. Whether there are more; when there are none, nothing of ids is needed any more in
    /// the segment, as soon as everything that was appended so far is durable.
    pub(in crate::engine) fn carry_ids(&self, carrying: &mut Carrying) -> Result<bool> {
        // Those that were carried over take memory like new ones: what there are is written first.
        while self.open_core()?.ids.wants_flush() && self.flush_ids()? {}
        let mut kept = Vec::new();
        if let Some(run) = carrying.runs.last().cloned() {
            match self.ids_of_blocks(&run, carrying.block, &mut kept) {
                Ok(Some(next)) => carrying.block = next,
                Ok(None) => (_, carrying.block) = (carrying.runs.pop(), 0),
                Err(error) => {
                    // It is made anew, or was written anew by somebody else; what was carried over already is no harm.
                    self.mend_run(&run, &error)?;
                    if let Some(again) = self.begin_carrying(carrying.segment)? {
                        *carrying = again;
                    }
                    return Ok(true);
                }
            }
            self.append_ids(&kept)?;
            return Ok(true);
        }
        let next = self.processed_of(carrying.segment, carrying.position, PIECE_IDS, &mut kept)?;
        self.append_ids(&kept)?;
        if let Some(next) = next {
            carrying.position = next;
            return Ok(true);
        }
        let mut core = self.open_core()?;
        core.ids.carried.insert(carrying.segment);
        Seen::IdsCarried.note();
        self.drop_ids_of(&mut core, carrying.segment);
        Ok(false)
    }

    /// The events by which the ids in some blocks of a run are kept, and the next block; none at its end.
    fn ids_of_blocks(&self, run: &Run, block: usize, kept: &mut Vec<Event<'static>>) -> io::Result<Option<usize>> {
        let mut rows = Rows::from_block(&*self.environment.storage, run, block)?;
        let (mut held, mut next) = (Vec::new(), block);
        let more = loop {
            match rows.next_block() {
                None => break None,
                Some(_) if held.len() >= PIECE_IDS => break Some(next),
                Some(block) => {
                    held.extend(block?);
                    next += 1;
                }
            }
        };
        let (core, now) = (self.core.lock(), self.age_now());
        kept.extend(held.iter().filter_map(|(key, row)| core.kept_id(run.owner.segment, key, row, now)));
        Ok(more)
    }

    /// Appends events by which ids are kept, whenever there is room for them.
    fn append_ids(&self, kept: &[Event<'static>]) -> Result<()> {
        for frame in kept.chunks(FRAME_IDS) {
            loop {
                let refusal = {
                    let mut core = self.open_core()?;
                    match core.record_frame(Class::Clean, frame, &[]) {
                        Ok(_) => {
                            self.arm(&mut core, false);
                            self.want_successor(&mut core);
                            break;
                        }
                        Err(refusal) => refusal,
                    }
                };
                self.relieve(refusal)?;
            }
        }
        Ok(())
    }
}

impl Core {
    /// The event by which a row of a segment's run is kept; nothing if its window has ended, or it lies further on.
    fn kept_id(
        &self,
        segment: SegmentId,
        key: &PublishedKey,
        row: &Published,
        now: crate::types::Timestamp,
    ) -> Option<Event<'static>> {
        let held = self.state.topic(key.topic)?;
        if !in_window(held.policy().deduplicate, row, held.end(), now) {
            return None;
        }
        let (topic, offset, time, id_hash) = (key.topic, row.offset, row.time, key.id);
        if row.forgotten {
            return Some(Event::ForgetId(ForgetId { topic, offset, time, id_hash }));
        }
        let kept = KeepId { topic, offset, time, id_hash, payload_hash: row.payload };
        (!self.lies_further_on(topic, offset, segment)).then_some(Event::KeepId(kept))
    }

    /// Whether a message was moved out of a segment, and its id with it. One whose segment is done with as far as ids
    /// go says nothing.
    fn lies_further_on(&self, topic: TopicId, offset: Offset, segment: SegmentId) -> bool {
        let place = self.state.topic(topic).and_then(|topic| topic.extent_of(offset));
        place.is_some_and(|place| place != segment && !self.ids.carried.contains(&place))
    }
}
