//! Where everything lies in the store of rows: the first byte of a key says what it is.
//!
//! ```text
//! 00 id (16) table (u64, big-endian)   a row of processed ids                                  see `processed`
//! 01 slot (u8) page (u16, big-endian)  sums of 64 parts of the rows (u64 each)                  512 bytes
//! 02 slot (u8) page (u16, big-endian)  up to 32 keys of rows that are leaving (24 bytes each)   768 bytes, zero-filled
//! 03 slot (u8)                         the mark of a commit: 16 random bytes, its number (u32), 25 bytes
//!                                      bits of a part's number (u8), keys that are leaving (u32)
//! ```
//!
//! All little-endian but where it says otherwise. Commits take turns with the two slots, so that what one of them
//! said is there as long as the next one is not complete.

use super::processed::{KEY, ProcessedKey};
use super::{Change, Hash};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;
use std::ops::Range;

const ROW: u8 = 0;
const SUMS: u8 = 1;
const LEAVING: u8 = 2;
const MARK: u8 = 3;

/// Sums of a page, and its bytes.
pub(super) const PAGE: usize = 64;
const PAGE_BYTES: usize = PAGE * 8;
/// Keys of a page of those that are leaving, and its bytes.
const KEYS: usize = 32;
const KEYS_BYTES: usize = KEYS * KEY;
/// Bytes of the key of a page.
const NAME: usize = 4;
/// Most bits of a part's number.
pub(super) const MOST_BITS: u8 = 16;

/// From the first key on up to, and without, the second.
pub(crate) type Keys = Range<Vec<u8>>;

/// The key of a row.
pub(super) fn row_key(key: &ProcessedKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + KEY);
    bytes.push(ROW);
    key.put(&mut bytes);
    bytes
}

/// The key of a row that lies under this one; nothing if it is something else.
pub(super) fn row_of(bytes: &[u8]) -> Option<ProcessedKey> {
    bytes.strip_prefix(&[ROW]).and_then(ProcessedKey::take)
}

/// Bytes of the key of a row.
pub(super) const ROW_KEY: usize = 1 + KEY;

/// The part that a row belongs to: the first bits of its id.
pub(super) fn part_of(key: &ProcessedKey, bits: u8) -> usize {
    let first = key.id.first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes));
    usize::from(first) >> MOST_BITS.saturating_sub(bits)
}

/// All rows of a part.
pub(super) fn part(number: usize, bits: u8) -> Keys {
    let begin = |number: usize| {
        let first = u16::try_from(number << MOST_BITS.saturating_sub(bits));
        first.map_or(vec![SUMS], |first| [&[ROW][..], &first.to_be_bytes()].concat())
    };
    begin(number)..begin(number + 1)
}

fn page_key(kind: u8, slot: u8, page: usize) -> Vec<u8> {
    let page = u16::try_from(page).unwrap_or(u16::MAX);
    [&[kind, slot][..], &page.to_be_bytes()].concat()
}

fn pages(kind: u8, slot: u8) -> Keys {
    page_key(kind, slot, 0)..vec![kind, slot.saturating_add(1)]
}

/// All sums of a slot; and the bytes of the key and of the value of each page.
pub(super) fn sum_pages(slot: u8) -> (Keys, [usize; 2]) {
    (pages(SUMS, slot), [NAME, PAGE_BYTES])
}

/// All keys of a slot that are leaving, likewise.
pub(super) fn leaving_pages(slot: u8) -> (Keys, [usize; 2]) {
    (pages(LEAVING, slot), [NAME, KEYS_BYTES])
}

/// A page of sums as it is stored.
pub(super) fn put_sums(slot: u8, page: usize, sums: &[u64]) -> Change {
    let mut bytes: Vec<u8> = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
    bytes.resize(PAGE_BYTES, 0);
    (page_key(SUMS, slot, page), Some(bytes))
}

/// The pages that lie one behind the other in these bytes, each with its number.
fn numbered(pages: &[u8], bytes: usize) -> impl Iterator<Item = (usize, &[u8])> {
    pages.chunks_exact(NAME + bytes).filter_map(|page| {
        let (name, content) = page.split_at_checked(NAME)?;
        let number = name.last_chunk().map(|bytes| u16::from_be_bytes(*bytes))?;
        Some((usize::from(number), content))
    })
}

/// The sums of so many parts that were read; a page that is not there is all zeros.
pub(super) fn take_sums(pages: &[u8], parts: usize) -> Vec<u64> {
    let mut sums = vec![0; parts];
    for (number, content) in numbered(pages, PAGE_BYTES) {
        let (content, _) = content.as_chunks::<8>();
        let page = sums.iter_mut().skip(number.saturating_mul(PAGE));
        page.zip(content).for_each(|(sum, bytes)| *sum = u64::from_le_bytes(*bytes));
    }
    sums
}

/// Keys that are leaving, as they are stored.
pub(super) fn put_leaving(slot: u8, keys: &[ProcessedKey]) -> impl Iterator<Item = Change> {
    keys.chunks(KEYS).enumerate().map(move |(page, keys)| {
        let mut bytes = Vec::with_capacity(KEYS_BYTES);
        keys.iter().for_each(|key| key.put(&mut bytes));
        bytes.resize(KEYS_BYTES, 0);
        (page_key(LEAVING, slot, page), Some(bytes))
    })
}

/// So many keys that are leaving, of what was read.
pub(super) fn take_leaving(pages: &[u8], count: usize) -> Vec<ProcessedKey> {
    let all = numbered(pages, KEYS_BYTES).flat_map(|(_, content)| content.chunks_exact(KEY));
    all.filter_map(ProcessedKey::take).take(count).collect()
}

/// The mark of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) nonce: Hash,
    pub(super) commit: u32,
    pub(super) bits: u8,
    pub(super) leaving: u32,
}

/// The slot that a commit writes.
pub(super) fn slot_of(commit: u32) -> u8 {
    u8::from(commit % 2 == 1)
}

pub(super) fn mark_key(slot: u8) -> Vec<u8> {
    vec![MARK, slot]
}

impl Mark {
    pub(super) fn bytes(&self) -> Vec<u8> {
        [&self.nonce[..], &self.commit.to_le_bytes(), &[self.bits], &self.leaving.to_le_bytes()].concat()
    }

    pub(super) fn take(bytes: &[u8]) -> Option<Self> {
        let (nonce, rest) = bytes.split_first_chunk()?;
        let (commit, rest) = rest.split_first_chunk()?;
        let (bits, rest) = rest.split_first()?;
        let leaving = u32::from_le_bytes(rest.try_into().ok()?);
        let mark = Self { nonce: *nonce, commit: u32::from_le_bytes(*commit), bits: *bits, leaving };
        (mark.bits <= MOST_BITS).then_some(mark)
    }

    /// The id of the commit, which the journal names: nothing of what it says can be another without that being
    /// another.
    pub(super) fn id(&self, sums: &[u64], leaving: &[ProcessedKey]) -> Hash {
        let mut hasher = SipHasher13::new();
        hasher.write(&self.bytes());
        sums.iter().for_each(|sum| hasher.write(&sum.to_le_bytes()));
        let mut keys = Vec::with_capacity(leaving.len() * KEY);
        leaving.iter().for_each(|key| key.put(&mut keys));
        hasher.write(&keys);
        hasher.finish128().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_and_have_all_rows() {
        let key = |first: u16| {
            let mut id = [0xAB; 16];
            id[..2].copy_from_slice(&first.to_be_bytes());
            ProcessedKey { id, table: 7 }
        };
        for bits in [4, 7, 16] {
            assert_eq!(part(0, bits).start, [0, 0, 0]);
            assert_eq!(part((1 << bits) - 1, bits).end, [SUMS]);
            for first in [0, 1, 0x0FFF, 0x1000, 0x8000, 0xFFFF] {
                let number = part_of(&key(first), bits);
                assert!(part(number, bits).contains(&row_key(&key(first))), "{first:x}, {bits} bits");
                assert_eq!(part(number, bits).end, part(number + 1, bits).start);
            }
        }
        assert_eq!(row_of(&row_key(&key(9))), Some(key(9)));
        assert_eq!(row_of(&mark_key(0)), None);
    }

    #[test]
    fn marks_sums_and_leaving_keys_read_back() {
        let mark = Mark { nonce: [7; 16], commit: 258, bits: 10, leaving: 40 };
        assert_eq!(Mark::take(&mark.bytes()), Some(mark));
        assert_eq!((Mark::take(&mark.bytes()[1..]), mark.bytes().len()), (None, 25));
        let flat = |changes: Vec<Change>| -> Vec<u8> {
            changes.into_iter().flat_map(|(key, value)| [key, value.unwrap()].concat()).collect()
        };
        let sums: Vec<u64> = (0..128).collect();
        let pages: Vec<Change> = sums.chunks(PAGE).enumerate().map(|(page, sums)| put_sums(1, page, sums)).collect();
        assert!(pages.iter().all(|(key, _)| sum_pages(1).0.contains(key) && !sum_pages(0).0.contains(key)));
        assert_eq!(take_sums(&flat(pages), 128), sums);
        let keys: Vec<ProcessedKey> = (0..40).map(|number| ProcessedKey { id: [number; 16], table: 1 }).collect();
        let pages: Vec<Change> = put_leaving(0, &keys).collect();
        assert!(pages.iter().all(|(key, _)| leaving_pages(0).0.contains(key)));
        assert_eq!(take_leaving(&flat(pages), 40), keys);
        assert_ne!(mark.id(&sums, &keys), mark.id(&sums[..127], &keys));
        assert_ne!(mark.id(&sums, &keys), mark.id(&sums, &keys[1..]));
    }
}
