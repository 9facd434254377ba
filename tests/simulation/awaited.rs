//! Awaited leases in the simulation: polled, served a step at a time, fetched or dropped at any moment.

use crate::model::Model;
use millpond::{Batch, Consumer, Error, Leasing, Offset, Store};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// So many wait at most.
const MOST: usize = 4;

/// One that was polled and has not been fetched, its group, and the latest wall clock by which it was served.
struct Waiting {
    group: usize,
    leasing: Leasing<Batch>,
    wall: u64,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Awaited(Vec<Waiting>);

/// What came of a lease: of which group, by which wall clock at the latest.
pub(crate) type Came = (usize, u64, Result<Batch, Error>);

fn poll(leasing: &mut Leasing<Batch>) -> Poll<Result<Batch, Error>> {
    Pin::new(leasing).poll(&mut Context::from_waker(Waker::noop()))
}

impl Awaited {
    /// A lease of a group, as it is asked for by a call; or one that was awaited, of whatever group that was.
    /// `wall` is the clock now.
    pub(crate) fn lease(
        &mut self,
        rng: &mut fastrand::Rng,
        (store, consumers): (&Store, &[Consumer]),
        (group, max): (usize, usize),
        wall: u64,
    ) -> Came {
        if rng.bool() {
            return (group, wall, consumers[group].lease_many(max, Duration::ZERO));
        }
        if self.0.len() < MOST {
            let linger = Duration::from_secs(rng.u64(0..10));
            let mut leasing = consumers[group].next_many(max, linger);
            match poll(&mut leasing) {
                Poll::Pending => self.0.push(Waiting { group, leasing, wall }),
                Poll::Ready(outcome) => return (group, wall, outcome),
            }
        }
        for _ in 0..rng.u8(0..4) {
            let _ = store.step_leases();
            self.0.iter_mut().for_each(|waiting| waiting.wall = waiting.wall.max(wall));
        }
        if !self.0.is_empty() {
            let mut waiting = self.0.swap_remove(rng.usize(0..self.0.len()));
            if rng.u8(0..4) > 0 {
                match poll(&mut waiting.leasing) {
                    Poll::Ready(outcome) => return (waiting.group, waiting.wall, outcome),
                    Poll::Pending => self.0.push(waiting),
                }
            }
            // Otherwise it is dropped, with what it may have been given.
        }
        (group, wall, consumers[group].lease_many(0, Duration::ZERO))
    }

    /// The process is about to die. What they were given is in flight, though nobody has fetched it.
    pub(crate) fn die(mut self, model: &mut Model) {
        for Waiting { group, leasing, .. } in &mut self.0 {
            if let Poll::Ready(Ok(batch)) = poll(leasing) {
                let offsets: Vec<Offset> = batch.map(|delivery| delivery.offset()).collect();
                model.groups[*group].touched.extend(offsets);
            }
        }
    }
}
