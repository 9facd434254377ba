//! Lies with right checksums: lengths, counts, offsets and places that no writer would write. Nothing promises that
//! they are found out, but they must do no harm: no panic, no memory without bounds, no endless search.

use crate::layout::{self, Class, FRAME, HEADER};
use crate::pond::Files;
use fastrand::Rng;

fn put32(bytes: &mut [u8], at: usize, value: u32) -> Option<()> {
    bytes.get_mut(at..at + 4)?.copy_from_slice(&value.to_le_bytes());
    Some(())
}

fn number(name: &str) -> Option<u32> {
    name.strip_prefix("journal/")?.split_once('.')?.0.parse().ok()
}

/// Makes both checksums of the frame at `at` fit.
pub(crate) fn seal(bytes: &mut [u8], name: &str, at: usize, length: usize) -> Option<()> {
    let body = crc32fast::hash(bytes.get(at + FRAME..at + FRAME + length)?);
    put32(bytes, at + 8, body)?;
    seal_header(bytes, name, at)
}

fn seal_header(bytes: &mut [u8], name: &str, at: usize) -> Option<()> {
    let lsn = u64::from(number(name)?) << 32 | at as u64;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(bytes.get(40..48)?);
    hasher.update(&lsn.to_le_bytes());
    hasher.update(bytes.get(at..at + 12)?);
    let crc = hasher.finalize();
    put32(bytes, at + 12, crc)
}

/// Writes over a few bytes of a body: numbers become larger than anything.
fn maim(rng: &mut Rng, body: &mut [u8]) {
    for _ in 0..rng.usize(1..4) {
        let at = rng.usize(0..body.len());
        match rng.u8(0..4) {
            0 => body[at] = rng.u8(..),
            1 => body[at] ^= 1 << rng.u8(0..8),
            // A varint of ten bytes: nearly 2^64.
            2 => body.iter_mut().skip(at).take(9).for_each(|byte| *byte = 0xff),
            _ => body.iter_mut().skip(at).take(rng.usize(1..9)).for_each(|byte| *byte = 0),
        }
    }
}

fn class(files: &Files, name: &str) -> Class {
    layout::class(files, name, HEADER)
}

/// A body that lies.
pub(crate) fn frame(rng: &mut Rng, files: &Files, name: &str, bytes: &mut [u8]) -> Option<Class> {
    let frames = layout::frames(bytes);
    let frame = frames.get(rng.usize(0..frames.len()))?.clone();
    maim(rng, &mut bytes[frame.start + FRAME..frame.end]);
    seal(bytes, name, frame.start, frame.len() - FRAME)?;
    Some(class(files, name))
}

/// A frame's header that lies: its length, its flags, what it says is durable.
pub(crate) fn length(rng: &mut Rng, files: &Files, name: &str, bytes: &mut [u8]) -> Option<Class> {
    let frames = layout::frames(bytes);
    let at = frames.get(rng.usize(0..frames.len()))?.start;
    match rng.u8(0..4) {
        0 => put32(bytes, at, 0x0fff_ffff)?,
        1 => put32(bytes, at, u32::try_from(bytes.len() - at - FRAME).ok()?)?,
        2 => bytes[at + 3] ^= 0x10 << rng.u8(0..4),
        _ => put32(bytes, at + 4, rng.u32(..))?,
    }
    seal_header(bytes, name, at)?;
    Some(class(files, name))
}

/// A segment's header that lies.
pub(crate) fn header(rng: &mut Rng, bytes: &mut [u8]) -> Option<Class> {
    // version, flags, store id, number, length, salt, base, key, what is to be zeros
    let at = [8, 12, 16, 32, 36, 40, 48, 56, 72, 3000][rng.usize(0..10)];
    bytes[at] = bytes[at].wrapping_add(rng.u8(1..=255));
    let crc = crc32fast::hash(&bytes[..HEADER - 4]);
    put32(bytes, HEADER - 4, crc)?;
    Some(Class::SegmentHeader)
}

/// A sidecar that lies.
pub(crate) fn sidecar(rng: &mut Rng, bytes: &mut [u8]) -> Option<Class> {
    let end = bytes.len().checked_sub(4)?;
    maim(rng, bytes.get_mut(36..end)?);
    let crc = crc32fast::hash(&bytes[..end]);
    put32(bytes, end, crc)?;
    Some(Class::Sidecar)
}

/// An identity that lies.
pub(crate) fn identity(rng: &mut Rng, bytes: &mut [u8]) -> Option<Class> {
    let at = [8, 9, 10, 11, 12, 16, 17, 18, 19, 20, 30, 36, 45, 52, 59][rng.usize(0..15)];
    *bytes.get_mut(at)? ^= 1 << rng.u8(0..8);
    let crc = crc32fast::hash(bytes.get(..60)?);
    put32(bytes, 60, crc)?;
    Some(Class::Identity)
}

/// A byte of the header, or of the first bytes of the body, of a frame whose payload is a piece of the journal.
pub(crate) fn image(rng: &mut Rng, bytes: &[u8]) -> Option<usize> {
    let large: Vec<_> = layout::frames(bytes).into_iter().filter(|frame| frame.len() > 700).collect();
    let frame = large.get(rng.usize(0..large.len().max(1)))?;
    Some(frame.start + rng.usize(0..FRAME + 2))
}
