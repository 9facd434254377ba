//! The pattern: each step of a saga is a message, and where the saga stands is a value; a step commits in one frame
//! that it is done, where the saga stands now, and the next step, forward or back.
//!
//! The services are outside: one may be called twice for the same step, if the process dies between the call and the
//! commit, so each has to bear that (the trip's number is the key to know it by). Garcia-Molina and Salem, *Sagas*,
//! 1987; workflow engines such as Temporal keep the same in a journal of their own.

use millpond::{Consumer, Delivery, Group, Result, Retry, Store, Topic, Transaction};
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

/// In this order; they are cancelled in the opposite one.
pub(crate) const SERVICES: [&str; 3] = ["hotel", "flight", "car"];

/// What is outside. Both may be called again for what was done already.
pub(crate) trait Services {
    /// Whether there was something to be had; an error if it is not known, and to be tried again.
    fn book(&mut self, service: &str, trip: u64) -> io::Result<bool>;
    fn cancel(&mut self, service: &str, trip: u64) -> io::Result<()>;
}

pub(crate) struct Agency {
    store: Store,
    topic: Topic,
    pub(crate) steps: Consumer,
}

/// Where the saga of a trip stands.
fn key(trip: u64) -> String {
    format!("trip/{trip}")
}

impl Agency {
    pub(crate) fn open(store: &Store) -> Result<Self> {
        let topic = store.topic("steps of trips")?;
        let retry = Retry::exponential(Duration::from_millis(50), Duration::from_secs(60));
        let steps = topic.consumer("agency", Group::default().retry(retry))?;
        Ok(Self { store: store.clone(), topic, steps })
    }

    /// Begins the saga of a trip, unless it was begun before.
    pub(crate) fn begin(&self, trip: u64) -> Result<()> {
        if self.store.get(&key(trip))?.is_some() {
            return Ok(());
        }
        let mut tx = self.store.transaction();
        tx.set(key(trip), "begun").publish(&self.topic, format!("book 0 {trip}"));
        tx.commit().wait().map(drop)
    }

    /// Takes the next step of any saga, if there is one; says which.
    pub(crate) fn take_a_step(&self, services: &mut impl Services) -> Result<Option<String>> {
        let Some(delivery) = self.steps.try_lease()? else { return Ok(None) };
        let text = String::from_utf8_lossy(delivery.payload()).into_owned();
        let words: Vec<&str> = text.split(' ').collect();
        let step = match words.as_slice() {
            [what, at, trip] => at.parse::<usize>().ok().zip(trip.parse().ok()).map(|(at, trip)| (*what, at, trip)),
            _ => None,
        };
        let Some((what, at, trip)) = step else { return delivery.bury("not a step").wait().map(|()| None) };
        let Some(service) = SERVICES.get(at) else { return delivery.bury("no such service").wait().map(|()| None) };
        let mut tx = self.store.transaction();
        let done =
            if what == "book" { services.book(service, trip) } else { services.cancel(service, trip).map(|()| false) };
        match done {
            // Not known whether it was done: the same step again, later, with growing waits.
            Err(error) => return self.again(delivery, &error),
            Ok(true) if at + 1 < SERVICES.len() => self.go_on(&mut tx, trip, "book", at + 1),
            Ok(true) => _ = tx.set(key(trip), "booked"),
            // Not to be had, or cancelled: back to what was booked before it.
            Ok(false) => match at.checked_sub(1) {
                Some(before) => self.go_on(&mut tx, trip, "cancel", before),
                None => _ = tx.set(key(trip), "cancelled"),
            },
        }
        tx.ack(delivery);
        tx.commit().wait()?;
        Ok(Some(format!("{what} {service} {trip}")))
    }

    /// The next step, and that the saga stands before it.
    fn go_on(&self, tx: &mut Transaction, trip: u64, what: &str, at: usize) {
        let next = format!("{what} {at} {trip}");
        tx.set(key(trip), next.clone()).publish(&self.topic, next);
    }

    fn again(&self, delivery: Delivery, error: &io::Error) -> Result<Option<String>> {
        delivery.nack(error).wait().map(|()| None)
    }

    /// What is not as it should be, once no step is left: a trip is booked with every service, or with none.
    pub(crate) fn wrong(&self, trips: u64, booked: &BTreeSet<(String, u64)>) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for trip in 0..trips {
            let with = SERVICES.iter().filter(|service| booked.contains(&((**service).to_owned(), trip))).count();
            let stands = self.store.get(&key(trip))?;
            match stands.as_deref() {
                Some(b"booked") if with == SERVICES.len() => {}
                Some(b"cancelled") if with == 0 => {}
                other => {
                    let stands = String::from_utf8_lossy(other.unwrap_or_default()).into_owned();
                    wrong.push(format!("trip {trip} stands at {stands:?}, and is booked with {with} services"));
                }
            }
        }
        Ok(wrong)
    }
}
