//! The bytes of an [`OffsetSet`], and of a schedule's keys, in a snapshot.
//!
//! A sequence of entries in rising order, each: how many chunks lie between it and the entry before (varint), what it
//! is (varint), and that:
//!
//! | what | follows |
//! |---|---|
//! | 0 | the bitmap of one chunk, 1024 little-endian words |
//! | 1 | whole chunks: how many (varint, at least 1) |
//! | n + 1 | n runs inside one chunk: for each the gap before it and its length (varints) |
//!
//! The bitmap is used where a chunk has more than 2048 runs. Equal sets have equal bytes.

use super::chunk::{CHUNK, Chunk, WORDS};
use super::offsets::OffsetSet;
use super::schedule::Key;
use crate::types::{Offset, Timestamp};

const BITMAP: u64 = 0;
const WHOLE: u64 = 1;
/// The number after that of the last chunk there can be.
const CHUNKS: u64 = 1 << (64 - CHUNK.trailing_zeros());

/// Appends the bytes of `set`.
pub(super) fn encode(set: &OffsetSet, out: &mut Vec<u8>) {
    let mut full = set.full.iter().peekable();
    let mut mixed = set.mixed.iter().peekable();
    let mut at = 0;
    loop {
        let whole_first = match (full.peek(), mixed.peek()) {
            (Some((whole, _)), Some((chunk, _))) => whole < chunk,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return,
        };
        if whole_first {
            let Some((start, end)) = full.next() else { return };
            put(out, start - at);
            put(out, WHOLE);
            put(out, end - start);
            at = *end;
        } else {
            let Some((chunk, content)) = mixed.next() else { return };
            put(out, chunk - at);
            put_chunk(out, content);
            at = chunk + 1;
        }
    }
}

fn put_chunk(out: &mut Vec<u8>, chunk: &Chunk) {
    if let Some(words) = chunk.words() {
        put(out, BITMAP);
        out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        return;
    }
    put(out, runs(chunk).map(|_| 1).sum::<u64>() + 1);
    let mut at = 0;
    for (first, end) in runs(chunk) {
        put(out, u64::from(first - at));
        put(out, u64::from(end - first));
        at = end;
    }
}

fn runs(chunk: &Chunk) -> impl Iterator<Item = (u32, u32)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let first = (at < CHUNK).then(|| chunk.next_present(at)).flatten()?;
        at = chunk.next_absent(first).unwrap_or(CHUNK);
        Some((first, at))
    })
}

/// The set that `bytes` are of, if they are of one.
pub(super) fn decode(mut bytes: &[u8]) -> Option<OffsetSet> {
    let mut set = OffsetSet::default();
    let mut at = 0_u64;
    while !bytes.is_empty() {
        let chunk = at.checked_add(take(&mut bytes)?).filter(|chunk| *chunk < CHUNKS)?;
        at = chunk + 1;
        match take(&mut bytes)? {
            BITMAP => set.insert_chunk(chunk, Chunk::from_words(take_words(&mut bytes)?)),
            WHOLE => {
                at = chunk.checked_add(take(&mut bytes)?).filter(|end| chunk < *end && *end < CHUNKS)?;
                set.insert_whole(chunk, at);
            }
            count => set.insert_chunk(chunk, take_runs(&mut bytes, count - 1)?),
        }
    }
    Some(set)
}

fn take_words(bytes: &mut &[u8]) -> Option<[u64; WORDS]> {
    let (bitmap, rest) = bytes.split_at_checked(WORDS * 8)?;
    *bytes = rest;
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bitmap.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().ok()?);
    }
    Some(words)
}

fn take_runs(bytes: &mut &[u8], count: u64) -> Option<Chunk> {
    let mut chunk = Chunk::empty();
    let mut at = 0_u32;
    for _ in 0..count {
        let first = at.checked_add(u32::try_from(take(bytes)?).ok()?)?;
        at = first.checked_add(u32::try_from(take(bytes)?).ok()?).filter(|end| first < *end && *end <= CHUNK)?;
        chunk.insert(first, at);
    }
    Some(chunk)
}

/// Appends keys, which rise: the distance from the time before, and from the offset before, folded so that small ones
/// of either sign are small.
pub(super) fn encode_keys(keys: impl Iterator<Item = Key>) -> Vec<u8> {
    let mut out = Vec::new();
    let (mut time, mut offset) = (0, 0_u64);
    for (at, of) in keys {
        put(&mut out, at.0.wrapping_sub(time));
        let distance = of.0.wrapping_sub(offset);
        let negative = distance >> 63 != 0;
        put(&mut out, (distance << 1) ^ if negative { u64::MAX } else { 0 });
        (time, offset) = (at.0, of.0);
    }
    out
}

/// The keys that `bytes` are of, if they are of some.
pub(super) fn decode_keys(mut bytes: &[u8]) -> Option<Vec<Key>> {
    let mut keys = Vec::new();
    let (mut time, mut offset) = (0_u64, 0_u64);
    while !bytes.is_empty() {
        time = time.checked_add(take(&mut bytes)?)?;
        let folded = take(&mut bytes)?;
        offset = offset.wrapping_add((folded >> 1) ^ if folded & 1 == 1 { u64::MAX } else { 0 });
        keys.push((Timestamp(time), Offset(offset)));
    }
    Some(keys)
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        if shift == 63 && low > 1 {
            return None;
        }
        value |= low << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
