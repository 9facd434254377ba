//! Writing a segment anew without what is damaged in it: frames keep their places, and what stood where bytes were lost
//! is a frame that says so. Everything else that names a place in the journal (snapshots, seals, indexes) goes on being
//! right.

use super::control::{Control, SEAL_FRAME, Seal};
use super::crypt::{Nonces, SEALED, is_sealed};
use super::frame::{FRAME_HEADER, Flags, FrameHeader, MAX_BODY};
use super::scan::{Scanner, Sighting};
use super::segment::{DIRECTORY, SEGMENT_HEADER, Segment};
use crate::storage::{Access, Storage, StorageFile, write_all_at};
use crate::types::{Lsn, Position, SegmentId, StoreId};
use std::io;
use std::iter::Peekable;
use std::sync::Arc;

/// The shortest frame there can be: a gap that is shorter takes the frame behind it along.
pub(crate) const LEAST_GAP: u32 = FRAME_HEADER + 1;

/// Room behind the last frame: for a seal or a close, and for what the next opening has to say.
const ENDING: u32 = 2 * SEAL_FRAME + 4096;

/// Zeros at a time.
const PIECE: usize = 64 << 10;

/// The name of a segment that was written anew and is not in its place yet.
pub(crate) fn repaired_name(id: SegmentId) -> String {
    format!("{DIRECTORY}/{:010}.repaired", id.get())
}

/// A place whose bytes are lost, and what is to be said there instead: the bodies of frames, nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) instead: Vec<Vec<u8>>,
}

/// How the segment is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// This one goes on.
    Seal(SegmentId),
    /// The journal ends here, and was closed.
    Closed,
    /// The journal ends here.
    Open,
}

/// A segment to be written anew.
#[derive(Debug)]
pub(crate) struct Patch {
    pub(crate) segment: Segment,
    /// The file with what is left of it; nothing if there is none.
    pub(crate) source: Option<Arc<dyn StorageFile>>,
    /// In order, and disjoint.
    pub(crate) gaps: Vec<Gap>,
    /// Frames are kept up to here.
    pub(crate) end: u32,
    /// Frames to be put behind that, with their flags.
    pub(crate) more: Vec<(Flags, Vec<u8>)>,
    pub(crate) last: Last,
}

/// The bodies of frames that go on behind the last one that is kept: one at a time, in as many segments as they take.
pub(crate) struct Onward<'a> {
    bodies: Peekable<&'a mut dyn Iterator<Item = io::Result<Vec<u8>>>>,
    /// The number of the next segment.
    pub(crate) next: SegmentId,
}

impl<'a> Onward<'a> {
    pub(crate) fn new(bodies: &'a mut dyn Iterator<Item = io::Result<Vec<u8>>>, next: SegmentId) -> Self {
        Self { bodies: bodies.peekable(), next }
    }

    /// Bytes of the next body; nothing if that was the last one.
    pub(crate) fn peek(&mut self) -> Option<usize> {
        self.bodies.peek().map(|body| body.as_ref().map_or(0, Vec::len))
    }
}

struct Writer<'a> {
    file: &'a dyn StorageFile,
    segment: &'a Segment,
    position: u32,
    checksum: crc32fast::Hasher,
    nonces: Nonces,
    /// Bytes that are not written yet, and where they begin.
    pending: Vec<u8>,
    pending_from: u32,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(bytes);
        self.position += u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if self.pending.len() < PIECE { Ok(()) } else { self.flush() }
    }

    /// Leaves bytes as they are.
    fn skip(&mut self, length: u32) -> io::Result<()> {
        self.flush()?;
        self.position += length;
        self.pending_from = self.position;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        write_all_at(self.file, &self.pending, u64::from(self.pending_from))?;
        self.pending.clear();
        self.pending_from = self.position;
        Ok(())
    }

    fn header(&mut self, header: &FrameHeader) -> io::Result<()> {
        let lsn = Lsn::new(self.segment.id, Position(self.position));
        let bytes = header.seal(&self.segment.header_seed(), lsn);
        self.put(&bytes)?;
        self.checksum.update(bytes.last_chunk::<4>().map_or(&[][..], |crc| crc.as_slice()));
        Ok(())
    }

    fn frame(&mut self, header: &FrameHeader, body: &[u8]) -> io::Result<()> {
        self.header(header)?;
        self.put(body)
    }

    fn add(&mut self, flags: Flags, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut header = FrameHeader { length, flags, durable: Position::ZERO, body_crc: 0 };
        let mut stored = Vec::new();
        if let Some(key) = self.segment.key.as_ref().filter(|_| is_sealed(flags)) {
            header = FrameHeader { length: length + SEALED, flags: flags.with(Flags::ENCRYPTED), ..header };
            stored.extend_from_slice(&self.nonces.next());
            stored.extend_from_slice(body);
            key.seal(Lsn::new(self.segment.id, Position(self.position)), header.head(), &mut stored, 0);
        } else {
            stored.extend_from_slice(body);
        }
        header.body_crc = crc32fast::hash(&stored);
        self.frame(&header, &stored)
    }

    fn control(&mut self, control: Control) -> io::Result<()> {
        self.add(Flags::CONTROL, &control.encode())
    }

    /// A frame of exactly `length` bytes that says nothing; the file's bytes are zeros there already.
    fn hole(&mut self, length: u32) -> io::Result<()> {
        let body = Control::Hole.encode();
        let length = length - FRAME_HEADER;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&body);
        let (zeros, mut left) = ([0; PIECE], (length as usize).saturating_sub(body.len()));
        while left > 0 {
            let piece = left.min(PIECE);
            crc.update(zeros.get(..piece).unwrap_or_default());
            left -= piece;
        }
        let (flags, body_crc) = (Flags::CONTROL, crc.finalize());
        let header = FrameHeader { length, flags, durable: Position::ZERO, body_crc };
        self.header(&header)?;
        self.put(&body)?;
        self.skip(length.saturating_sub(1))
    }

    fn gap(&mut self, gap: &Gap) -> io::Result<()> {
        gap.instead.iter().try_for_each(|body| self.add(Flags::NONE, body))?;
        while self.position < gap.to {
            let left = gap.to - self.position;
            // What is left over must be enough for a frame of its own.
            let most = MAX_BODY / 2;
            self.hole(if left > most + LEAST_GAP { most } else { left })?;
        }
        Ok(())
    }
}

impl Patch {
    /// Bytes of a frame of it besides its body.
    pub(crate) fn overhead(&self) -> u32 {
        if self.segment.key.is_some() { FRAME_HEADER + SEALED } else { FRAME_HEADER }
    }

    /// Writes it under its name of [`repaired_name`] and syncs it. Its header comes last: with that it is whole. What
    /// goes on behind it stands there as far as it has room; if there is more, the segment that is next is to have it.
    pub(crate) fn write(
        &self,
        storage: &dyn Storage,
        store: StoreId,
        nonces: Nonces,
        mut onward: Option<&mut Onward<'_>>,
    ) -> io::Result<()> {
        let name = repaired_name(self.segment.id);
        match storage.remove(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = storage.open(&name, Access::Create)?;
        let more: usize = self.more.iter().map(|(_, body)| body.len() + self.overhead() as usize).sum();
        let more = u32::try_from(more).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut least = self.end.saturating_add(more).saturating_add(ENDING);
        if let (None, Some(onward)) = (&self.source, &mut onward) {
            // One frame at least comes to stand in a segment that was begun for it.
            let first = u32::try_from(onward.peek().unwrap_or(0)).unwrap_or(MAX_BODY);
            least = least.saturating_add(first).saturating_add(self.overhead());
        }
        // A new file: behind the frames there is nothing.
        let mut segment = Segment { recycled: false, ..self.segment.clone() };
        segment.capacity = segment.capacity.max(least);
        file.allocate(u64::from(segment.capacity))?;
        let checksum = crc32fast::Hasher::new();
        let mut writer = Writer {
            file: &*file,
            segment: &segment,
            position: SEGMENT_HEADER,
            checksum,
            nonces,
            pending: Vec::with_capacity(PIECE),
            pending_from: SEGMENT_HEADER,
        };
        self.copy(&mut writer)?;
        self.more.iter().try_for_each(|(flags, body)| writer.add(*flags, body))?;
        let last = self.go_on(&mut writer, onward)?;
        let checksum = writer.checksum.clone().finalize();
        match last {
            Last::Seal(successor) => {
                let length = writer.position;
                writer.control(Control::Seal(Seal { length, checksum, successor }))?;
            }
            Last::Closed => writer.control(Control::Closed { checksum })?,
            Last::Open => {}
        }
        writer.flush()?;
        file.sync()?;
        write_all_at(&*file, &segment.encode(store), 0)?;
        file.sync()
    }

    /// Puts what goes on behind the others. How the segment ends then.
    fn go_on(&self, writer: &mut Writer<'_>, onward: Option<&mut Onward<'_>>) -> io::Result<Last> {
        let Some(onward) = onward else { return Ok(self.last) };
        while let Some(length) = onward.peek() {
            let frame = u64::from(self.overhead()) + length as u64;
            if u64::from(writer.position) + frame + u64::from(ENDING) > u64::from(writer.segment.capacity) {
                return Ok(Last::Seal(onward.next));
            }
            if let Some(body) = onward.bodies.next() {
                writer.add(Flags::NONE, &body?)?;
            }
        }
        Ok(self.last)
    }

    /// The frames that are kept, and what stands in the gaps between them.
    fn copy(&self, writer: &mut Writer<'_>) -> io::Result<()> {
        let mut scanner = self.source.as_ref().map(|file| Scanner::new(file.clone(), Arc::new(self.segment.clone())));
        let mut gaps = self.gaps.iter().peekable();
        while writer.position < self.end {
            if let Some(gap) = gaps.next_if(|gap| gap.from <= writer.position) {
                writer.gap(gap)?;
                continue;
            }
            let Some(scanner) = &mut scanner else { break };
            scanner.seek(Position(writer.position));
            let Sighting::Frame(frame) = scanner.next_as_stored()? else {
                // It was whole a moment ago.
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the segment changes while it is read"));
            };
            writer.frame(&frame.header, &frame.body)?;
        }
        Ok(())
    }
}
