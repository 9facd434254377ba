//! [`Histogram`]: how often which amounts came, in a fixed space, with a known error.

use std::time::Duration;

/// Amounts, counted in ranges whose width grows with the amount: each octave (twice as much) has the same number of
/// ranges. What is read back is at most one range off: an eighth of the amount for the histograms of a store, less for
/// one made with more bits. This is how HdrHistogram counts.
///
/// The space is fixed when it is made. Amounts beyond the highest range are counted in it, and so are never lost.
///
/// ```
/// use millpond::Histogram;
/// use std::time::Duration;
/// let mut waits = Histogram::of_micros(7);
/// for millis in 1..=100 {
///     waits.record(Duration::from_millis(millis));
/// }
/// assert_eq!(waits.count(), 100);
/// let median = waits.quantile(0.5).as_secs_f64();
/// assert!((0.0500..0.0505).contains(&median), "{median}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: Box<[u64]>,
    /// An octave has two to the power of this many ranges.
    bits: u32,
    unit: Unit,
    sum: u64,
}

/// What an amount is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Micros,
    Millis,
    Bytes,
}

/// Ranges per octave of what a store counts, as a power of two: eight, so that an amount is read back with an error of
/// at most an eighth, in two kilobytes a histogram.
const BITS: u32 = 3;

/// The most bits one may be made with: below a tenth of a percent, in some hundred kilobytes.
const BITS_MAX: u32 = 10;

/// The highest octaves: 2^36 microseconds are nineteen hours, 2^32 milliseconds seven weeks, 2^32 bytes four gigabytes.
const OCTAVES_OF_MICROS: u32 = 36;
const OCTAVES: u32 = 32;

impl Histogram {
    fn new(unit: Unit, bits: u32) -> Self {
        let octaves = if unit == Unit::Micros { OCTAVES_OF_MICROS } else { OCTAVES };
        // The amounts below 2^bits have a range each, and every octave above has as many ranges.
        let ranges = ((octaves - bits + 1) as usize) << bits;
        Self { counts: vec![0; ranges].into_boxed_slice(), bits, unit, sum: 0 }
    }

    /// An empty one of durations, to the microsecond, where an octave has 2^`bits` ranges: from 1 to 10.
    #[must_use]
    pub fn of_micros(bits: u32) -> Self {
        Self::new(Unit::Micros, bits.clamp(1, BITS_MAX))
    }

    pub(crate) fn micros() -> Self {
        Self::new(Unit::Micros, BITS)
    }

    pub(crate) fn millis() -> Self {
        Self::new(Unit::Millis, BITS)
    }

    pub(crate) fn bytes() -> Self {
        Self::new(Unit::Bytes, BITS)
    }

    /// Counts a duration, in whole units rounded down. In a histogram of bytes, each microsecond counts as one.
    pub fn record(&mut self, span: Duration) {
        let amount = match self.unit {
            Unit::Millis => span.as_millis(),
            Unit::Micros | Unit::Bytes => span.as_micros(),
        };
        self.add(u64::try_from(amount).unwrap_or(u64::MAX), 1);
    }

    /// Counts an amount in the histogram's own unit, so many times.
    #[inline]
    pub(crate) fn add(&mut self, amount: u64, times: u64) {
        let range = self.range(amount);
        let last = self.counts.len().saturating_sub(1);
        if let Some(count) = self.counts.get_mut(range.min(last)) {
            *count += times;
        }
        self.sum = self.sum.saturating_add(amount.saturating_mul(times));
    }

    /// The range of an amount: the highest `bits + 1` bits of it say which.
    #[inline]
    fn range(&self, amount: u64) -> usize {
        let octave = (u64::BITS - amount.leading_zeros()).saturating_sub(self.bits + 1);
        ((octave as usize) << self.bits).saturating_add(usize::try_from(amount >> octave).unwrap_or(usize::MAX))
    }

    /// The lowest amount beyond a range.
    fn end(&self, range: usize) -> u64 {
        let width = 1_usize << self.bits;
        let octave = u32::try_from((range >> self.bits).saturating_sub(1)).unwrap_or(u32::MAX);
        let top = range.saturating_sub((octave as usize) << self.bits).saturating_add(1);
        debug_assert!(top <= 2 * width);
        (top as u64).checked_shl(octave).unwrap_or(u64::MAX)
    }

    /// How many amounts were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together: in seconds, or in bytes.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.scaled(self.sum)
    }

    /// The amount that this part of all (0 to 1) does not exceed, as a duration: the end of its range, so that it is
    /// never too little; 1 gives the highest. Nothing if none was counted. In a histogram of bytes a byte counts as a
    /// microsecond.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Duration {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rank"
        )]
        let rank = ((part.clamp(0.0, 1.0) * self.count() as f64).ceil() as u64).max(1);
        let mut seen = 0_u64;
        for (range, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= rank {
                let amount = self.end(range).saturating_sub(1);
                return match self.unit {
                    Unit::Millis => Duration::from_millis(amount),
                    Unit::Micros | Unit::Bytes => Duration::from_micros(amount),
                };
            }
        }
        Duration::ZERO
    }

    /// For each of these bounds, rising, in seconds or bytes, how many amounts are below it. Exact where the bound is a
    /// power of two of the unit, as those of [`bounds`](Self::bounds) are.
    pub fn below(&self, bounds: impl IntoIterator<Item = u64>) -> Vec<(f64, u64)> {
        let (mut below, mut next) = (0_u64, 0);
        bounds
            .into_iter()
            .map(|bound| {
                while let Some(count) = self.counts.get(next).filter(|_| self.end(next) <= bound) {
                    below = below.saturating_add(*count);
                    next += 1;
                }
                (self.scaled(bound), below)
            })
            .collect()
    }

    /// Bounds for a reader who wants few: each four times the one before, in the histogram's own unit.
    #[must_use]
    pub fn bounds(&self) -> Vec<u64> {
        let octaves = match self.unit {
            Unit::Micros => 4..=26,
            Unit::Millis => 0..=24,
            Unit::Bytes => 6..=28,
        };
        octaves.step_by(2).map(|octave| 1 << octave).collect()
    }

    /// Another one of the same make, empty.
    #[cfg(feature = "metrics")]
    pub(crate) fn emptied(&self) -> Self {
        Self::new(self.unit, self.bits)
    }

    /// What was counted since `before`, an earlier copy: the end of each range, and how many more are in it.
    #[cfg(feature = "metrics")]
    pub(crate) fn since(&self, before: &Self) -> impl Iterator<Item = (f64, u64)> {
        let more = self.counts.iter().zip(&before.counts).map(|(now, then)| now.saturating_sub(*then));
        let ends = more.enumerate().filter(|(_, more)| *more > 0);
        ends.map(|(range, more)| (self.scaled(self.end(range).saturating_sub(1)), more))
    }

    #[expect(clippy::cast_precision_loss, reason = "it is shown to people and to Prometheus, whose numbers are floats")]
    fn scaled(&self, amount: u64) -> f64 {
        match self.unit {
            Unit::Micros => amount as f64 / 1e6,
            Unit::Millis => amount as f64 / 1e3,
            Unit::Bytes => amount as f64,
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_amount_is_in_the_range_that_ends_just_behind_it() {
        for bits in [1, 3, 7, 10] {
            let histogram = Histogram::of_micros(bits);
            let mut amounts: Vec<u64> = (0..5000).collect();
            amounts.extend((12..36).flat_map(|octave| [(1_u64 << octave) - 1, 1 << octave, (1 << octave) + 1]));
            for amount in amounts {
                let range = histogram.range(amount);
                assert!(range < histogram.counts.len(), "{bits} {amount}");
                assert!(histogram.end(range) > amount, "{bits} {amount}");
                assert!(range == 0 || histogram.end(range - 1) <= amount, "{bits} {amount}");
                assert!(histogram.end(range) - amount <= (amount >> bits).max(1), "{bits} {amount}");
            }
            assert_eq!(histogram.end(histogram.counts.len() - 1), 1 << OCTAVES_OF_MICROS);
        }
    }

    #[test]
    fn what_is_too_large_is_counted_all_the_same() {
        let mut histogram = Histogram::bytes();
        [0, 1, u64::MAX].into_iter().for_each(|amount| histogram.add(amount, 1));
        assert_eq!((histogram.count(), histogram.counts.iter().sum::<u64>()), (3, 3));
        assert_eq!(histogram.below([1, 2, 1 << 32]), [(1.0, 1), (2.0, 2), ((1_u64 << 32) as f64, 3)]);
        assert_eq!(histogram.quantile(0.0), Duration::ZERO);
    }

    #[test]
    fn quantiles_are_those_of_a_sorted_list_to_an_eighth() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut histogram = Histogram::millis();
        let mut next = || {
            let octave = random.u32(1..20);
            random.u64(0..1 << octave)
        };
        let mut all: Vec<u64> = (0..10_000).map(|_| next()).collect();
        all.iter().for_each(|amount| histogram.add(*amount, 1));
        all.sort_unstable();
        for part in [0.01, 0.1, 0.5, 0.9, 0.99, 0.999] {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list")]
            let exact = all[((part * 10_000.0) as usize).saturating_sub(1)];
            let found = u64::try_from(histogram.quantile(part).as_millis()).unwrap();
            assert!(found >= exact && found <= exact + exact / 8 + 1, "{part}: {found} {exact}");
        }
    }
}
