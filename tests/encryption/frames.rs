//! Frames as they stand in a segment, and how to forge their checksums: CRC-32 is no secret.

use std::ops::Range;

/// Bytes of a segment's header, and of a frame's.
pub(crate) const HEADER: usize = 4096;
pub(crate) const FRAME: usize = 16;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes.get(at..).unwrap().first_chunk().unwrap())
}

fn put(bytes: &mut [u8], at: usize, word: u32) {
    bytes.get_mut(at..at + 4).unwrap().copy_from_slice(&word.to_le_bytes());
}

/// Where frames are, as their lengths say.
pub(crate) fn frames(segment: &[u8]) -> Vec<Range<usize>> {
    let (mut found, mut at) = (Vec::new(), HEADER);
    while at + FRAME < segment.len() && word(segment, at) != 0 {
        let length = (word(segment, at) & ((1 << 28) - 1)) as usize;
        found.push(at..at + FRAME + length);
        at += FRAME + length;
    }
    found
}

/// The flags of the frame at `at`: 1 compressed, 2 encrypted, 4 of a snapshot, 8 the journal's own.
pub(crate) fn flags(segment: &[u8], at: usize) -> u32 {
    word(segment, at) >> 28
}

/// Makes both checksums of this frame fit.
pub(crate) fn seal(segment: &mut [u8], number: u32, frame: &Range<usize>) {
    let body = crc32fast::hash(segment.get(frame.start + FRAME..frame.end).unwrap());
    put(segment, frame.start + 8, body);
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(segment.get(40..48).unwrap());
    hasher.update(&(u64::from(number) << 32 | frame.start as u64).to_le_bytes());
    hasher.update(segment.get(frame.start..frame.start + 12).unwrap());
    put(segment, frame.start + 12, hasher.finalize());
}

/// The encrypted frames that are no snapshot's.
pub(crate) fn encrypted(segment: &[u8]) -> Vec<Range<usize>> {
    frames(segment).into_iter().filter(|frame| flags(segment, frame.start) & !1 == 2).collect()
}

/// Writes the header anew, after it was changed.
pub(crate) fn seal_header(segment: &mut [u8]) {
    let crc = crc32fast::hash(segment.get(..HEADER - 4).unwrap());
    put(segment, HEADER - 4, crc);
}
