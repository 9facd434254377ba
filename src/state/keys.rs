//! The key of each message that is known: a map from offsets that is small where offsets are close together.
//!
//! Offsets are kept 64 to a block: one bit each says which are there, and their keys stand one behind the other. That
//! is little more than the 8 bytes of the key itself.

use super::order::KeyHash;
use crate::event::Run;
use crate::types::Offset;
use std::collections::BTreeMap;

const SHIFT: u32 = 6;

#[derive(Clone, Debug, Default)]
struct Block {
    there: u64,
    /// One for each bit that is set, the lowest first.
    keys: Vec<KeyHash>,
}

impl Block {
    fn place(&self, bit: u32) -> (bool, usize) {
        let below = self.there & (1_u64 << bit).wrapping_sub(1);
        (self.there >> bit & 1 == 1, below.count_ones() as usize)
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    blocks: BTreeMap<u64, Block>,
    len: usize,
}

#[expect(clippy::cast_possible_truncation, reason = "the low 6 bits are what is wanted")]
const fn split(offset: Offset) -> (u64, u32) {
    (offset.0 >> SHIFT, offset.0 as u32 & ((1 << SHIFT) - 1))
}

impl Keys {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, offset: Offset) -> Option<KeyHash> {
        let (number, bit) = split(offset);
        let block = self.blocks.get(&number)?;
        let (there, place) = block.place(bit);
        block.keys.get(place).copied().filter(|_| there)
    }

    pub(super) fn insert(&mut self, offset: Offset, key: KeyHash) {
        let (number, bit) = split(offset);
        let block = self.blocks.entry(number).or_default();
        let (there, place) = block.place(bit);
        if there {
            block.keys.get_mut(place).into_iter().for_each(|known| *known = key);
            return;
        }
        if block.keys.len() == block.keys.capacity() {
            // A quarter more, and not as much again.
            block.keys.reserve_exact((block.keys.len() / 4).max(4));
        }
        block.there |= 1 << bit;
        block.keys.insert(place.min(block.keys.len()), key);
        self.len = self.len.saturating_add(1);
    }

    pub(super) fn remove(&mut self, offset: Offset) -> Option<KeyHash> {
        let (number, bit) = split(offset);
        let block = self.blocks.get_mut(&number)?;
        let (there, place) = block.place(bit);
        if !there || place >= block.keys.len() {
            return None;
        }
        block.there &= !(1 << bit);
        let key = block.keys.remove(place);
        if block.there == 0 {
            self.blocks.remove(&number);
        } else if block.keys.capacity() / 4 > block.keys.len() {
            block.keys.shrink_to(block.keys.len() * 2);
        }
        self.len = self.len.saturating_sub(1);
        Some(key)
    }

    /// The first offset of `run` that has a key.
    pub(super) fn first_in(&self, run: Run) -> Option<Offset> {
        if self.len == 0 || run.first >= run.end() {
            return None;
        }
        let (first, bit) = split(run.first);
        let blocks = self.blocks.range(first..=split(run.end()).0);
        let mut found = blocks.filter_map(|(number, block)| {
            let there = if *number == first { block.there >> bit << bit } else { block.there };
            (there != 0).then(|| Offset((number << SHIFT) + u64::from(there.trailing_zeros())))
        });
        found.next().filter(|offset| *offset < run.end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_what_a_plain_map_does() {
        let mut rng = fastrand::Rng::with_seed(1);
        let (mut keys, mut plain) = (Keys::default(), BTreeMap::new());
        for step in 0..20_000 {
            let offset = Offset(rng.u64(0..300));
            if rng.bool() {
                keys.insert(offset, KeyHash(step));
                plain.insert(offset, KeyHash(step));
            } else {
                assert_eq!(keys.remove(offset), plain.remove(&offset));
            }
            assert_eq!((keys.get(offset), keys.len()), (plain.get(&offset).copied(), plain.len()));
            let run = Run { first: Offset(rng.u64(0..300)), count: rng.u64(0..100) };
            let first = plain.range(run.first..run.end()).next().map(|(offset, _)| *offset);
            assert_eq!(keys.first_in(run), first, "{run:?}");
        }
        let all = Run { first: Offset::ZERO, count: u64::MAX };
        while let Some(offset) = keys.first_in(all) {
            assert_eq!(keys.remove(offset), plain.remove(&offset));
        }
        assert!(plain.is_empty() && keys.blocks.is_empty());
    }
}
