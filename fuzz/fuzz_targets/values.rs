//! Any bytes as an identity, as a frame of the journal's own, or as the pieces of a snapshot.
//!
//! Promises: decoding ends and never panics; a state that was put together of such pieces can be asked questions and
//! put into a snapshot again.
//!
//! Run: `cargo +nightly fuzz run values` (the build alone is checked on stable: `cargo check` in this directory).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| millpond::testing::decode_value(bytes));
