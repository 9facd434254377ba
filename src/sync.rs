//! The locks and the threads, in one place, so that a model checker can put its own in theirs: shuttle, in the tests of
//! `engine/interleavings.rs`, which are built with `--cfg millpond_shuttle` and by nobody else.

#[cfg(all(test, millpond_shuttle))]
mod scheduled;

#[cfg(not(all(test, millpond_shuttle)))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
#[cfg(all(test, millpond_shuttle))]
pub(crate) use scheduled::{Condvar, Mutex, MutexGuard, thread};
#[cfg(not(all(test, millpond_shuttle)))]
pub(crate) use std::thread;
