//! The guide: one chapter for each promise, each with an example that runs.
//!
//! * [`first_queue`]: from an empty directory to work that is done elsewhere.
//! * [`durable`]: what survives what, and what a ticket says.
//! * [`delivery`]: at least once; leases, and what becomes of a message that was handed out.
//! * [`poison`]: how a message that kills its process is found.
//! * [`damage`]: what opening does, and what to do when it refuses.
//! * [`dead_letters`]: who is charged what, waits, and what becomes of what was given up.
//! * [`delayed`]: messages for later, and by which clock.
//! * [`retention`]: what stays, what leaves, and why.
//! * [`operations`]: the directory, the signs, and what to do.
//! * [`migration`]: coming from a table of jobs.

pub mod damage;
pub mod dead_letters;
pub mod delayed;
pub mod delivery;
pub mod durable;
pub mod first_queue;
pub mod migration;
pub mod operations;
pub mod poison;
pub mod retention;
