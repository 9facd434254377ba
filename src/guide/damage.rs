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
//!
//! # What to do with a damaged store
//!
//! Restore a backup, if there is one that is new enough. If not, [`Store::salvage`](crate::Store::salvage) reads every
//! message that is whole and changes nothing, and [`Store::repair`](crate::Store::repair) makes the store open again:
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path();
//! # millpond::Store::open(path)?.close()?;
//! use millpond::Store;
//!
//! let repaired = Store::repair(path)?;
//! for (topic, first, last) in &repaired.lost {
//!     eprintln!("lost: {topic} {first}..={last}"); // also in the report, and counted as `Removed::lost`
//! }
//! Store::open(path)?.close()
//! # }
//! ```
//!
//! A repair deletes nothing. Damaged files are moved aside as `NAME.damaged-N`. Frames that are whole are written anew
//! at the very places where they were, so snapshots, offsets and progress go on being right; where bytes were lost
//! stands a frame that says so. A segment that is lost altogether gets an empty one in its place. Messages that are
//! lost leave a hole: their offsets are never given again, readers and groups pass over them, and nothing is
//! renumbered. Acks that were in damaged places are lost too, so messages may come again. Where the creation of a
//! topic is lost, its messages are found again in a topic of another name; the progress of a group whose creation is
//! lost can't be kept. All of that is in the report, `repair-N.txt`.
//!
//! A message whose newest copy is lost, while one from before it was moved is there still, is written once more at the
//! journal's end, and in further segments where the last one has no room. A repair that fails, on a full disk say, has
//! changed nothing and gives its room back. One that is cut short while files change places leaves a store that refuses
//! to open until it is repaired once more.
//!
//! Only what verifies at its own place counts: store id, salt and position go into each frame's checksum, and what
//! lies inside a frame whose header is whole is never searched for others. So a payload that looks like a piece of a
//! journal stays a payload.
//!
//! What a repair can't make out: a segment's header in which more than a byte of salt and base is wrong (its messages
//! are lost, the file is kept aside), messages of a batch of which any byte is wrong (all of the batch), and an
//! identity that is gone altogether: a new one is made for the segments there are, with a new key, so that ids
//! published before are not known again.
//!
//! `millpond dump DIR` shows the journal frame by frame, damaged places included; `millpond doctor DIR` says what the
//! file system, its mount and the process's limits make of a promise.
