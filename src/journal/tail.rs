//! The end of the journal that is being written: frames go into memory here, under the engine's lock, and leave in
//! commits.
//!
//! `durable <= written <= end`, always. What lies between `written` and `end` is in memory only and is read from here;
//! a little of what was written is kept too, for readers that are nearly up to date.

use super::appending::{Class, Limits, Place, Refusal, Span};
use super::cache::Cache;
use super::commit::{Chunk, Commit, Piece, Written};
use super::control::{Begin, Control, SEAL_FRAME, Seal, Snapshots};
use super::crypt::{SEALED, Sealer};
use super::frame::{FRAME_HEADER, Flags, FrameHeader, MAX_BODY};
use super::index::{Carried, Note, SegmentIndex};
use super::segment::{OpenSegment, SEGMENT_HEADER, Segment};
use super::stock::Stock;
use crate::seen::Seen;
use crate::types::{Lsn, Position, SegmentId};
use bytes::BufMut;
use std::sync::Arc;

/// Bytes that are asked of the allocator at a time for frames to come: what one commit of a busy store takes, and not
/// twice that, so that a buffer can become part of the cache as it is.
const BLOCK: usize = 120 << 10;

/// And no more than this part of all that may wait to be written.
const BLOCK_PART: usize = 8;

/// While the reserve is not there, publishes leave this part of the active segment to those who settle.
const KEPT_PART: u32 = 8;

/// A segment that was sealed, whose sidecar is yet to be written.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) segment: Arc<Segment>,
    pub(crate) seal: Seal,
    pub(crate) index: Arc<SegmentIndex>,
}

/// See the module's page.
#[derive(Debug)]
pub(crate) struct Tail {
    limits: Limits,
    /// See `BLOCK`.
    block: usize,
    active: OpenSegment,
    header_seed: crc32fast::Hasher,
    end: u32,
    /// Over the header checksums of the active segment's frames.
    checksum: crc32fast::Hasher,
    index: SegmentIndex,
    snapshots: Snapshots,
    sealer: Sealer,
    /// What comes after the active segment.
    stock: Stock,
    /// What is unwritten: of segments that are sealed and in buffers that are full, and the rest. In a box, as commits
    /// are: they change hands for each message that is waited for.
    full_chunks: Vec<Chunk>,
    chunk: Box<Chunk>,
    unwritten: usize,
    /// The last commit, and the buffer of its last chunk: used again, so that a commit allocates nothing.
    idle: Option<Box<Commit>>,
    spare: Option<Box<Chunk>>,
    /// A buffer in whose place another one was taken over.
    put_by: Vec<u8>,
    cache: Cache,
    /// The end of the last commit that was begun.
    begun: Lsn,
    written: Lsn,
    durable: Lsn,
    /// The highest durable LSN that a frame carries.
    claimed: Lsn,
    /// Segments with writes that no sync has covered, oldest first.
    dirty: Vec<OpenSegment>,
    sealed: Vec<Sealed>,
    /// Bytes appended in this opening.
    appended: u64,
}

/// Where recovery found the journal's end.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) active: OpenSegment,
    pub(crate) end: Position,
    pub(crate) checksum: crc32fast::Hasher,
    pub(crate) index: SegmentIndex,
    pub(crate) snapshots: Snapshots,
    pub(crate) begin: Option<Begin>,
}

impl Tail {
    /// Goes on at `start`, before which everything is durable.
    pub(crate) fn new(limits: Limits, start: Start, sealer: Sealer) -> Self {
        let here = Lsn::new(start.active.segment.id, start.end);
        let mut tail = Self {
            limits,
            block: BLOCK.min(limits.buffer_bytes / BLOCK_PART),
            header_seed: start.active.segment.header_seed(),
            end: start.end.get(),
            checksum: start.checksum,
            index: start.index,
            snapshots: start.snapshots,
            sealer,
            stock: Stock::default(),
            full_chunks: Vec::new(),
            chunk: Box::new(Chunk { segment: start.active.clone(), start: start.end, bytes: Vec::new() }),
            unwritten: 0,
            idle: None,
            spare: None,
            put_by: Vec::new(),
            cache: Cache::new(limits.tail_cache_bytes),
            begun: here,
            written: here,
            durable: here,
            claimed: Lsn::ZERO,
            dirty: Vec::new(),
            sealed: Vec::new(),
            appended: 0,
            active: start.active,
        };
        if let Some(begin) = start.begin {
            tail.control(Control::Begin(begin));
        }
        tail
    }

    /// Begins a new chunk at the end of the active segment, and gives the one before.
    fn open_chunk(&mut self) -> Box<Chunk> {
        let start = Position(self.end);
        let chunk = match self.spare.take() {
            Some(mut spare) => {
                spare.bytes.clear();
                spare.start = start;
                if spare.segment.segment.id != self.active.segment.id {
                    spare.segment = self.active.clone();
                }
                spare
            }
            None => {
                let bytes = std::mem::take(&mut self.put_by);
                Box::new(Chunk { segment: self.active.clone(), start, bytes })
            }
        };
        std::mem::replace(&mut self.chunk, chunk)
    }

    /// Where the next frame goes.
    pub(crate) fn end(&self) -> Lsn {
        Lsn::new(self.active.segment.id, Position(self.end))
    }

    /// Up to where the kernel has everything.
    pub(crate) fn written(&self) -> Lsn {
        self.written
    }

    /// Up to where everything survives power loss.
    pub(crate) fn durable(&self) -> Lsn {
        self.durable
    }

    /// Bytes in memory only.
    pub(crate) fn unwritten(&self) -> usize {
        self.unwritten
    }

    /// Whether a `Mark` would tell a later recovery something that no frame tells yet.
    pub(crate) fn wants_mark(&self) -> bool {
        self.durable == self.end() && self.claimed < self.durable
    }

    /// Bytes appended in this opening.
    pub(crate) fn appended(&self) -> u64 {
        self.appended
    }

    /// The room there is beyond the active segment.
    pub(crate) fn stock(&self) -> &Stock {
        &self.stock
    }

    pub(crate) fn stock_mut(&mut self) -> &mut Stock {
        &mut self.stock
    }

    /// Bytes of the active segment that nothing stands in yet.
    pub(crate) fn rest(&self) -> u64 {
        u64::from(self.active.segment.capacity.saturating_sub(self.end))
    }

    /// How many bytes of the active segment publishes leave to those who settle while the reserve is not there.
    pub(crate) fn kept_rest(&self) -> u64 {
        u64::from(self.active.segment.capacity / KEPT_PART)
    }

    /// Notes that the frame just appended, at `position`, holds ordinals that were carried over.
    pub(crate) fn note_carried(&mut self, stream: u32, carried: Carried) {
        self.index.note_carried(stream, carried);
    }

    /// Lets go of what memory still has of a segment that was retired.
    pub(crate) fn forget(&mut self, id: SegmentId) {
        self.cache.forget(id);
    }

    pub(crate) fn active(&self) -> &Arc<Segment> {
        &self.active.segment
    }

    pub(crate) fn index(&self) -> &SegmentIndex {
        &self.index
    }

    pub(crate) fn snapshots(&self) -> Snapshots {
        self.snapshots
    }

    /// A snapshot that starts at `begin` is complete and durable.
    pub(crate) fn snapshot_done(&mut self, begin: Lsn) {
        self.snapshots = Snapshots { older: self.snapshots.newer, newer: begin };
    }

    /// Segments that were sealed and not taken yet.
    pub(crate) fn sealed(&self) -> &[Sealed] {
        &self.sealed
    }

    /// Segments that were sealed since the last call.
    pub(crate) fn take_sealed(&mut self) -> Vec<Sealed> {
        std::mem::take(&mut self.sealed)
    }

    /// The index of a segment that was sealed since then.
    pub(crate) fn sealed_index(&self, id: SegmentId) -> Option<Arc<SegmentIndex>> {
        self.sealed.iter().find(|sealed| sealed.segment.id == id).map(|sealed| sealed.index.clone())
    }

    /// How far the active segment goes, in the shape of a seal: what its sidecar says after a clean close.
    pub(crate) fn closing(&self) -> Sealed {
        Sealed {
            segment: self.active.segment.clone(),
            seal: Seal { length: self.end, checksum: self.checksum.clone().finalize(), successor: SegmentId::ZERO },
            index: Arc::new(self.index.clone()),
        }
    }

    /// Finds room for a frame whose body is at most `body` bytes, going on to the next segment if need be.
    pub(crate) fn place(&mut self, body: usize, class: Class) -> Result<Place, Refusal> {
        let limit = self.limits.max_frame_bytes.min(MAX_BODY - SEALED);
        let body = u32::try_from(body).ok().filter(|body| *body <= limit).ok_or(Refusal::TooLarge { limit })?;
        let frame = FRAME_HEADER + body + self.sealed_bytes();
        let buffer = match class {
            Class::Publish | Class::Clean => self.limits.buffer_bytes,
            // Settling is bounded by what is leased; twice the buffer is ample for it.
            Class::Settle | Class::Copy => self.limits.buffer_bytes.saturating_mul(2),
            Class::Snapshot => usize::MAX,
        };
        // A frame larger than the whole buffer has to go through it too, alone.
        if self.unwritten > 0 && self.unwritten.saturating_add(frame as usize) > buffer {
            return Err(Refusal::BufferFull);
        }
        if !self.fits(frame, class) {
            self.roll(frame, class)?;
        }
        Ok(Place { lsn: self.end(), base: self.active.segment.base })
    }

    /// By how much encryption makes a frame longer, in this segment or the next.
    pub(crate) fn sealed_bytes(&self) -> u32 {
        if self.sealer.key.is_some() || self.active.segment.key.is_some() { SEALED } else { 0 }
    }

    /// Goes on to another segment if the active one is for another key, or none: nothing more is written under that.
    pub(crate) fn change_key(&mut self) -> Result<(), Refusal> {
        if self.active.segment.key_id() == self.sealer.key { Ok(()) } else { self.roll(SEALED, Class::Settle) }
    }

    /// Whether the active segment has room for `frame` bytes, a seal, and what is kept for those who settle while the
    /// reserve is not there.
    fn fits(&self, frame: u32, class: Class) -> bool {
        let left = self.active.segment.capacity.saturating_sub(self.end);
        // Far from the segment's end nobody needs to ask for whom the rest is kept.
        if frame.saturating_add(SEAL_FRAME) <= left.saturating_sub(self.active.segment.capacity / KEPT_PART) {
            return true;
        }
        let reserve = match class {
            Class::Publish | Class::Clean if !self.stock.is_whole() => self.active.segment.capacity / KEPT_PART,
            Class::Copy if !self.stock.is_whole() => self.active.segment.capacity / KEPT_PART / 2,
            _ => 0,
        };
        let needed = u64::from(self.end) + u64::from(frame) + u64::from(SEAL_FRAME) + u64::from(reserve);
        needed <= u64::from(self.active.segment.capacity)
    }

    /// Seals the active segment and goes on in the first spare that has room for `frame` bytes.
    fn roll(&mut self, frame: u32, class: Class) -> Result<(), Refusal> {
        let successor = self.stock.take(SEGMENT_HEADER + BEGIN_FRAME + frame + SEAL_FRAME, class)?;
        let seal =
            Seal { length: self.end, checksum: self.checksum.clone().finalize(), successor: successor.segment.id };
        Seen::Rolled.note();
        self.control(Control::Seal(seal));
        self.sealed.push(Sealed {
            segment: self.active.segment.clone(),
            seal,
            index: Arc::new(std::mem::take(&mut self.index)),
        });
        let begin =
            Begin { previous: self.active.segment.id, previous_checksum: seal.checksum, snapshots: self.snapshots };
        self.active = successor;
        self.header_seed = self.active.segment.header_seed();
        self.end = SEGMENT_HEADER;
        self.checksum = crc32fast::Hasher::new();
        let sealed = self.open_chunk();
        self.full_chunks.push(*sealed);
        self.control(Control::Begin(begin));
        Ok(())
    }

    /// Appends one of the journal's own frames; there must be room.
    fn control(&mut self, control: Control) -> Span {
        let body = control.encode();
        self.append(Flags::CONTROL, crc32fast::hash(&body), body.len(), |out| out.put_slice(&body), &[])
    }

    /// Whether a `Mark` or `Closed` frame would go into the next segment.
    pub(crate) fn control_rolls(&self) -> bool {
        !self.fits(FRAME_HEADER + BEGIN_FRAME, Class::Settle)
    }

    /// Appends a `Mark` or `Closed` frame.
    pub(crate) fn append_control(&mut self, closed: bool) -> Result<Span, Refusal> {
        self.place(BEGIN_FRAME as usize, Class::Settle)?;
        if closed {
            Seen::ClosedWritten.note()
        } else {
            Seen::MarkWritten.note()
        }
        let control = if closed {
            Control::Closed { checksum: self.checksum.clone().finalize() }
        } else {
            Control::Mark { durable: self.durable }
        };
        Ok(self.control(control))
    }

    /// Appends a frame at the place that was just found. `length` is that of the body, `crc` its checksum, and `write`
    /// writes exactly so many bytes.
    pub(crate) fn append(
        &mut self,
        flags: Flags,
        crc: u32,
        length: usize,
        write: impl FnOnce(&mut Vec<u8>),
        notes: &[Note],
    ) -> Span {
        let start = self.end();
        let header = self.header((flags, crc, length), notes);
        let frame = header.frame_length() as usize;
        if !self.chunk.bytes.is_empty() && self.chunk.bytes.capacity() - self.chunk.bytes.len() < frame {
            // What is there is not copied to a place where there is more room.
            let full = self.open_chunk();
            self.full_chunks.push(*full);
            Seen::BufferFull.note();
        }
        let out = &mut self.chunk.bytes;
        // All at once, with some room behind a large message: the next frames go there.
        let behind = if frame > self.block { self.block } else { 0 };
        out.reserve(if out.capacity() == 0 { frame.max(self.block) + behind } else { frame + behind });
        let bytes = if header.flags.has(Flags::ENCRYPTED) {
            self.sealer.put(&self.active.segment, (header, start), &self.header_seed, out, write)
        } else {
            let bytes = header.seal(&self.header_seed, start);
            out.extend_from_slice(&bytes);
            write(out);
            bytes
        };
        self.put(&bytes, &header)
    }

    /// The header of a frame whose place was just found.
    fn header(&mut self, (flags, body_crc, length): (Flags, u32, usize), notes: &[Note]) -> FrameHeader {
        let start = self.end();
        let length = u32::try_from(length).unwrap_or(MAX_BODY);
        // Zero while the segment before is not known durable; see the decision table in `judge`.
        let durable = if self.durable.segment() == start.segment() { self.durable.position() } else { Position::ZERO };
        if durable != Position::ZERO {
            self.claimed = self.durable;
        }
        notes.iter().for_each(|note| self.index.note(start.position(), *note));
        self.sealer.lengthened(&self.active.segment, FrameHeader { length, flags, durable, body_crc })
    }

    /// A frame with this header was put at the end.
    fn put(&mut self, bytes: &[u8; FRAME_HEADER as usize], header: &FrameHeader) -> Span {
        let (start, frame) = (self.end(), header.frame_length() as usize);
        self.checksum.update(bytes.last_chunk::<4>().map_or(&[][..], |crc| crc.as_slice()));
        debug_assert_eq!(self.chunk.end().get() as usize, self.end as usize + frame);
        self.unwritten += frame;
        self.appended += frame as u64;
        self.end += header.frame_length();
        Span { start, end: self.end() }
    }

    /// Whether a frame with a body of so many bytes is appended by taking over its buffer: nothing else is to be
    /// written with it so far, and it is large enough for the cache to keep it as it is.
    pub(crate) fn takes_buffers(&self, length: usize) -> bool {
        self.chunk.bytes.is_empty() && self.cache.is_large(length) && self.sealed_bytes() == 0
    }

    /// Appends a frame at the place that was just found, where [`takes_buffers`](Self::takes_buffers): `buffer`
    /// holds room for the frame's header and the body, but for its end, `rest`.
    pub(crate) fn append_buffer(&mut self, crc: u32, mut buffer: Vec<u8>, rest: &[u8], notes: &[Note]) -> Span {
        let start = self.end();
        buffer.extend_from_slice(rest);
        let length = buffer.len().saturating_sub(FRAME_HEADER as usize);
        let header = self.header((Flags::NONE, crc, length), notes);
        let bytes = header.seal(&self.header_seed, start);
        buffer.first_chunk_mut().into_iter().for_each(|place| *place = bytes);
        Seen::BufferTaken.note();
        // The one that is there is for the frames behind it.
        self.put_by = std::mem::replace(&mut self.chunk.bytes, buffer);
        self.put(&bytes, &header)
    }

    /// Takes everything that is unwritten into a commit, and everything that is unsynced too if `sync`. Nothing if
    /// there is nothing to do. One may be written at a time, and one synced; so a commit that is only written may be
    /// begun while another one is synced.
    pub(crate) fn begin_commit(&mut self, sync: bool) -> Option<Box<Commit>> {
        if self.unwritten == 0 && !(sync && self.durable < self.written) {
            return None;
        }
        let mut commit = self.idle.take().unwrap_or_default();
        if self.unwritten > 0 {
            if !self.full_chunks.is_empty() {
                for full in std::mem::take(&mut self.full_chunks) {
                    self.begin_chunk(Box::new(full), &mut commit);
                }
            }
            let chunk = self.open_chunk();
            self.begin_chunk(chunk, &mut commit);
            self.unwritten = 0;
        }
        self.begun = self.end();
        commit.end = self.begun;
        if sync {
            commit.targets.extend_from_slice(&self.dirty);
        }
        Some(commit)
    }

    fn begin_chunk(&mut self, chunk: Box<Chunk>, commit: &mut Commit) {
        if chunk.bytes.is_empty() {
            return;
        }
        if self.dirty.last().is_none_or(|last| last.segment.id != chunk.segment.segment.id) {
            self.dirty.push(chunk.segment.clone());
        }
        commit.pieces.push(self.cache.keep(chunk));
    }

    /// The commit's bytes are with the kernel.
    pub(crate) fn wrote(&mut self, commit: &Commit) {
        self.written = self.written.max(commit.end);
        self.cache.trim();
    }

    /// The commit is over: what it allocated is for the next one.
    pub(crate) fn reuse(&mut self, mut commit: Box<Commit>) {
        if let Some(Piece::Own(last)) = commit.pieces.pop() {
            // Not a large one, kept for a small one: it came to be when the disk was slow.
            self.spare = Some(last).filter(|last| last.bytes.capacity() <= 2 * self.block);
        }
        commit.pieces.clear();
        commit.targets.clear();
        self.idle = Some(commit);
    }

    /// The commit's bytes, and all before them, are on the disk: the sync was started when `commit.end` was the end of
    /// what was written.
    pub(crate) fn synced(&mut self, commit: &Commit) {
        self.durable = self.durable.max(commit.end);
        // What was begun since is not covered by this sync, even where it is in the same file.
        let (last, more) = (commit.end.segment(), self.begun > commit.end);
        self.dirty.retain(|dirty| dirty.segment.id > last || (more && dirty.segment.id == last));
    }

    /// Bytes from `lsn` on that are in memory, in order and without a gap, about `limit` of them; none if the first of
    /// them have to be read from the file.
    pub(crate) fn recent(&self, lsn: Lsn, limit: usize) -> Vec<Written> {
        let mut found = Vec::new();
        let (mut next, mut left) = (lsn, limit);
        self.cache.from(&mut next, &mut left, &mut found);
        for chunk in self.full_chunks.iter().chain([&*self.chunk]) {
            chunk.copy_from(&mut next, &mut left, &mut found);
        }
        found
    }
}

/// Bytes a `Begin` frame takes; the longest of the control frames.
pub(crate) const BEGIN_FRAME: u32 = FRAME_HEADER + 25;
