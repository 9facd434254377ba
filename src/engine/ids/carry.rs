//! Carrying ids over: those of a segment that is to go are appended again, where they are still in their window and
//! do not lie further on already with their message.
//!
//! They are read from the segment itself, since a run may be of several. A piece at a time, as messages are. The
//! segment is retired only behind all of it in the journal, so that a crash anywhere leaves each id in one of both at
//! least; in both it does no harm, since of two rows of one key the order does not matter.

use super::flush::holds;
use super::{events_of, in_window, rows_of};
use crate::engine::{Core, Engine};
use crate::error::{Code, Error, Result};
use crate::event::{Event, ForgetId, KeepId};
use crate::journal::Class;
use crate::tables::{Published, PublishedKey, Range};
use crate::types::{Offset, Position, SegmentId, TopicId};

/// Ids that are carried over in one frame.
const FRAME_IDS: usize = 256;

/// Ids of one piece of the work, about.
const PIECE_IDS: usize = 2048;

/// How far a segment's ids have been carried over.
#[derive(Debug)]
pub(in crate::engine) struct Carrying {
    segment: SegmentId,
    /// From where on its published ids are to be read; nothing if they are through, or there are none.
    published: Option<Position>,
    /// The same of its processed ids, which come afterwards.
    processed: Position,
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
        let (windows, now, runs) = (core.windows_of_ids(), self.age_now(), self.runs.lock());
        let mut shares = runs.all().iter().flat_map(|run| &run.shares).filter(|share| share.segment == segment);
        let any = shares.any(|share| holds(&windows, share.topic, share.last, share.latest, now));
        Ok(Some(Carrying { segment, published: any.then_some(super::START), processed: super::START }))
    }

    /// Appends some of them again. Whether there are more; when there are none, nothing of ids is needed any more in
    /// the segment, as soon as everything that was appended so far is durable.
    pub(in crate::engine) fn carry_ids(&self, carrying: &mut Carrying) -> Result<bool> {
        // Those that were carried over take memory like new ones: what there are is written first.
        while self.open_core()?.ids.wants_flush() && self.flush_ids()? {}
        let mut kept = Vec::new();
        if let Some(from) = carrying.published {
            carrying.published = self.published_of(carrying.segment, from, &mut kept)?;
            self.append_ids(&kept)?;
            return Ok(true);
        }
        let next = self.processed_of(carrying.segment, carrying.processed, PIECE_IDS, &mut kept)?;
        self.append_ids(&kept)?;
        if let Some(next) = next {
            carrying.processed = next;
            return Ok(true);
        }
        let mut core = self.open_core()?;
        core.ids.carried.insert(carrying.segment);
        self.drop_ids_of(&mut core, carrying.segment);
        Ok(false)
    }

    /// The events by which published ids of a segment are kept: of the frames from `from` on, until there are some.
    /// Where to go on; nothing at the segment's end.
    fn published_of(&self, id: SegmentId, from: Position, kept: &mut Vec<Event<'static>>) -> Result<Option<Position>> {
        let known = self.files.known(id);
        let known = known.ok_or_else(|| Error::new(Code::SegmentMissing, format!("segment {id} is not there")))?;
        let (mut held, mut next) = (Vec::new(), None);
        let range = Range { from, to: Range::END };
        let most = (from.get() as usize).saturating_add(self.options.clean_step_bytes);
        events_of(&*self.environment.storage, &known.segment, range, &mut |events, end| {
            events.iter().for_each(|event| event.identities(|identity| held.push(rows_of(identity))));
            let enough = held.len() >= PIECE_IDS || end.position().get() as usize >= most;
            next = enough.then(|| end.position());
            Ok(!enough)
        })?;
        let (core, now) = (self.open_core()?, self.age_now());
        kept.extend(held.iter().filter_map(|(key, row)| core.kept_id(id, key, row, now)));
        Ok(next)
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
