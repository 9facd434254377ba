//! Snapshots: the whole small state, in parts between ordinary frames, so that taking one stops nobody.
//!
//! The frames between `Begin` and `End` are flagged as pieces of a snapshot. Each part (the store, a topic, a group) is
//! captured and appended under one hold of the lock, so it holds everything up to its own place in the journal; replay
//! skips for it what came before that. A snapshot is complete when its `End` is there, and counts when that is durable.
//!
//! A piece's body is one `SnapshotPart` event. Its first byte: 0 `Begin`, then the numbers of the segments that are
//! needed (u32 little-endian each); 1 a part's piece, as `state::snapshot` writes it; 2 `End`, then the LSN of the
//! `Begin` (u64) and the number of pieces between (u32).

use super::{Core, Engine};
use crate::config::Durability;
use crate::error::Result;
use crate::event::{Event, encode, events};
use crate::journal::{Class, Flags, Frame, Recovery, Refusal, Segment, Step};
use crate::seen::Seen;
use crate::state::{PartId, State};
use crate::types::{Lsn, SegmentId};
use std::collections::VecDeque;

/// A snapshot is due when so many times its size was written since.
const GROWTH: u64 = 4;

/// Two more are taken if as much as is written between so many of them is dead, and kept for want of those.
const OVERDUE: u64 = 4;

/// Bytes of a piece besides its content, at most: the frame's header, the event's, the tag.
const PIECE_OVERHEAD: usize = 32;

/// What is known of snapshots, taken and being taken.
#[derive(Debug, Default)]
pub(super) struct Progress {
    running: Option<Running>,
    /// Bytes of the last snapshot.
    pub(super) size: u64,
    /// Bytes in the journal when the last snapshot began.
    since: u64,
    /// Bytes that opening had to replay: they count as written since the last snapshot.
    pub(super) replayed: u64,
}

#[derive(Debug)]
struct Running {
    begin: Lsn,
    parts: VecDeque<PartId>,
    pieces: u32,
    bytes: u64,
    since: u64,
    /// No part of it was begun and not ended.
    whole: bool,
    /// There was no room for the part that is next.
    refused: bool,
}

impl Progress {
    /// Where the snapshot that is being taken begins.
    pub(super) fn begun(&self) -> Option<Lsn> {
        self.running.as_ref().map(|running| running.begin)
    }
}

/// A piece, as it is read back.
pub(super) enum Piece<'a> {
    Begin(Vec<SegmentId>),
    Part(&'a [u8]),
    End { begin: Lsn, pieces: u32 },
}

impl<'a> Piece<'a> {
    /// Reads the piece in a frame; nothing if there is none.
    pub(super) fn of(frame: &'a Frame, segment: &Segment) -> Option<Self> {
        let Some(Ok(Event::SnapshotPart(bytes))) = events(&frame.body, segment.base).next() else { return None };
        let (tag, rest) = bytes.split_first()?;
        match tag {
            0 => {
                let numbers = rest.chunks_exact(4).filter_map(|number| number.first_chunk().copied());
                Some(Self::Begin(numbers.map(|number| SegmentId(u32::from_le_bytes(number))).collect()))
            }
            1 => Some(Self::Part(rest)),
            2 => {
                let begin = Lsn::from_raw(u64::from_le_bytes(*rest.first_chunk()?));
                let pieces = u32::from_le_bytes(*rest.get(8..)?.first_chunk()?);
                Some(Self::End { begin, pieces })
            }
            _ => None,
        }
    }
}

/// A snapshot that was read back.
pub(super) struct Snapshot {
    pub(super) state: State,
    pub(super) segments: Vec<SegmentId>,
    /// Bytes of its pieces.
    pub(super) bytes: u64,
}

/// Reads the snapshot that starts at `begin`; nothing if it is not whole.
pub(super) fn read_snapshot(recovery: &mut Recovery, begin: Lsn) -> Result<Option<Snapshot>> {
    if recovery.start(begin).is_err() {
        return Ok(None);
    }
    let mut state = State::default();
    let mut segments = None;
    let (mut count, mut bytes) = (0, 0);
    loop {
        let (step, skip) = recovery.next()?;
        let Step::Frame(frame, segment) = step else { return Ok(None) };
        if skip || !frame.flags.has(Flags::SNAPSHOT) {
            continue;
        }
        bytes += u64::from(frame.header.length);
        match (Piece::of(&frame, &segment), &segments) {
            (Some(Piece::Begin(needed)), None) if frame.lsn == begin => segments = Some(needed),
            (Some(Piece::Part(piece)), Some(_)) => {
                if let Err(error) = state.restore_piece(frame.lsn, piece) {
                    tracing::warn!(%begin, %error, "a snapshot can't be restored");
                    return Ok(None);
                }
                count += 1;
            }
            (Some(Piece::End { begin: of, pieces }), Some(_)) if of == begin => {
                if pieces != count || state.restored().is_err() {
                    return Ok(None);
                }
                let segments = segments.unwrap_or_default();
                return Ok(Some(Snapshot { state, segments, bytes }));
            }
            // Another Begin before the End: this one was never finished.
            _ => return Ok(None),
        }
    }
}

impl Core {
    fn piece(&mut self, tag: u8, content: &[u8]) -> Result<Lsn, Refusal> {
        let mut piece = Vec::with_capacity(content.len() + 1);
        piece.push(tag);
        piece.extend_from_slice(content);
        let mut bytes = Vec::with_capacity(piece.len() + 8);
        encode(&Event::SnapshotPart(&piece), &mut bytes);
        self.tail.place(bytes.len(), Class::Snapshot)?;
        let crc = crc32fast::hash(&bytes);
        let span = self.tail.append(Flags::SNAPSHOT, crc, bytes.len(), |out| out.extend_from_slice(&bytes), &[]);
        if let Some(running) = &mut self.snapshot.running {
            running.bytes += bytes.len() as u64;
        }
        Ok(span.start)
    }

    /// Appends the part that there was no room for, now that there is some, before anybody else gets it: those who
    /// publish could take it again and again, and there would never be another snapshot. Not behind the last frame of a
    /// store that was closed meanwhile.
    pub(super) fn refused_part(&mut self) {
        if self.check().is_err() {
            return;
        }
        let running = self.snapshot.running.as_mut().filter(|running| running.refused);
        if let Some(part) = running.and_then(|running| running.parts.pop_front()) {
            let appended = self.part(part);
            Seen::SnapshotFirst.note_if(appended.is_ok());
            if appended.is_err() {
                self.give_up_half();
            }
        }
    }

    /// A part is captured whole or not at all: with half of it appended, the snapshot is begun anew another time.
    fn give_up_half(&mut self) {
        Seen::SnapshotGivenUp.note_if(self.snapshot.running.take_if(|running| !running.whole).is_some());
    }

    /// Appends one part whole, or, if there is no room for all of it, gives the snapshot up.
    fn part(&mut self, part: PartId) -> Result<(), Refusal> {
        let pieces = match self.state.encode_part(part) {
            Ok(Some(pieces)) => pieces,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::error!(%error, "a part of the state can't be put into a snapshot; the snapshot is given up");
                self.snapshot.running = None;
                return Ok(());
            }
        };
        // All of it into one segment, so that it can't be stopped half way; only one larger than any frame has to go on
        // from one to the next.
        let overhead = PIECE_OVERHEAD + self.tail.sealed_bytes() as usize;
        let all: usize = pieces.iter().map(|piece| piece.len() + overhead).sum();
        match self.tail.place(all, Class::Snapshot) {
            Ok(_) | Err(Refusal::TooLarge { .. }) => {}
            Err(refusal) => {
                if let Some(running) = &mut self.snapshot.running {
                    running.parts.push_front(part);
                    running.refused = true;
                }
                return Err(refusal);
            }
        }
        let whole = self.snapshot.running.as_mut().map(|running| {
            running.refused = false;
            std::mem::replace(&mut running.whole, false)
        });
        for piece in pieces {
            self.piece(1, &piece)?;
            if let Some(running) = &mut self.snapshot.running {
                running.pieces = running.pieces.saturating_add(1);
            }
        }
        if let (Some(running), Some(whole)) = (&mut self.snapshot.running, whole) {
            running.whole = whole;
        }
        Ok(())
    }
}

impl Engine {
    fn snapshot_is_due(&self, core: &Core) -> bool {
        if core.space.wants_snapshot() {
            return true;
        }
        let progress = &core.snapshot;
        let written = core.tail.appended().saturating_sub(progress.since).saturating_add(progress.replayed);
        written > self.snapshot_interval(core)
    }

    /// So many bytes are written between two snapshots.
    fn snapshot_interval(&self, core: &Core) -> u64 {
        u64::from(self.options.segment_bytes).max(core.snapshot.size.saturating_mul(GROWTH))
    }

    /// Whether more than snapshots leave behind where they are taken in time would go with two more. They may have
    /// failed, or come too late; and who writes nothing any more would never come to the next one.
    pub(super) fn is_overdue(&self, core: &Core, uncovered: u64) -> bool {
        uncovered > self.snapshot_interval(core).saturating_mul(OVERDUE)
    }

    /// One part of the snapshot that is due, if any; whether there is more to do.
    pub(super) fn snapshot_piece(&self) -> Result<bool> {
        // One at a time, to its end.
        let _alone = self.snapshotting.lock();
        let mut core = self.open_core()?;
        let outcome = match core.snapshot.running.as_mut().map(|running| running.parts.pop_front()) {
            None if self.snapshot_is_due(&core) => self.begin_snapshot(&mut core),
            None => return Ok(false),
            Some(Some(part)) => core.part(part),
            Some(None) => return self.end_snapshot(core),
        };
        if let Err(refusal) = outcome {
            core.give_up_half();
            drop(core);
            self.relieve(refusal)?;
        }
        Ok(true)
    }

    fn begin_snapshot(&self, core: &mut Core) -> Result<(), Refusal> {
        let since = core.tail.appended();
        let needed: Vec<u8> = self.chain(core).iter().flat_map(|id| id.get().to_le_bytes()).collect();
        let begin = core.piece(0, &needed)?;
        Seen::SnapshotBegun.note();
        let parts = core.state.snapshot_parts().into();
        core.snapshot.running = Some(Running { begin, parts, pieces: 0, bytes: 0, since, whole: true, refused: false });
        Ok(())
    }

    fn end_snapshot(&self, mut core: crate::sync::MutexGuard<'_, Core>) -> Result<bool> {
        let Some(running) = core.snapshot.running.take() else { return Ok(false) };
        let mut content = running.begin.raw().to_le_bytes().to_vec();
        content.extend_from_slice(&running.pieces.to_le_bytes());
        if let Err(refusal) = core.piece(2, &content) {
            core.snapshot.running = Some(running);
            drop(core);
            self.relieve(refusal)?;
            return Ok(true);
        }
        let end = core.tail.end();
        drop(core);
        self.drive(end, Durability::Disk, None)?;
        let mut core = self.core.lock();
        core.tail.snapshot_done(running.begin);
        Seen::SnapshotDone.note();
        core.snapshot.size = running.bytes;
        core.snapshot.since = running.since;
        core.snapshot.replayed = 0;
        core.space.snapshot_taken();
        Ok(false)
    }
}
