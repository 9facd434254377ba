//! What every handle but [`Store`](crate::Store) holds of the engine: enough to reach it, not enough to keep the
//! directory.

use crate::engine::Engine;
use crate::error::{Code, Error, Result};
use std::sync::{Arc, Weak};

/// The way to an engine that may be gone.
#[derive(Clone, Debug)]
pub(crate) struct Link(Weak<Engine>);

impl Link {
    pub(crate) fn to(engine: &Arc<Engine>) -> Self {
        Self(Arc::downgrade(engine))
    }

    /// The engine for the length of one call; `Closed` if the last `Store` is gone.
    pub(crate) fn engine(&self) -> Result<Arc<Engine>> {
        self.0.upgrade().ok_or_else(|| Error::new(Code::Closed, "the store is closed: its last `Store` is gone"))
    }

    /// Whether both lead to the same opening of the same store.
    pub(crate) fn leads_where(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.0, &other.0)
    }
}

/// The value, or its default where a signature has no place for an error; the error is told to the log instead.
pub(crate) fn or_default<T: Default>(asked: &'static str, answer: Result<T>) -> T {
    answer.unwrap_or_else(|error| {
        tracing::warn!(asked, code = error.code(), %error, "the store did not answer; zeros are reported in its place");
        T::default()
    })
}
