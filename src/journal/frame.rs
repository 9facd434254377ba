//! The frame: the journal's unit of commit. See the format page in `journal` for its bytes.

use super::crypt::{Locked, SegmentKey, is_sealed};
use super::packed::{Unpacked, unpack};
use super::segment::Segment;
use crate::types::{Lsn, Position};
use bytes::{Bytes, BytesMut};
use crc32fast::Hasher;
use std::sync::LazyLock;

/// Bytes of a frame before its body.
pub(crate) const FRAME_HEADER: u32 = 16;

/// The longest body that the header's 28 bits can tell.
pub(crate) const MAX_BODY: u32 = (1 << 28) - 1;

/// What kind of body a frame has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Flags(u8);

impl Flags {
    /// An ordinary frame.
    pub(crate) const NONE: Self = Self(0);
    /// The body is compressed; see `packed`.
    pub(crate) const COMPRESSED: Self = Self(1);
    /// The body is encrypted with the segment's key; see `crypt`.
    pub(crate) const ENCRYPTED: Self = Self(2);
    /// The body is a piece of a snapshot: nothing is lost if it is.
    pub(crate) const SNAPSHOT: Self = Self(4);
    /// The body is the journal's own; see `control`.
    pub(crate) const CONTROL: Self = Self(8);

    /// Whether `flag` is set.
    pub(crate) const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    /// Why this release can't read such a body, if it can't.
    pub(crate) const fn unknown(self) -> Option<&'static str> {
        if self.has(Self::ENCRYPTED) {
            return Some("encrypted");
        }
        match (self.has(Self::COMPRESSED), cfg!(feature = "lz4")) {
            (false, _) => None,
            (true, false) => Some("compressed, which a build with the feature `lz4` of millpond can read"),
            (true, true) => Some("compressed in a way that is not known"),
        }
    }

    pub(super) const fn without(self, flag: Self) -> Self {
        Self(self.0 & !flag.0)
    }

    pub(super) const fn with(self, flag: Self) -> Self {
        Self(self.0 | flag.0)
    }

    /// Whether the body holds facts of the engine's.
    pub(crate) const fn is_events(self) -> bool {
        self.0 == 0
    }
}

/// A frame's header, as believed after its checksum was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Bytes of the body, at least 1.
    pub(crate) length: u32,
    pub(crate) flags: Flags,
    /// Everything before this position of the segment, and every segment before it, was durable when the frame was
    /// written; 0 while the segment before was not.
    pub(crate) durable: Position,
    pub(crate) body_crc: u32,
}

/// A checksum of nothing. To make one asks what the processor can do, each time; to copy one does not.
static NOTHING: LazyLock<Hasher> = LazyLock::new(Hasher::new);

/// The checksum of these bytes.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = NOTHING.clone();
    hasher.update(bytes);
    hasher.finalize()
}

/// Reads four little-endian bytes at `at`.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

impl FrameHeader {
    /// The 16 bytes of a frame that starts at `lsn`, in the segment whose [`header_seed`](Segment::header_seed) this
    /// is.
    pub(crate) fn seal(&self, seed: &Hasher, lsn: Lsn) -> [u8; FRAME_HEADER as usize] {
        let mut bytes = [0; FRAME_HEADER as usize];
        let (head, rest) = bytes.split_at_mut(8);
        head.copy_from_slice(&self.head());
        if let Some(place) = rest.first_chunk_mut() {
            *place = self.body_crc.to_le_bytes();
        }
        let mut covered = [0; 20];
        let (place, rest) = covered.split_at_mut(8);
        place.copy_from_slice(&lsn.raw().to_le_bytes());
        rest.copy_from_slice(bytes.first_chunk::<12>().map_or(&[0; 12], |fields| fields));
        let mut hasher = seed.clone();
        hasher.update(&covered);
        if let Some(place) = bytes.last_chunk_mut::<4>() {
            *place = hasher.finalize().to_le_bytes();
        }
        bytes
    }

    /// The first eight bytes: length, flags and durable position, which the tag of an encrypted body covers.
    pub(super) fn head(&self) -> [u8; 8] {
        let first = self.length | u32::from(self.flags.0) << 28;
        (u64::from(first) | u64::from(self.durable.get()) << 32).to_le_bytes()
    }

    /// Reads a header that is said to start at `lsn`; nothing if its checksum says otherwise. The length is believed
    /// only after that, and it is within the segment.
    pub(crate) fn verify(bytes: &[u8], segment: &Segment, lsn: Lsn) -> Option<Self> {
        Self::verify_by(bytes, segment.capacity, lsn, |covered| segment.header_crc(lsn, covered))
    }

    /// The same for many, with what their checksums begin with at hand.
    #[inline]
    pub(crate) fn verify_seeded(bytes: &[u8], capacity: u32, seed: &Hasher, lsn: Lsn) -> Option<Self> {
        Self::verify_by(bytes, capacity, lsn, |covered| {
            let mut place = [0; 20];
            let (first, rest) = place.split_at_mut(8);
            first.copy_from_slice(&lsn.raw().to_le_bytes());
            rest.copy_from_slice(covered);
            let mut hasher = seed.clone();
            hasher.update(&place);
            hasher.finalize()
        })
    }

    #[inline]
    fn verify_by(bytes: &[u8], capacity: u32, lsn: Lsn, crc: impl FnOnce(&[u8; 12]) -> u32) -> Option<Self> {
        let first = word(bytes, 0)?;
        let length = first & MAX_BODY;
        let durable = word(bytes, 4)?;
        let position = lsn.position().get();
        // Cheap sense first: it spares the checksum for nearly all bytes when searching for frames behind damage.
        let end = position.checked_add(FRAME_HEADER)?.checked_add(length)?;
        if length == 0 || end > capacity || durable > position {
            return None;
        }
        if crc(bytes.first_chunk()?) != word(bytes, 12)? {
            return None;
        }
        let flags = Flags((first >> 28) as u8);
        Some(Self { length, flags, durable: Position(durable), body_crc: word(bytes, 8)? })
    }

    /// Whether `body` is what the frame was written with.
    pub(crate) fn fits(&self, body: &[u8]) -> bool {
        body.len() as u64 == u64::from(self.length) && checksum(body) == self.body_crc
    }

    /// Bytes of the whole frame.
    pub(crate) const fn frame_length(&self) -> u32 {
        FRAME_HEADER + self.length
    }
}

/// A frame that was read back and verified.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) lsn: Lsn,
    /// Where the next frame of the same segment starts.
    pub(crate) next: Position,
    /// As it stands in the segment.
    pub(crate) header: FrameHeader,
    /// What has to be known of the body: not that it was compressed or encrypted, unless it is still.
    pub(crate) flags: Flags,
    pub(crate) body: Bytes,
    /// Why the body could not be decrypted. It is empty then.
    pub(crate) locked: Option<Locked>,
}

impl Frame {
    /// A frame whose header and stored body were verified. A body that was encrypted is decrypted, one that was packed
    /// is unpacked.
    pub(super) fn new(segment: &Segment, lsn: Lsn, header: FrameHeader, stored: Bytes) -> Self {
        let mut plain = Self::as_stored(lsn, header, stored);
        if segment.key.is_some() || header.flags.has(Flags::ENCRYPTED) {
            plain = plain.decrypted(segment);
        }
        plain.unpacked()
    }

    /// A frame whose body was verified and decrypted already.
    pub(super) fn opened(lsn: Lsn, header: FrameHeader, body: Bytes) -> Self {
        let plain = Self::as_stored(lsn, header, body);
        Self { flags: header.flags.without(Flags::ENCRYPTED), ..plain }.unpacked()
    }

    fn unpacked(self) -> Self {
        let plain = self;
        if !plain.header.flags.has(Flags::COMPRESSED) || plain.locked.is_some() {
            return plain;
        }
        match unpack(&plain.body) {
            Ok(body) => Self { body, flags: plain.flags.without(Flags::COMPRESSED), ..plain },
            // Whoever looks into it finds out by its flags.
            Err(Unpacked::NotBuilt | Unpacked::Bad) => plain,
        }
    }

    /// The same, whose body is left as it is stored.
    pub(super) fn as_stored(lsn: Lsn, header: FrameHeader, body: Bytes) -> Self {
        let next = Position(lsn.position().get().saturating_add(header.frame_length()));
        Self { lsn, next, header, flags: header.flags, body, locked: None }
    }

    /// Where frames are encrypted, one that is not was written by nobody who had the key; and the other way round.
    fn decrypted(self, segment: &Segment) -> Self {
        if !is_sealed(self.flags) {
            return self;
        }
        let opened = match &segment.key {
            Some(key) if self.flags.has(Flags::ENCRYPTED) => {
                let mut stored = BytesMut::from(&self.body[..]);
                key.open(self.lsn, self.header.head(), &mut stored).map(|()| stored.freeze())
            }
            _ => Err(Locked::Altered),
        };
        let said =
            opened.map(|stored| SegmentKey::opened(&stored).map(|said| stored.slice_ref(said)).unwrap_or_default());
        match said {
            Ok(body) => Self { body, flags: self.flags.without(Flags::ENCRYPTED), ..self },
            Err(locked) => {
                Self { body: Bytes::new(), flags: self.flags.with(Flags::ENCRYPTED), locked: Some(locked), ..self }
            }
        }
    }

    /// Whether the body is not what was encrypted there.
    pub(crate) fn is_altered(&self) -> bool {
        matches!(self.locked, Some(Locked::Altered))
    }

    /// Whether the body is in memory of its own.
    pub(crate) fn is_unpacked(&self) -> bool {
        self.flags != self.header.flags
    }
}

#[cfg(test)]
mod tests {
    use super::super::segment::tests::segment;
    use super::*;
    use crate::types::SegmentId;

    fn header() -> FrameHeader {
        FrameHeader { length: 5, flags: Flags::SNAPSHOT, durable: Position(4096), body_crc: crc32fast::hash(b"hello") }
    }

    #[test]
    fn the_header_has_these_bytes() {
        let lsn = Lsn::new(SegmentId(3), Position(5000));
        let bytes = header().seal(&segment(3).header_seed(), lsn);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "050000400010000086a6103603349a20");
    }

    #[test]
    fn a_header_verifies_at_its_own_place_in_its_own_segment_only() {
        let lsn = Lsn::new(SegmentId(3), Position(5000));
        let bytes = header().seal(&segment(3).header_seed(), lsn);
        assert_eq!(FrameHeader::verify(&bytes, &segment(3), lsn), Some(header()));
        assert_eq!(FrameHeader::verify(&bytes, &segment(3), Lsn::new(SegmentId(3), Position(5001))), None);
        let mut recycled = segment(3);
        recycled.salt += 1;
        assert_eq!(FrameHeader::verify(&bytes, &recycled, lsn), None);
    }

    #[test]
    fn any_flipped_bit_of_a_header_is_noticed() {
        let lsn = Lsn::new(SegmentId(3), Position(5000));
        let bytes = header().seal(&segment(3).header_seed(), lsn);
        for bit in 0..128 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::verify(&damaged, &segment(3), lsn), None, "bit {bit}");
        }
    }

    #[test]
    fn a_length_of_zero_or_beyond_the_segment_is_no_frame() {
        let lsn = Lsn::new(SegmentId(3), Position(5000));
        for length in [0, segment(3).capacity, MAX_BODY] {
            let bytes = FrameHeader { length, ..header() }.seal(&segment(3).header_seed(), lsn);
            assert_eq!(FrameHeader::verify(&bytes, &segment(3), lsn), None, "length {length}");
        }
    }

    #[test]
    fn a_frame_can_not_claim_durability_beyond_itself() {
        let lsn = Lsn::new(SegmentId(3), Position(5000));
        let bytes = FrameHeader { durable: Position(5001), ..header() }.seal(&segment(3).header_seed(), lsn);
        assert_eq!(FrameHeader::verify(&bytes, &segment(3), lsn), None);
    }
}
