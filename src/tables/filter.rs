//! A filter in memory: whether a run may have an id. It never says no of one that is there, and says yes of about one
//! in a thousand others: with fifty runs to ask, one in a hundred would be a read for every second new id.
//!
//! A Bloom filter in blocks of one cache line, so that asking costs one miss. The bits are taken from the hash itself,
//! which is a keyed one already.

use super::Hash;

/// Bits of a filter for each id that it is made for. One that holds more than that says yes more often.
const BITS: usize = 16;
/// Bits that are set for each id.
const PROBES: u32 = 6;
/// A block is eight words: a cache line.
const WORDS: usize = 8;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    blocks: Vec<[u64; WORDS]>,
}

impl Filter {
    /// Room for so many ids.
    pub(crate) fn for_ids(ids: u64) -> Self {
        let bits = usize::try_from(ids).unwrap_or(usize::MAX).saturating_mul(BITS);
        Self { blocks: vec![[0; WORDS]; bits.div_ceil(WORDS * 64)] }
    }

    /// The block of a hash, and the number that its bits come from.
    fn place(&self, id: &Hash) -> Option<(usize, u64)> {
        let (_, rest) = id.split_first_chunk::<4>()?;
        let (block, rest) = rest.split_first_chunk()?;
        let bits = rest.first_chunk()?;
        // Which block: a share of the count, without a division.
        let share = u64::from(u32::from_le_bytes(*block)).saturating_mul(self.blocks.len() as u64) >> 32;
        Some((usize::try_from(share).ok()?, u64::from_le_bytes(*bits)))
    }

    /// Notes an id.
    pub(crate) fn add(&mut self, id: &Hash) {
        let Some((block, bits)) = self.place(id) else { return };
        if let Some(block) = self.blocks.get_mut(block) {
            each(bits, |word, bit| {
                if let Some(word) = block.get_mut(word) {
                    *word |= bit;
                }
                true
            });
        }
    }

    /// Whether the id may have been noted.
    pub(crate) fn may_have(&self, id: &Hash) -> bool {
        let Some((block, bits)) = self.place(id) else { return false };
        self.blocks
            .get(block)
            .is_some_and(|block| each(bits, |word, bit| block.get(word).is_some_and(|held| held & bit != 0)))
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.len() * size_of::<[u64; WORDS]>()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.blocks.iter().flatten().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    }

    pub(super) fn take(bytes: &[u8]) -> Self {
        let (lines, _) = bytes.as_chunks::<{ WORDS * 8 }>();
        let words = |line: &[u8; WORDS * 8]| {
            let (words, _) = line.as_chunks::<8>();
            let mut block = [0; WORDS];
            block.iter_mut().zip(words).for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
            block
        };
        Self { blocks: lines.iter().map(words).collect() }
    }
}

/// Nine bits of the number for each probe: a word and a bit in it. Whether all say yes.
fn each(bits: u64, mut probe: impl FnMut(usize, u64) -> bool) -> bool {
    (0..PROBES).all(|number| {
        let nine = bits >> (number * 9);
        let word = usize::from((nine & 7).to_le_bytes()[0]);
        probe(word, 1 << (nine >> 3 & 63))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_what_it_was_given_and_little_else() {
        let mut rng = fastrand::Rng::with_seed(1);
        let ids: Vec<Hash> = (0..50_000).map(|_| rng.u128(..).to_le_bytes()).collect();
        let mut filter = Filter::for_ids(50_000);
        ids.iter().for_each(|id| filter.add(id));
        assert!(ids.iter().all(|id| filter.may_have(id)));
        let wrong = (0..100_000).filter(|_| filter.may_have(&rng.u128(..).to_le_bytes())).count();
        assert!(wrong < 250, "{wrong} of 100,000");
        let mut bytes = Vec::new();
        filter.put(&mut bytes);
        assert_eq!((Filter::take(&bytes), bytes.len()), (filter.clone(), filter.bytes()));
        assert!(!Filter::for_ids(0).may_have(&ids[0]));
    }
}
