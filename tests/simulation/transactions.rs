//! Transactions in the simulation: each is there whole after every crash, or nothing of it is (I7).

use crate::coverage::checked;
use crate::model::{Entry, Fact, Firm, Model};
use crate::world::GROUPS;
use millpond::{
    Committed, Consumer, Delivery, Durability, ErrorKind, Message, Offset, Store, Ticket, Topic, Transaction, Why,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// The key that every transaction sets to its own number: the last one that got through stands there.
const LAST: &str = "last";

/// One that was asked for.
struct Asked {
    number: u64,
    ticket: Option<Ticket<Committed>>,
    messages: Vec<Fact>,
    acks: Vec<Fact>,
    level: Durability,
    mark: usize,
    firm: Firm,
}

/// All transactions since the last opening, and the values that had been there by then.
#[derive(Default)]
pub(crate) struct Transactions {
    asked: Vec<Asked>,
    numbers: u64,
    values: BTreeMap<String, Vec<u8>>,
}

fn key(number: u64) -> String {
    format!("transaction {number}")
}

/// More steps than anything takes for which there is room.
const STEPS_MAX: usize = 10_000;

/// Before this many others a transaction removes the key of an earlier one.
const REMOVES: u64 = 3;

impl Transactions {
    /// Makes a transaction of some of what is held, some messages, and values. `settle_line` looks at what was
    /// published before it. Whether the store is still good.
    pub(crate) fn commit(
        &mut self,
        rng: &mut fastrand::Rng,
        model: &mut Model,
        store: &Store,
        topics: &[Topic],
        held: &mut Vec<(usize, Delivery)>,
        settle_line: impl FnOnce(&mut Model) -> bool,
    ) -> Result<bool, String> {
        self.numbers += 1;
        let number = self.numbers;
        let level = rng.choice([Durability::Memory, Durability::Os, Durability::Disk, Durability::Disk]).unwrap();
        let mut tx = store.transaction();
        tx.durability(level).set(key(number), number.to_string()).set(LAST, number.to_string());
        if let Some(earlier) = number.checked_sub(REMOVES).filter(|earlier| *earlier > 0) {
            tx.remove(key(earlier));
        }
        let mut asked =
            Asked { number, ticket: None, messages: vec![], acks: vec![], level, mark: 0, firm: Firm::Asked };
        settle(rng, model, &mut tx, held, &mut asked.acks);
        let wrong = rng.u8(0..10) == 0;
        let mut entries = Vec::new();
        for place in 0..rng.u64(0..4) {
            let topic = rng.usize(0..topics.len());
            let mut payload = format!("{topic}/transaction {number}/{place}/").into_bytes();
            payload.resize(payload.len() + rng.choice([0, 0, 100, 1500]).unwrap(), b'x');
            tx.publish(&topics[topic], Message::new(payload.clone()).id(payload.clone()));
            entries.push((
                topic,
                Entry { payload, firm: Firm::Asked, deliver_at: 0, expires: false, key: None, has_id: true, level },
            ));
        }
        if wrong {
            tx.expect_end(&topics[0], Offset::new(model.topics[0].len() as u64 + 1));
        }
        asked.mark = model.mark();
        let mut ticket = tx.commit();
        let good;
        let mut unknown = false;
        let mut outcome = Pin::new(&mut ticket).poll(&mut Context::from_waker(Waker::noop()));
        let mut steps = 0;
        // It stands in line: what the store's threads would do is done. That a step fails is told to the ticket.
        while outcome.is_pending() && format!("{ticket:?}").contains("waiting for room") {
            steps += 1;
            if steps > STEPS_MAX {
                return Err("I12: a transaction waits for ever".to_owned());
            }
            _ = store.step_upkeep();
            _ = store.step_commit();
            outcome = Pin::new(&mut ticket).poll(&mut Context::from_waker(Waker::noop()));
        }
        match outcome {
            // What stood in line may have been taken in before the store failed.
            Poll::Ready(Err(error)) if error.kind() != ErrorKind::OutcomeUnknown => {
                let code = error.code();
                // Dropped, it gives back what it held.
                if error.into_transaction().is_none() {
                    return Err(format!("I7: a transaction that failed with {code} is not handed back"));
                }
                return Ok(!["poisoned", "closed"].contains(&code));
            }
            _ if wrong => return Err("a transaction with a wrong expectation is accepted".to_owned()),
            outcome => {
                // Some that stood in line before it may have been refused meanwhile: it moved up.
                good = settle_line(model) && !matches!(outcome, Poll::Ready(Err(_)));
                for (topic, entry) in entries {
                    asked.messages.push(Fact::Message { topic, index: model.topics[topic].len() });
                    model.topics[topic].push(entry);
                }
                match outcome {
                    Poll::Ready(Ok(committed)) => {
                        asked.told(&committed);
                        asked.firm = level.into();
                    }
                    Poll::Ready(Err(_)) => unknown = true,
                    Poll::Pending => asked.ticket = Some(ticket),
                }
            }
        }
        for fact in &asked.acks {
            if let Fact::Ack { group, offset } = fact {
                model.groups[*group].acked.entry(*offset).or_insert(Firm::Asked);
            }
        }
        if asked.ticket.is_none() && !unknown {
            asked.resolve(model);
        }
        self.asked.push(asked);
        Ok(good)
    }

    /// Looks at what has resolved meanwhile. False if the store is poisoned.
    pub(crate) fn settle_pending(&mut self, model: &mut Model) -> bool {
        let mut good = true;
        for asked in &mut self.asked {
            let Some(ticket) = &mut asked.ticket else { continue };
            match Pin::new(ticket).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => continue,
                Poll::Ready(Ok(committed)) => {
                    asked.told(&committed);
                    asked.firm = asked.level.into();
                    model.reached(asked.mark, asked.level.into());
                    asked.resolve(model);
                }
                Poll::Ready(Err(_)) => good = false,
            }
            asked.ticket = None;
        }
        good
    }

    /// The store was opened again after losing everything that was less firm than `least`, and shows so many messages
    /// of each topic. What is wrong with its transactions.
    pub(crate) fn reopened(
        &mut self,
        model: &Model,
        store: &Store,
        consumers: &[Consumer],
        (ends, least): (&[usize], Firm),
    ) -> Result<(), String> {
        let failed = |error: millpond::Error| format!("I9: reading a value fails: {error}");
        // Numbers rise, and the order of things is one: if a later one is there, so is each before it.
        let last = store.get(LAST).map_err(failed)?;
        let last: u64 = last.map_or(0, |last| String::from_utf8_lossy(&last).parse().unwrap());
        for Asked { number, messages, acks, firm, .. } in std::mem::take(&mut self.asked) {
            let whole = number <= last;
            if !whole && firm >= least {
                return Err(format!("I1: transaction {number} was promised, and is gone"));
            }
            for fact in messages.iter().chain(&acks) {
                let there = match fact {
                    Fact::Message { topic, index } => *index < ends[*topic],
                    Fact::Ack { group, offset } => {
                        let index = usize::try_from(offset.get()).unwrap();
                        // One that expires may be settled by that.
                        if model.topics[group / GROUPS][index].expires {
                            continue;
                        }
                        matches!(consumers[*group].why(*offset).map_err(failed)?, Why::Settled | Why::Dropped)
                    }
                };
                if there != whole {
                    return Err(format!("I7: transaction {number}, whole {whole}: {fact:?} there {there}"));
                }
            }
            if whole {
                let value = number.to_string().into_bytes();
                self.values.remove(&key(number.saturating_sub(REMOVES)));
                self.values.extend([(key(number), value.clone()), (LAST.to_owned(), value)]);
            }
        }
        checked("I7");
        let keys = store.keys("").map_err(failed)?;
        if !keys.iter().eq(self.values.keys()) {
            return Err(format!("I7: the values are those of {keys:?}, and not of {:?}", self.values.keys()));
        }
        for (key, value) in &self.values {
            if store.get(key).map_err(failed)?.is_none_or(|found| *found != **value) {
                return Err(format!("I7: {key:?} has another value"));
            }
        }
        Ok(())
    }
}

impl Asked {
    fn told(&self, committed: &Committed) {
        let offsets = self.messages.iter().map(|fact| match fact {
            Fact::Message { index, .. } => *index as u64,
            Fact::Ack { .. } => unreachable!("no message"),
        });
        assert!(offsets.eq(committed.receipts.iter().map(|receipt| receipt.offset.get())), "I3: {committed:?}");
    }

    fn resolve(&self, model: &mut Model) {
        self.messages.iter().chain(&self.acks).for_each(|fact| model.resolve(*fact, self.level.into()));
    }
}

/// Settles some of what is held, one way or the other.
fn settle(
    rng: &mut fastrand::Rng,
    model: &mut Model,
    tx: &mut Transaction,
    held: &mut Vec<(usize, Delivery)>,
    acks: &mut Vec<Fact>,
) {
    for _ in 0..rng.usize(0..3).min(held.len()) {
        let (group, delivery) = held.swap_remove(rng.usize(0..held.len()));
        let offset = delivery.offset();
        match rng.u8(0..8) {
            0 => _ = tx.release(delivery),
            1 => {
                model.groups[group].touched.insert(offset);
                tx.nack(delivery, "it fails in a transaction");
            }
            2 => {
                model.groups[group].touched.insert(offset);
                tx.bury(delivery, "it is not wanted in a transaction");
            }
            _ => {
                acks.push(Fact::Ack { group, offset });
                tx.ack(delivery);
            }
        }
    }
}
