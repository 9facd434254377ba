//! Messages of which the copy that counts is lost, and another one is still there.
//!
//! Cleaning writes messages again further on, and the segment that they were in before goes later: until then each of
//! them is there twice, and whoever opens the store goes by the one further on. If that is lost, the other one is
//! carried over once more, behind everything.

use super::inventory::Inventory;
use crate::error::Result;
use crate::event::{Event, Published, Run, encode, events};
use crate::journal::{Flags, Recovery, Step};
use crate::state::OffsetSet;
use crate::types::{Offset, SegmentId, TopicId};
use std::collections::BTreeMap;

/// Which offsets of each topic can be read in each segment, and what is to be carried over once more: the bodies of
/// frames, one for each message.
#[derive(Debug, Default)]
pub(super) struct Copies {
    there: BTreeMap<(TopicId, SegmentId), OffsetSet>,
    again: BTreeMap<(TopicId, Offset), Vec<u8>>,
}

impl Copies {
    pub(super) fn note(&mut self, topic: TopicId, segment: SegmentId, run: Run) {
        self.there.entry((topic, segment)).or_default().insert_run(run);
    }

    fn has(&self, topic: TopicId, segment: SegmentId, offset: Offset) -> bool {
        self.there.get(&(topic, segment)).is_some_and(|there| there.contains(offset))
    }

    /// Bodies of frames.
    pub(super) fn again(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.again.values()
    }
}

impl Inventory {
    /// Messages that are looked for where they can't be read, and that can be read elsewhere.
    fn misplaced(&self) -> BTreeMap<TopicId, OffsetSet> {
        let mut misplaced: BTreeMap<TopicId, OffsetSet> = BTreeMap::new();
        for topic in self.state.topics() {
            let Some(readable) = self.readable.get(&topic.id()) else { continue };
            for run in readable.runs() {
                let gone = self.state.gone_runs(topic, run);
                let mut wanted = OffsetSet::default();
                wanted.insert_run(run);
                gone.iter().for_each(|gone| _ = wanted.remove_run(*gone));
                let mut at = wanted.next_present(run.first);
                while let Some(offset) = at {
                    let place = topic.extent_of(offset);
                    if place.is_some_and(|segment| !self.copies.has(topic.id(), segment, offset)) {
                        misplaced.entry(topic.id()).or_default().insert(offset);
                    }
                    at = wanted.next_present(offset.next());
                }
            }
        }
        misplaced
    }

    /// Reads what is to be carried over once more.
    pub(super) fn take_copies(&mut self, recovery: &mut Recovery) -> Result<()> {
        // Where nothing is damaged everything is where it is looked for.
        let misplaced = if self.damage.is_empty() { BTreeMap::new() } else { self.misplaced() };
        if misplaced.is_empty() {
            return Ok(());
        }
        recovery.start_anywhere()?;
        loop {
            let (frame, segment) = match recovery.next()?.0 {
                Step::End => return Ok(()),
                Step::Damage => continue,
                Step::Frame(frame, segment) => (frame, segment),
            };
            if frame.flags.has(Flags::SNAPSHOT) {
                continue;
            }
            for event in events(&frame.body, segment.base).map_while(std::result::Result::ok) {
                let (Event::Publish(published) | Event::Move(published)) = event else { continue };
                let topic = published.topic;
                let Some(wanted) = misplaced.get(&topic) else { continue };
                for view in published.messages().map_while(std::result::Result::ok) {
                    let known = wanted.contains(view.offset) && self.copies.has(topic, segment.id, view.offset);
                    if known && view.verify(topic) {
                        let mut body = Vec::new();
                        encode(&Event::Move(Published::moved(topic, std::slice::from_ref(&view))), &mut body);
                        self.copies.again.insert((topic, view.offset), body);
                    }
                }
            }
        }
    }
}
