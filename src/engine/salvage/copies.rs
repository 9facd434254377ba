//! Messages of which the copy that counts is lost, and another one is still there.
//!
//! Cleaning writes messages again further on, and the segment that they were in before goes later: until then each of
//! them is there twice, and whoever opens the store goes by the one further on. If that is lost, the other one is
//! carried over once more, behind everything. That may be most of what the store holds: it is read from where it
//! stands, a frame at a time, while it is written.

use super::super::clean::loads;
use super::inventory::Inventory;
use crate::error::Result;
use crate::event::{Event, MessageView, Run, events};
use crate::journal::{Frame, Recovery, Segment};
use crate::state::OffsetSet;
use crate::types::{SegmentId, TopicId};
use std::collections::{BTreeMap, VecDeque};

/// Which offsets of each topic can be read in each segment.
#[derive(Debug, Default)]
pub(super) struct Copies {
    there: BTreeMap<(TopicId, SegmentId), OffsetSet>,
}

impl Copies {
    pub(super) fn note(&mut self, topic: TopicId, segment: SegmentId, run: Run) {
        self.there.entry((topic, segment)).or_default().insert_run(run);
    }

    fn has(&self, topic: TopicId, segment: SegmentId, offset: crate::types::Offset) -> bool {
        self.there.get(&(topic, segment)).is_some_and(|there| there.contains(offset))
    }
}

impl Inventory {
    /// Messages that are looked for where they can't be read, and that can be read elsewhere.
    pub(super) fn find_misplaced(&self) -> BTreeMap<TopicId, OffsetSet> {
        let mut misplaced: BTreeMap<TopicId, OffsetSet> = BTreeMap::new();
        // Where nothing is damaged everything is where it is looked for.
        let topics = self.state.topics().filter(|_| !self.damage.is_empty());
        for topic in topics {
            let Some(readable) = self.readable.get(&topic.id()) else { continue };
            for run in readable.runs() {
                let gone = self.state.gone_runs(topic, run);
                let mut wanted = OffsetSet::default();
                wanted.insert_run(run);
                gone.iter().for_each(|gone| _ = wanted.remove_run(*gone));
                let mut at = wanted.next_present(run.first);
                while let Some(offset) = at {
                    // It is nowhere where that it was moved on is lost, and that the segment it was in went is not.
                    let place = topic.extent_of(offset);
                    if place.is_none_or(|segment| !self.copies.has(topic.id(), segment, offset)) {
                        misplaced.entry(topic.id()).or_default().insert(offset);
                    }
                    at = wanted.next_present(offset.next());
                }
            }
        }
        misplaced
    }

    /// Reads what is to be carried over once more.
    pub(super) fn again<'a>(&'a self, recovery: &'a mut Recovery) -> Result<Again<'a>> {
        let wanted = self.misplaced.clone();
        let ended = wanted.is_empty();
        if !ended {
            recovery.start_anywhere()?;
        }
        Ok(Again { recovery, copies: &self.copies, wanted, ready: VecDeque::new(), ended })
    }
}

/// The bodies of frames that carry messages over once more, in the order in which these stand in the journal.
pub(super) struct Again<'a> {
    recovery: &'a mut Recovery,
    copies: &'a Copies,
    /// What was not met so far.
    wanted: BTreeMap<TopicId, OffsetSet>,
    /// Those of the frame that was read last.
    ready: VecDeque<Vec<u8>>,
    ended: bool,
}

impl Iterator for Again<'_> {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && !self.ended {
            match self.recovery.next_whole() {
                Ok(None) => self.ended = true,
                Ok(Some((frame, segment))) => self.take(&frame, &segment),
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

impl Again<'_> {
    fn take(&mut self, frame: &Frame, segment: &Segment) {
        if !frame.flags.is_events() {
            return;
        }
        let mut found: BTreeMap<TopicId, Vec<MessageView<'_>>> = BTreeMap::new();
        for event in events(&frame.body, segment.base).map_while(Result::ok) {
            let (Event::Publish(published) | Event::Move(published)) = event else { continue };
            let topic = published.topic;
            let Some(wanted) = self.wanted.get_mut(&topic) else { continue };
            for view in published.messages().map_while(std::result::Result::ok) {
                let known = wanted.contains(view.offset) && self.copies.has(topic, segment.id, view.offset);
                if known && view.verify(topic) {
                    wanted.remove_run(Run::one(view.offset));
                    found.entry(topic).or_default().push(view);
                }
            }
        }
        found.values_mut().for_each(|views| views.sort_by_key(|view| view.offset));
        self.ready.extend(loads(&found, &[]).into_iter().map(|load| load.bytes));
    }
}
