//! Damage is never silent: what opening does, and what to do when it refuses.
//!
//! Everything is checksummed: each frame of the journal by its header and its body, each message by itself, so that
//! what is handed to you was checked on that very read. When a store is opened, the end of its journal is judged:
//!
//! * **A torn tail**, bytes that were on their way when the machine died and that nobody was promised, is trimmed, and
//!   [`recovery`](crate::Store::recovery) says from where to where.
//! * **Damage** to what was promised durable refuses the opening with [`Corrupt`](crate::ErrorKind::Corrupt). The error
//!   names files, bytes, and topics with offsets; nothing on the disk is changed.
//!
//! What tells them apart is a claim: each frame carries the position that was known durable when it was written, so a
//! valid frame behind a bad one that claims durability beyond it proves damage. A store that goes quiet writes such a
//! claim by itself within the sync interval, and a clean close ends the journal with one. After an unclean stop, damage
//! that is confined to the last synced group, with no later frame, cannot be told from a torn write: this is the one
//! gap that a single disk leaves.
//!
//! What recovery shows was made sure of first: everything behind the last proved position is written again with the
//! same bytes and synced before anything is delivered, since the process before may have died of a failed sync, and the
//! page cache would not tell (*Can Applications Recover from fsync Failures?*, ATC 2020).
//!
//! Old segments that lie before the newest snapshot are not read at opening. Damage there is reported when a message in
//! it is read, and by [`verify`](crate::Store::verify), which reads every byte and changes none:
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::Store;
//!
//! Store::open(dir.path())?.close()?;
//! let report = Store::verify(dir.path(), |progress| eprintln!("{} bytes", progress.done_bytes))?;
//! for damage in &report.damage {
//!     eprintln!("{damage}"); // file, bytes, what is wrong, which messages
//! }
//! assert!(report.damage.is_empty() && report.clean);
//! # Ok(())
//! # }
//! ```
//!
//! The same from the shell: `millpond verify DIR`; its exit status is 0 if the store is intact and 1 if it is not.
