//! A segment: one file of the journal, and its fixed header.

use super::crypt::{KEY_FIELDS, Place, SegmentKey};
use crate::config::{KeyId, Keys};
use crate::storage::{StorageFile, read_exact_at};
use crate::types::{Lsn, SegmentId, StoreId, Timestamp};
use crc32fast::Hasher;
use std::io;
use std::sync::Arc;

/// Bytes before the first frame.
pub(crate) const SEGMENT_HEADER: u32 = 4096;

const MAGIC: &[u8; 8] = b"MILLSEG\n";

/// Where a header says what the segment is encrypted with.
pub(super) const KEY_AT: usize = 56;

/// The flag of a segment whose frames are encrypted. A release that doesn't know a flag must not read the segment.
const ENCRYPTED: u32 = 1;

/// The format this release writes.
pub(crate) const SEGMENT_VERSION: u16 = 1;

/// What of a segment's header is needed to read and write its frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    /// Random: bytes of a former life of the file never verify.
    pub(crate) salt: u64,
    /// Times of single messages are stored as differences from this one.
    pub(crate) base: Timestamp,
    /// What its frames are encrypted with, if they are.
    pub(crate) key: Option<SegmentKey>,
    /// The file's length: no frame goes beyond it.
    pub(crate) capacity: u32,
    /// Bytes of a former life stand where nothing was written yet: that they are not zeros says nothing.
    pub(crate) recycled: bool,
}

/// Why a file is not a segment that this release can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadSegment {
    #[error("the file is shorter than a segment's header")]
    Short,
    #[error("the file is longer than any segment")]
    Long,
    #[error("the header is not a segment's, or is damaged")]
    Damaged,
    #[error("it belongs to store {0}")]
    Foreign(StoreId),
    #[error("its header says it is segment {0}")]
    Misplaced(SegmentId),
    #[error("it has format version {0}, newer than this release reads")]
    Future(u16),
}

impl Segment {
    /// With what its frames are encrypted, if they are.
    pub(crate) fn key_id(&self) -> Option<KeyId> {
        self.key.as_ref().map(|key| key.id)
    }

    /// The header's 4096 bytes.
    pub(crate) fn encode(&self, store: StoreId) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEGMENT_HEADER as usize);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&u16::from(self.recycled).to_le_bytes());
        let flags = if self.key.is_some() { ENCRYPTED } else { 0 };
        bytes.extend_from_slice(&flags.to_le_bytes());
        bytes.extend_from_slice(&store.bytes());
        bytes.extend_from_slice(&self.id.get().to_le_bytes());
        bytes.extend_from_slice(&SEGMENT_HEADER.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        bytes.extend_from_slice(&self.base.get().to_le_bytes());
        let key = self.key.as_ref().map_or([0; KEY_FIELDS], SegmentKey::fields);
        bytes.extend_from_slice(&key);
        bytes.resize(SEGMENT_HEADER as usize - 4, 0);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header of the file that is named as segment `id` of `store`.
    pub(crate) fn decode(
        bytes: &[u8],
        file_len: u64,
        (store, keys): (StoreId, &Keys),
        id: SegmentId,
    ) -> Result<Self, BadSegment> {
        let bytes: &[u8; SEGMENT_HEADER as usize] = bytes.first_chunk().ok_or(BadSegment::Short)?;
        let capacity = u32::try_from(file_len).map_err(|_| BadSegment::Long)?;
        let (covered, crc) = bytes.split_last_chunk::<4>().ok_or(BadSegment::Short)?;
        if !covered.starts_with(MAGIC) || crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
            return Err(BadSegment::Damaged);
        }
        let version = u16::from_le_bytes(field(covered, 8)?);
        let flags = u32::from_le_bytes(field(covered, 12)?);
        if version != SEGMENT_VERSION || flags & !ENCRYPTED != 0 {
            return Err(BadSegment::Future(version));
        }
        let found = StoreId(field(covered, 16)?);
        if found != store {
            return Err(BadSegment::Foreign(found));
        }
        let number = SegmentId(u32::from_le_bytes(field(covered, 32)?));
        if number != id {
            return Err(BadSegment::Misplaced(number));
        }
        let salt = u64::from_le_bytes(field(covered, 40)?);
        let base = Timestamp(u64::from_le_bytes(field(covered, 48)?));
        let recycled = u16::from_le_bytes(field(covered, 10)?) != 0;
        let key = SegmentKey::read(&field(covered, KEY_AT)?, keys, Place { store, id, salt, base });
        // Half of it is none of ours, whatever the checksum says.
        if key.is_some() != (flags & ENCRYPTED != 0) {
            return Err(BadSegment::Damaged);
        }
        Ok(Self { id, salt, base, key, capacity, recycled })
    }

    /// Reads and checks the header of an open file.
    pub(crate) fn read(
        file: &dyn StorageFile,
        of: (StoreId, &Keys),
        id: SegmentId,
    ) -> io::Result<Result<Self, BadSegment>> {
        let mut header = vec![0; SEGMENT_HEADER as usize];
        let len = file.len()?;
        match read_exact_at(file, &mut header, 0) {
            Ok(()) => Ok(Self::decode(&header, len, of, id)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Err(BadSegment::Short)),
            Err(error) => Err(error),
        }
    }

    /// What the checksum of each of its frame headers begins with, done once for all of them.
    pub(crate) fn header_seed(&self) -> Hasher {
        let mut seed = Hasher::new();
        seed.update(&self.salt.to_le_bytes());
        seed
    }

    /// The checksum of the first twelve bytes of the frame header at `lsn`, seeded so that it holds there only.
    pub(crate) fn header_crc(&self, lsn: Lsn, covered: &[u8; 12]) -> u32 {
        let mut bytes = [0; 28];
        let (seed, rest) = bytes.split_at_mut(16);
        seed.copy_from_slice(&(u128::from(self.salt) | u128::from(lsn.raw()) << 64).to_le_bytes());
        rest.copy_from_slice(covered);
        super::frame::checksum(&bytes)
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], BadSegment> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(BadSegment::Short)
}

/// A segment and the handle through which it is written.
#[derive(Clone, Debug)]
pub(crate) struct OpenSegment {
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Arc<dyn StorageFile>,
}

/// The name of segment `id`'s file.
pub(crate) fn segment_name(id: SegmentId) -> String {
    format!("{DIRECTORY}/{:010}.segment", id.get())
}

/// The name of a segment's file while it is being prepared.
pub(crate) fn unfinished_name(id: SegmentId) -> String {
    format!("{DIRECTORY}/{:010}.new", id.get())
}

/// The name of segment `id`'s sidecar.
pub(crate) fn sidecar_name(id: SegmentId) -> String {
    format!("{DIRECTORY}/{:010}.index", id.get())
}

/// The name of a sidecar while it is being written.
pub(crate) fn unfinished_sidecar_name(id: SegmentId) -> String {
    format!("{DIRECTORY}/{:010}.index.new", id.get())
}

/// Where the segments are.
pub(crate) const DIRECTORY: &str = "journal";

/// What a name in the journal's directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Segment,
    Unfinished,
    Sidecar,
}

/// Reads a file name; nothing if it is none of ours.
pub(crate) fn parse_name(name: &str) -> Option<(SegmentId, FileKind)> {
    let (number, ending) = name.split_once('.')?;
    if number.len() != 10 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kind = match ending {
        "segment" => FileKind::Segment,
        "new" => FileKind::Unfinished,
        "index" => FileKind::Sidecar,
        _ => return None,
    };
    // Numbers begin at 1.
    let number = number.parse().ok().filter(|number| *number != 0)?;
    Some((SegmentId(number), kind))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn segment(id: u32) -> Segment {
        Segment {
            id: SegmentId(id),
            salt: 0x0123_4567_89ab_cdef,
            base: Timestamp(1_000_000),
            key: None,
            capacity: 1 << 16,
            recycled: false,
        }
    }

    const STORE: StoreId = StoreId([7; 16]);

    #[test]
    fn the_header_has_these_bytes() {
        let bytes = segment(3).encode(STORE);
        assert_eq!(bytes.len(), 4096);
        let hex: String = bytes[..72].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "4d494c4c5345470a010000000000000007070707070707070707070707070707\
             0300000000100000efcdab896745230140420f00000000000000000000000000\
             0000000000000000"
        );
        assert!(bytes[72..4092].iter().all(|byte| *byte == 0));
        assert_eq!(bytes[4092..], crc32fast::hash(&bytes[..4092]).to_le_bytes());
    }

    #[test]
    fn a_header_reads_back_and_every_flipped_bit_is_noticed() {
        let bytes = segment(3).encode(STORE);
        assert_eq!(Segment::decode(&bytes, 1 << 16, (STORE, &Keys::none()), SegmentId(3)), Ok(segment(3)));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                Segment::decode(&damaged, 1 << 16, (STORE, &Keys::none()), SegmentId(3)),
                Err(BadSegment::Damaged)
            );
        }
    }

    #[test]
    fn a_segment_of_another_store_or_another_number_is_refused() {
        let bytes = segment(3).encode(STORE);
        let other = StoreId([8; 16]);
        assert_eq!(
            Segment::decode(&bytes, 1 << 16, (other, &Keys::none()), SegmentId(3)),
            Err(BadSegment::Foreign(STORE))
        );
        assert_eq!(
            Segment::decode(&bytes, 1 << 16, (STORE, &Keys::none()), SegmentId(4)),
            Err(BadSegment::Misplaced(SegmentId(3)))
        );
        assert_eq!(Segment::decode(&bytes, 1 << 40, (STORE, &Keys::none()), SegmentId(3)), Err(BadSegment::Long));
    }

    #[test]
    fn a_future_version_is_named() {
        let mut bytes = segment(3).encode(STORE);
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..4092]);
        bytes[4092..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Segment::decode(&bytes, 1 << 16, (STORE, &Keys::none()), SegmentId(3)), Err(BadSegment::Future(2)));
    }

    #[test]
    fn names_read_back_and_foreign_ones_are_none_of_ours() {
        for (name, kind) in [
            (segment_name(SegmentId(12)), FileKind::Segment),
            (unfinished_name(SegmentId(12)), FileKind::Unfinished),
            (sidecar_name(SegmentId(12)), FileKind::Sidecar),
        ] {
            let name = name.strip_prefix("journal/").unwrap();
            assert_eq!(parse_name(name), Some((SegmentId(12), kind)));
        }
        for name in [
            "12.segment",
            "0000000012.segment~",
            "9999999999.segment",
            "+000000012.segment",
            "notes.txt",
            "0000000000.segment",
        ] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }
}
