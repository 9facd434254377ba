//! A sealed segment's index as a file beside it: derived, checked, and rebuilt by a scan when it is missing or wrong.
//!
//! ```text
//!  0   magic "MILLIDX\n"                    8 bytes
//!  8   version                              u16
//! 10   zero                                 u16
//! 12   flags, zero                          u32
//! 16   store id                             16 bytes
//! 32   segment                              u32
//! 36   body: varints, see below
//!      seal: length, checksum, successor    3 x u32
//!      CRC-32 of everything before          u32
//! ```
//!
//! All fixed fields little-endian. The body is a count of streams, and for each: stream, first, last - first, count,
//! earliest time, latest - earliest, count of priority runs and for each (level, first, count), count of entries and
//! for each (ordinal, position), each as the difference from the one before it.
//!
//! Behind them, if there are any: a count of streams with ordinals that were carried over, and for each: stream, count
//! of frames and for each (first ordinal, as the difference from the one before it; last - first; position).
//!
//! The seal at the end is the segment's own (or, after a clean close, says how far the unsealed segment went, with
//! successor 0): a sidecar of another life of the segment does not fit, and a segment that is shorter than its sidecar
//! says was cut.

use super::control::Seal;
use super::index::{Carried, SegmentIndex, StreamIndex};
use crate::types::{Position, SegmentId, StoreId, Timestamp};

const MAGIC: &[u8; 8] = b"MILLIDX\n";
const VERSION: u16 = 1;

/// Why a file is not the sidecar that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sidecar is damaged, or is not this segment's")]
pub(crate) struct BadSidecar;

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "less than 0x80")]
    out.push(value as u8);
}

/// The file's bytes.
pub(crate) fn encode(index: &SegmentIndex, store: StoreId, segment: SegmentId, seal: Seal) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&store.bytes());
    out.extend_from_slice(&segment.get().to_le_bytes());
    put(&mut out, index.streams.len() as u64);
    for (stream, held) in &index.streams {
        put(&mut out, u64::from(*stream));
        put(&mut out, held.first);
        put(&mut out, held.last.saturating_sub(held.first));
        put(&mut out, held.count);
        put(&mut out, held.earliest.get());
        put(&mut out, held.latest.get().saturating_sub(held.earliest.get()));
        put(&mut out, held.levels.len() as u64);
        for (level, first, count) in &held.levels {
            out.push(*level);
            put(&mut out, *first);
            put(&mut out, *count);
        }
        put(&mut out, held.entries.len() as u64);
        let mut before = (0, 0);
        for (ordinal, position) in &held.entries {
            put(&mut out, ordinal.wrapping_sub(before.0));
            put(&mut out, u64::from(position.get().wrapping_sub(before.1)));
            before = (*ordinal, position.get());
        }
    }
    if !index.carried.is_empty() {
        put(&mut out, index.carried.len() as u64);
    }
    for (stream, held) in &index.carried {
        put(&mut out, u64::from(*stream));
        put(&mut out, held.len() as u64);
        let mut before = 0;
        for carried in held {
            put(&mut out, carried.first.wrapping_sub(before));
            put(&mut out, carried.last.saturating_sub(carried.first));
            put(&mut out, u64::from(carried.position.get()));
            before = carried.first;
        }
    }
    for word in [seal.length, seal.checksum, seal.successor.get()] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, BadSidecar> {
        let (byte, rest) = self.0.split_first().ok_or(BadSidecar)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn varint(&mut self) -> Result<u64, BadSidecar> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift).ok_or(BadSidecar)?;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(BadSidecar)
    }

    fn varint32(&mut self) -> Result<u32, BadSidecar> {
        u32::try_from(self.varint()?).map_err(|_| BadSidecar)
    }

    /// A count of things that take at least `bytes` each: never more than what is left can hold.
    fn count(&mut self, bytes: usize) -> Result<usize, BadSidecar> {
        let count = usize::try_from(self.varint()?).map_err(|_| BadSidecar)?;
        if count > self.0.len() / bytes { Err(BadSidecar) } else { Ok(count) }
    }

    fn stream(&mut self) -> Result<StreamIndex, BadSidecar> {
        let first = self.varint()?;
        let last = first.checked_add(self.varint()?).ok_or(BadSidecar)?;
        let count = self.varint()?;
        let earliest = self.varint()?;
        let latest = earliest.checked_add(self.varint()?).ok_or(BadSidecar)?;
        let mut levels = Vec::with_capacity(self.count(3)?);
        for _ in 0..levels.capacity() {
            levels.push((self.byte()?, self.varint()?, self.varint()?));
        }
        let count_of_entries = self.count(2)?;
        let mut entries = Vec::with_capacity(count_of_entries);
        let mut before = (0u64, 0u32);
        for _ in 0..count_of_entries {
            before = (
                before.0.checked_add(self.varint()?).ok_or(BadSidecar)?,
                before.1.checked_add(self.varint32()?).ok_or(BadSidecar)?,
            );
            entries.push((before.0, Position(before.1)));
        }
        Ok(StreamIndex {
            first,
            last,
            count,
            earliest: Timestamp(earliest),
            latest: Timestamp(latest),
            levels,
            entries,
        })
    }
}

impl Reader<'_> {
    fn carried(&mut self) -> Result<Vec<Carried>, BadSidecar> {
        let count = self.count(3)?;
        let mut held = Vec::with_capacity(count);
        let mut first = 0u64;
        for _ in 0..count {
            first = first.checked_add(self.varint()?).ok_or(BadSidecar)?;
            let last = first.checked_add(self.varint()?).ok_or(BadSidecar)?;
            held.push(Carried { first, last, position: Position(self.varint32()?) });
        }
        Ok(held)
    }
}

/// Reads the sidecar of `segment`.
pub(crate) fn decode(bytes: &[u8], store: StoreId, segment: SegmentId) -> Result<(SegmentIndex, Seal), BadSidecar> {
    let (covered, crc) = bytes.split_last_chunk::<4>().ok_or(BadSidecar)?;
    if crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
        return Err(BadSidecar);
    }
    let (head, rest) = covered.split_first_chunk::<36>().ok_or(BadSidecar)?;
    let mut expected = Vec::with_capacity(36);
    expected.extend_from_slice(MAGIC);
    expected.extend_from_slice(&VERSION.to_le_bytes());
    expected.extend_from_slice(&[0; 6]);
    expected.extend_from_slice(&store.bytes());
    expected.extend_from_slice(&segment.get().to_le_bytes());
    if head.as_slice() != expected.as_slice() {
        return Err(BadSidecar);
    }
    let (body, seal) = rest.split_last_chunk::<12>().ok_or(BadSidecar)?;
    let word = |at: usize| seal.get(at..).and_then(|s| s.first_chunk()).copied().map(u32::from_le_bytes);
    let seal = Seal {
        length: word(0).ok_or(BadSidecar)?,
        checksum: word(4).ok_or(BadSidecar)?,
        successor: SegmentId(word(8).ok_or(BadSidecar)?),
    };
    let mut reader = Reader(body);
    let mut index = SegmentIndex::default();
    for _ in 0..reader.count(8)? {
        let stream = reader.varint32()?;
        let held = reader.stream()?;
        index.streams.insert(stream, held);
    }
    if !reader.0.is_empty() {
        for _ in 0..reader.count(2)? {
            let stream = reader.varint32()?;
            index.carried.insert(stream, reader.carried()?);
        }
    }
    if reader.0.is_empty() { Ok((index, seal)) } else { Err(BadSidecar) }
}

#[cfg(test)]
mod tests {
    use super::super::index::Note;
    use super::*;

    const STORE: StoreId = StoreId([7; 16]);

    fn sample() -> (SegmentIndex, Seal) {
        let mut index = SegmentIndex::default();
        for number in 0..100u32 {
            let note = Note {
                stream: 1 + number % 2,
                first: u64::from(number / 2),
                count: 1,
                time: Timestamp(1_000 + u64::from(number)),
            };
            index.note(Position(4096 + number * 300), note);
        }
        index.streams.get_mut(&2).unwrap().levels.push((3, 7, 2));
        for (first, last, position) in [(7, 300, 50_000), (2, 9, 51_000)] {
            index.note_carried(3, Carried { first, last, position: Position(position) });
        }
        (index, Seal { length: 60_000, checksum: 5, successor: SegmentId(4) })
    }

    #[test]
    fn the_file_has_these_bytes() {
        let mut index = SegmentIndex::default();
        index.note(Position(4096), Note { stream: 1, first: 5, count: 3, time: Timestamp(1000) });
        index.note(Position(8200), Note { stream: 1, first: 8, count: 1, time: Timestamp(1002) });
        let seal = Seal { length: 9000, checksum: 5, successor: SegmentId(4) };
        let hex: String = encode(&index, STORE, SegmentId(3), seal).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "4d494c4c4944580a0100000000000000070707070707070707070707070707070300000001010503\
             04e80702000205802003882028230000050000000400000009d6adae"
        );
    }

    #[test]
    fn what_was_carried_over_comes_behind_in_these_bytes() {
        let mut index = SegmentIndex::default();
        let bare = encode(&index, STORE, SegmentId(3), Seal::default());
        index.note_carried(1, Carried { first: 5, last: 8, position: Position(4096) });
        index.note_carried(1, Carried { first: 7, last: 7, position: Position(8200) });
        let bytes = encode(&index, STORE, SegmentId(3), Seal::default());
        let hex: String = bytes[36..bytes.len() - 16].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((hex.as_str(), bare[36]), ("0001010205038020020088 40".replace(' ', "").as_str(), 0));
    }

    #[test]
    fn it_reads_back_and_only_as_its_own_segments() {
        let (index, seal) = sample();
        let bytes = encode(&index, STORE, SegmentId(3), seal);
        assert_eq!(decode(&bytes, STORE, SegmentId(3)), Ok((index, seal)));
        assert_eq!(decode(&bytes, STORE, SegmentId(4)), Err(BadSidecar));
        assert_eq!(decode(&bytes, StoreId([8; 16]), SegmentId(3)), Err(BadSidecar));
    }

    #[test]
    fn damage_is_noticed_and_never_panics_even_behind_a_right_checksum() {
        let (index, seal) = sample();
        let bytes = encode(&index, STORE, SegmentId(3), seal);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0xff;
            assert_eq!(decode(&damaged, STORE, SegmentId(3)), Err(BadSidecar));
            let end = damaged.len() - 4;
            let crc = crc32fast::hash(&damaged[..end]);
            damaged[end..].copy_from_slice(&crc.to_le_bytes());
            let _ = decode(&damaged, STORE, SegmentId(3)).is_ok();
            assert_eq!(decode(&bytes[..at], STORE, SegmentId(3)), Err(BadSidecar));
        }
    }
}
