//! Time and randomness, passed in: the engine below never asks the system for either.

use crate::types::Timestamp;
use parking_lot::Mutex;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the engine reads the time.
pub trait Clock: Send + Sync + Debug {
    /// Wall time. May jump in both directions.
    fn wall(&self) -> Timestamp;

    /// Time since some fixed moment of this process. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// Where the engine takes randomness from: store ids, salts, hash keys, the seed of its jitter.
pub trait Entropy: Send + Sync + Debug {
    /// Fills `bytes`. Fails only if the system has none to give.
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()>;
}

/// The system's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts counting monotonic time now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn wall(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// The system's own random numbers.
#[derive(Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        getrandom::fill(bytes).map_err(std::io::Error::other)
    }
}

/// A clock that stands still until it is moved: for tests and the simulator.
#[derive(Debug, Clone, Default)]
pub struct ManualClock {
    now: Arc<Mutex<(u64, Duration)>>,
}

impl ManualClock {
    /// Starts at `wall`, with monotonic time 0.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self { now: Arc::new(Mutex::new((wall.get(), Duration::ZERO))) }
    }

    /// Lets `span` pass on both clocks.
    pub fn advance(&self, span: Duration) {
        let mut now = self.now.lock();
        now.0 = now.0.saturating_add(crate::types::millis(span));
        now.1 = now.1.saturating_add(span);
    }

    /// Moves the wall clock alone, forward or back, as an administrator or a time server may.
    pub fn set_wall(&self, wall: Timestamp) {
        self.now.lock().0 = wall.get();
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        Timestamp(self.now.lock().0)
    }

    fn monotonic(&self) -> Duration {
        self.now.lock().1
    }
}

/// Pseudo-random numbers from a seed, so that a run can be repeated.
#[derive(Debug)]
pub struct SeededEntropy {
    rng: Mutex<fastrand::Rng>,
}

impl SeededEntropy {
    /// The same seed gives the same bytes.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<()> {
        self.rng.lock().fill(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::starting_at(Timestamp(1_000));
        clock.advance(Duration::from_millis(5));
        assert_eq!((clock.wall(), clock.monotonic()), (Timestamp(1_005), Duration::from_millis(5)));
        clock.set_wall(Timestamp(3));
        assert_eq!((clock.wall(), clock.monotonic()), (Timestamp(3), Duration::from_millis(5)));
    }

    #[test]
    fn seeded_entropy_repeats() {
        let (mut a, mut b) = ([0u8; 16], [0u8; 16]);
        SeededEntropy::new(9).fill(&mut a).unwrap();
        SeededEntropy::new(9).fill(&mut b).unwrap();
        assert_eq!(a, b);
        assert_ne!(a, [0u8; 16]);
    }
}
