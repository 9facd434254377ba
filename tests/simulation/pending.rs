//! What was asked for in the simulation and is answered later, and what happens just before a store goes.

use crate::model::{Fact, Firm, Model};
use crate::world::{Check, Open, Pending, World, poll};
use millpond::{Durability, Offset};
use std::fmt::Write as _;
use std::task::Poll;

/// Looks at which publishes have resolved meanwhile. False if one was refused.
pub(crate) fn settle_publishes(all: &mut Vec<Pending>, model: &mut Model, trace: &mut String) -> bool {
    let (mut good, mut at) = (true, 0);
    while at < all.len() {
        let outcome = match poll(&mut all[at].ticket) {
            Poll::Pending => {
                at += 1;
                continue;
            }
            Poll::Ready(outcome) => outcome,
        };
        let Pending { fact, level, mark, .. } = all.remove(at);
        match outcome {
            Ok(receipt) => {
                let _ = writeln!(trace, "pending {fact:?} {level:?} resolves");
                if let Fact::Message { index, .. } = fact {
                    assert_eq!(receipt.offset, Offset::new(index as u64), "I3: order is fixed at the call");
                }
                model.reached(mark, level.into());
                model.resolve(fact, level.into());
            }
            Err(error) => {
                let _ = writeln!(trace, "pending fails: {error}");
                good = false;
                // Refused while it waited in line: it never had an offset, and those behind it move up.
                if let (Fact::Message { topic, index }, true) = (fact, error.into_message().is_some()) {
                    model.topics[topic].remove(index);
                    for behind in &mut all[at..] {
                        if let Fact::Message { topic: other, index } = &mut behind.fact
                            && *other == topic
                        {
                            *index -= 1;
                        }
                    }
                }
            }
        }
    }
    good
}

impl World {
    /// Looks at what has resolved meanwhile. False if the store is poisoned.
    pub(crate) fn settle_pending(&mut self, open: &mut Open) -> bool {
        let mut good = self.transactions.settle_pending(&mut self.model);
        good &= settle_publishes(&mut open.pending, &mut self.model, &mut self.trace);
        let model = &mut self.model;
        open.acks.retain_mut(|pending| match poll(&mut pending.ticket) {
            Poll::Pending => true,
            Poll::Ready(Ok(())) => {
                model.reached(pending.mark, Firm::Os);
                for fact in &pending.facts {
                    model.resolve(*fact, Firm::Os);
                }
                false
            }
            Poll::Ready(Err(_)) => {
                good = false;
                false
            }
        });
        good
    }

    /// Much that is written and not synced: what a power cut then leaves of it has holes.
    pub(crate) fn burst(&mut self, most: usize) -> Check {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        for _ in 0..self.rng.usize(0..=most) {
            let extra = self.rng.usize(0..16);
            if !self.publish_one(&mut open, Durability::Os, extra, true) {
                break;
            }
        }
        self.settle_pending(&mut open);
        self.open = Some(open);
        Ok(())
    }

    /// Ids that are published twice, just before the store goes.
    pub(crate) fn repeat(&mut self) -> Check {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let mut outcome = Ok(());
        if let Some(ids) = open.ids.as_ref().filter(|_| self.rng.u8(0..4) == 0) {
            outcome = self.ids.gone.publish_twice(&mut self.rng, &ids.gone);
            // In making room for them others may have been refused.
            self.settle_pending(&mut open);
        }
        self.open = Some(open);
        outcome
    }
}
