//! 64 Ki offsets of an [`OffsetSet`](super::offsets::OffsetSet): sorted runs while they are few, one bit per offset
//! once that is smaller. So a chunk never takes much more than 8 KiB, however its holes lie.
//!
//! Places in a chunk are `u32` from 0 to [`CHUNK`]; ranges are half open.

/// How many offsets a chunk covers.
pub(super) const CHUNK: u32 = 1 << 16;

/// As many runs as fit into the size of the bitmap.
const MOST_RUNS: usize = 2048;
/// Below this many runs a bitmap goes back to runs: far below [`MOST_RUNS`], so that a set that hovers at the limit
/// does not pay for the change each time.
const FEW_RUNS: u32 = 512;
/// Words in a bitmap.
pub(super) const WORDS: usize = 1024;

/// With more runs than these it is quicker to go through the words.
const RAGGED_RUNS: usize = 16;

/// A run in two bytes each, both ends included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    first: u16,
    last: u16,
}

impl Span {
    #[expect(clippy::cast_possible_truncation, reason = "places in a chunk are below 2^16, and `end` is above `first`")]
    const fn new(first: u32, end: u32) -> Self {
        Self { first: first as u16, last: (end - 1) as u16 }
    }

    fn first(self) -> u32 {
        u32::from(self.first)
    }

    fn end(self) -> u32 {
        u32::from(self.last) + 1
    }

    fn len(self) -> u32 {
        self.end() - self.first()
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) enum Chunk {
    Runs(Vec<Span>),
    Bits(Box<Bits>),
}

/// The bitmap, with what is asked of it often.
#[derive(Clone, Debug)]
pub(super) struct Bits {
    words: [u64; WORDS],
    len: u32,
    runs: u32,
}

impl Chunk {
    pub(super) const fn empty() -> Self {
        Self::Runs(Vec::new())
    }

    pub(super) fn full() -> Self {
        Self::Runs(vec![Span::new(0, CHUNK)])
    }

    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Runs(runs) if matches!(runs.as_slice(), [only] if only.len() == CHUNK))
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Runs(runs) if runs.is_empty())
    }

    pub(super) fn len(&self) -> u32 {
        match self {
            Self::Runs(runs) => runs.iter().map(|run| run.len()).sum(),
            Self::Bits(bits) => bits.len,
        }
    }

    pub(super) fn contains(&self, at: u32) -> bool {
        match self {
            Self::Runs(runs) => match runs.get(after(runs, at)) {
                Some(run) => run.first() <= at,
                None => false,
            },
            Self::Bits(bits) => bits.word(word_of(at)) & (1 << (at % 64)) != 0,
        }
    }

    /// Adds `first..end`; says how many of them are new.
    pub(super) fn insert(&mut self, first: u32, end: u32) -> u32 {
        let added = match self {
            Self::Runs(runs) => {
                // What overlaps or touches becomes one run.
                let from = runs.partition_point(|run| run.end() < first);
                let to = from + runs.iter().skip(from).take_while(|run| run.first() <= end).count();
                let joined = runs.get(from..to).unwrap_or_default();
                let held: u32 = joined.iter().map(|run| run.len()).sum();
                let start = joined.first().map_or(first, |run| run.first().min(first));
                let stop = joined.last().map_or(end, |run| run.end().max(end));
                if from == to && runs.len() >= MOST_RUNS {
                    return self.make_bits().insert(first, end);
                }
                match runs.get_mut(from) {
                    Some(run) if to == from + 1 => *run = Span::new(start, stop),
                    _ => drop(runs.splice(from..to, [Span::new(start, stop)])),
                }
                stop - start - held
            }
            Self::Bits(bits) => bits.insert(first, end),
        };
        self.shrink();
        added
    }

    /// Takes out `first..end`; says how many of them were there.
    pub(super) fn remove(&mut self, first: u32, end: u32) -> u32 {
        let removed = match self {
            Self::Runs(runs) => {
                let from = after(runs, first);
                let to = from + runs.iter().skip(from).take_while(|run| run.first() < end).count();
                let cut = runs.get(from..to).unwrap_or_default();
                let held: u32 = cut.iter().map(|run| run.len()).sum();
                let left = cut.first().filter(|run| run.first() < first).map(|run| Span::new(run.first(), first));
                let right = cut.last().filter(|run| run.end() > end).map(|run| Span::new(end, run.end()));
                if to == from + 1 && left.is_some() && right.is_some() && runs.len() >= MOST_RUNS {
                    return self.make_bits().remove(first, end);
                }
                let kept = left.into_iter().chain(right);
                let removed = held - kept.clone().map(Span::len).sum::<u32>();
                drop(runs.splice(from..to, kept));
                removed
            }
            Self::Bits(bits) => bits.remove(first, end),
        };
        self.shrink();
        removed
    }

    /// How many of `first..end` are there.
    pub(super) fn count_in(&self, first: u32, end: u32) -> u32 {
        match self {
            Self::Runs(runs) => runs
                .iter()
                .skip(after(runs, first))
                .take_while(|run| run.first() < end)
                .map(|run| run.end().min(end) - run.first().max(first))
                .sum(),
            Self::Bits(bits) => masks(first, end).map(|(index, mask)| (bits.word(index) & mask).count_ones()).sum(),
        }
    }

    /// The first place at or after `from` that is there.
    pub(super) fn next_present(&self, from: u32) -> Option<u32> {
        match self {
            Self::Runs(runs) => runs.get(after(runs, from)).map(|run| run.first().max(from)),
            Self::Bits(bits) => bits.find(from, 0),
        }
    }

    /// The first place at or after `from` that is not there.
    pub(super) fn next_absent(&self, from: u32) -> Option<u32> {
        let absent = match self {
            Self::Runs(runs) => {
                runs.get(after(runs, from)).filter(|run| run.first() <= from).map_or(from, |run| run.end())
            }
            Self::Bits(bits) => return bits.find(from, u64::MAX),
        };
        (absent < CHUNK).then_some(absent)
    }

    /// The bitmap, where runs would take more than it does.
    pub(super) fn words(&self) -> Option<&[u64; WORDS]> {
        match self {
            Self::Bits(bits) if bits.runs as usize > MOST_RUNS => Some(&bits.words),
            _ => None,
        }
    }

    /// The chunk of a bitmap.
    pub(super) fn from_words(words: [u64; WORDS]) -> Self {
        let mut bits = Box::new(Bits { words, len: 0, runs: 0 });
        bits.len = bits.words.iter().map(|word| word.count_ones()).sum();
        bits.runs = bits.starts(0, CHUNK);
        let mut chunk = Self::Bits(bits);
        chunk.shrink();
        chunk
    }

    /// Whether going from run to run takes longer than going through a word for each 64 places.
    pub(super) fn is_ragged(&self) -> bool {
        match self {
            Self::Runs(runs) => runs.len() > RAGGED_RUNS,
            Self::Bits(_) => true,
        }
    }

    /// Sets the bit of each place.
    pub(super) fn add_to(&self, words: &mut [u64; WORDS]) {
        match self {
            Self::Runs(runs) => runs.iter().for_each(|run| set(words, run.first(), run.end())),
            Self::Bits(bits) => words.iter_mut().zip(bits.words).for_each(|(word, held)| *word |= held),
        }
    }

    /// What it takes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Runs(runs) => runs.capacity() * size_of::<Span>(),
            Self::Bits(_) => size_of::<Bits>(),
        }
    }

    /// The bitmap that holds the same; from now on this is it.
    fn make_bits(&mut self) -> &mut Self {
        if let Self::Runs(runs) = self {
            let mut bits = Box::new(Bits { words: [0; WORDS], len: 0, runs: 0 });
            for run in runs.iter() {
                bits.insert(run.first(), run.end());
            }
            *self = Self::Bits(bits);
        }
        self
    }

    /// Back to runs, when they are few.
    fn shrink(&mut self) {
        let Self::Bits(bits) = &*self else { return };
        if bits.runs >= FEW_RUNS {
            return;
        }
        let mut runs = Vec::new();
        let mut at = 0;
        while let Some(first) = self.next_present(at) {
            at = self.next_absent(first).unwrap_or(CHUNK);
            runs.push(Span::new(first, at));
        }
        *self = Self::Runs(runs);
    }
}

impl Bits {
    fn word(&self, index: usize) -> u64 {
        self.words.get(index).copied().unwrap_or(0)
    }

    fn insert(&mut self, first: u32, end: u32) -> u32 {
        let before = self.starts(first, end);
        let mut added = 0;
        for (index, mask) in masks(first, end) {
            if let Some(word) = self.words.get_mut(index) {
                added += (mask & !*word).count_ones();
                *word |= mask;
            }
        }
        self.len += added;
        self.runs = self.runs + self.starts(first, end) - before;
        added
    }

    fn remove(&mut self, first: u32, end: u32) -> u32 {
        let before = self.starts(first, end);
        let mut removed = 0;
        for (index, mask) in masks(first, end) {
            if let Some(word) = self.words.get_mut(index) {
                removed += (mask & *word).count_ones();
                *word &= !mask;
            }
        }
        self.len -= removed;
        self.runs = self.runs + self.starts(first, end) - before;
        removed
    }

    /// How many runs start in the words that a change of `first..end` can touch, the word after it included.
    fn starts(&self, first: u32, end: u32) -> u32 {
        let from = word_of(first);
        let mut carry = from.checked_sub(1).map_or(0, |index| self.word(index) >> 63);
        let mut starts = 0;
        for word in self.words.iter().take(word_of(end - 1) + 2).skip(from) {
            starts += (word & !(word << 1 | carry)).count_ones();
            carry = word >> 63;
        }
        starts
    }

    /// The first set bit at or after `from`, after flipping every bit with `flip`.
    fn find(&self, from: u32, flip: u64) -> Option<u32> {
        let mut mask = u64::MAX << (from % 64);
        let mut base = from - from % 64;
        for word in self.words.iter().skip(word_of(from)) {
            let found = (word ^ flip) & mask;
            if found != 0 {
                return Some(base + found.trailing_zeros());
            }
            mask = u64::MAX;
            base += 64;
        }
        None
    }
}

/// The index of the first run that ends after `at`.
fn after(runs: &[Span], at: u32) -> usize {
    runs.partition_point(|run| run.end() <= at)
}

/// Sets the bits of these places.
pub(super) fn set(words: &mut [u64; WORDS], first: u32, end: u32) {
    for (index, mask) in masks(first, end) {
        if let Some(word) = words.get_mut(index) {
            *word |= mask;
        }
    }
}

/// Clears the bits of all places but these.
pub(super) fn keep(words: &mut [u64; WORDS], first: u32, end: u32) {
    for (index, word) in (0..).zip(words.iter_mut()) {
        let place = |at: u32| at.saturating_sub(index * 64).min(64);
        let below = |at: u32| if at == 64 { u64::MAX } else { (1 << at) - 1 };
        *word &= below(place(end)) & !below(place(first));
    }
}

const fn word_of(at: u32) -> usize {
    (at / 64) as usize
}

/// The words that `first..end` lies in, each with its bits of it.
fn masks(first: u32, end: u32) -> impl Iterator<Item = (usize, u64)> {
    (word_of(first)..=word_of(end - 1)).map(move |index| {
        let mut mask = u64::MAX;
        if index == word_of(first) {
            mask &= u64::MAX << (first % 64);
        }
        if index == word_of(end - 1) {
            mask &= u64::MAX >> (63 - (end - 1) % 64);
        }
        (index, mask)
    })
}
