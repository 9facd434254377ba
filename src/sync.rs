//! The locks, in one place, so that a model checker can put its own in theirs.

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
