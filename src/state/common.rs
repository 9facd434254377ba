//! Counting what sets of offsets have in common, a word of bits at a time where they have many holes.
//!
//! To go from run to run, with a look into each set for each, is quick where there are few. A hundred thousand messages
//! that are left here and there in a backlog are as many runs, though; and they are counted under the engine's lock
//! whenever it is asked what of a segment is needed. A chunk's bits are a thousand words, however they lie.

use super::chunk::{CHUNK, WORDS, keep};
use super::liveness::settled_by_all;
use super::offsets::OffsetSet;
use super::settled::Settled;
use crate::event::Run;

/// A chunk's offsets, one bit each.
type Words = [u64; WORDS];

/// What nobody needs: what is gone, and what every reader has settled. Without readers that is nothing.
pub(super) struct Idle<'a> {
    pub(super) gone: &'a Settled,
    pub(super) readers: &'a [&'a Settled],
}

impl Idle<'_> {
    /// How many offsets of a run nobody needs.
    pub(super) fn count_in(&self, span: Run) -> u64 {
        let gone = self.gone.count_in(span);
        match self.readers {
            [] => gone,
            [only] if gone == 0 => only.count_in(span),
            _ => {
                let sets = self.readers.iter().copied().chain([self.gone]);
                let mut ragged: Vec<u64> = sets.flat_map(|set| set.above().ragged_in(span)).collect();
                ragged.sort_unstable();
                ragged.dedup();
                let (mut count, mut at) = (0, span.first);
                for chunk in ragged {
                    let piece = OffsetSet::chunk(chunk).within(span);
                    count += self.count_runs(Run { first: at, count: piece.first.since(at) });
                    count += OffsetSet::bits(chunk, piece, |words| self.add_to(chunk, words));
                    at = piece.end();
                }
                count + self.count_runs(Run { first: at, count: span.end().since(at) })
            }
        }
    }

    /// How many offsets of a set that lie in `span` somebody needs.
    pub(super) fn needed_of(&self, set: &OffsetSet, span: Run) -> u64 {
        let needed = |run: Run| run.count.saturating_sub(self.count_in(run));
        let whole: u64 = set.whole_in(span).map(needed).sum();
        let mixed = set.mixed_in(span).map(|(chunk, piece)| {
            if !set.is_ragged(chunk) {
                return set.runs_in(piece).map(needed).sum();
            }
            OffsetSet::bits(chunk, piece, |words| {
                set.add_to(chunk, words);
                let mut idle = [0; WORDS];
                self.add_to(chunk, &mut idle);
                words.iter_mut().zip(idle).for_each(|(word, idle)| *word &= !idle);
            })
        });
        whole + mixed.sum::<u64>()
    }

    /// The same as `count_in`, from run to run.
    fn count_runs(&self, span: Run) -> u64 {
        if span.count == 0 {
            return 0;
        }
        let settled = settled_by_all(self.readers, span).map(|run| run.count - self.gone.count_in(run));
        self.gone.count_in(span) + settled.sum::<u64>()
    }

    /// Adds what of a chunk nobody needs.
    fn add_to(&self, chunk: u64, words: &mut Words) {
        if let Some((first, others)) = self.readers.split_first() {
            first.add_to(chunk, words);
            for reader in others {
                let mut settled = [0; WORDS];
                reader.add_to(chunk, &mut settled);
                words.iter_mut().zip(settled).for_each(|(word, settled)| *word &= settled);
            }
        }
        self.gone.add_to(chunk, words);
    }
}

impl OffsetSet {
    /// How many bits of a chunk are set in `piece` of it, once `fill` has set them.
    fn bits(chunk: u64, piece: Run, fill: impl FnOnce(&mut Words)) -> u64 {
        let mut words = [0; WORDS];
        fill(&mut words);
        let base = Self::chunk(chunk).first;
        let at = |offset: crate::types::Offset| u32::try_from(offset.since(base)).unwrap_or(CHUNK);
        keep(&mut words, at(piece.first), at(piece.end()));
        words.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Offset;
    use fastrand::Rng;

    const END: u64 = 3 * CHUNK as u64 + 1000;

    /// Runs of about `length`, about `pause` apart.
    fn set(rng: &mut Rng, length: u64, pause: u64) -> OffsetSet {
        let (mut set, mut at) = (OffsetSet::new(), rng.u64(..pause * 2));
        while at < END {
            let count = rng.u64(1..=length * 2).min(END - at);
            set.insert_run(Run { first: Offset(at), count });
            at += count + rng.u64(1..=pause * 2);
        }
        set
    }

    fn any(rng: &mut Rng) -> OffsetSet {
        let lengths = [1, 3, 200, 20_000, 200_000];
        let [length, pause] = [0; 2].map(|_| lengths[rng.usize(..lengths.len())]);
        set(rng, length, pause)
    }

    #[test]
    fn what_is_counted_by_words_is_what_is_counted_one_by_one() {
        let mut rng = Rng::with_seed(7);
        for _ in 0..40 {
            let gone = Settled::from_parts(Offset(rng.u64(..END)), any(&mut rng));
            let gone = if rng.bool() { gone } else { Settled::default() };
            let readers = [0; 3].map(|_| Settled::from_parts(Offset(rng.u64(..END)), any(&mut rng)));
            let readers: Vec<&Settled> = readers.iter().take(rng.usize(..=3)).collect();
            let set = any(&mut rng);
            let idle = Idle { gone: &gone, readers: &readers };
            let unneeded = |offset: Offset| {
                let by_all = !readers.is_empty() && readers.iter().all(|reader| reader.contains(offset));
                gone.contains(offset) || by_all
            };
            let first = rng.u64(..END);
            for span in [Run { first: Offset::ZERO, count: END }, Run { first: Offset(first), count: rng.u64(..END) }] {
                let inside = |at: &u64| (span.first..span.end()).contains(&Offset(*at));
                let count = |wanted: &dyn Fn(Offset) -> bool| {
                    (0..END * 2).filter(inside).filter(|at| wanted(Offset(*at))).count() as u64
                };
                assert_eq!(idle.count_in(span), count(&unneeded), "{span:?}");
                let needed = |offset: Offset| set.contains(offset) && !unneeded(offset);
                assert_eq!(idle.needed_of(&set, span), count(&needed), "{span:?}");
            }
        }
    }

    #[test]
    fn nothing_is_counted_in_an_empty_run_or_at_the_end_of_all() {
        let (gone, mut set) = (Settled::default(), OffsetSet::new());
        let reader = Settled::at(Offset(10));
        let readers = [&reader];
        let idle = Idle { gone: &gone, readers: &readers };
        set.insert_run(Run { first: Offset(u64::MAX - 5), count: 5 });
        assert_eq!(idle.needed_of(&set, Run { first: Offset(3), count: 0 }), 0);
        assert_eq!(idle.needed_of(&set, Run { first: Offset::ZERO, count: u64::MAX }), 5);
        set.insert_run(Run { first: Offset(20), count: u64::MAX - 20 });
        assert_eq!(idle.needed_of(&set, Run { first: Offset::ZERO, count: u64::MAX }), u64::MAX - 20);
    }
}
