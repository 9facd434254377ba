//! The attributes block of a message.
//!
//! ```text
//! varint  which fields are there, a bit each
//! then, for each bit set, lowest first:
//!   bit 0  id             varint length, bytes
//!   bit 1  key            varint length, bytes
//!   bit 2  headers        varint count, then for each: varint length, name (UTF-8), varint length, value
//!   bit 3  due            varint milliseconds, on the engine's clock (a delay)
//!   bit 4  due            varint milliseconds, on the wall clock (a deliver-at); never together with bit 3
//!   bit 5  expiry         varint milliseconds
//!   bit 6  priority       1 byte
//!   bit 7  content        varint that fits in 32 bits: schema and content flags
//!   bit 8  id hash        16 bytes
//!   bit 9  payload hash   16 bytes
//!   bit 10 and up: unknown to this release; they come last and are ignored, since the block's length is known
//! ```
//!
//! A field that is not there is zero, empty or absent. The block has no length of its own: whoever holds it writes the
//! length in front. Nor has it a checksum: the message's covers it (see `publish`).

use super::wire::{DecodeError, Decoded, Inline, Reader, put_counted, put_varint, varint_len};
use crate::message::{Attributes, Due};
use crate::types::Timestamp;
use bytes::Bytes;

const ID: u64 = 1 << 0;
const KEY: u64 = 1 << 1;
const HEADERS: u64 = 1 << 2;
const DUE_DELAY: u64 = 1 << 3;
const DUE_WALL: u64 = 1 << 4;
const EXPIRY: u64 = 1 << 5;
const PRIORITY: u64 = 1 << 6;
const CONTENT: u64 = 1 << 7;
const ID_HASH: u64 = 1 << 8;
const PAYLOAD_HASH: u64 = 1 << 9;
/// Every bit that this release knows.
const KNOWN: u64 = (1 << 10) - 1;

/// Headers reserved ahead of reading at most, whatever count is declared.
const RESERVED_HEADERS: usize = 32;

/// The bits of what is set.
fn bitmap(attributes: &Attributes) -> u64 {
    let due = match attributes.due {
        None => 0,
        Some(Due { wall: false, .. }) => DUE_DELAY,
        Some(Due { wall: true, .. }) => DUE_WALL,
    };
    [
        (attributes.id.is_some(), ID),
        (attributes.key.is_some(), KEY),
        (!attributes.headers.is_empty(), HEADERS),
        (attributes.expiry.is_some(), EXPIRY),
        (attributes.priority != 0, PRIORITY),
        (attributes.content != 0, CONTENT),
        (attributes.id_hash.is_some(), ID_HASH),
        (attributes.payload_hash.is_some(), PAYLOAD_HASH),
    ]
    .into_iter()
    .fold(due, |bits, (set, bit)| if set { bits | bit } else { bits })
}

/// Appends the block, without its length.
pub(super) fn encode(attributes: &Attributes, out: &mut Vec<u8>) {
    put_varint(out, bitmap(attributes));
    if let Some(id) = &attributes.id {
        put_counted(out, id);
    }
    if let Some(key) = &attributes.key {
        put_counted(out, key);
    }
    if !attributes.headers.is_empty() {
        put_varint(out, attributes.headers.len() as u64);
        for (name, value) in &attributes.headers {
            put_counted(out, name.as_bytes());
            put_counted(out, value);
        }
    }
    if let Some(due) = attributes.due {
        put_varint(out, due.at.get());
    }
    if let Some(expiry) = attributes.expiry {
        put_varint(out, expiry.get());
    }
    if attributes.priority != 0 {
        out.push(attributes.priority);
    }
    if attributes.content != 0 {
        put_varint(out, u64::from(attributes.content));
    }
    out.extend_from_slice(attributes.id_hash.as_ref().map_or(&[], |hash| hash.as_slice()));
    out.extend_from_slice(attributes.payload_hash.as_ref().map_or(&[], |hash| hash.as_slice()));
}

/// Puts the block with its length in front, if it is of an id and its hashes and nothing else, and the id has up to
/// `longest` bytes, which with all the rest make a length of one byte.
pub(super) fn put_id<const N: usize>(attributes: &Attributes, longest: usize, out: &mut Inline<N>) -> Option<()> {
    let Attributes { id, key, headers, due, expiry, delay, lifetime, default_lifetime, priority, content, .. } =
        attributes;
    let texts = key.is_none() && headers.is_empty();
    let times = due.is_none() && expiry.is_none() && delay.is_none() && lifetime.is_none();
    let nothing = texts && times && default_lifetime.is_none() && *priority == 0 && *content == 0;
    let (id, hash, payload) = (id.as_ref()?, attributes.id_hash?, attributes.payload_hash?);
    if !nothing || id.len() > longest {
        return None;
    }
    let bits = ID | ID_HASH | PAYLOAD_HASH;
    let length = varint_len(bits) + varint_len(id.len() as u64) + id.len() as u64 + 32;
    out.varint(length);
    out.varint(bits);
    out.varint(id.len() as u64);
    out.extend(id);
    out.extend(&hash);
    out.extend(&payload);
    Some(())
}

/// Reads a block. `own` makes shared bytes of a part of it: a slice of the buffer it is in, or a copy. A block that
/// says nothing is no attributes.
pub(super) fn decode(block: &[u8], own: impl Fn(&[u8]) -> Bytes) -> Decoded<Option<Box<Attributes>>> {
    let mut reader = Reader::new(block);
    let bits = reader.varint()?;
    let has = |bit| bits & bit != 0;
    if has(DUE_DELAY) && has(DUE_WALL) {
        return Err(DecodeError::bad("the set of attributes", bits));
    }
    let mut attributes = Attributes::default();
    if has(ID) {
        attributes.id = Some(own(reader.counted()?));
    }
    if has(KEY) {
        attributes.key = Some(own(reader.counted()?));
    }
    if has(HEADERS) {
        attributes.headers = headers(&mut reader, &own)?;
    }
    if has(DUE_DELAY | DUE_WALL) {
        attributes.due = Some(Due { at: Timestamp::new(reader.varint()?), wall: has(DUE_WALL) });
    }
    if has(EXPIRY) {
        attributes.expiry = Some(Timestamp::new(reader.varint()?));
    }
    if has(PRIORITY) {
        attributes.priority = reader.byte()?;
    }
    if has(CONTENT) {
        attributes.content = reader.varint_u32()?;
    }
    if has(ID_HASH) {
        attributes.id_hash = Some(reader.array()?);
    }
    if has(PAYLOAD_HASH) {
        attributes.payload_hash = Some(reader.array()?);
    }
    if bits & !KNOWN == 0 && reader.len() > 0 {
        return Err(DecodeError::bad("bytes left over behind the attributes", reader.len()));
    }
    Ok(if attributes.is_empty() { None } else { Some(Box::new(attributes)) })
}

/// When the message is due and when it expires: what the state has to know of it. Copies nothing and skips the rest.
pub(super) fn times(block: &[u8]) -> Decoded<(Option<Due>, Option<Timestamp>)> {
    let mut reader = Reader::new(block);
    let bits = reader.varint()?;
    let has = |bit| bits & bit != 0;
    if !has(DUE_DELAY | DUE_WALL | EXPIRY) {
        return Ok((None, None));
    }
    skip_texts(&mut reader, bits)?;
    let mut due = None;
    if has(DUE_DELAY | DUE_WALL) {
        due = Some(Due { at: Timestamp::new(reader.varint()?), wall: has(DUE_WALL) });
    }
    let expiry = if has(EXPIRY) { Some(Timestamp::new(reader.varint()?)) } else { None };
    Ok((due, expiry))
}

/// The priority, likewise.
pub(super) fn priority(block: &[u8]) -> Decoded<u8> {
    let mut reader = Reader::new(block);
    let bits = reader.varint()?;
    if bits & PRIORITY == 0 {
        return Ok(0);
    }
    skip_texts(&mut reader, bits)?;
    for field in [DUE_DELAY | DUE_WALL, EXPIRY] {
        if bits & field != 0 {
            reader.varint()?;
        }
    }
    reader.byte()
}

/// Goes on behind id, key and headers.
fn skip_texts(reader: &mut Reader<'_>, bits: u64) -> Decoded<()> {
    let has = |bit| bits & bit != 0;
    for field in [ID, KEY] {
        if has(field) {
            reader.counted()?;
        }
    }
    if has(HEADERS) {
        for _ in 0..reader.varint()? {
            reader.counted()?;
            reader.counted()?;
        }
    }
    Ok(())
}

/// The hashes of id and payload, if the id is one to be recognized: what the tables have to know. Copies nothing.
pub(super) fn hashes(block: &[u8]) -> Decoded<Option<([u8; 16], [u8; 16])>> {
    let mut reader = Reader::new(block);
    let bits = reader.varint()?;
    let has = |bit| bits & bit != 0;
    if !has(ID_HASH) {
        return Ok(None);
    }
    for field in [ID, KEY] {
        if has(field) {
            reader.counted()?;
        }
    }
    if has(HEADERS) {
        for _ in 0..reader.varint()? {
            reader.counted()?;
            reader.counted()?;
        }
    }
    for field in [DUE_DELAY | DUE_WALL, EXPIRY] {
        if has(field) {
            reader.varint()?;
        }
    }
    if has(PRIORITY) {
        reader.byte()?;
    }
    if has(CONTENT) {
        reader.varint()?;
    }
    let id = reader.array()?;
    Ok(Some((id, if has(PAYLOAD_HASH) { reader.array()? } else { [0; 16] })))
}

fn headers(reader: &mut Reader<'_>, own: impl Fn(&[u8]) -> Bytes) -> Decoded<Vec<(String, Bytes)>> {
    let count = reader.varint()?;
    // Two lengths each at least.
    let count = usize::try_from(count).ok().filter(|&count| count <= reader.len() / 2).ok_or(DecodeError::Truncated)?;
    let mut headers = Vec::with_capacity(count.min(RESERVED_HEADERS));
    for _ in 0..count {
        let name = reader.counted()?;
        let name = str::from_utf8(name).map_err(|_| DecodeError::bad("a header name's length in UTF-8", name.len()))?;
        headers.push((name.to_owned(), own(reader.counted()?)));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(block: &[u8]) -> Decoded<Option<Box<Attributes>>> {
        decode(block, Bytes::copy_from_slice)
    }

    #[test]
    fn fields_of_a_newer_release_are_ignored() {
        let newer = [0x81, 0x20, 2, b'i', b'd', 0xaa, 0xbb];
        assert_eq!(read(&newer).unwrap().unwrap().id.as_deref(), Some(&b"id"[..]));
    }

    #[test]
    fn bytes_left_over_two_due_times_and_absurd_counts_are_refused() {
        assert_eq!(read(&[0]), Ok(None));
        assert!(matches!(read(&[1, 2, b'i', b'd', 0]), Err(DecodeError::BadValue { .. })));
        assert!(matches!(read(&[0x18, 5, 6]), Err(DecodeError::BadValue { value: 0x18, .. })));
        assert_eq!(read(&[4, 0xff, 0xff, 0xff, 0xff, 0x0f]), Err(DecodeError::Truncated));
        assert_eq!(read(&[1, 0xff, 0xff, 0xff, 0xff, 0x0f]), Err(DecodeError::Truncated));
        assert!(matches!(read(&[4, 1, 1, 0xff, 0]), Err(DecodeError::BadValue { .. })));
        assert_eq!(read(&[]), Err(DecodeError::Truncated));
    }
}
