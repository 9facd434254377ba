//! Locks, condition variables and threads that shuttle schedules, with the faces of parking_lot's.
//!
//! A wait with a limit is over at once, or lasts until somebody calls or the limit is reached at some time, by a throw
//! of shuttle's dice. The limit is a thread that calls all who wait; who waits without a limit and is called by nobody
//! else waits for ever as soon as there is no limit running, which shuttle notices.

pub(crate) use shuttle::thread;

use shuttle::rand::{Rng, thread_rng};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

#[derive(Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, held: Some(self.take()) }
    }

    fn take(&self) -> shuttle::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    held: Option<shuttle::sync::MutexGuard<'a, T>>,
}

impl<T> MutexGuard<'_, T> {
    /// Does something without the lock; has it again however that ends. Others may run before it and after it.
    pub(crate) fn unlocked<R>(guard: &mut Self, what: impl FnOnce() -> R) -> R {
        struct Again<'g, 'a, T>(&'g mut MutexGuard<'a, T>);
        impl<T> Drop for Again<'_, '_, T> {
            fn drop(&mut self) {
                self.0.held = Some(self.0.mutex.take());
            }
        }
        guard.held = None;
        let _again = Again(guard);
        thread::yield_now();
        what()
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.held.as_ref().expect("the lock is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("the lock is held")
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(Arc<shuttle::sync::Condvar>);

/// How a wait with a limit goes.
const BEGINS: u8 = 0;
const WAITS: u8 = 1;
const CALLED: u8 = 2;
const OVER: u8 = 3;

/// Whether a wait was over without anybody's call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited(bool);

impl Waited {
    pub(crate) fn timed_out(self) -> bool {
        self.0
    }
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(Arc::new(shuttle::sync::Condvar::new()))
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.held.take().expect("the lock is held");
        guard.held = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn wait_while<T>(&self, guard: &mut MutexGuard<'_, T>, mut condition: impl FnMut(&mut T) -> bool) {
        while condition(guard) {
            self.wait(guard);
        }
    }

    pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) -> Waited {
        if thread_rng().gen_bool(0.5) {
            MutexGuard::unlocked(guard, || ());
            return Waited(true);
        }
        let state = Arc::new(AtomicU8::new(BEGINS));
        let (condvar, seen) = (self.0.clone(), state.clone());
        thread::spawn(move || {
            loop {
                thread::yield_now();
                match seen.load(Ordering::SeqCst) {
                    CALLED => return,
                    WAITS if thread_rng().gen_bool(0.2) => break,
                    _ => {}
                }
            }
            seen.store(OVER, Ordering::SeqCst);
            // Others may run before the lock is let go of: until then there is nobody who could be called.
            while seen.load(Ordering::SeqCst) == OVER {
                condvar.notify_all();
                thread::yield_now();
            }
        });
        state.store(WAITS, Ordering::SeqCst);
        self.wait(guard);
        let over = state.swap(CALLED, Ordering::SeqCst) == OVER;
        Waited(over)
    }

    pub(crate) fn wait_while_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        mut condition: impl FnMut(&mut T) -> bool,
        limit: Duration,
    ) -> Waited {
        while condition(guard) {
            if self.wait_for(guard, limit).timed_out() {
                return Waited(condition(guard));
            }
        }
        Waited(false)
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
