//! What takes disk space, when it is given back, and what happens when the disk is full.
//!
//! # What takes space
//!
//! The journal is a row of segments, files of [`Options::segment_bytes`](crate::Options::segment_bytes) at most. A new
//! store has one of [`Options::first_segment_bytes`](crate::Options::first_segment_bytes) (4 MiB), and the next ones
//! are larger as the store is: a small store stays small. A segment stays while something in it matters:
//!
//! * a message that some group has not settled, or that a rule of [retention](super::retention) keeps; a dead letter
//!   and a message that waits for its time are not settled;
//! * an id in its window, of a message that was published or of one that a group has processed
//!   ([deduplication](super::deduplication));
//! * anything else (acks, topics, groups, settings) until the state was written down twice since.
//!
//! Then its file goes, or is kept to be used again ([`Options::spare_segments`](crate::Options::spare_segments)).
//! Space is given back in whole segments, soon after the last message in one is settled, and at the latest as the
//! journal goes on. [`StoreStats::segments`](crate::StoreStats::segments) says how much of each is needed.
//!
//! [`TopicSettings::compression`](crate::TopicSettings::compression) (feature `lz4`) packs what is published in one
//! call, and what is cleaned: text in batches takes about half.
//!
//! One message that waits for a year does not keep its segment for a year: a segment of which less than half is needed
//! ([`Options::clean_below`](crate::Options::clean_below)) is *cleaned*. The few messages are written again further
//! on, and its file goes. They keep offset, time, id and all else; nobody who reads or consumes notices. Of an id whose
//! message is gone 64 bytes are written again ([`SegmentStats::id_bytes`](crate::SegmentStats::id_bytes)). It happens
//! a little at a time; [`Store::clean_now`](crate::Store::clean_now) does all of it at once.
//!
//! Where they wait for that while the journal goes on to its next segment, two are cleaned for it without a pause; and
//! while four wait, another segment is prepared only after that. So those who publish faster than the disk can be
//! tidied wait for it, and the store stays in bounds under load that never lets up.
//!
//! A snapshot of the store's state lets go what lies before it, or rather before the one that came before it. If much
//! was written before there could be one, two are taken as soon as there can.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::{Durability, Group, Message, Store};
//! use std::time::Duration;
//! let store = Store::options().segment_bytes(64 << 10).first_segment_bytes(64 << 10).open(dir.path())?;
//! let jobs = store.topic("jobs")?;
//! let worker = jobs.consumer("worker", Group::default())?;
//! jobs.publish(Message::new("next year").delay(Duration::from_secs(365 * 86_400))).wait()?;
//! for _ in 0..50 {
//!     jobs.publish_all((0..100).map(|_| Message::new(vec![0; 100]).durability(Durability::Os))).wait()?;
//!     let batch = worker.lease_many(100, Duration::ZERO)?;
//!     worker.ack_all(batch).wait()?;
//! }
//! let cleaned = store.clean_now()?;
//! # let _ = cleaned;
//! let stats = store.stats();
//! assert!(stats.segments.len() < 6, "half a megabyte went through: {stats:?}");
//! assert_eq!(stats.topics[0].delayed, 1);
//! # store.close()
//! # }
//! ```
//!
//! # When the disk is full
//!
//! Whatever is accepted has its space already: in the segment that is written, or in one that was prepared. So a full
//! disk never breaks a store. It can only keep the next segment from being made. Then:
//!
//! * a publish that needs it is refused with [`ErrorKind::Full`](crate::ErrorKind::Full) and the code `disk-full`, and
//!   the message comes back with [`Error::into_message`](crate::Error::into_message);
//! * `ack`, `nack`, `release` and `bury` go on: a reserve of two segments, or of two snapshots and a segment if that is
//!   more, was made before the first segment was full, and is never used for publishing. Of a `nack` the error's text
//!   is left out;
//! * when half of the reserve is used, nothing more is handed out until what is out is settled and its space is free;
//! * as consumers settle, segments become free and are used again, which takes no new space. As soon as the reserve is
//!   whole publishing goes on, without a restart. It is also tried once a second whether there is space again.
//!
//! A store opens on a full disk as on any other. A warning is logged before it comes to that, see
//! [`Options::warn_free_bytes`](crate::Options::warn_free_bytes); [`StoreStats::full`](crate::StoreStats::full) says
//! whether it has.
//!
//! What is refused is refused for every level of durability, and what the system keeps for itself is no concern of
//! ours: the promise holds where a file's space can be set aside beforehand, which ext4, XFS and tmpfs do. A file
//! system that copies on write (Btrfs, ZFS) may need new space to overwrite old; leave it some.
//!
//! # How much that is
//!
//! `MILLPOND_SCALE=N cargo test --release --test scale -- --ignored --nocapture --test-threads 1` measures it. On two
//! cores with nothing else to do, segments of 64 MiB, messages of 100 bytes:
//!
//! | | measured |
//! |---|---|
//! | 100 million messages that nobody takes, published 1000 at a time: disk / payload | 1.08 |
//! | their memory, beyond that of an empty store | 9.4 MiB |
//! | opening that store after a clean close, warm and cold | 0.09 and 0.10 s |
//! | opening such a store after a kill, cold | 0.15 s |
//! | the first lease after that, warm and cold | 0.3 ms, 0.2 to 0.9 ms |
//! | publish and lease rates of 100 thousand, as a multiple of theirs | 1.05, 1.08 |
//! | 100 million through a backlog of a million, with one of a year, a dead letter, a stuck group: disk | 576 of 1005 MiB |
//! | 10,000 topics of three groups: opening, memory, memory once each group has read | 0.18 s, 73.5 MiB, 127 MiB |
//!
//! Read cold, 10 GB of one topic come at 0.80 of reading the files plainly for messages of 1000 bytes and at 0.79 for
//! 100 bytes in batches; among those of nine other topics the files are read at 0.74 and 0.79 of that. Messages of 100
//! bytes published one by one come at 0.65 to 0.74, or 8.2 to 8.9 million a second: that is one core, two thirds of its
//! time checking and handing out, 65 ns a message, and one third the copying out of the page cache, which is all that
//! plain reading (1.4 to 2 GB/s) does. The two take turns every gigabyte: a virtual machine may get more memory than it
//! touched lately only slowly from its host, here from nine gigabytes on at a quarter of the speed, and whoever reads
//! more than that into the page cache at once is slower by that, plainly or not.
//!
//! With segments of 8 MiB, five million messages in batches of 20, published and settled by one thread, of which every
//! hundredth stays: 0.85 million a second, and at most 1.09 times what is aimed at all the while: twice what is
//! needed, eight segments and three snapshots of the state. And for one who publishes durably while a store of 54 such
//! segments, mostly dead, is cleaned down to 10: half of the publishes within 0.09 ms as without, 99 of 100 within 0.23
//! to 0.33 ms instead of 0.17 to 0.19, 999 of 1000 within 0.9 to 1.7 ms instead of 0.23 to 0.27 (about 70,000 of them,
//! three runs).
//!
//! A small disk wants small segments: with the default of 64 MiB a store that has grown keeps 128 MiB in reserve.
