//! Any bytes as the body of a sidecar, behind a right header and before a right checksum.
//!
//! Promises: decoding ends, never panics, and never allocates more than a small multiple of the body's length, whatever
//! counts the bytes claim. What decodes is encoded to something that decodes to the same.
//!
//! Run: `cargo +nightly fuzz run sidecar` (the build alone is checked on stable: `cargo check` in this directory).
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| millpond::testing::decode_sidecar(body));
