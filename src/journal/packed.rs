//! Bodies that are compressed, in whole or from their start: flag [`COMPRESSED`](super::Flags::COMPRESSED) of a frame.
//!
//! ```text
//! 4 bytes  how many bytes the packed ones become, little-endian
//! 4 bytes  how many packed bytes there are, little-endian
//! ..       the packed bytes: one block of LZ4, without a frame of its own
//! ..       the rest, as it is
//! ```
//!
//! The body that was meant is what was packed, and then the rest: what is known only when a frame's turn comes stands
//! at its end, and is not packed. A frame's checksum and length are those of the bytes above. They are believed once
//! the checksum holds, and the lengths are held against what is there before memory is taken: a block of LZ4 grows to
//! at most 255 times its length, and no body is longer than [`MAX_BODY`].

use super::frame::MAX_BODY;
use bytes::Bytes;

/// Bytes before the packed ones.
const HEAD: usize = 8;
/// What a byte of a block can become at most.
const MOST: u64 = 255;

/// Why a body can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpacked {
    /// This build has no decompressor.
    NotBuilt,
    /// The bytes are none that were written so.
    Bad,
}

/// Packs `body`; nothing if that is hardly shorter, or this build can't.
#[cfg(feature = "lz4")]
pub(crate) fn pack(body: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(body.len()).ok().filter(|length| *length <= MAX_BODY)?;
    let mut packed = vec![0; HEAD + lz4_flex::block::get_maximum_output_size(body.len())];
    let (head, block) = packed.split_at_mut_checked(HEAD)?;
    let written = lz4_flex::block::compress_into(body, block).ok()?;
    head.get_mut(..4)?.copy_from_slice(&length.to_le_bytes());
    head.get_mut(4..)?.copy_from_slice(&u32::try_from(written).ok()?.to_le_bytes());
    packed.truncate(HEAD + written);
    (packed.len() < body.len() - body.len() / 16).then_some(packed)
}

/// Packs `body`; nothing if that is hardly shorter, or this build can't.
#[cfg(not(feature = "lz4"))]
pub(crate) fn pack(_: &[u8]) -> Option<Vec<u8>> {
    None
}

/// The body that was meant.
pub(crate) fn unpack(body: &[u8]) -> Result<Bytes, Unpacked> {
    let (length, block, rest) = parts(body).ok_or(Unpacked::Bad)?;
    inflate(length, block, rest).map(Bytes::from)
}

/// How long the packed part becomes, the packed bytes, and the rest.
fn parts(body: &[u8]) -> Option<(usize, &[u8], &[u8])> {
    let (head, behind) = body.split_at_checked(HEAD)?;
    let word = |at: usize| head.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let (length, packed) = (word(0)?, word(4)?);
    let (block, rest) = behind.split_at_checked(packed as usize)?;
    let whole = u64::from(length) + rest.len() as u64;
    let believable = u64::from(length) <= u64::from(packed) * MOST && whole <= u64::from(MAX_BODY);
    believable.then_some((length as usize, block, rest))
}

#[cfg(feature = "lz4")]
fn inflate(length: usize, block: &[u8], rest: &[u8]) -> Result<Vec<u8>, Unpacked> {
    let mut body = Vec::with_capacity(length.saturating_add(rest.len()));
    body.resize(length, 0);
    match lz4_flex::block::decompress_into(block, &mut body) {
        Ok(written) if written == length => body.extend_from_slice(rest),
        _ => return Err(Unpacked::Bad),
    }
    Ok(body)
}

#[cfg(not(feature = "lz4"))]
fn inflate(_: usize, _: &[u8], _: &[u8]) -> Result<Vec<u8>, Unpacked> {
    Err(Unpacked::NotBuilt)
}

#[cfg(all(test, feature = "lz4"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn these_bytes_are_that_body_whatever_packs_it() {
        // 60 bytes out of 12: one literal, 53 of the same by a match, six literals; and four that were not packed.
        let golden: Vec<u8> = [60, 0, 0, 0, 12, 0, 0, 0, 0x1f, b'a', 1, 0, 0x22, 0x60].into();
        let golden = [&golden, &b"aaaaaarest"[..]].concat();
        assert_eq!(unpack(&golden).unwrap(), [&[b'a'; 60][..], b"rest"].concat());
        assert_eq!(unpack(&pack(&[b'a'; 60]).unwrap()).unwrap(), [b'a'; 60][..]);
        assert_eq!(pack(b"nothing that repeats"), None);
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back_with_the_rest_behind_it(
            body in proptest::collection::vec(0..4_u8, 0..2000),
            rest in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Some(packed) = pack(&body) {
                prop_assert!(packed.len() < body.len());
                let stored = [packed, rest.clone()].concat();
                prop_assert_eq!(unpack(&stored).unwrap(), [body, rest].concat());
            }
        }

        #[test]
        fn no_bytes_make_it_panic_or_take_more_memory_than_they_may_stand_for(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            if let Ok(body) = unpack(&bytes) {
                prop_assert!(body.len() <= bytes.len() * 255);
            }
        }

        #[test]
        fn a_changed_byte_is_refused_or_gives_as_many_bytes(at in 0..500_usize, bit in 0..8) {
            let packed = pack(&b"a body that repeats itself, a body that repeats itself".repeat(9)).unwrap();
            let mut hurt = packed.clone();
            hurt[at % packed.len()] ^= 1_u8 << bit;
            if let Ok(body) = unpack(&hurt) {
                prop_assert!(body.len() <= hurt.len() * 255);
            }
        }
    }

    #[test]
    fn a_length_beyond_belief_is_refused_before_memory_is_taken() {
        let mut packed = pack(&[7; 4000]).unwrap();
        packed[..4].copy_from_slice(&MAX_BODY.to_le_bytes());
        let taken = allocation_counter::measure(|| assert_eq!(unpack(&packed), Err(Unpacked::Bad)));
        assert_eq!(taken.bytes_total, 0);
        packed[..4].copy_from_slice(&3999_u32.to_le_bytes());
        assert_eq!(unpack(&packed), Err(Unpacked::Bad));
        packed[..4].copy_from_slice(&4001_u32.to_le_bytes());
        assert_eq!(unpack(&packed), Err(Unpacked::Bad));
    }
}
