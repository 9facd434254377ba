//! What a large store costs: memory, disk, time to open, time to read. Each test measures, prints and checks one thing.
//!
//! Not part of an ordinary run, since they take minutes of a quiet machine and gigabytes of disk:
//! `cargo test --release --test scale -- --ignored --nocapture --test-threads 1`. `MILLPOND_SCALE` says how many
//! messages (a million if it is not set); the stores are made in the target directory. Linux only: it is asked for the
//! memory of a process, and told to forget what it has of a file.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test fails by panicking; what is measured is this machine"
)]

mod backlog;
mod machine;
mod paced;
mod replay;
mod steady;
mod topics;
