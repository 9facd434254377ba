//! Reading frames back, from memory or from the disk, each verified before it is believed.

use super::commit::Written;
use super::crypt::{SegmentKey, is_sealed};
use super::files::Files;
use super::frame::{FRAME_HEADER, Flags, Frame, FrameHeader};
use super::segment::{Segment, segment_name};
use crate::error::{Code, Damage, Error, Result};
use crate::storage::read_up_to;
use crate::types::{Lsn, Position};
use bytes::{Bytes, BytesMut};
use crc32fast::Hasher;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of one segment that are at hand.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    segment: Arc<Segment>,
    /// What the checksums of its frames' headers begin with.
    seed: Hasher,
    start: u32,
    bytes: Bytes,
    whole: usize,
    /// Bytes that were never on the disk since they were made need no second look.
    trusted: bool,
    /// Between these positions bodies were verified, and decrypted where they stand.
    opened: Range<u32>,
}

impl From<Written> for Window {
    fn from(written: Written) -> Self {
        let (segment, start) = (written.segment.segment, written.start.get());
        let (seed, bytes, whole) = (segment.header_seed(), written.bytes, written.whole);
        Self { seed, segment, start, bytes, whole, trusted: true, opened: 0..0 }
    }
}

/// A frame where it lies in a window: its header verified, its body not yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glance<'a> {
    pub(crate) header: FrameHeader,
    pub(crate) body: &'a [u8],
    /// Where the next frame starts.
    pub(crate) next: Position,
    /// It was encrypted, and was verified when it was decrypted.
    opened: bool,
}

impl Window {
    /// Reads about `length` bytes at `lsn` from the disk, and at least one whole frame if one is there. Nothing from
    /// `written` on: those bytes are still to come, and what stands in their place would be taken for damage when the
    /// reader gets there. Nothing at all if the segment was retired.
    /// The buffer is one that was used before, or an empty one.
    pub(crate) fn read(files: &Files, lsn: Lsn, length: usize, written: Lsn, buffer: BytesMut) -> Result<Option<Self>> {
        let id = lsn.segment();
        // Until the bytes are in memory the file stays what it is.
        let Some(pin) = files.pin(id) else { return Ok(None) };
        let segment = pin.segment.clone();
        let start = lsn.position().get();
        let end = if written.segment() == id { written.position().get() } else { segment.capacity };
        let left = end.saturating_sub(start) as usize;
        let (seed, bytes) = (segment.header_seed(), Bytes::new());
        let mut window = Self { seed, segment, start, bytes, whole: 0, trusted: false, opened: 0..0 };
        window.fill(files, length.min(left), buffer)?;
        if let Some(header) = window.header(start)
            && (header.frame_length() as usize) > window.bytes.len()
        {
            let more = left.min(header.frame_length() as usize);
            let buffer = std::mem::take(&mut window.bytes).try_into_mut().unwrap_or_default();
            window.fill(files, more, buffer)?;
        }
        // A frame was written there: a file that ends before it does was cut short since.
        let least = window.header(start).map_or(FRAME_HEADER, |header| header.frame_length());
        if window.bytes.len() < least as usize {
            let (from, to) = (u64::from(start), u64::from(start).saturating_add(u64::from(least)));
            let what = "the file ends in the middle of a frame".to_owned();
            let damage = Damage { file: segment_name(id), from, to, what, messages: Vec::new() };
            return Err(Error::new(Code::Damaged, "a frame of the journal is damaged").with_damage(vec![damage]));
        }
        Ok(Some(window))
    }

    /// What lies `from` bytes behind it and further on, so many bytes, will be read soon.
    pub(crate) fn will_go_on(&self, files: &Files, from: u32, len: u32) {
        let start = self.end().position().get().saturating_add(from);
        let len = len.min(self.segment.capacity.saturating_sub(start));
        if let Ok(file) = files.reader(self.segment.id) {
            file.will_read(u64::from(start), u64::from(len));
        }
    }

    fn fill(&mut self, files: &Files, length: usize, buffer: BytesMut) -> Result<()> {
        // New memory is all zeros at no cost; used memory is overwritten as it is, but for what it lacks.
        let fits = (length..=length.saturating_mul(2)).contains(&buffer.capacity());
        let mut bytes = if fits { buffer } else { BytesMut::zeroed(length) };
        bytes.resize(length, 0);
        let failed =
            |source| Error::io(format!("reading {} at byte {}", segment_name(self.segment.id), self.start), source);
        let file = files.reader(self.segment.id).map_err(failed)?;
        let read = read_up_to(&*file, &mut bytes, u64::from(self.start)).map_err(failed)?;
        bytes.truncate(read);
        self.whole = bytes.capacity();
        self.bytes = bytes.freeze();
        Ok(())
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Where the bytes at hand end.
    pub(crate) fn end(&self) -> Lsn {
        Lsn::new(self.segment.id, Position(self.start.saturating_add(u32::try_from(self.bytes.len()).unwrap_or(0))))
    }

    /// Bytes that it keeps in memory, with those that are part of the same buffer.
    pub(crate) fn held(&self) -> usize {
        self.whole
    }

    /// All that is at hand.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its memory, to be used again, unless somebody holds a part of it still or it was never read from the disk.
    pub(crate) fn into_buffer(self) -> Option<BytesMut> {
        if self.trusted { None } else { self.bytes.try_into_mut().ok() }
    }

    /// The frame at `position`, if all of it is at hand and its header verifies. Says nothing of why not.
    #[inline]
    pub(crate) fn glance(&self, position: Position) -> Option<Glance<'_>> {
        let skip = position.get().checked_sub(self.start)? as usize;
        let rest = self.bytes.get(skip..)?;
        let lsn = Lsn::new(self.segment.id, position);
        let header = FrameHeader::verify_seeded(rest, self.segment.capacity, &self.seed, lsn)?;
        let body = rest.get(FRAME_HEADER as usize..header.frame_length() as usize)?;
        let next = Position(position.get() + header.frame_length());
        if !self.is_opened(position.get(), header.flags) {
            return Some(Glance { header, body, next, opened: false });
        }
        let header = FrameHeader { flags: header.flags.without(Flags::ENCRYPTED), ..header };
        Some(Glance { header, body: SegmentKey::opened(body)?, next, opened: true })
    }

    /// Decrypts the bodies of the frames from `position` on where they stand, so that they are taken out of it as those
    /// of a store in plain text are: nothing is done for each of them but what has to be. Each is verified before; it
    /// ends before the first that is not whole, or not what was encrypted there: what that is comes out when it is read
    /// for itself. Bytes that somebody else has too stay as they are for them.
    pub(crate) fn decrypt_from(&mut self, position: Position) {
        let from = position.get();
        // Once only: what was decrypted must not be again.
        let Some(key) = self.segment.key.as_ref().filter(|_| self.opened.is_empty()) else { return };
        let bytes = std::mem::take(&mut self.bytes);
        let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let mut at = from;
        while let Some(rest) = at.checked_sub(self.start).and_then(|skip| bytes.get_mut(skip as usize..)) {
            let lsn = Lsn::new(self.segment.id, Position(at));
            let Some(header) = FrameHeader::verify_seeded(rest, self.segment.capacity, &self.seed, lsn) else { break };
            let Some(body) = rest.get_mut(FRAME_HEADER as usize..header.frame_length() as usize) else { break };
            // The journal's own are in plain text, and nobody looks for a message in a piece of a snapshot.
            if is_sealed(header.flags) && !header.flags.has(Flags::SNAPSHOT) {
                let whole = header.flags.has(Flags::ENCRYPTED) && (self.trusted || header.fits(body));
                if !whole || key.open(lsn, header.head(), body).is_err() {
                    break;
                }
            }
            at += header.frame_length();
        }
        self.opened = from..at;
        self.whole = bytes.capacity();
        self.bytes = bytes.freeze();
    }

    fn is_opened(&self, position: u32, flags: Flags) -> bool {
        self.opened.contains(&position) && flags.has(Flags::ENCRYPTED) && !flags.has(Flags::SNAPSHOT)
    }

    /// Whether the body is what was written.
    #[inline]
    pub(crate) fn is_whole(&self, frame: &Glance<'_>) -> bool {
        self.trusted || frame.opened || frame.header.fits(frame.body)
    }

    /// Whether this frame lies in it.
    pub(crate) fn has(&self, frame: &Frame) -> bool {
        frame.lsn.segment() == self.segment.id && frame.lsn.position().get() >= self.start && frame.lsn < self.end()
    }

    fn slice(&self, position: u32, length: u32) -> Option<Bytes> {
        let skip = position.checked_sub(self.start)? as usize;
        let end = skip.checked_add(length as usize)?;
        (end <= self.bytes.len()).then(|| self.bytes.slice(skip..end))
    }

    fn header(&self, position: u32) -> Option<FrameHeader> {
        let bytes = self.slice(position, FRAME_HEADER)?;
        FrameHeader::verify(&bytes, &self.segment, Lsn::new(self.segment.id, Position(position)))
    }

    /// The frame at `position`; nothing if not all of it is at hand.
    ///
    /// # Errors
    /// `Corrupt` if all of it is at hand and it does not verify.
    pub(crate) fn frame(&self, position: Position) -> Result<Option<Frame>> {
        let at = position.get();
        if self.slice(at, FRAME_HEADER).is_none() {
            return Ok(None);
        }
        let damaged = |to: u32, what: &str| {
            let damage = Damage {
                file: segment_name(self.segment.id),
                from: u64::from(at),
                to: u64::from(to),
                what: what.to_owned(),
                messages: Vec::new(),
            };
            Error::new(Code::Damaged, "a frame of the journal is damaged").with_damage(vec![damage])
        };
        let Some(header) = self.header(at) else {
            return Err(damaged(at + FRAME_HEADER, "the frame's header does not verify"));
        };
        let Some(body) = self.slice(at + FRAME_HEADER, header.length) else { return Ok(None) };
        let lsn = Lsn::new(self.segment.id, position);
        if self.is_opened(at, header.flags)
            && let Some(plain) = SegmentKey::opened(&body)
        {
            return Ok(Some(Frame::opened(lsn, header, body.slice_ref(plain))));
        }
        // A piece of a snapshot holds no message: damage in it keeps nobody from those behind it.
        let looked_into = !self.trusted && !header.flags.has(Flags::SNAPSHOT);
        if looked_into && !header.fits(&body) {
            return Err(damaged(at + header.frame_length(), "the frame's body does not verify"));
        }
        let frame = Frame::new(&self.segment, lsn, header, body);
        if frame.is_altered() && !header.flags.has(Flags::SNAPSHOT) {
            return Err(damaged(at + header.frame_length(), "the frame's body is not what was encrypted there"));
        }
        Ok(Some(frame))
    }
}
