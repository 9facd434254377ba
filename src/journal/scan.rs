//! Reading a segment from front to back, and searching what lies behind a bad place.

use super::frame::{FRAME_HEADER, Frame, FrameHeader};
use super::segment::{SEGMENT_HEADER, Segment};
use crate::storage::{StorageFile, read_up_to};
use crate::types::{Lsn, Position};
use bytes::{Bytes, BytesMut};
use std::io;
use std::sync::Arc;

/// Bytes read at a time.
const BLOCK: usize = 1 << 20;

/// What stands at a place of a segment.
#[derive(Debug)]
pub(crate) enum Sighting {
    Frame(Frame),
    /// Not a whole frame. The header, if that at least verifies.
    Bad {
        plausible: bool,
        header: Option<FrameHeader>,
    },
}

/// Walks over the frames of one segment.
#[derive(Debug)]
pub(crate) struct Scanner {
    file: Arc<dyn StorageFile>,
    pub(crate) segment: Arc<Segment>,
    position: u32,
    block: Bytes,
    block_start: u32,
}

impl Scanner {
    /// Starts at the segment's first frame.
    pub(crate) fn new(file: Arc<dyn StorageFile>, segment: Arc<Segment>) -> Self {
        Self { file, segment, position: SEGMENT_HEADER, block: Bytes::new(), block_start: 0 }
    }

    pub(crate) fn file(&self) -> &Arc<dyn StorageFile> {
        &self.file
    }

    /// Where the next frame is expected.
    pub(crate) fn position(&self) -> Position {
        Position(self.position)
    }

    /// What was read is not believed any more: it is read anew.
    pub(crate) fn forget(&mut self) {
        self.block = Bytes::new();
    }

    /// Goes on at `position`.
    pub(crate) fn seek(&mut self, position: Position) {
        self.position = position.get();
    }

    /// The `length` bytes at `position`, or as many as the file has.
    fn bytes(&mut self, position: u32, length: u32) -> io::Result<Bytes> {
        let held = |scanner: &Self| {
            let skip = position.checked_sub(scanner.block_start)? as usize;
            let end = skip.checked_add(length as usize)?;
            (end <= scanner.block.len()).then(|| scanner.block.slice(skip..end))
        };
        if let Some(bytes) = held(self) {
            return Ok(bytes);
        }
        let left = self.segment.capacity.saturating_sub(position) as usize;
        let mut block = BytesMut::zeroed(left.min(BLOCK.max(length as usize)));
        let read = read_up_to(&*self.file, &mut block, u64::from(position))?;
        block.truncate(read);
        self.block = block.freeze();
        self.block_start = position;
        Ok(held(self).unwrap_or_else(|| self.block.clone()))
    }

    /// Looks at the place where the next frame is expected, and goes on behind it if one is there.
    pub(crate) fn next(&mut self) -> io::Result<Sighting> {
        self.next_with(Frame::new)
    }

    /// The same, with the body as it stands there, packed or encrypted or not.
    pub(crate) fn next_as_stored(&mut self) -> io::Result<Sighting> {
        self.next_with(|_, lsn, header, body| Frame::as_stored(lsn, header, body))
    }

    fn next_with(&mut self, make: impl FnOnce(&Segment, Lsn, FrameHeader, Bytes) -> Frame) -> io::Result<Sighting> {
        let lsn = Lsn::new(self.segment.id, Position(self.position));
        let bytes = self.bytes(self.position, FRAME_HEADER)?;
        let Some(header) = FrameHeader::verify(&bytes, &self.segment, lsn) else {
            let plausible = bytes.first_chunk::<4>().is_some_and(|word| *word != [0; 4]);
            return Ok(Sighting::Bad { plausible, header: None });
        };
        let body = self.bytes(self.position + FRAME_HEADER, header.length)?;
        if !header.fits(&body) {
            return Ok(Sighting::Bad { plausible: true, header: Some(header) });
        }
        self.position += header.frame_length();
        Ok(Sighting::Frame(make(&self.segment, lsn, header, body)))
    }
}

/// What a search found behind a bad place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// The first whole frame.
    pub(crate) first: Option<Position>,
    /// The highest durable position that a whole frame claims.
    pub(crate) durable: Position,
    /// The end of the last byte that isn't zero; in a recycled segment, where bytes say nothing, of the last frame
    /// whose header verifies.
    pub(crate) end: Position,
}

/// Everything that is whole from some place of a segment on. It is looked for once a segment, however many bad places
/// that has: each of them only asks for what lies behind it.
#[derive(Debug, Default)]
pub(crate) struct Behind {
    /// Where each whole frame starts, and the highest position that it or one behind it claims to be durable.
    frames: Vec<(Position, Position)>,
    end: Position,
}

impl Behind {
    /// What lies at `from` or behind it, which is not before where the search began.
    pub(crate) fn from(&self, from: Position) -> Survey {
        let frames = self.frames.get(self.frames.partition_point(|(at, _)| *at < from)..).unwrap_or_default();
        let (first, durable) = frames.first().copied().unzip();
        Survey { first, durable: durable.unwrap_or_default(), end: self.end.max(from) }
    }

    /// Searches everything from `from` to `to`, or to the end of the segment, for whole frames, byte by byte, since
    /// where they start is not known. A frame inside another one's payload is not found if the other is whole, and does
    /// not verify unless it was written for this very place of this very segment.
    pub(crate) fn search(file: &dyn StorageFile, segment: &Segment, from: Position, to: u32) -> io::Result<Self> {
        let mut found = Self { frames: Vec::new(), end: from };
        let header = FRAME_HEADER as usize;
        let mut start = from.get();
        let mut block = vec![0; BLOCK.min(segment.capacity as usize) + header];
        let to = to.min(segment.capacity);
        while start < to {
            let want = ((to - start) as usize).min(block.len());
            let Some(place) = block.get_mut(..want) else { break };
            let read = read_up_to(file, place, u64::from(start))?;
            let bytes = block.get(..read).unwrap_or_default();
            let last = read < want || start as usize + read >= to as usize;
            // Without the last bytes of a block that isn't the last: a header may reach over its end.
            let searched = if last { read } else { read.saturating_sub(header - 1) };
            let mut at = 0;
            while at < searched {
                let Some(rest) = bytes.get(at..) else { break };
                if let Some(zeros) = rest.first_chunk::<64>()
                    && *zeros == [0; 64]
                {
                    at += 64 - (header - 1);
                    continue;
                }
                let position = start + u32::try_from(at).unwrap_or(u32::MAX);
                if !segment.recycled && rest.first().is_some_and(|byte| *byte != 0) {
                    found.end = found.end.max(Position(position + 1));
                }
                let lsn = Lsn::new(segment.id, Position(position));
                let whole = match FrameHeader::verify(rest, segment, lsn) {
                    Some(header) => {
                        found.end = found.end.max(Position(position + header.frame_length()));
                        whole(file, position, &header)?.then_some(header)
                    }
                    None => None,
                };
                let Some(header) = whole else {
                    at += 1;
                    continue;
                };
                found.frames.push((Position(position), header.durable));
                found.end = found.end.max(Position(position + header.frame_length()));
                at += header.frame_length() as usize;
            }
            if last || at == 0 {
                break;
            }
            start = start.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
        }
        let mut highest = Position::ZERO;
        for (_, durable) in found.frames.iter_mut().rev() {
            highest = highest.max(*durable);
            *durable = highest;
        }
        Ok(found)
    }
}

fn whole(file: &dyn StorageFile, position: u32, header: &FrameHeader) -> io::Result<bool> {
    let mut body = vec![0; header.length as usize];
    let read = read_up_to(file, &mut body, u64::from(position) + u64::from(FRAME_HEADER))?;
    Ok(body.get(..read).is_some_and(|body| header.fits(body)))
}
