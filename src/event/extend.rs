//! Postcard bodies that may be longer or shorter than this release knows.
//!
//! A body is the fields of its struct in the postcard format (numbers as varints; `u8`, `bool` and arrays of bytes as
//! they are; text, bytes and lists behind their count). New fields are only ever added at the end, and zero means "not
//! given". So a body that ends early is an older one: zeros are read past its end. One that goes on is a newer one:
//! the rest is ignored.
//!
//! A body that was cut in the middle of a field can't be told from an older one by this: that its length is right is
//! what the frame's checksum says, and it holds before a body is read.
//!
//! The zeros are rationed, so that an absurd count in front of a list can't make the reader go on for ever.

use super::wire::{DecodeError, Decoded};
use postcard::{Deserializer, Error, Result, de_flavors, ser_flavors};
use serde::{Deserialize, Serialize};

/// How many zeros are read past the end: more than the fields that can ever be added to one event.
const SPARE_ZEROS: u8 = 255;

/// Reads bytes, then zeros.
struct Extended<'de> {
    rest: &'de [u8],
    zeros: u8,
}

impl<'de> de_flavors::Flavor<'de> for Extended<'de> {
    type Remainder = &'de [u8];
    type Source = &'de [u8];

    fn pop(&mut self) -> Result<u8> {
        if let Some((&first, rest)) = self.rest.split_first() {
            self.rest = rest;
            return Ok(first);
        }
        self.zeros = self.zeros.checked_sub(1).ok_or(Error::DeserializeUnexpectedEnd)?;
        Ok(0)
    }

    /// Counted without the zeros, so that no more than the bytes can hold is ever reserved.
    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }

    fn try_take_n(&mut self, count: usize) -> Result<&'de [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Error::DeserializeUnexpectedEnd)?;
        self.rest = rest;
        Ok(taken)
    }

    fn finalize(self) -> Result<Self::Remainder> {
        Ok(self.rest)
    }
}

/// Reads fields that may be fewer, or more, than this release knows: also those of a snapshot's part.
pub(crate) fn read_extended<'de, T: Deserialize<'de>>(fields: &'de [u8]) -> Result<T> {
    T::deserialize(&mut Deserializer::from_flavor(Extended { rest: fields, zeros: SPARE_ZEROS }))
}

/// Reads the body of an event of this kind.
pub(super) fn read_body<'de, T: Deserialize<'de>>(kind: u8, body: &'de [u8]) -> Decoded<T> {
    read_extended(body).map_err(|error| match error {
        Error::DeserializeUnexpectedEnd => DecodeError::Truncated,
        Error::DeserializeBadVarint => DecodeError::Overlong,
        Error::DeserializeBadUtf8 => DecodeError::BadBody { kind, what: "text that is not UTF-8" },
        Error::DeserializeBadBool | Error::DeserializeBadOption => {
            DecodeError::BadBody { kind, what: "a flag that is neither 0 nor 1" }
        }
        // The conversions of `event` itself: a cause, a reason, a run.
        Error::SerdeDeCustom => DecodeError::BadBody { kind, what: "a cause, reason or run of offsets that can't be" },
        _ => DecodeError::BadBody { kind, what: "a value that can't be" },
    })
}

/// Appends to a buffer.
struct Append<'a>(&'a mut Vec<u8>);

impl ser_flavors::Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> Result<()> {
        Ok(())
    }
}

/// Appends a body.
pub(super) fn put_body<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    // Appending can't fail, and postcard refuses only lists of unknown length, of which no event has one.
    let written = postcard::serialize_with_flavor(value, Append(out));
    debug_assert!(written.is_ok(), "an event could not be encoded: {written:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_body_reads_as_zeros_and_a_longer_one_is_cut() {
        assert_eq!(read_body::<(u32, u64, bool)>(0, &[7]), Ok((7, 0, false)));
        assert_eq!(read_body::<(u32, &str)>(0, &[7]), Ok((7, "")));
        assert_eq!(read_body::<u32>(0, &[7, 9, 9]), Ok(7));
        assert_eq!(read_body::<[u8; 4]>(0, &[1, 2]), Ok([1, 2, 0, 0]));
    }

    #[test]
    fn an_absurd_count_ends_at_once() {
        let count = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(read_body::<Vec<u64>>(0, &count), Err(DecodeError::Truncated));
        assert_eq!(read_body::<&str>(0, &count), Err(DecodeError::Truncated));
        assert_eq!(read_body::<Vec<Vec<u64>>>(0, &count), Err(DecodeError::Truncated));
    }
}
