//! The file format: what is promised about the bytes, and where they are drawn.
//!
//! A store is a directory of plain files; the journal is the truth, and everything else can be made from it again:
//!
//! ```text
//! identity      what makes the directory a store: version, random id, hash key; written once
//! lock          locked by the process that has the store open, by the system's means
//! journal/      numbered segments, an index beside each that is full, and the published ids of that segment
//! tables/       processed ids, if a group keeps them: may be deleted at any time
//! ```
//!
//! # What is promised
//!
//! * The format has a version, in `identity` and in every segment. A release refuses with code `unsupported-version` or
//!   the like what it does not know, and changes nothing then.
//! * From 1.0 on, each release reads what any earlier one since 1.0 has written. Until then a release may refuse an
//!   older store; it says so, and [`Store::open_read_only`](crate::Store::open_read_only) or `millpond export` of the
//!   older release gets the messages out.
//! * Encodings are only added to: new kinds of events, new fields at the end. Golden bytes in the tests hold on to
//!   that: a change of the format that nobody meant fails there.
//! * All numbers are little-endian, all checksums CRC-32 (IEEE). Every message has a checksum of its own, which is
//!   looked at each time before it is handed out.
//!
//! # Where it is drawn
//!
//! Byte by byte in the documentation of the source: the page of `src/journal/mod.rs` (identity, segments, frames, what
//! each checksum covers, how the end is found after a crash), `src/event/codec.rs` (events), `src/event/settings.rs`
//! (settings of topics and groups), `src/state/snapshot.rs` (snapshots), `src/tables/run.rs` (published ids). What
//! encryption makes of it is on the journal's page too. `cargo doc --document-private-items` shows them as pages.
//! `millpond dump` shows a journal frame by frame:
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::Store;
//! let store = Store::open(dir.path())?;
//! store.topic("orders")?.publish("4711").wait()?;
//! store.close()?;
//! let frames = Store::dump(dir.path(), millpond::Lsn::ZERO)?.count();
//! assert!(frames >= 3); // opened, a topic, a message, closed
//! # Ok(())
//! # }
//! ```
