//! The guide: one chapter for each promise, each with an example that runs.
//!
//! * [`first_queue`]: from an empty directory to work that is done elsewhere.
//! * [`durable`]: what survives what, and what a ticket says.
//! * [`delivery`]: at least once; leases, and what becomes of a message that was handed out.
//! * [`poison`]: how a message that kills its process is found.
//! * [`damage`]: what opening does, and what to do when it refuses.
//! * [`dead_letters`]: who is charged what, waits, and what becomes of what was given up.
//! * [`deduplication`]: published twice and accepted once; come twice and processed once.
//! * [`delayed`]: messages for later, and by which clock.
//! * [`ordering`]: one holder of a key at a time, in order.
//! * [`retention`]: what stays, what leaves, and why.
//! * [`asynchronous`]: what can be awaited, and what happens to what is dropped.
//! * [`workers`]: handlers on threads and in tasks, and how they stop.
//! * [`typed`]: values instead of bytes, and how they change.
//! * [`filters`]: a group that wants some of a topic's messages.
//! * [`priorities`]: the urgent first.
//! * [`flow_control`]: how much is taken in, how much is out, how quickly, and when nothing is.
//! * [`transactions`]: several things as one; small values; outbox, saga, and other patterns.
//! * [`tracing`]: spans by the names of OpenTelemetry, and a trace from the publish to the handler.
//! * [`operations`]: the directory, the signs, and what to do.
//! * [`monitoring`]: what is counted, how to have it on a page, and what to be woken for.
//! * [`sizing`]: how much disk, memory and time it takes.
//! * [`file_format`]: what is promised about the bytes.
//! * [`comparison`]: what one would use instead, and when.
//! * [`migration`]: coming from a table of jobs.
//! * [`encryption`]: what of a store is encrypted on the disk, and how keys change.
//! * [`space`]: what takes disk space, when it is given back, and what happens when the disk is full.
//! * [`testing`]: time that passes when you say so, and handlers that are killed at each step.
//! * [`speed`]: where the time goes, and what a program can do about it.

pub mod asynchronous;
pub mod comparison;
pub mod damage;
pub mod dead_letters;
pub mod deduplication;
pub mod delayed;
pub mod delivery;
pub mod durable;
pub mod encryption;
pub mod file_format;
pub mod filters;
pub mod first_queue;
pub mod flow_control;
pub mod migration;
pub mod monitoring;
pub mod operations;
pub mod ordering;
pub mod poison;
pub mod priorities;
pub mod retention;
pub mod sizing;
pub mod space;
pub mod speed;
pub mod testing;
pub mod tracing;
pub mod transactions;
pub mod typed;
pub mod workers;
