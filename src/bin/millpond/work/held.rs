//! The deliveries one job holds, oldest first, where the heartbeat can reach them.

use crate::failure::Failure;
use millpond::Delivery;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::time::Duration;

/// How long a lease lasts from each renewal.
const LEASE: Duration = Duration::from_secs(30);

/// What a job was handed and has not settled.
#[derive(Default)]
pub(super) struct Held {
    deliveries: Mutex<VecDeque<Delivery>>,
    /// Rung when one is taken out.
    fewer: Condvar,
}

impl Held {
    /// Leases are renewed this often: two beats may be missed.
    pub(super) const BEAT: Duration = Duration::from_secs(10);

    /// Takes a delivery into custody. Its lease is renewed at once: the group's own may be shorter than a beat.
    pub(super) fn push(&self, delivery: Delivery) {
        // A lease that is lost already is told when the message is settled, with what became of it.
        drop(delivery.extend(LEASE));
        self.deliveries.lock().push_back(delivery);
    }

    /// The one that was pushed first.
    pub(super) fn pop(&self) -> Option<Delivery> {
        let first = self.deliveries.lock().pop_front();
        self.fewer.notify_all();
        first
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.deliveries.lock().len()
    }

    /// Waits until there are fewer than `limit`, or for `patience`; says whether there are.
    pub(super) fn wait_below(&self, limit: usize, patience: Duration) -> bool {
        let mut deliveries = self.deliveries.lock();
        if deliveries.len() >= limit {
            self.fewer.wait_while_for(&mut deliveries, |deliveries| deliveries.len() >= limit, patience);
        }
        deliveries.len() < limit
    }

    /// Renews every lease.
    pub(super) fn renew(&self) {
        for delivery in self.deliveries.lock().iter() {
            drop(delivery.extend(LEASE));
        }
    }

    /// Gives everything back, uncharged.
    pub(super) fn release(&self) -> Result<u64, Failure> {
        let mut released = 0;
        while let Some(delivery) = self.pop() {
            delivery.release().wait()?;
            released += 1;
        }
        Ok(released)
    }
}
