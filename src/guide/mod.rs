//! The guide: one chapter for each promise, each with an example that runs.
//!
//! * [`durable`]: what survives what, and what a ticket says.

pub mod durable;
