//! Folding the journal into the state, and making sure that every segment can be searched.

use super::read::{readable, undecodable};
use super::snapshot::{Piece, read_snapshot};
use crate::error::{Code, Error, Result};
use crate::event::{DecodeError, Event, Run, events};
use crate::journal::{
    Carried, Files, Flags, Found, Frame, Gone, Known, Listing, Note, Recovery, Scanner, Segment, SegmentIndex,
    Sighting, Step,
};
use crate::journal::{read_sidecar, segment_name};
use crate::seen::Seen;
use crate::state::{State, Topic};
use crate::storage::{Access, Storage};
use crate::types::{Lsn, Offset, SegmentId, StoreId, TopicId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The state as it is folded together.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) state: State,
    /// Bytes of frames that were applied.
    pub(super) bytes: u64,
    /// Messages that were met.
    pub(super) messages: u64,
    /// Which segments are not needed any more.
    pub(super) gone: Gone,
    /// The last offsets that were met, where that is not what the state says: in a walk that passes over segments.
    pub(super) seen: Option<BTreeMap<TopicId, Offset>>,
    /// Bytes of the snapshot it began with.
    pub(super) snapshot_bytes: u64,
    /// Where the snapshot that is being met began.
    pub(super) begun: Option<(Lsn, u32)>,
    /// Offsets that were never published though later ones were, each with the frame of those. They are damage unless
    /// the journal says further on that they were given up as lost.
    pub(super) gaps: Vec<(Lsn, TopicId, Run)>,
}

impl Replay {
    /// From the newest snapshot that can be used, or from the start.
    pub(super) fn run(&mut self, recovery: &mut Recovery) -> Result<()> {
        let mut searched = false;
        loop {
            let snapshots = recovery.snapshots();
            for begin in [snapshots.newer, snapshots.older] {
                if !self.begin_with(recovery, begin)? {
                    continue;
                }
                let whole = recovery.damage().is_empty() && self.check_segments(recovery).is_ok();
                if whole || searched {
                    if begin == snapshots.newer {
                        Seen::FromSnapshot.note()
                    } else {
                        recovery.rely_on(begin)
                    }
                    return self.check_segments(recovery);
                }
                break;
            }
            // Newer ones may be named by no segment's first frame, and what they made unneeded may be gone. The walk
            // may have met them behind what is gone.
            let met = recovery.snapshots() != snapshots;
            if std::mem::replace(&mut searched, true) || !(met || find_newer(recovery)?) {
                break;
            }
        }
        // The newest ones may have been in what a repair had to give up: an older one is as good, if all that came
        // after it is there.
        let tried = recovery.snapshots();
        // Where none is named, all segments were looked through already.
        let named = tried.newer != Lsn::ZERO;
        let mut earlier = if named { super::salvage::ended_snapshots(recovery)? } else { BTreeSet::new() };
        earlier.extend(recovery.earlier_snapshots()?);
        for begin in earlier.into_iter().rev().filter(|begin| ![tried.older, tried.newer].contains(begin)) {
            let whole = self.begin_with(recovery, begin)? && recovery.damage().is_empty();
            if whole && self.check_segments(recovery).is_ok() {
                recovery.rely_on(begin);
                return Ok(());
            }
        }
        *self = Self::default();
        recovery.rely_on(Lsn::ZERO);
        self.fold(recovery, Lsn::ZERO, &mut |_| ())
    }

    /// Restores the snapshot that starts there, and applies what came after it. False if it is no use.
    fn begin_with(&mut self, recovery: &mut Recovery, begin: Lsn) -> Result<bool> {
        if begin == Lsn::ZERO {
            return Ok(false);
        }
        let Some(snapshot) = read_snapshot(recovery, begin)? else {
            tracing::warn!(%begin, "a snapshot can't be used; going back to the one before");
            return Ok(false);
        };
        *self = Self { state: snapshot.state, snapshot_bytes: snapshot.bytes, ..Self::default() };
        self.gone.below = begin.segment();
        self.gone.needed = snapshot.segments.into_iter().collect();
        self.fold(recovery, begin, &mut |_| ())?;
        Ok(true)
    }

    /// What the snapshot names has to be there, unless it was retired since. That it was may have been in what a repair
    /// had to give up; then a newer snapshot does not name it.
    fn check_segments(&self, recovery: &Recovery) -> Result<()> {
        let lacks = |id: &&SegmentId| !self.gone.has(**id) && !recovery.listing.segments.contains_key(id);
        let Some(id) = self.gone.needed.iter().find(lacks) else { return Ok(()) };
        let what = recovery.listing.why_missing(*id);
        let error = Error::new(Code::SegmentMissing, format!("{} is needed: {what}", segment_name(*id)));
        Err(error.with_damage(vec![crate::journal::whole_file(*id, what)]))
    }

    /// Applies every frame from `from` on, and tells `met` of each.
    pub(super) fn fold(&mut self, recovery: &mut Recovery, from: Lsn, met: &mut dyn FnMut(Lsn)) -> Result<()> {
        // A walk over everything goes on behind a first segment that is missing, and tells of it.
        if self.seen.is_some() {
            recovery.start_anywhere()?
        } else {
            recovery.start(from)?
        }
        let (mut damaged, mut gaps) = (false, 0);
        loop {
            match recovery.next()? {
                (Step::End, _) => {
                    self.report_gaps(recovery);
                    return Ok(());
                }
                (Step::Damage, _) => damaged = true,
                (Step::Frame(frame, segment), skip) => {
                    met(frame.lsn);
                    if std::mem::replace(&mut gaps, recovery.gaps) != recovery.gaps
                        && let Some(seen) = &mut self.seen
                    {
                        seen.clear();
                    }
                    if frame.flags.has(Flags::SNAPSHOT) {
                        self.meet_snapshot(recovery, &frame, &segment);
                        continue;
                    }
                    readable(&frame)?;
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
            match &event {
                Event::Publish(published) => {
                    recovery.note(frame, note_of(published));
                    self.messages += published.count;
                    match (skip, damaged) {
                        (true, _) => {}
                        (false, true) => self.note_gap(recovery, published),
                        (false, false) => self.note_jump(recovery, frame.lsn, published),
                    }
                    if let Some(seen) = &mut self.seen {
                        seen.insert(published.topic, published.end);
                    }
                }
                Event::Move(published) => {
                    recovery.note_carried(published.topic.get(), carried(frame, published));
                    self.messages += published.count;
                }
                Event::SegmentRetired(event) if !skip => _ = self.gone.retired.insert(event.segment),
                _ => {}
            }
            if !skip {
                self.state.apply(frame.lsn, &event);
            }
        }
        self.bytes += u64::from(frame.header.frame_length());
        Ok(())
    }

    /// The offsets that are missing before a message, with the name of its topic, if any are.
    fn missing_before(
        &self,
        recovery: &Recovery,
        published: &crate::event::Published<'_>,
    ) -> Option<(String, Offset, Offset)> {
        let known = self.state.topic(published.topic);
        let end = match &self.seen {
            // Not met since segments were passed over: nobody can say how many are missing.
            Some(seen) if recovery.gaps > 0 => seen.get(&published.topic).copied().unwrap_or(published.first),
            _ => known.map(|topic| topic.end()).unwrap_or_default(),
        };
        let name = || known.map_or_else(|| format!("number {}", published.topic), |topic| topic.name().to_owned());
        (published.first > end).then(|| (name(), end, Offset(published.first.get().saturating_sub(1))))
    }

    /// Offsets that are missing behind damage are said to be lost with it.
    fn note_gap(&self, recovery: &mut Recovery, published: &crate::event::Published<'_>) {
        let missing = self.missing_before(recovery, published);
        if let (Some(missing), Some(damage)) = (missing, recovery.damage().last_mut()) {
            damage.messages.push(missing);
        }
    }

    /// Offsets are dense, so a journal without damage has no such thing; but it costs nothing to look.
    fn note_jump(&mut self, recovery: &Recovery, lsn: Lsn, published: &crate::event::Published<'_>) {
        if self.state.topic(published.topic).is_some()
            && let Some((_, first, last)) = self.missing_before(recovery, published)
        {
            self.gaps.push((lsn, published.topic, Run { first, count: last.next().since(first) }));
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
            Some(Piece::Begin(_)) => self.begun = Some((frame.lsn, 0)),
            Some(Piece::Part(_)) => {
                if let Some((_, count)) = &mut self.begun {
                    *count = count.saturating_add(1);
                }
            }
            // One that lacks a piece, since that is damaged, is none to begin with, and keeps nothing from going.
            Some(Piece::End { begin, pieces }) if self.begun == Some((begin, pieces)) => recovery.snapshot_met(begin),
            Some(Piece::End { .. }) | None => {}
        }
    }
}

/// Looks for snapshots that are newer than those that the newest segment's first frame names. Whether there are any.
///
/// One is named by the first segment that is begun after it is durable: until then several may have been begun, while
/// what it made unneeded went. So the segments are looked through from the newest back to where the known one lies.
fn find_newer(recovery: &mut Recovery) -> Result<bool> {
    let Some(newest) = recovery.newest_begin() else { return Ok(false) };
    let before = recovery.snapshots();
    let mut begins: Vec<SegmentId> = recovery.listing.segments.range(..=newest.segment()).map(|(id, _)| *id).collect();
    begins.retain(|id| *id >= before.newer.segment());
    for id in begins.into_iter().rev() {
        recovery.start(Lsn::new(id, newest.position()))?;
        loop {
            match recovery.next()?.0 {
                Step::End => break,
                Step::Frame(frame, segment) if frame.flags.has(Flags::SNAPSHOT) => {
                    if let Some(Piece::End { begin, .. }) = Piece::of(&frame, &segment) {
                        recovery.snapshot_met(begin);
                    }
                }
                Step::Damage | Step::Frame(..) => {}
            }
        }
        if recovery.snapshots() != before {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether every offset of the run was given up, or lies elsewhere, to where it was moved.
fn accounted(topic: &Topic, run: Run) -> bool {
    let mut at = run.first;
    while at < run.end() {
        let next = topic.places().all().next_absent(topic.gone().next_unsettled(at));
        if next == at {
            return false;
        }
        at = next;
    }
    true
}

pub(super) fn carried(frame: &Frame, published: &crate::event::Published<'_>) -> Carried {
    let last = published.end.get().saturating_sub(1);
    Carried { first: published.first.get(), last, position: frame.lsn.position() }
}

pub(super) fn note_of(published: &crate::event::Published<'_>) -> Note {
    Note { stream: published.topic.get(), first: published.first.get(), count: published.count, time: published.time }
}

/// Registers every segment with an index: from its sidecar if that is right, otherwise by a scan. How many scans. Those
/// that are gone are left out.
pub(super) fn indexes(
    storage: &dyn Storage,
    store: StoreId,
    files: &Files,
    (found, listing, gone): (&Found, &Listing, &Gone),
) -> Result<u64> {
    let mut rebuilt = 0;
    for walked in found.walked.iter().filter(|walked| !gone.retired.contains(&walked.segment.id)) {
        let (segment, seal) = (walked.segment.clone(), Some(walked.seal));
        files.add(Known { segment, seal, index: Some(Arc::new(walked.index.clone())) });
    }
    let first = found.walked.first().map_or(found.active.id, |walked| walked.segment.id);
    for segment in listing.segments.range(..first).map(|(_, segment)| segment).filter(|known| !gone.has(known.id)) {
        if files.known(segment.id).is_some_and(|known| known.index.is_some()) {
            continue;
        }
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
        if frame.flags.has(Flags::SNAPSHOT) || frame.flags.has(Flags::CONTROL) {
            continue;
        }
        readable(&frame)?;
        for event in events(&frame.body, segment.base) {
            match event.map_err(|error| undecodable(&frame, error))? {
                Event::Publish(published) => index.note(frame.lsn.position(), note_of(&published)),
                Event::Move(published) => index.note_carried(published.topic.get(), carried(&frame, &published)),
                _ => {}
            }
        }
    }
}
