//! A filter: whether a run may have an id. It never says no of one that is there, and says yes of about one in a
//! thousand others.
//!
//! A Bloom filter in lines of one cache line each, so that asking costs one miss. Which line an id has is told by the
//! first bits of its hash, so that lines fill one after the other while a sorted run is written, and never all of them
//! have to be in memory. On disk the lines lie in blocks with a checksum: a run whose filter is not in memory is asked
//! by reading one. The bits are taken from the hash itself, which is a keyed one already.

use super::Hash;
use super::published::prefix;

/// Bits of a filter for each id that it is made for. One that holds more than that says yes more often.
const BITS: u64 = 16;
/// Bits that are set for each id.
const PROBES: u32 = 6;
/// A line is eight words: a cache line.
const WORDS: usize = 8;
const LINE: usize = WORDS * 8;
/// Lines of a block on disk.
pub(super) const LINES: usize = 7;

/// One line: 512 bits. In memory it is one line of the cache, too, and not halves of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
pub(super) struct Line([u64; WORDS]);

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    lines: Vec<Line>,
}

/// Blocks of the filter of so many ids.
pub(super) fn blocks_for(ids: u64) -> u32 {
    let lines = ids.saturating_mul(BITS).div_ceil(LINE as u64 * 8);
    u32::try_from(lines.div_ceil(LINES as u64)).unwrap_or(u32::MAX)
}

/// The line of an id in a filter of so many blocks.
pub(super) fn line_of(id: &Hash, blocks: u32) -> u64 {
    let lines = u128::from(blocks) * LINES as u128;
    u64::try_from((u128::from(prefix(id)) * lines) >> u64::BITS).unwrap_or(u64::MAX)
}

impl Line {
    /// Notes an id.
    pub(super) fn add(&mut self, id: &Hash) {
        each(id, |word, bit| {
            if let Some(word) = self.0.get_mut(word) {
                *word |= bit;
            }
        });
    }

    /// Whether the id may have been noted. All bits are looked at, whatever the first one says: a processor that can't
    /// tell in advance where the look ends does not begin with the next filter.
    pub(super) fn may_have(&self, id: &Hash) -> bool {
        let mut lacking = 0;
        each(id, |word, bit| lacking |= self.0.get(word).map_or(bit, |held| !held & bit));
        lacking == 0
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.0.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
    }
}

/// The lines of a block on disk.
pub(super) fn lines(block: &[u8]) -> impl Iterator<Item = Line> + '_ {
    let (lines, _) = block.as_chunks::<LINE>();
    lines.iter().take(LINES).map(|line| {
        let mut words = [0; WORDS];
        let (bytes, _) = line.as_chunks::<8>();
        words.iter_mut().zip(bytes).for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
        Line(words)
    })
}

impl Filter {
    pub(super) fn with_blocks(blocks: u32) -> Self {
        Self { lines: Vec::with_capacity(blocks as usize * LINES) }
    }

    /// The next line, in order.
    pub(super) fn push(&mut self, line: Line) {
        self.lines.push(line);
    }

    /// Whether the id may have been noted; `blocks` is what the filter was made with.
    pub(super) fn may_have(&self, id: &Hash, blocks: u32) -> bool {
        let line = usize::try_from(line_of(id, blocks)).ok().and_then(|line| self.lines.get(line));
        line.is_some_and(|line| line.may_have(id))
    }

    /// Looks at the id's line without asking what is in it: see `Runs::find`.
    pub(super) fn touch(&self, id: &Hash, blocks: u32) -> u64 {
        let line = usize::try_from(line_of(id, blocks)).ok().and_then(|line| self.lines.get(line));
        line.map_or(0, |line| line.0.first().copied().unwrap_or(0))
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.lines.len() * LINE
    }
}

/// Nine bits of the hash's second half for each probe: a word and a bit in it.
fn each(id: &Hash, mut probe: impl FnMut(usize, u64)) {
    let bits = id.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    for number in 0..PROBES {
        let nine = bits >> (number * 9);
        let word = usize::from((nine & 7).to_le_bytes()[0]);
        probe(word, 1 << (nine >> 3 & 63));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_what_it_was_given_and_little_else() {
        let mut rng = fastrand::Rng::with_seed(1);
        let ids: Vec<Hash> = (0..50_000).map(|_| rng.u128(..).to_le_bytes()).collect();
        let blocks = blocks_for(50_000);
        let mut held = vec![Line::default(); blocks as usize * LINES];
        ids.iter().for_each(|id| held[usize::try_from(line_of(id, blocks)).unwrap()].add(id));
        let mut filter = Filter::with_blocks(blocks);
        held.iter().for_each(|line| filter.push(*line));
        assert!(ids.iter().all(|id| filter.may_have(id, blocks)));
        let wrong = (0..100_000).filter(|_| filter.may_have(&rng.u128(..).to_le_bytes(), blocks)).count();
        assert!(wrong < 250, "{wrong} of 100,000");
        let mut bytes = Vec::new();
        held[..LINES].iter().for_each(|line| line.put(&mut bytes));
        assert!(lines(&bytes).eq(held[..LINES].iter().copied()));
        assert_eq!((filter.bytes(), blocks_for(0)), (224 * 7 * 64, 0));
        assert!(!Filter::default().may_have(&ids[0], 0));
    }
}
