//! [`Retry`]: how long what failed waits, and how often it is tried.

use std::time::Duration;

/// How long a failed message waits before it is tried again, and how often.
///
/// It applies to every failure and to every lease that ran out, so that a loop that fails at once can't burn its
/// attempts in milliseconds. [`Delivery::nack_after`](crate::Delivery::nack_after) gives another wait for one failure.
/// When the last attempt has failed the message is parked as a dead letter. By default the wait doubles from 1 s to
/// 10 min, and the tenth failure parks.
///
/// Unless [`without_jitter`](Self::without_jitter) is asked for, each wait is drawn between half of what is said here
/// and all of it, so that messages that failed together don't come back together (Amazon's *Exponential Backoff And
/// Jitter* calls this equal jitter).
///
/// ```
/// use millpond::Retry;
/// use std::time::Duration;
/// let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
/// let doubling = Retry::exponential(Duration::from_secs(1), minutes(10)).attempts(5);
/// let steady = Retry::fixed(Duration::from_secs(30)).attempts(3);
/// // Three waits between four attempts, as said and no shorter.
/// let by_hand = Retry::waits([minutes(1), minutes(10), minutes(60)]).without_jitter();
/// # let _ = (doubling, steady, by_hand);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Retry {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
    pub(crate) attempts: u32,
    pub(crate) jitter: bool,
    /// What to wait after the first, second, ... failure; the last one goes on for ever. Empty: as said above.
    pub(crate) waits: Vec<Duration>,
}

impl Default for Retry {
    fn default() -> Self {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(600));
        Self { first, longest, attempts: 10, jitter: true, waits: Vec::new() }
    }
}

impl Retry {
    /// So many waits can be given one by one: they are stored with the group and in every snapshot.
    pub(crate) const WAITS_MAX: usize = 100;

    /// Waits that double from `first` to `longest`.
    #[must_use]
    pub fn exponential(first: Duration, longest: Duration) -> Self {
        Self { first, longest: longest.max(first), ..Self::default() }
    }

    /// The same wait each time.
    #[must_use]
    pub fn fixed(wait: Duration) -> Self {
        Self { first: wait, longest: wait, ..Self::default() }
    }

    /// These waits, one after the other; at most 100. A message is tried once more than there are waits, unless
    /// [`attempts`](Self::attempts) says otherwise: with more attempts, the last wait is repeated. Without any wait,
    /// the first failure parks.
    #[must_use]
    pub fn waits(waits: impl IntoIterator<Item = Duration>) -> Self {
        let waits: Vec<Duration> = waits.into_iter().collect();
        let first = waits.first().copied().unwrap_or_default();
        let longest = waits.iter().max().copied().unwrap_or_default();
        let attempts = u32::try_from(waits.len()).unwrap_or(u32::MAX).saturating_add(1);
        Self { first, longest, attempts, waits, ..Self::default() }
    }

    /// After how many failures the message is parked. 0 is taken as 1.
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts.max(1);
        self
    }

    /// Each wait is exactly as long as said.
    #[must_use]
    pub fn without_jitter(mut self) -> Self {
        self.jitter = false;
        self
    }

    /// The longest wait after the `failures`-th failure, before jitter.
    #[must_use]
    pub(crate) fn ceiling(&self, failures: u32) -> Duration {
        let before = failures.saturating_sub(1);
        if let Some(last) = self.waits.last() {
            return usize::try_from(before).ok().and_then(|at| self.waits.get(at)).copied().unwrap_or(*last);
        }
        let doubled = self.first.saturating_mul(1u32.checked_shl(before).unwrap_or(u32::MAX));
        doubled.min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(retry: &Retry, failures: std::ops::RangeInclusive<u32>) -> Vec<u64> {
        failures.map(|failures| retry.ceiling(failures).as_secs()).collect()
    }

    #[test]
    fn backoff_doubles_up_to_its_longest_wait() {
        let retry = Retry::exponential(Duration::from_secs(1), Duration::from_secs(10));
        assert_eq!(seconds(&retry, 1..=6), [1, 2, 4, 8, 10, 10]);
        assert_eq!(retry.ceiling(u32::MAX).as_secs(), 10);
    }

    #[test]
    fn listed_waits_come_in_their_order_and_the_last_one_is_repeated() {
        let retry = Retry::waits([5, 60, 20].map(Duration::from_secs));
        assert_eq!((retry.attempts, retry.longest.as_secs()), (4, 60));
        assert_eq!(seconds(&retry, 1..=5), [5, 60, 20, 20, 20]);
        assert_eq!((Retry::waits([]).attempts, Retry::waits([]).ceiling(1)), (1, Duration::ZERO));
    }

    #[test]
    fn by_default_waits_go_from_one_second_to_ten_minutes_and_the_tenth_failure_parks() {
        let retry = Retry::default();
        assert_eq!(seconds(&retry, 1..=11), [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600]);
        assert_eq!((retry.attempts, retry.jitter), (10, true));
    }
}
