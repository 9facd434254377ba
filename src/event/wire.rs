//! The smallest parts of the format: varints, little-endian numbers, and a reader that never looks past its bytes.
//!
//! A **varint** is an unsigned number in groups of seven bits, lowest first, one group a byte; the top bit says that
//! another follows. At most ten bytes, the tenth at most 1, and never longer than needed: each number has one form.
//! A **zigzag** number is a signed one folded to unsigned (0, -1, 1, -2, ... become 0, 1, 2, 3, ...), as a varint.

use thiserror::Error;

/// Why bytes are not what this format says. What they came from had a checksum that held, so this is a fault of the
/// writer, a newer release, or damage that the checksum missed: never something to skip quietly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum DecodeError {
    /// The bytes end before what they announce.
    #[error("the bytes end before what they announce")]
    Truncated,
    /// A varint is longer than it needs to be, or does not fit its number.
    #[error("a varint is longer than it needs to be, or too large")]
    Overlong,
    /// A kind of event that this release doesn't know and must not skip.
    #[error("unknown kind of event {0:#04x}, not marked as safe to skip")]
    UnknownKind(u8),
    /// A number that means nothing where it stands.
    #[error("{what} can't be {value}")]
    BadValue {
        /// What the number stands for.
        what: &'static str,
        /// The number.
        value: u64,
    },
    /// The body of an event of this kind has something that can't be.
    #[error("in the body of an event of kind {kind:#04x}: {what}")]
    BadBody {
        /// The event's kind.
        kind: u8,
        /// What is wrong.
        what: &'static str,
    },
}

impl DecodeError {
    /// `value` can't be a `what`.
    pub(super) fn bad(what: &'static str, value: impl TryInto<u64>) -> Self {
        Self::BadValue { what, value: value.try_into().unwrap_or(u64::MAX) }
    }
}

/// What decoding answers.
pub(crate) type Decoded<T> = Result<T, DecodeError>;

/// Reads from the front of some bytes; what it hands out borrows from them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their start.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes have not been read yet.
    pub(super) const fn len(&self) -> usize {
        self.rest.len()
    }

    /// The bytes read since this reader was where `earlier` is.
    pub(super) fn since(&self, earlier: &Self) -> &'a [u8] {
        let read = earlier.len().saturating_sub(self.len());
        earlier.rest.get(..read).unwrap_or_default()
    }

    /// One byte.
    pub(super) fn byte(&mut self) -> Decoded<u8> {
        let (&first, rest) = self.rest.split_first().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(first)
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Decoded<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `count` bytes, where `count` came from the bytes themselves.
    pub(super) fn take_counted(&mut self, count: u64) -> Decoded<&'a [u8]> {
        self.take(usize::try_from(count).map_err(|_| DecodeError::Truncated)?)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A `u32` in four bytes.
    pub(super) fn u32(&mut self) -> Decoded<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A `u64` in eight bytes.
    pub(super) fn u64(&mut self) -> Decoded<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A varint. Nearly all have one byte or two.
    #[inline]
    pub(super) fn varint(&mut self) -> Decoded<u64> {
        match *self.rest {
            [only, ref rest @ ..] if only < 0x80 => {
                self.rest = rest;
                Ok(u64::from(only))
            }
            [low, high @ 1..0x80, ref rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | u64::from(high) << 7)
            }
            _ => self.any_varint(),
        }
    }

    fn any_varint(&mut self) -> Decoded<u64> {
        let mut value = 0u64;
        for (index, &byte) in self.rest.iter().take(LONGEST_VARINT).enumerate() {
            // The tenth byte holds the 64th bit alone.
            if index == LONGEST_VARINT - 1 && byte > 1 {
                return Err(DecodeError::Overlong);
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                if byte == 0 && index > 0 {
                    return Err(DecodeError::Overlong);
                }
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(DecodeError::Truncated)
    }

    /// A varint that has to fit in 32 bits.
    pub(super) fn varint_u32(&mut self) -> Decoded<u32> {
        u32::try_from(self.varint()?).map_err(|_| DecodeError::Overlong)
    }

    /// Bytes behind their length.
    pub(super) fn counted(&mut self) -> Decoded<&'a [u8]> {
        let count = self.varint()?;
        self.take_counted(count)
    }
}

/// The longest a varint can be.
pub(super) const LONGEST_VARINT: usize = 10;

/// A few bytes on the stack: what most events need of bytes of their own, without an allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inline<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Inline<N> {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }

    /// Those that were added.
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Adds a byte. `N` is chosen so that there is room for the longest that can be added.
    pub(super) fn push(&mut self, byte: u8) {
        debug_assert!(self.len < N, "an inline buffer was made too small");
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }

    /// Keeps the first `len` bytes.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Adds bytes.
    #[inline]
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let place = self.bytes.get_mut(self.len..).and_then(|free| free.get_mut(..bytes.len()));
        debug_assert!(place.is_some(), "an inline buffer was made too small");
        if let Some(place) = place {
            place.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// Adds a varint.
    pub(super) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(low_byte(value) | 0x80);
            value >>= 7;
        }
        self.push(low_byte(value));
    }
}

/// Appends a varint.
pub(super) fn put_varint(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        out.push(low_byte(value));
    } else if value < 0x4000 {
        // As the longer ones, at a fraction of the instructions: nearly every length and topic is below.
        out.extend_from_slice(&[low_byte(value) | 0x80, low_byte(value >> 7)]);
    } else {
        let mut varint = Inline::<LONGEST_VARINT>::new();
        varint.varint(value);
        out.extend_from_slice(varint.as_slice());
    }
}

/// Appends bytes behind their length.
pub(super) fn put_counted(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends what `fill` appends, and in front of it a varint that `announce` makes of its length. Nothing is moved if
/// that varint has one byte, as for nearly every event.
pub(super) fn put_measured(out: &mut Vec<u8>, announce: impl Fn(u64) -> u64, fill: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    fill(out);
    let mut varint = Inline::<LONGEST_VARINT>::new();
    varint.varint(announce(out.len().saturating_sub(at + 1) as u64));
    match (varint.as_slice(), out.get_mut(at)) {
        (&[only], Some(slot)) => *slot = only,
        (longer, _) => drop(out.splice(at..=at, longer.iter().copied())),
    }
}

/// How many bytes a varint takes.
pub(super) const fn varint_len(value: u64) -> u64 {
    // One byte for each seven bits begun; zero takes one as well.
    ((64 - (value | 1).leading_zeros()) as u64).div_ceil(7)
}

/// The lowest eight bits.
pub(super) const fn low_byte(value: u64) -> u8 {
    let [low, ..] = value.to_le_bytes();
    low
}

/// How many little-endian bytes `value` needs without its leading zeros: 0 to 8.
pub(super) const fn minimal_len(value: u64) -> u8 {
    low_byte((64 - value.leading_zeros()).div_ceil(8) as u64)
}

/// The number whose minimal little-endian bytes these are.
pub(super) fn from_minimal(bytes: &[u8]) -> Decoded<u64> {
    if bytes.len() > 8 {
        return Err(DecodeError::Overlong);
    }
    if bytes.last() == Some(&0) {
        return Err(DecodeError::Overlong);
    }
    Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}

/// Folds the difference `to - from`, wrapping, so that small ones of either sign become small numbers.
pub(super) const fn zigzag(from: u64, to: u64) -> u64 {
    let difference = to.wrapping_sub(from);
    let negative = (difference >> 63) != 0;
    (difference << 1) ^ if negative { u64::MAX } else { 0 }
}

/// The number that lies a folded difference from `from`.
pub(super) const fn unzigzag(from: u64, folded: u64) -> u64 {
    let difference = (folded >> 1) ^ if folded & 1 == 1 { u64::MAX } else { 0 };
    from.wrapping_add(difference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn varint(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        out
    }

    #[test]
    fn varints_have_one_form_each() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(127), [0x7f]);
        assert_eq!(varint(128), [0x80, 1]);
        assert_eq!(varint(u64::MAX), [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(Reader::new(&[0x80, 0]).varint(), Err(DecodeError::Overlong));
        assert_eq!(Reader::new(&[0x80; 11]).varint(), Err(DecodeError::Overlong));
        assert_eq!(Reader::new(&[0x80; 9]).varint(), Err(DecodeError::Truncated));
        assert_eq!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).varint(),
            Err(DecodeError::Overlong)
        );
        assert_eq!(Reader::new(&varint(1 << 32)).varint_u32(), Err(DecodeError::Overlong));
    }

    #[test]
    fn folded_differences_are_small_in_both_directions() {
        assert_eq!([zigzag(5, 5), zigzag(5, 4), zigzag(5, 6), zigzag(5, 3)], [0, 1, 2, 3]);
    }

    proptest! {
        #[test]
        fn numbers_come_back(value in any::<u64>(), shift in 0u32..64, from in any::<u64>()) {
            let value = value >> shift;
            let bytes = varint(value);
            prop_assert_eq!(bytes.len() as u64, varint_len(value));
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.len(), 0);
            prop_assert_eq!(unzigzag(from, zigzag(from, value)), value);
            let minimal = &value.to_le_bytes()[..usize::from(minimal_len(value))];
            prop_assert_eq!(from_minimal(minimal), Ok(value));
        }
    }
}
