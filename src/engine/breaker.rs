//! The breaker of a group: what opens it, what a probe decides, and which failures are not charged meanwhile.
//!
//! Successes are seen where events are applied, so that no way of acking can be forgotten. Failures are asked about
//! before their event is made, since whether they are charged depends on the answer.

use super::decide::Decisions;
use super::flow::Flow;
use super::{Core, Engine};
use crate::config::Breaker;
use crate::event::{Event, Nack, Run};
use crate::state::{Group, Hold};
use crate::types::{GroupId, Offset, Timestamp};
use std::borrow::Cow;
use std::time::Duration;

/// Whether a group's [`Breaker`](crate::Breaker) lets messages out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BreakerState {
    /// It does, or there is none.
    #[default]
    Closed,
    /// Nothing is handed out.
    Open {
        /// Until then, on the engine's clock.
        until: Timestamp,
    },
    /// The pause is over: one message is out, or goes next, to find out whether things work again.
    HalfOpen,
}

/// What a breaker keeps in mind.
#[derive(Clone, Debug)]
pub(super) enum Fuse {
    /// The messages that failed since the last success.
    Closed {
        failed: Vec<Offset>,
    },
    Open {
        until: Timestamp,
        openings: u32,
    },
    Probing {
        probe: (Offset, u64),
        openings: u32,
    },
}

impl Default for Fuse {
    fn default() -> Self {
        Self::Closed { failed: Vec::new() }
    }
}

/// What becomes of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Charged,
    /// Not charged; the message comes again no earlier than this.
    Spared(Timestamp),
}

impl Fuse {
    /// A message failed.
    fn failed(
        &mut self,
        offset: Offset,
        breaker: Breaker,
        now: Timestamp,
        after: impl Fn(Duration) -> Timestamp,
    ) -> Verdict {
        match self {
            Self::Closed { failed } => {
                if !failed.contains(&offset) {
                    failed.push(offset);
                }
                if failed.len() < breaker.failures as usize {
                    return Verdict::Charged;
                }
                let until = after(breaker.pause_of(1));
                *self = Self::Open { until, openings: 1 };
                Verdict::Spared(until)
            }
            Self::Open { until, .. } => Verdict::Spared((*until).max(now)),
            Self::Probing { probe, openings } if probe.0 == offset => {
                let openings = openings.saturating_add(1);
                let until = after(breaker.pause_of(openings));
                *self = Self::Open { until, openings };
                Verdict::Spared(until)
            }
            Self::Probing { .. } => Verdict::Spared(now),
        }
    }

    /// Messages were acked. Whether that closes it.
    pub(super) fn acked(&mut self, runs: &[Run]) -> bool {
        match self {
            Self::Closed { failed } => {
                failed.clear();
                false
            }
            Self::Open { .. } => false,
            Self::Probing { probe, .. } => {
                let closes = runs.iter().any(|run| (run.first..run.end()).contains(&probe.0));
                if closes {
                    *self = Self::default();
                }
                closes
            }
        }
    }

    /// A message was handed out: it is the probe if the breaker was open.
    pub(super) fn granted(&mut self, offset: Offset, epoch: u64) {
        if let Self::Open { openings, .. } | Self::Probing { openings, .. } = *self {
            *self = Self::Probing { probe: (offset, epoch), openings };
        }
    }

    pub(super) fn is_probing(&self, held: &Group) -> bool {
        matches!(self, Self::Probing { probe: (offset, epoch), .. } if held.check(*offset, *epoch) == Hold::Held)
    }

    /// As it is shown.
    pub(super) fn state(&self, now: Timestamp) -> BreakerState {
        match self {
            Self::Closed { .. } => BreakerState::Closed,
            Self::Open { until, .. } if *until > now => BreakerState::Open { until: *until },
            Self::Open { .. } | Self::Probing { .. } => BreakerState::HalfOpen,
        }
    }
}

impl Engine {
    /// A message failed, or its lease ran out. Whether the breaker says that this is not the message's fault: then that
    /// is what is decided.
    pub(super) fn spare(
        &self,
        core: &mut Core,
        decisions: &mut Decisions<'_>,
        (group, offset): (GroupId, Offset),
        error: &str,
        wait: Option<Duration>,
    ) -> bool {
        let Some(held) = core.state.group(group) else { return false };
        let breaker = held.policy().breaker;
        // A holder that comes late to a dead letter changes nothing.
        if breaker.failures == 0 || !held.is_open(offset) {
            return false;
        }
        let (counters, time) = (held.counters(offset), self.now());
        let fuse = &mut core.flows.of(group).fuse;
        let was_open = matches!(fuse, Fuse::Open { .. });
        let Verdict::Spared(until) = fuse.failed(offset, breaker, time, |pause| self.after(pause)) else {
            return false;
        };
        if !was_open && matches!(fuse, Fuse::Open { .. }) {
            tracing::warn!(%group, %until, error, "the breaker opens: nothing is handed out until then");
            core.tell_state(group, super::What::BreakerOpened { until });
            self.upkeep_by(core, until);
        }
        let due = until.max(wait.map_or(Timestamp::ZERO, |wait| self.after(wait)));
        let error = Cow::Owned(self.bounded(core, error));
        decisions.events.push(Event::Nack(Nack { group, offset, counters, time, due, error }));
        decisions.comes_back(due);
        true
    }
}

impl Flow {
    /// The state of the breaker, if the group has one.
    pub(super) fn breaker(&self, held: &Group, now: Timestamp) -> BreakerState {
        if held.policy().breaker.failures == 0 { BreakerState::Closed } else { self.fuse.state(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKER: Breaker =
        Breaker { failures: 3, first: Duration::from_millis(10), longest: Duration::from_millis(40) };

    fn fail(fuse: &mut Fuse, offset: u64, now: u64) -> Verdict {
        fuse.failed(Offset(offset), BREAKER, Timestamp(now), |pause| Timestamp(now).plus(pause))
    }

    fn ack(fuse: &mut Fuse, offset: u64) -> bool {
        fuse.acked(&[Run::one(Offset(offset))])
    }

    #[test]
    fn distinct_messages_in_a_row_open_it_and_a_success_between_starts_anew() {
        let mut fuse = Fuse::default();
        assert_eq!([1, 2, 2, 1].map(|offset| fail(&mut fuse, offset, 0)), [Verdict::Charged; 4]);
        assert!(!ack(&mut fuse, 9));
        assert_eq!([1, 2].map(|offset| fail(&mut fuse, offset, 0)), [Verdict::Charged; 2]);
        assert_eq!(fail(&mut fuse, 3, 0), Verdict::Spared(Timestamp(10)));
        assert_eq!(fuse.state(Timestamp(9)), BreakerState::Open { until: Timestamp(10) });
        // Those that were out by then.
        assert_eq!(fail(&mut fuse, 4, 5), Verdict::Spared(Timestamp(10)));
        assert!(!ack(&mut fuse, 5));
        assert_eq!(fuse.state(Timestamp(10)), BreakerState::HalfOpen);
    }

    #[test]
    fn each_probe_that_fails_doubles_the_pause_and_one_that_succeeds_closes_it() {
        let mut fuse = Fuse::default();
        [1, 2, 3].into_iter().for_each(|offset| _ = fail(&mut fuse, offset, 0));
        for (now, until) in [(10, 30), (30, 70), (70, 110)] {
            fuse.granted(Offset(7), now);
            assert_eq!(fail(&mut fuse, 8, now), Verdict::Spared(Timestamp(now)), "that one was out before");
            assert_eq!(fail(&mut fuse, 7, now), Verdict::Spared(Timestamp(until)));
        }
        fuse.granted(Offset(7), 4);
        assert!(!ack(&mut fuse, 8));
        assert!(ack(&mut fuse, 7));
        assert_eq!(fail(&mut fuse, 1, 200), Verdict::Charged);
    }
}
