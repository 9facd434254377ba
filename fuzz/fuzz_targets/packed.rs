//! Any bytes as a body that is compressed, and as one that is to be.
//!
//! Promises: unpacking ends, never panics, and never takes more memory than so many bytes can stand for, whatever
//! lengths they claim. What is packed comes back, with whatever stands behind it.
//!
//! Run: `cargo +nightly fuzz run packed` (the build alone is checked on stable: `cargo check` in this directory).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| millpond::testing::unpack_body(bytes));
