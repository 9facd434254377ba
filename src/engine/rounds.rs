//! Whoever waits for a write or a sync that somebody else leads, and who is woken when it is over.
//!
//! All whom a round serves are woken when it ends, and of those who came too late for it, one: it leads the next round,
//! which serves the others. Were all of them woken, each but one would find that somebody leads already and go back to
//! sleep: with 256 threads a message took 13 µs of the processors' time that way, and takes 9. LevelDB's queue of
//! writers wakes the next leader alone likewise.
//!
//! Two rounds are known at a time: the one that runs or ran last, and the next. Each has a condvar, in turns.

use crate::sync::Condvar;
use crate::types::Lsn;

/// Which round runs, and up to where it serves. Part of what the engine's lock protects.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    odd: bool,
    end: Lsn,
}

impl Round {
    /// A round begins, of all that ends at `end` or before. The one before it must be [over](Followers::over).
    pub(super) fn begin(&mut self, end: Lsn) {
        self.odd = !self.odd;
        self.end = end;
    }
}

/// Those who wait.
#[derive(Debug, Default)]
pub(super) struct Followers {
    even: Condvar,
    odd: Condvar,
}

impl Followers {
    const fn of_turn(&self, odd: bool) -> &Condvar {
        if odd { &self.odd } else { &self.even }
    }

    /// Where to wait for the end of the round that runs, whomever it serves.
    pub(super) const fn running(&self, round: Round) -> &Condvar {
        self.of_turn(round.odd)
    }

    /// Where to wait for what ends at `end` to be served. `runs` says whether a round does.
    pub(super) fn place(&self, round: Round, runs: bool, end: Lsn) -> &Condvar {
        self.of_turn(if runs && end <= round.end { round.odd } else { !round.odd })
    }

    /// The round is over, or nothing is in the way of the next one any more: whom it served are woken, and one who
    /// leads the next.
    pub(super) fn over(&self, round: Round) {
        self.of_turn(round.odd).notify_all();
        self.of_turn(!round.odd).notify_one();
    }

    /// Wakes everybody, to look again.
    pub(super) fn call_all(&self) {
        self.even.notify_all();
        self.odd.notify_all();
    }
}
