//! Folding the journal into the state, and making sure that every segment can be searched.

use super::read::undecodable;
use super::snapshot::{Piece, read_snapshot};
use crate::error::{Code, Error, Result};
use crate::event::{DecodeError, Event, Run, events};
use crate::journal::{
    Files, Flags, Found, Frame, Known, Listing, Note, Recovery, Scanner, Segment, SegmentIndex, Sighting, Step,
};
use crate::journal::{read_sidecar, segment_name};
use crate::state::{State, Topic};
use crate::storage::{Access, Storage};
use crate::types::{Lsn, Offset, StoreId, TopicId};
use std::sync::Arc;

/// The state as it is folded together.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) state: State,
    /// Bytes of frames that were applied.
    pub(super) bytes: u64,
    /// Messages that were met.
    pub(super) messages: u64,
    /// Where the snapshot that is being met began.
    begun: Option<Lsn>,
    /// Offsets that were never published though later ones were, each with the frame of those. They are damage unless
    /// the journal says further on that they were given up as lost.
    gaps: Vec<(Lsn, TopicId, Run)>,
}

impl Replay {
    /// From the newest snapshot that can be used, or from the start.
    pub(super) fn run(&mut self, recovery: &mut Recovery) -> Result<()> {
        let snapshots = recovery.snapshots();
        for begin in [snapshots.newer, snapshots.older] {
            if begin == Lsn::ZERO {
                continue;
            }
            match read_snapshot(recovery, begin) {
                Ok(Some(snapshot)) => {
                    for id in &snapshot.segments {
                        if !recovery.listing.segments.contains_key(id) {
                            let what = recovery.listing.why_missing(*id);
                            let name = segment_name(*id);
                            let damage = crate::journal::whole_file(*id, what.clone());
                            return Err(Error::new(Code::SegmentMissing, format!("{name} is needed: {what}"))
                                .with_damage(vec![damage]));
                        }
                    }
                    self.state = snapshot.state;
                    return self.fold(recovery, begin, &mut |_| ());
                }
                Ok(None) => tracing::warn!(%begin, "a snapshot can't be used; going back to the one before"),
                Err(error) => return Err(error),
            }
        }
        self.state = State::default();
        self.fold(recovery, Lsn::ZERO, &mut |_| ())
    }

    /// Applies every frame from `from` on, and tells `met` of each.
    pub(super) fn fold(&mut self, recovery: &mut Recovery, from: Lsn, met: &mut dyn FnMut(Lsn)) -> Result<()> {
        recovery.start(from)?;
        let mut damaged = false;
        loop {
            match recovery.next()? {
                (Step::End, _) => {
                    self.report_gaps(recovery);
                    return Ok(());
                }
                (Step::Damage, _) => damaged = true,
                (Step::Frame(frame, segment), skip) => {
                    met(frame.lsn);
                    if frame.header.flags.has(Flags::SNAPSHOT) {
                        self.meet_snapshot(recovery, &frame, &segment);
                        continue;
                    }
                    if let Some(bytes) = frame.header.flags.unknown() {
                        let what = format!("the frame at {} is {bytes}; this release can't read it", frame.lsn);
                        return Err(Error::new(Code::FutureVersion, what));
                    }
                    self.take(recovery, &frame, &segment, skip, damaged)?;
                }
            }
        }
    }

    fn take(
        &mut self,
        recovery: &mut Recovery,
        frame: &Frame,
        segment: &Segment,
        skip: bool,
        damaged: bool,
    ) -> Result<()> {
        for event in events(&frame.body, segment.base) {
            let event = event.map_err(|error| match error {
                DecodeError::UnknownKind(kind) => {
                    let lsn = frame.lsn;
                    let what = format!(
                        "the frame at {lsn} has an event of kind {kind:#04x}, unknown here: use a newer release"
                    );
                    Error::new(Code::FutureVersion, what)
                }
                other => undecodable(frame, other),
            })?;
            if let Event::Publish(published) | Event::Move(published) = &event {
                recovery.note(frame, note_of(published));
                self.messages += published.count;
                match (&event, damaged) {
                    _ if skip => {}
                    (_, true) => self.note_gap(recovery, published),
                    (Event::Publish(_), false) => self.note_jump(frame.lsn, published),
                    _ => {}
                }
            }
            if !skip {
                self.state.apply(frame.lsn, &event);
            }
        }
        self.bytes += u64::from(frame.header.frame_length());
        Ok(())
    }

    /// Offsets that are missing behind damage are said to be lost with it.
    fn note_gap(&self, recovery: &mut Recovery, published: &crate::event::Published<'_>) {
        let (name, end) = match self.state.topic(published.topic) {
            Some(topic) => (topic.name().to_owned(), topic.end()),
            None => (format!("number {}", published.topic), Offset::ZERO),
        };
        if published.first > end
            && let Some(damage) = recovery.damage().last_mut()
        {
            let last = Offset(published.first.get().saturating_sub(1));
            damage.messages.push((name, end, last));
        }
    }

    /// Offsets are dense, so a journal without damage has no such thing; but it costs nothing to look.
    fn note_jump(&mut self, lsn: Lsn, published: &crate::event::Published<'_>) {
        let Some(topic) = self.state.topic(published.topic) else { return };
        let (first, count) = (topic.end(), published.first.since(topic.end()));
        if count > 0 {
            self.gaps.push((lsn, published.topic, Run { first, count }));
        }
    }

    fn report_gaps(&mut self, recovery: &mut Recovery) {
        for (lsn, topic, run) in std::mem::take(&mut self.gaps) {
            let Some(topic) = self.state.topic(topic).filter(|topic| !accounted(topic, run)) else { continue };
            let what = "the messages of a topic begin anew behind offsets that were never published";
            let mut damage = crate::journal::damaged(lsn.segment(), lsn.position(), what);
            damage.messages.push((topic.name().to_owned(), run.first, Offset(run.end().get().saturating_sub(1))));
            recovery.damage().push(damage);
        }
    }

    fn meet_snapshot(&mut self, recovery: &mut Recovery, frame: &Frame, segment: &Segment) {
        match Piece::of(frame, segment) {
            Some(Piece::Begin(_)) => self.begun = Some(frame.lsn),
            Some(Piece::End { begin, .. }) if self.begun == Some(begin) => recovery.snapshot_met(begin),
            _ => {}
        }
    }
}

/// Whether every offset of the run was given up, or lies elsewhere, to where it was moved.
fn accounted(topic: &Topic, run: Run) -> bool {
    let moved = || topic.extents().skip(topic.published().len());
    let mut at = topic.gone().next_unsettled(run.first);
    while at < run.end() {
        let Some(extent) = moved().find(|extent| (extent.first..=extent.last).contains(&at)) else { return false };
        at = topic.gone().next_unsettled(extent.last.next());
    }
    true
}

fn note_of(published: &crate::event::Published<'_>) -> Note {
    Note { stream: published.topic.get(), first: published.first.get(), count: published.count, time: published.time }
}

/// Registers every segment with an index: from its sidecar if that is right, otherwise by a scan. How many scans.
pub(super) fn indexes(
    storage: &dyn Storage,
    store: StoreId,
    files: &Files,
    found: &Found,
    listing: &Listing,
) -> Result<u64> {
    let mut rebuilt = 0;
    for walked in &found.walked {
        let (segment, seal) = (walked.segment.clone(), Some(walked.seal));
        files.add(Known { segment, seal, index: Some(Arc::new(walked.index.clone())) });
    }
    let first = found.walked.first().map_or(found.active.id, |walked| walked.segment.id);
    for segment in listing.segments.range(..first).map(|(_, segment)| segment) {
        let (index, seal) = match read_sidecar(storage, store, segment.id).filter(|(_, seal)| seal.successor.get() != 0)
        {
            Some((index, seal)) => (index, seal),
            None => {
                rebuilt += 1;
                scan(storage, segment)?
            }
        };
        if segment.capacity < seal.end() {
            let cut = crate::journal::damaged(segment.id, segment.capacity.into(), "the file was cut short");
            let what = "the journal is damaged; nothing was changed. Restore a backup, or salvage what is whole";
            return Err(Error::new(Code::Damaged, what).with_damage(vec![cut]));
        }
        files.add(Known { segment: segment.clone(), seal: Some(seal), index: Some(Arc::new(index)) });
    }
    Ok(rebuilt)
}

/// Reads a sealed segment from front to back and notes what it holds.
fn scan(storage: &dyn Storage, segment: &Arc<Segment>) -> Result<(SegmentIndex, crate::journal::Seal)> {
    let name = segment_name(segment.id);
    let failed = |source| Error::io(format!("reading {name}"), source);
    let file = storage.open(&name, Access::Read).map_err(failed)?;
    let mut scanner = Scanner::new(file, segment.clone());
    let mut index = SegmentIndex::default();
    loop {
        let position = scanner.position();
        let Sighting::Frame(frame) = scanner.next().map_err(failed)? else {
            let damage = crate::journal::damaged(segment.id, position, "a sealed segment is damaged");
            return Err(
                Error::new(Code::Damaged, "the journal is damaged; nothing was changed").with_damage(vec![damage])
            );
        };
        if let Some(seal) = crate::journal::seal_of(&frame) {
            return Ok((index, seal));
        }
        if frame.header.flags.has(Flags::SNAPSHOT) || frame.header.flags.has(Flags::CONTROL) {
            continue;
        }
        for event in events(&frame.body, segment.base) {
            if let Event::Publish(published) | Event::Move(published) =
                event.map_err(|error| undecodable(&frame, error))?
            {
                index.note(frame.lsn.position(), note_of(&published));
            }
        }
    }
}
