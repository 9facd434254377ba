//! One walk over everything: what is whole, what is damaged, which messages can be read; and a second one, for the
//! state that follows from it.

use super::super::read::readable;
use super::super::rebuild::{carried, note_of};
use super::super::snapshot::Piece;
use super::copies::Copies;
use super::gone::gone;
use crate::error::{Damage, Result};
use crate::event::{Event, Published, Run, events};
use crate::journal::{Flags, Frame, Gone, Recovery, Seal, Segment, Snapshots, Step, Visit, read_sidecar, segment_name};
use crate::state::{OffsetSet, State};
use crate::types::{Lsn, Offset, SegmentId, TopicId};
use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// Places of segments that hold no whole frame, in the order of the walk.
    pub(super) damage: Vec<Damage>,
    /// The offsets of each topic that can be read.
    pub(super) readable: BTreeMap<TopicId, OffsetSet>,
    pub(super) copies: Copies,
    /// What is to be carried over once more.
    pub(super) misplaced: BTreeMap<TopicId, OffsetSet>,
    /// Where the first message of each topic lies.
    pub(super) first: BTreeMap<TopicId, Lsn>,
    /// Names of topics, dropped ones included.
    pub(super) names: BTreeMap<TopicId, String>,
    /// Groups that something was said of, and where last; and those whose creation or end was met.
    said: BTreeMap<u32, Lsn>,
    explained: BTreeSet<u32>,
    /// The number that the next group was to have when the snapshot began.
    first_group: u32,
    /// Where the snapshot begins that the state follows from.
    began: Lsn,
    /// Segments whose end can still be read.
    pub(super) retired: BTreeSet<SegmentId>,
    /// Where each topic ended at least, by its messages and by the sidecars.
    pub(super) ends: BTreeMap<TopicId, Offset>,
    /// Frames that verify and can't be decoded.
    pub(super) undecodable: Vec<(Lsn, u32)>,
    /// The newest snapshots that are whole, before each segment.
    pub(super) snapshots: BTreeMap<SegmentId, Snapshots>,
    /// And those of all.
    pub(super) newest_snapshots: Snapshots,
    pub(super) state: State,
    pub(super) messages: u64,
    pub(super) frames: u64,
    /// The store was closed cleanly.
    pub(super) closed: bool,
    /// Topics whose creation can be read.
    pub(super) created: BTreeSet<TopicId>,
    /// The segments, in the order of the walk, and the seals of those that have one.
    pub(super) visited: Vec<Visit>,
    pub(super) seals: BTreeMap<SegmentId, Seal>,
    /// Where the walk ended, if not in damage.
    pub(super) end: Option<Lsn>,
    /// Segments that are whole, with sidecars that say something else.
    pub(super) wrong: Vec<SegmentId>,
    newest: Option<(Lsn, State)>,
    begun: Option<(Lsn, State, u32)>,
}

impl Inventory {
    /// Reads everything, and then what the state follows from once more. It settles which segments the recovery passes
    /// over.
    pub(super) fn take(recovery: &mut Recovery, mended: Vec<Damage>) -> Result<Self> {
        recovery.gone = gone(recovery)?;
        let mut found = Self::walk(recovery, mended.clone())?;
        let unsaid = found.unsaid(recovery);
        if !unsaid.is_empty() {
            // Whatever said it lies behind the end of the journal, and goes with a repair. Their files are there: what
            // is in them is looked for in them.
            unsaid.iter().for_each(|id| _ = recovery.gone.retired.remove(id));
            found = Self::walk(recovery, mended.clone())?;
        }
        if found.newest.is_none() && recovery.gone.below != SegmentId::ZERO {
            // What is in no segment any more was in snapshots that can't be read: that it is missing is a loss.
            recovery.gone = Gone::default();
            found = Self::walk(recovery, mended)?;
        }
        found.read_sidecars(recovery);
        found.fold(recovery)?;
        for topic in found.state.topics() {
            found.names.insert(topic.id(), topic.name().to_owned());
        }
        found.misplaced = found.find_misplaced();
        Ok(found)
    }

    /// Segments that are there and were needed, and of which no frame of the journal says that they went.
    fn unsaid(&self, recovery: &Recovery) -> Vec<SegmentId> {
        let gone = &recovery.gone;
        let said = |id: &SegmentId| self.retired.contains(id) || !recovery.listing.segments.contains_key(id);
        gone.needed.iter().filter(|id| gone.retired.contains(id) && !said(id)).copied().collect()
    }

    fn walk(recovery: &mut Recovery, mut mended: Vec<Damage>) -> Result<Self> {
        mended.retain(|place| recovery.gone.needs(&place.file));
        let mut found = Self { damage: mended, ..Self::default() };
        recovery.start_anywhere()?;
        let mut known = Snapshots::default();
        loop {
            match recovery.next()?.0 {
                Step::End => break,
                Step::Damage => {}
                Step::Frame(frame, segment) => {
                    found.snapshots.entry(segment.id).or_insert(known);
                    found.frames += 1;
                    found.look(recovery, &frame, &segment, &mut known)?;
                }
            }
        }
        found.newest_snapshots = known;
        found.closed = recovery.closed;
        found.visited = recovery.visited().to_vec();
        let seals = recovery.seals().filter(|(_, seal, _)| seal.length > 0);
        found.seals = seals.map(|(id, seal, _)| (id, seal)).collect();
        found.end = recovery.end();
        found.damage.extend(recovery.damage().iter().cloned());
        found.damage.extend(recovery.snapshot_damage().iter().cloned());
        Ok(found)
    }

    fn look(&mut self, recovery: &mut Recovery, frame: &Frame, segment: &Segment, known: &mut Snapshots) -> Result<()> {
        if frame.flags.has(Flags::SNAPSHOT) {
            self.look_at_snapshot(frame, segment, known);
            return Ok(());
        }
        // What this build can't read is no damage.
        readable(frame)?;
        for event in events(&frame.body, segment.base) {
            match &event {
                Ok(Event::Publish(published)) => recovery.note(frame, note_of(published)),
                Ok(Event::Move(published)) => {
                    recovery.note_carried(published.topic.get(), carried(frame, published));
                }
                _ => {}
            }
            match event {
                Ok(Event::Publish(published)) => {
                    // Offsets rise; what does not is no message of this topic's, as for whoever opens the store.
                    let before = self.ends.get(&published.topic).copied().unwrap_or_default();
                    self.note(frame.lsn, &published);
                    if published.first < before {
                        continue;
                    }
                    let readable = self.readable.entry(published.topic).or_default();
                    let run = Run { first: published.first, count: published.count };
                    readable.insert_run(run);
                    self.copies.note(published.topic, segment.id, run);
                }
                Ok(Event::Move(published)) => {
                    self.note(frame.lsn, &published);
                    let readable = self.readable.entry(published.topic).or_default();
                    for run in published.runs() {
                        readable.insert_run(run);
                        self.copies.note(published.topic, segment.id, run);
                    }
                }
                Ok(Event::CreateTopic(event)) => {
                    self.created.insert(event.topic);
                    self.names.insert(event.topic, event.name.into_owned());
                }
                Ok(Event::SegmentRetired(event)) => _ = self.retired.insert(event.segment),
                Ok(Event::CreateGroup(event)) => _ = self.explained.insert(event.group.get()),
                Ok(Event::DropGroup(event)) => _ = self.explained.insert(event.group.get()),
                Ok(event) => self.said.extend(group_of(&event).map(|group| (group, frame.lsn))),
                Err(error) => {
                    tracing::warn!(lsn = %frame.lsn, %error, "a frame that verifies can't be decoded");
                    self.undecodable.push((frame.lsn, frame.header.frame_length()));
                    let mut place =
                        crate::journal::damaged(frame.lsn.segment(), frame.lsn.position(), "it can't be decoded");
                    place.to = u64::from(frame.next.get());
                    self.damage.push(place);
                    break;
                }
            }
        }
        Ok(())
    }

    fn note(&mut self, lsn: Lsn, published: &Published<'_>) {
        self.messages = self.messages.saturating_add(published.count);
        self.first.entry(published.topic).or_insert(lsn);
        let end = self.ends.entry(published.topic).or_default();
        *end = (*end).max(published.end);
    }

    fn look_at_snapshot(&mut self, frame: &Frame, segment: &Segment, known: &mut Snapshots) {
        match Piece::of(frame, segment) {
            Some(Piece::Begin(_)) => self.begun = Some((frame.lsn, State::default(), 0)),
            Some(Piece::Part(piece)) => {
                let restored = self.begun.as_mut().is_some_and(|(_, state, count)| {
                    *count = count.saturating_add(1);
                    state.restore_piece(frame.lsn, piece).is_ok()
                });
                if !restored {
                    self.begun = None;
                }
            }
            Some(Piece::End { begin, pieces }) => {
                if let Some((lsn, mut state, count)) = self.begun.take()
                    && (lsn, count) == (begin, pieces)
                    && state.restored().is_ok()
                {
                    *known = Snapshots { older: known.newer, newer: begin };
                    self.newest = Some((begin, state));
                }
            }
            None => self.begun = None,
        }
    }

    /// A sidecar is written when all that it tells of is durable. One of a segment that is whole tells nothing new: it
    /// is right, or of no use.
    fn read_sidecars(&mut self, recovery: &Recovery) {
        let hurt: BTreeSet<&str> = self.damage.iter().map(|place| place.file.as_str()).collect();
        for Visit { id, missing } in recovery.visited() {
            let Some((index, seal)) = read_sidecar(&*recovery.storage, recovery.store, *id) else { continue };
            let whole = recovery.seals().find(|(of, ..)| of == id && !hurt.contains(segment_name(*id).as_str()));
            if let Some((_, right, walked)) = whole.filter(|_| !missing) {
                if (seal, &index) != (right, walked) {
                    self.wrong.push(*id);
                }
                continue;
            }
            for (stream, held) in &index.streams {
                let end = self.ends.entry(TopicId::new(*stream)).or_default();
                *end = (*end).max(Offset::new(held.last).next());
            }
        }
    }

    /// From the newest whole snapshot, or from the start: as opening would, had the store no damage.
    fn fold(&mut self, recovery: &mut Recovery) -> Result<()> {
        self.begun = None;
        let (from, state) = self.newest.take().unwrap_or_default();
        self.first_group = state.next_group().get();
        (self.state, self.began) = (state, from);
        if from == Lsn::ZERO {
            recovery.start_anywhere()?;
        } else {
            recovery.start(from)?;
        }
        loop {
            let (step, skip) = recovery.next()?;
            let (frame, segment) = match step {
                Step::End => return Ok(()),
                Step::Damage => continue,
                Step::Frame(frame, segment) => (frame, segment),
            };
            let passed_over = self.undecodable.iter().any(|(lsn, _)| *lsn == frame.lsn);
            if skip || passed_over || frame.flags.has(Flags::SNAPSHOT) {
                continue;
            }
            for event in events(&frame.body, segment.base).map_while(std::result::Result::ok) {
                self.state.apply(frame.lsn, &event);
            }
        }
    }

    /// What to call a topic.
    pub(super) fn name_of(&self, topic: TopicId) -> String {
        self.names.get(&topic).cloned().unwrap_or_else(|| format!("number {topic}"))
    }

    /// The offset after the last one that a topic is known to have had.
    pub(super) fn end_of(&self, topic: TopicId) -> Offset {
        let said = self.ends.get(&topic).copied().unwrap_or_default();
        self.state.topic(topic).map_or(Offset::ZERO, |topic| topic.end()).max(said)
    }

    /// The topics that are there, or were before the damage.
    pub(super) fn topics(&self) -> BTreeSet<TopicId> {
        let live = self.state.topics().map(|topic| topic.id());
        // A topic that was dropped has a name and no state: nobody wants its messages back.
        let nameless = self.readable.keys().chain(self.ends.keys()).filter(|id| !self.names.contains_key(id));
        live.chain(nameless.copied()).collect()
    }

    /// Offsets of a topic that can't be read: those that somebody still wanted, and those that are settled already.
    pub(super) fn missing(&self, topic: TopicId) -> (Vec<Run>, Vec<Run>) {
        let (mut lost, mut settled) = (Vec::new(), Vec::new());
        let (none, end) = (OffsetSet::default(), self.end_of(topic));
        let readable = self.readable.get(&topic).unwrap_or(&none);
        let mut at = readable.next_absent(Offset::ZERO);
        while at < end {
            let next = readable.next_present(at).unwrap_or(end).min(end);
            let run = Run { first: at, count: next.since(at) };
            let gone = self.state.topic(topic).map(|held| self.state.gone_runs(held, run)).unwrap_or_default();
            let mut from = at;
            for part in &gone {
                lost.push(Run { first: from, count: part.first.since(from) });
                from = part.end();
            }
            lost.push(Run { first: from, count: next.since(from) });
            settled.extend(gone);
            at = readable.next_absent(next);
        }
        lost.retain(|run| run.count > 0);
        (lost, settled)
    }

    /// Groups whose creation is lost, from the first to the last of each row: something was said of them, or their
    /// numbers are missing among those that were given since the snapshot, one after the other.
    pub(super) fn lost_groups(&self) -> Vec<(u32, u32)> {
        let next = self.state.next_group().get();
        let there = self.state.groups().map(|group| group.id().get());
        let known: BTreeSet<u32> = there.chain(self.explained.iter().copied()).collect();
        let mut lost = Vec::new();
        let mut at = self.first_group;
        for group in known.range(at..).copied().chain([next]) {
            if group > at {
                lost.push((at, group.saturating_sub(1)));
            }
            at = at.max(group.saturating_add(1));
        }
        // What was said before the snapshot of a group that is not in it was said of one that had been removed by then.
        let said = self.said.iter().filter(|(_, last)| **last >= self.began).map(|(group, _)| *group);
        let is_lost = |group: u32| {
            let mut before = lost.iter().take(lost.partition_point(|(from, _)| *from <= group));
            before.next_back().is_some_and(|(_, to)| *to >= group)
        };
        let told = |group: &u32| known.contains(group) || is_lost(*group);
        let more: Vec<u32> = said.filter(|group| !told(group)).collect();
        lost.extend(more.into_iter().map(|group| (group, group)));
        lost
    }
}

fn group_of(event: &Event<'_>) -> Option<u32> {
    let group = match event {
        Event::Ack(event) => event.group,
        Event::Nack(event) => event.group,
        Event::Bury(event) => event.group,
        Event::Release(event) => event.group,
        Event::Settle(event) => event.group,
        Event::Redrive(event) => event.group,
        Event::Delivered(event) => event.group,
        Event::Unseen(event) => event.group,
        Event::ConfigureGroup(event) => event.group,
        Event::Seek(event) => event.group,
        Event::Pause(event) => event.group,
        _ => return None,
    };
    Some(group.get())
}
