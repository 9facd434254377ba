//! Making out what a damaged header or identity said, where only one answer is possible.
//!
//! Nearly all of a segment's header is known beforehand. What is not, salt and base and what it is encrypted with, is
//! believed if the header's checksum fits once everything else is put right, or if changing one single byte makes it
//! fit: a checksum of 32 bits leaves one wrong answer among four thousand tries (thirty thousand of an encrypted one) a
//! chance of one in a million (a hundred thousand), and a wrong salt is noticed at the first frame, a wrong key before.

use super::crypt::{KEY_FIELDS, Place, SegmentKey};
use super::identity::{IDENTITY_LENGTH, Identity};
use super::recover::{Recovery, whole_file};
use super::segment::{BadSegment, DIRECTORY, FileKind, KEY_AT, SEGMENT_HEADER, Segment, parse_name, segment_name};
use crate::config::Keys;
use crate::error::{Damage, Result};
use crate::storage::{Access, EntryKind, Storage, read_up_to};
use crate::types::{SegmentId, StoreId, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where salt and base are in a segment's header, and behind them what it is encrypted with.
const UNKNOWN: std::ops::Range<usize> = 40..KEY_AT + KEY_FIELDS;
/// Bytes of salt and base.
const SALT_AND_BASE: usize = 16;

impl Segment {
    /// What the damaged header of segment `id` said, if that can be made out.
    fn mend(
        bytes: &[u8; SEGMENT_HEADER as usize],
        capacity: u32,
        (store, keys): (StoreId, &Keys),
        id: SegmentId,
    ) -> Option<Self> {
        let (covered, crc) = bytes.split_last_chunk::<4>()?;
        let crc = u32::from_le_bytes(*crc);
        let unknown: [u8; SALT_AND_BASE + KEY_FIELDS] = *covered.get(UNKNOWN)?.first_chunk()?;
        let try_with = |unknown: [u8; SALT_AND_BASE + KEY_FIELDS]| {
            let (salt, rest) = unknown.split_first_chunk()?;
            let (base, key) = rest.split_first_chunk()?;
            let (salt, base) = (u64::from_le_bytes(*salt), Timestamp(u64::from_le_bytes(*base)));
            let place = Place { store, id, salt, base };
            let key = SegmentKey::read(key.first_chunk()?, keys, place);
            [false, true].into_iter().find_map(|recycled| {
                let segment = Self { id, salt, base, key: key.clone(), capacity, recycled };
                let right = segment.encode(store);
                (right.last_chunk::<4>().copied().map(u32::from_le_bytes) == Some(crc)).then_some(segment)
            })
        };
        // Mostly it is not encrypted: then all of that was zeros.
        let mut plain = unknown;
        plain.get_mut(SALT_AND_BASE..)?.fill(0);
        if let Some(segment) = try_with(plain).or_else(|| try_with(unknown)) {
            return Some(segment);
        }
        let mut found = None;
        for (from, length) in [(plain, SALT_AND_BASE), (unknown, unknown.len())] {
            for at in 0..length {
                for change in 1..=u8::MAX {
                    let mut changed = from;
                    *changed.get_mut(at)? ^= change;
                    if let Some(segment) = try_with(changed) {
                        if found.is_some() {
                            return None;
                        }
                        found = Some(segment);
                    }
                }
            }
            if found.is_some() || unknown == plain {
                break;
            }
        }
        found
    }
}

impl Recovery {
    /// Looks at the segments that can't be used once more: a header may be made out, and a file may be another segment
    /// than its name says. What was found so is returned, as damage of the files.
    pub(crate) fn mend(&mut self) -> Result<Vec<Damage>> {
        let mut mended = Vec::new();
        let bad: BTreeMap<SegmentId, BadSegment> = self.listing.bad.clone();
        for (id, why) in &bad {
            let name = segment_name(*id);
            let found = match why {
                BadSegment::Misplaced(other) if !self.listing.segments.contains_key(other) => {
                    let read = self
                        .storage
                        .open(&name, Access::Read)
                        .and_then(|f| Segment::read(&*f, (self.store, &self.keys), *other));
                    read.ok().and_then(Result::ok)
                }
                BadSegment::Damaged => self.mended(&name, *id),
                _ => None,
            };
            let Some(segment) = found else { continue };
            let what = if segment.id == *id {
                "the header is damaged; what it said was made out".to_owned()
            } else {
                self.listing.aliases.insert(segment.id, name.clone());
                format!("it is segment {}", segment.id)
            };
            let mut place = whole_file(*id, what);
            if segment.id == *id {
                place.to = u64::from(SEGMENT_HEADER);
            }
            mended.push(place);
            self.listing.bad.remove(&segment.id);
            self.listing.segments.insert(segment.id, Arc::new(segment));
        }
        Ok(mended)
    }

    fn mended(&self, name: &str, id: SegmentId) -> Option<Segment> {
        let file = self.storage.open(name, Access::Read).ok()?;
        let capacity = u32::try_from(file.len().ok()?).ok()?;
        let mut bytes = [0; SEGMENT_HEADER as usize];
        let read = read_up_to(&*file, &mut bytes, 0).ok()?;
        (read == bytes.len()).then_some(())?;
        Segment::mend(&bytes, capacity, (self.store, &self.keys), id)
    }
}

/// The identity that a damaged file held, if one byte of it is wrong; with how long it should be.
pub(crate) fn mend_identity(bytes: &[u8]) -> Option<Identity> {
    let mut bytes: [u8; IDENTITY_LENGTH] = *bytes.first_chunk()?;
    if let Ok(identity) = Identity::decode(&bytes) {
        return Some(identity);
    }
    for at in 0..bytes.len() {
        for change in 1..=u8::MAX {
            *bytes.get_mut(at)? ^= change;
            if let Ok(identity) = Identity::decode(&bytes) {
                return Some(identity);
            }
            *bytes.get_mut(at)? ^= change;
        }
    }
    None
}

/// The store that the headers of the segments name, if all that are whole name the same; nothing if there are none.
pub(crate) fn store_of_segments(storage: &dyn Storage) -> Option<StoreId> {
    let mut found = None;
    for entry in storage.list(DIRECTORY).ok()? {
        let Some((id, FileKind::Segment)) = parse_name(&entry.name) else { continue };
        if entry.kind != EntryKind::File {
            continue;
        }
        // As if of no store at all: the error names the one it is of.
        let file = storage.open(&segment_name(id), Access::Read).ok()?;
        if let Err(BadSegment::Foreign(store)) = Segment::read(&*file, (StoreId([0; 16]), &Keys::none()), id).ok()?
            && found.replace(store).is_some_and(|other| other != store)
        {
            return None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::segment::tests::segment;
    use super::*;

    const STORE: StoreId = StoreId([7; 16]);

    fn header(bytes: &[u8]) -> &[u8; SEGMENT_HEADER as usize] {
        bytes.first_chunk().unwrap()
    }

    #[test]
    fn any_single_damaged_byte_of_a_header_is_put_right_but_for_those_of_its_checksum() {
        let whole = segment(3).encode(STORE);
        for at in (0..100).chain(4000..4092) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x5a;
            assert_eq!(
                Segment::mend(header(&bytes), 1 << 16, (STORE, &Keys::none()), SegmentId(3)),
                Some(segment(3)),
                "byte {at}"
            );
        }
        let again = Segment { recycled: true, ..segment(3) };
        let mut bytes = again.encode(STORE);
        bytes[10] = 0;
        assert_eq!(
            Segment::mend(header(&bytes), 1 << 16, (STORE, &Keys::none()), SegmentId(3)),
            Some(again),
            "a file used again"
        );
        let mut bytes = whole.clone();
        bytes[..40].fill(0);
        bytes[56..4092].fill(0xee);
        assert_eq!(
            Segment::mend(header(&bytes), 1 << 16, (STORE, &Keys::none()), SegmentId(3)),
            Some(segment(3)),
            "what is known"
        );
        bytes[40..42].fill(0);
        assert_eq!(
            Segment::mend(header(&bytes), 1 << 16, (STORE, &Keys::none()), SegmentId(3)),
            None,
            "half of the salt is guessed"
        );
    }

    #[test]
    fn any_single_damaged_byte_of_an_identity_is_put_right() {
        let identity = Identity { store: STORE, hash_key: [9; 16], created: Timestamp(1_700_000_000_000), compat: 0 };
        let whole = identity.encode();
        for at in 0..whole.len() {
            let mut bytes = whole;
            bytes[at] ^= 0x21;
            assert_eq!(mend_identity(&bytes), Some(identity), "byte {at}");
        }
        assert_eq!(mend_identity(&whole[..63]), None);
        let mut bytes = whole;
        bytes[20..30].fill(0);
        assert_eq!(mend_identity(&bytes), None);
    }
}
