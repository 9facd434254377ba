//! Finding the journal's end again.
//!
//! The engine pulls frames with [`Recovery::next`], from wherever a snapshot lets it start; every place where a frame
//! is expected is judged by the table in `judge`. What was found is made durable in `finish`.

use super::control::{Begin, Control, Seal, Snapshots};
use super::frame::{Flags, Frame, FrameHeader};
use super::gone::Gone;
use super::index::{Carried, Note, SegmentIndex};
use super::judge::{Sight, Verdict, judge};
use super::listing::{Listing, sidecar_claim};
use super::scan::{Behind, Scanner, Sighting, Survey};
use super::segment::{SEGMENT_HEADER, Segment, segment_name};
use super::visits::Visit;
use crate::config::Keys;
use crate::error::{Code, Damage, Error, Result};
use crate::seen::Seen;
use crate::storage::{Access, Storage};
use crate::types::{Lsn, Position, SegmentId, StoreId};
use std::sync::Arc;

/// What the next place of the journal holds.
#[derive(Debug)]
pub(crate) enum Step {
    /// An ordinary frame, with the segment it is in.
    Frame(Frame, Arc<Segment>),
    /// Something is damaged: the last entry of [`Recovery::damage`]. The next frame comes from behind it.
    Damage,
    /// The journal's end.
    End,
}

/// A torn tail that nobody was promised.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trimmed {
    /// Where it began.
    pub from: Lsn,
    /// Where its last byte that wasn't zero ended.
    pub to: Lsn,
}

/// A segment that was walked to its seal.
#[derive(Clone, Debug)]
pub(crate) struct Walked {
    pub(crate) segment: Arc<Segment>,
    pub(crate) seal: Seal,
    pub(crate) index: SegmentIndex,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Recovery {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) store: StoreId,
    pub(crate) keys: Keys,
    /// Frames whose key is not there are given out, without what they say; for all others they are an error.
    pub(crate) shows_locked: bool,
    pub(crate) listing: Listing,
    /// What is passed over, where that is known already.
    pub(crate) gone: Gone,
    /// How many were passed over so far.
    pub(crate) gaps: u64,
    /// The newest segment that was begun.
    pub(super) newest: Option<SegmentId>,
    from: Lsn,
    pub(super) scanner: Option<Scanner>,
    pub(super) checksum: crc32fast::Hasher,
    pub(super) index: SegmentIndex,
    sealed: Option<Seal>,
    /// Frames of the present segment could not be read: its running checksum is not known.
    passed_over: bool,
    /// The last frame was a clean close.
    pub(crate) closed: bool,
    pub(super) claimed: Lsn,
    pub(super) snapshots: Snapshots,
    pub(super) walked: Vec<Walked>,
    pub(super) damage: Vec<Damage>,
    /// Damaged frames that were pieces of a snapshot only.
    pub(super) snapshot_damage: Vec<Damage>,
    pub(super) trimmed: Option<Trimmed>,
    pub(crate) frames: u64,
    /// Somebody else is writing meanwhile; see `observe`.
    pub(super) observing: bool,
    /// Where the walk ended, once it has.
    pub(super) end: Option<Lsn>,
    /// Whole frames behind the first bad place of a segment, so that a segment with many is searched once.
    behind: Option<(SegmentId, Behind)>,
    /// What [`Self::later_claim`] found for a segment, likewise.
    later: Option<(SegmentId, Option<SegmentId>)>,
    pub(super) visited: Vec<Visit>,
}

impl Recovery {
    /// Looks at what is there: names, headers, the newest segment's first frame.
    pub(crate) fn begin(storage: Arc<dyn Storage>, store: StoreId, keys: &Keys) -> Result<Self> {
        let listing = Listing::read(&*storage, store, keys)?;
        let mut recovery = Self {
            storage,
            store,
            keys: keys.clone(),
            shows_locked: false,
            listing,
            gone: Gone::default(),
            gaps: 0,
            newest: None,
            from: Lsn::ZERO,
            scanner: None,
            checksum: crc32fast::Hasher::new(),
            index: SegmentIndex::default(),
            sealed: None,
            passed_over: false,
            closed: false,
            claimed: Lsn::ZERO,
            snapshots: Snapshots::default(),
            walked: Vec::new(),
            damage: Vec::new(),
            snapshot_damage: Vec::new(),
            trimmed: None,
            frames: 0,
            observing: false,
            end: None,
            behind: None,
            later: None,
            visited: Vec::new(),
        };
        if recovery.listing.segments.is_empty() && recovery.listing.bad.is_empty() {
            return Err(Error::new(
                Code::JournalMissing,
                "the store's identity is there, but not one segment of its journal: restore the directory `journal`",
            ));
        }
        (recovery.newest, recovery.snapshots) = recovery.newest_snapshots()?;
        Ok(recovery)
    }

    /// Starts over at `lsn`, or at the first segment if that is zero. Fails if its segment isn't there.
    pub(crate) fn start(&mut self, lsn: Lsn) -> Result<()> {
        self.from = lsn;
        self.claimed = Lsn::ZERO;
        self.walked.clear();
        self.damage.clear();
        self.snapshot_damage.clear();
        self.trimmed = None;
        self.frames = 0;
        self.closed = false;
        self.end = None;
        self.visited.clear();
        self.behind = None;
        let first = if lsn == Lsn::ZERO { self.listing.first(&self.gone) } else { Some(lsn.segment()) };
        // Whatever was in segments before the first one is passed over like that of any other that is gone.
        let before = first.map_or(SegmentId::ZERO, |id| SegmentId(id.get().saturating_sub(1)));
        self.gaps = u64::from(lsn == Lsn::ZERO && before != SegmentId::ZERO && self.gone.has(before));
        match first.and_then(|id| self.listing.segments.get(&id)).cloned() {
            Some(segment) => self.enter(&segment),
            None => {
                let id = first.unwrap_or(SegmentId(1));
                let what = self.listing.why_missing(id);
                Err(Error::new(
                    Code::SegmentMissing,
                    format!("{} is needed and can't be used: {what}", segment_name(id)),
                )
                .with_damage(vec![whole_file(id, what)]))
            }
        }
    }

    pub(super) fn open(&self, segment: &Arc<Segment>) -> Result<Scanner> {
        let file = self.storage.open(&self.listing.file_of(segment.id), Access::Read);
        Ok(Scanner::new(file.map_err(|source| self.reading(segment.id, source))?, segment.clone()))
    }

    pub(super) fn reading(&self, id: SegmentId, source: std::io::Error) -> Error {
        Error::io(format!("reading {}", segment_name(id)), source)
    }

    pub(super) fn enter(&mut self, segment: &Arc<Segment>) -> Result<()> {
        self.scanner = Some(self.open(segment)?);
        self.visited.push(Visit { id: segment.id, missing: false });
        self.checksum = crc32fast::Hasher::new();
        self.index = SegmentIndex::default();
        self.sealed = None;
        self.passed_over = false;
        Ok(())
    }

    /// Notes where a stream's ordinals are: `frame` was the last one given out.
    pub(crate) fn note(&mut self, frame: &Frame, note: Note) {
        self.index.note(frame.lsn.position(), note);
    }

    /// Notes what of a stream was carried over by the frame that was given out last.
    pub(crate) fn note_carried(&mut self, stream: u32, carried: Carried) {
        self.index.note_carried(stream, carried);
    }

    /// What was found damaged so far.
    pub(crate) fn damage(&mut self) -> &mut Vec<Damage> {
        &mut self.damage
    }

    /// The torn tail that was found, if any.
    pub(crate) fn trimmed(&self) -> Option<&Trimmed> {
        self.trimmed.as_ref()
    }

    /// Damaged pieces of snapshots: nothing is lost with them.
    pub(crate) fn snapshot_damage(&self) -> &[Damage] {
        &self.snapshot_damage
    }

    /// The next frame, from the start that was given on. Frames of the start's segment before it are given out as well,
    /// with `skip` set, so that they can be indexed.
    pub(crate) fn next(&mut self) -> Result<(Step, bool)> {
        loop {
            let Some(scanner) = &mut self.scanner else { return Ok((Step::End, false)) };
            let id = scanner.segment.id;
            let position = scanner.position();
            let sighting = match scanner.next() {
                Ok(sighting) => sighting,
                Err(source) => return Err(self.reading(id, source)),
            };
            let segment = scanner.segment.clone();
            match sighting {
                Sighting::Frame(frame) if self.sealed.is_none() => {
                    Seen::RowAccept.note();
                    self.check_key(&frame)?;
                    if let Some(step) = self.accept(frame, segment) {
                        return Ok(step);
                    }
                }
                Sighting::Frame(_) => {
                    Seen::RowBehindSeal.note();
                    self.report(id, position, Position(segment.capacity), "there is a frame behind the segment's seal");
                    self.follow_seal(&segment)?;
                    return Ok((Step::Damage, false));
                }
                Sighting::Bad { plausible, header } => {
                    let sight = Sight {
                        header_ok: plausible,
                        seed_ok: header.is_some(),
                        body_ok: false,
                        covered: false,
                        sealed: self.sealed.is_some(),
                        closed: false,
                    };
                    if judge(sight) == Verdict::EndOfSegment {
                        sight.row().note();
                        if self.follow_seal(&segment)? {
                            continue;
                        }
                        return Ok((Step::Damage, false));
                    }
                    let step = self.bad_place(sight, position, &segment, header)?;
                    if let Some(step) = step {
                        return Ok((step, false));
                    }
                }
            }
        }
    }

    /// The next whole frame, whatever is damaged before it; nothing at the end.
    pub(crate) fn next_whole(&mut self) -> Result<Option<(Frame, Arc<Segment>)>> {
        loop {
            match self.next()?.0 {
                Step::End => return Ok(None),
                Step::Damage => {}
                Step::Frame(frame, segment) => return Ok(Some((frame, segment))),
            }
        }
    }

    /// Takes in a whole frame; the journal's own are not given out.
    fn accept(&mut self, frame: Frame, segment: Arc<Segment>) -> Option<(Step, bool)> {
        self.frames += 1;
        self.closed = false;
        let durable = frame.header.durable;
        if durable != Position::ZERO {
            self.claimed = self.claimed.max(Lsn::new(segment.id, durable));
        }
        let before = self.checksum.clone().finalize();
        self.add_to_checksum(&frame.header, &segment, frame.lsn);
        if frame.is_altered() {
            return self.note_altered(&frame).then_some((Step::Damage, false));
        }
        if !frame.header.flags.has(Flags::CONTROL) {
            return Some((Step::Frame(frame.clone(), segment), frame.lsn < self.from));
        }
        match Control::decode(&frame.body) {
            Some(Control::Seal(seal)) => {
                let other = !self.passed_over && seal.checksum != before;
                if seal.length != frame.lsn.position().get() || other {
                    self.report(
                        segment.id,
                        frame.lsn.position(),
                        frame.next,
                        "the seal does not fit the segment's frames",
                    );
                    self.sealed = Some(Seal { length: frame.lsn.position().get(), ..seal });
                    return Some((Step::Damage, false));
                }
                self.sealed = Some(seal);
            }
            Some(Control::Mark { durable }) => self.claimed = self.claimed.max(durable),
            Some(Control::Closed { .. }) => {
                self.closed = true;
                self.claimed = self.claimed.max(frame.lsn);
            }
            Some(Control::Begin(begin)) if begin.previous >= segment.id => {
                let what = format!("it says that it follows {}, which is no earlier segment", begin.previous);
                self.report(segment.id, frame.lsn.position(), frame.next, &what);
                return Some((Step::Damage, false));
            }
            // From the start means from the very first: what was in segments before this one is in nothing else.
            Some(Control::Begin(begin)) if self.starts_late(&begin) => {
                let here = self.visited.pop();
                self.miss(begin.previous);
                self.visited.extend(here);
                return Some((Step::Damage, false));
            }
            Some(Control::Begin(_) | Control::Hole) | None => {}
        }
        None
    }

    fn add_to_checksum(&mut self, header: &FrameHeader, segment: &Segment, lsn: Lsn) {
        let bytes = header.seal(&segment.header_seed(), lsn);
        self.checksum.update(bytes.last_chunk::<4>().map_or(&[][..], |crc| crc.as_slice()));
    }

    /// The walk began at the start, and met no frame before this segment; only that of a store that was just created
    /// may be so.
    fn lacks_all(&self, id: SegmentId) -> bool {
        self.from == Lsn::ZERO && self.frames == 0 && self.walked.is_empty() && id != SegmentId(1)
    }

    /// The walk was to start at the start, and its first frame says that there was a segment before.
    fn starts_late(&self, begin: &Begin) -> bool {
        // Whatever was wrong with the segment before, if the walk came to it, has been told.
        let first = self.from == Lsn::ZERO && self.frames == 1 && self.visited.len() == 1;
        first && begin.previous != SegmentId::ZERO && !self.gone.has(begin.previous)
    }

    /// Goes on in the segment that the seal names. False if that is damaged, which is then reported.
    fn follow_seal(&mut self, segment: &Arc<Segment>) -> Result<bool> {
        let seal = self.sealed.take().unwrap_or_default();
        let index = std::mem::take(&mut self.index);
        self.walked.push(Walked { segment: segment.clone(), seal, index });
        if seal.successor <= segment.id {
            // Segments are numbered upwards; a seal that points back would have the walk go round for ever.
            let what = format!("the seal names {} as the next segment", seal.successor);
            self.report(segment.id, Position(SEGMENT_HEADER), Position(segment.capacity), &what);
            self.go_on_after(segment.id)?;
            return Ok(false);
        }
        let mut next = seal.successor;
        if self.gone.has(next) {
            self.gaps += 1;
            next = self.behind_gone(next);
        }
        if !self.listing.segments.contains_key(&next) {
            self.list_again()?;
        }
        if let Some(successor) = self.listing.segments.get(&next).cloned() {
            self.enter(&successor)?;
            return Ok(true);
        }
        self.miss(next);
        self.go_on_after(next)?;
        Ok(false)
    }

    /// Judges a place without a whole frame, with all that lies behind it. Nothing if only a snapshot was hit.
    fn bad_place(
        &mut self,
        sight: Sight,
        position: Position,
        segment: &Arc<Segment>,
        header: Option<FrameHeader>,
    ) -> Result<Option<Step>> {
        let id = segment.id;
        let file = self.scanner.as_ref().map(|scanner| scanner.file().clone());
        let Some(file) = file else { return Ok(Some(Step::End)) };
        // A frame whose header is whole says where it ends. What is inside it is somebody's payload, whatever it looks
        // like.
        let from = header.map_or(position, |header| Position(position.get().saturating_add(header.frame_length())));
        if self.observing || self.behind.as_ref().is_none_or(|(of, _)| *of != id) {
            let to = self.search_to(from, segment.capacity);
            let found = Behind::search(&*file, segment, from, to).map_err(|source| self.reading(id, source))?;
            self.behind = Some((id, found));
        }
        let behind = self.behind.as_ref().map(|(_, behind)| behind.from(from)).unwrap_or_default();
        // A store that was closed and went on in a later segment did not end with that close.
        self.closed &= self.newest.is_none_or(|newest| newest <= id);
        let closing = sidecar_claim(&*self.storage, self.store, id).filter(|length| *length > position);
        let mut later = None;
        if behind.durable <= position && closing.is_none() && !self.closed && !self.observing {
            later = match self.later {
                Some((of, found)) if of == id => found,
                _ => self.later_claim(id)?,
            };
            self.later = Some((id, later));
        }
        let covered = behind.durable > position || later.is_some();
        let sight = Sight { covered, closed: closing.is_some(), ..sight };
        sight.row().note();
        match judge(sight) {
            Verdict::Damage if self.is_whole_by_now(position)? => Ok(None),
            Verdict::Damage => {
                let end = behind.first.or(closing).unwrap_or(Position(segment.capacity));
                let snapshot = header.filter(|header| header.flags.has(Flags::SNAPSHOT));
                let scanner = self.scanner.as_mut();
                if let (Some(header), Some(scanner)) = (snapshot, scanner) {
                    let end = Position(position.get().saturating_add(header.frame_length()));
                    scanner.seek(end);
                    // Its header is whole: the seal's checksum, which is over headers, still holds.
                    self.add_to_checksum(&header, segment, Lsn::new(id, position));
                    self.snapshot_damage.push(damage(id, position, end, "a piece of a snapshot is damaged"));
                    return Ok(None);
                }
                self.report(id, position, end, "bytes that were durable are damaged");
                match (behind.first, self.scanner.as_mut()) {
                    (Some(first), Some(scanner)) => {
                        scanner.seek(first);
                        self.passed_over = true;
                    }
                    _ => self.go_on_after(id)?,
                }
                Ok(Some(Step::Damage))
            }
            _ if self.lacks_all(id) => {
                // A file that was prepared and never begun is no journal: what was before it is gone.
                let what = "nothing of the journal is there but a segment that was never begun".to_owned();
                self.damage.push(whole_file(SegmentId(1), what));
                self.end = Some(Lsn::new(id, position));
                Ok(Some(Step::End))
            }
            _ => {
                self.end = Some(Lsn::new(id, position));
                self.note_trimmed(id, position, &behind);
                Ok(Some(Step::End))
            }
        }
    }

    fn note_trimmed(&mut self, id: SegmentId, position: Position, behind: &Survey) {
        if behind.end > position {
            self.trimmed = Some(Trimmed { from: Lsn::new(id, position), to: Lsn::new(id, behind.end) });
        }
    }

    /// A later segment with a frame that claims durability in it: then all of this one was durable.
    fn later_claim(&self, id: SegmentId) -> Result<Option<SegmentId>> {
        for segment in self.listing.segments.range(SegmentId(id.get().saturating_add(1))..).map(|(_, segment)| segment)
        {
            let scanner = self.open(segment)?;
            let found = Behind::search(&**scanner.file(), segment, Position(SEGMENT_HEADER), segment.capacity);
            let found = found.map_err(|source| self.reading(segment.id, source))?.from(Position(SEGMENT_HEADER));
            if found.durable != Position::ZERO {
                return Ok(Some(segment.id));
            }
        }
        Ok(None)
    }

    pub(super) fn report(&mut self, id: SegmentId, from: Position, to: Position, what: &str) {
        self.damage.push(damage(id, from, to, what));
    }
}

pub(super) fn damage(id: SegmentId, from: Position, to: Position, what: &str) -> Damage {
    Damage {
        file: segment_name(id),
        from: u64::from(from.get()),
        to: u64::from(to.get()),
        what: what.to_owned(),
        messages: Vec::new(),
    }
}

/// Damage from `from` to who knows where.
pub(crate) fn damaged(id: SegmentId, from: Position, what: &str) -> Damage {
    damage(id, from, from, what)
}

/// Damage that is not a place in a file but the file.
pub(crate) fn whole_file(id: SegmentId, what: String) -> Damage {
    Damage { what, ..damage(id, Position::ZERO, Position::ZERO, "") }
}
