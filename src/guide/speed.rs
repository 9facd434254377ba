//! Where the time goes, and what a program can do about it.
//!
//! Everything here was measured on a small machine: two cores, a virtual NVMe disk, Linux 6.18, a release build without
//! link-time optimisation. Seconds are that machine's; instructions are counted by callgrind and are the same anywhere.
//! The commands are `cargo bench --bench publish`, `--bench deliver` and `--bench latency`, which print each figure
//! beside the machine's own floor of the same run, and `--bench loops`, which goes one path for a profiler.
//!
//! # What a call costs
//!
//! | call, 100 bytes | a second | instructions | what most of it is |
//! |---|---|---|---|
//! | `publish`, `Disk`, waited for | 12.0 k; 1.03 of the floor | | one write and one sync |
//! | `publish`, `Os`, waited for | 0.84 M; 0.69 of the floor | 2,370 | the system call: over half |
//! | `publish`, `Os`, 64 under way | 3.4 M; 2.8 of the floor | | one system call for many |
//! | `publish`, `Memory` | 4.4 M | 1,700 | see below |
//! | `publish_all` of 100, `Memory` | 13.8 M | 640 | checksums, once a message and once a frame |
//! | `publish_all` of 100, `Os` | 8.1 M; 0.58 of the floor; 12.5 M, 0.98, in files that are used again | 750 | the same, and a tenth of a kibibyte each to copy for the kernel |
//! | leased and acked in batches of 100 | 8.7 M | 920 | reading: heads, records, and letting go of them |
//! | leased and acked alone, not waited for | 2.0 M | 5,650 | two records in the journal for each |
//! | leased and acked alone, `Os`, waited for | 1.2 M | 6,350 | the same, and a system call |
//! | the same, `Disk` | 7.3 k; 1.02 of the floor | | one write and one sync |
//! | in batches of 100 of an ordered group | 1.1 M; 0.21 of unordered | 6,000 more | the line of each key: trees |
//!
//! The first six were taken on a day on which a plain `pwrite` of a message took 830 ns; on another day it took 310,
//! and a publish at `Os` had 0.57 of that. Batches of messages of up to 512 bytes on average are gathered in one piece
//! before the lock is taken: one checksum of it and one copy, where there were one of each for each message (75 ns a
//! message instead of 88 at `Memory`, 132 instead of 151 at `Os`).
//!
//! A publish at level `Memory` takes 190 ns: two checksums, of the body and of the header, about 350 instructions;
//! putting it into the buffer and the index another 350; the state and what is visible 200; the lock and the way there
//! 250; the time, which is read once and is the dearest single thing, 23 ns; handles and ticket 150. It asks nothing of
//! the allocator. A topic with rules (a backlog, a lifetime, retention, priorities, somebody who watches) or a message
//! with a key or headers goes a longer way, some 1,400 instructions more.
//!
//! A message with nothing but an id of up to 48 bytes, in a store whose topics all remember ids, takes 3,750
//! instructions to be published: the hashes of id and payload 640, the filters of nine runs 490, the bytes and their
//! checksums 600, buffer and index 420, the row of the id in memory 290, letting go of the message 230. What is dear
//! beside them is waiting for memory: each filter, the index of the rows and the row are somewhere else each time. One
//! whose id may be known already has to read its row from the disk's cache, half a kibibyte, and that is most of it.
//!
//! At level `Os` a waited-for publish is one `pwrite` of its own, which takes 300 ns here, and 215 ns of ours, of which
//! 35 are in the kernel: the file is laid out already, and is written to from a process with several threads. Three
//! turns at the lock and two of a reference count are 50 ns. Less is to be had only by asking the kernel for less, as
//! publishing several before waiting does.
//!
//! An ack allocates nothing, a lease twice, however many messages it brings; messages are slices of what was read.
//!
//! # Many threads
//!
//! A sync takes all that has gathered while the one before it was under way. So one thread that waits for each message
//! gets what the disk can sync, and 64 get 13 times that. When a sync ends, those whom it served are woken, and of
//! those who came too late for it one, which leads the next; when all were woken to see who leads, 256 threads got
//! 116 k.
//!
//! | `publish`, `Disk`, 1 KiB | a second | beside a plain group commit |
//! |---|---|---|
//! | 4 threads | 20 k | 1.08 |
//! | 16 threads | 57 k | 1.24 |
//! | 64 threads | 129 k | 2.29 |
//! | 256 threads | 168 k | 2.27 |
//! | 1 thread, 1000 tickets under way (100 bytes) | 1.9 M; 2.5 M in files that are used again | |
//!
//! Threads that wait for `Os` beside each other let others go first a few times before they sleep: a write takes a
//! microsecond, being woken many. Four threads with 1 KiB each get 0.6 to 0.8 of what four threads get that call
//! `pwrite` themselves, in files that are used again as much as those; asleep they got 0.47.
//!
//! # When there is more of it
//!
//! `cargo run --release --manifest-path benches/compare/Cargo.toml -- --scaling`, one run of 30 November 2026; points
//! and plots are in `benches/compare/results/scaling.md`.
//!
//! | more of | from, to | a second | |
//! |---|---|---|---|
//! | producers, `Disk`, 1 KiB | 1, 256 | 4.3 k, 125 k | does not bend: the more wait, the more share a sync |
//! | producers, `Memory`, 100 B | 1, 256 | 4.0 M, 3.4 M | flat: they take turns at one lock |
//! | bytes of a payload, `Disk` | 16, 16 Ki, 1 Mi | 12.2 k, 6.4 k, 1.1 k | syncs until 16 KiB, then the disk: 1.2 GB/s |
//! | bytes of a payload, `Os` | 16, 1 Ki, 1 Mi | 0.87 M, 0.47 M, 2.1 k | bends at 1 KiB: copying, 2.2 GB/s in the end |
//! | topics, each in turn, `Memory` | 1, 1000, 10,000 | 3.8 M, 2.8 M, 1.4 M | bends at 100; not profiled |
//! | groups of one topic, in all | 1, 64 | 7.3 M, 6.9 M | does not bend |
//! | backlog, leases of 100 from its front | 10 k, 100 M | 5.9 M, 7.5 M | does not bend |
//!
//! # Segments that are written in advance
//!
//! A sync into blocks that were never written costs the file system a note of its own. So the next segment is filled
//! with zeros while the present one is used, by and by where there is time, and as fast as the present one is filled
//! where there is none. Commits of 13 KB have nearly the rate of the disk into such a segment, and 0.4 to 0.6 of it
//! while zeros are written beside them, or into new blocks: 0.76 from an empty store on. A store that commits more than
//! 64 KiB at a time goes without: its bytes would be written twice. Batches of 1000 messages of 1 KiB were 1.1 times as
//! fast without zeros as with them.
//!
//! A store in service has something better: files of segments that are done with. Their blocks were written, and
//! their pages may still be in memory. A sync of 11 KB takes 86 to 97 µs there, which is what it takes in a plain
//! file that is written over; 90 to 128 µs where zeros are written beside it; and 150 µs in blocks that were never
//! written. So of the files that are set aside those that are as long as is wanted, and written, are used first.
//! [`spare_segments`](crate::Options::spare_segments) says how many are kept beside the reserve: two, for a load that
//! is steady; as many as a wave fills, for one that comes in waves. Four threads with messages of 1 KiB get 1.3 to
//! 1.7 times as much at `Memory` with them as without: a page that is there need not be found, cleared and accounted
//! for.
//!
//! A page cache may keep what comes in one write as one large page, and goes through all of it for each small write
//! into it later: a message's `write` took 1.9 µs before a sync where the file had been written 4 to 64 KiB at a
//! time, 2.3 after 256 KiB, 3.9 after a mebibyte. So a write has 256 KiB at most.
//!
//! # From publish to delivery
//!
//! At 10,000 messages a second, to a consumer that waits: half of them within 38 µs at `Memory` and `Os`, which is what
//! it takes to wake a thread, and within 143 µs at `Disk`. At `Os` some runs have one pause of 50 to 100 ms in them,
//! whose cause is not known yet.
//!
//! # A pool of workers
//!
//! `cargo bench --bench workers`: eight threads, messages of 1 KiB that are on the disk already, a handler that only
//! counts. A worker does not wait for its ack before it takes the next message; the run ends when all acks are durable.
//! | acks | messages a second | raw `write` + `fdatasync`, one after the other, in the same run | ratio |
//! |---|---|---|---|
//! | `Disk` | 124 k | 9.2 k | 13.5 |
//! | `Os` | 111 k | 9.5 k | 11.3 |
//!
//! # What was aimed at and missed
//!
//! The aims are in `benches/compare/results/results.md`, with the figures of one run. Instructions are of callgrind, on
//! `benches/loops`.
//!
//! | missed | where the time goes | what was tried |
//! |---|---|---|
//! | 100 B, one a call, `Memory`: 5 x yaque | of 1,700 instructions 480 append to the buffer (of which 150 two checksums of the header, 80 the index), 300 are the body's checksum, 100 the clock (23 ns), 100 the state, 80 to find room, 60 what is visible, 100 the ticket; the rest is the lock and the way there | to go over the header checksums 64 at a time: 40 instructions less, and no faster; longer writes: larger buffers |
//! | the same, `Os`: 0.8 of a `write` | the `write`, and 215 to 300 ns of ours; in a file that is used again the `write` saves nothing if it was written in large pieces before, since pages are large then | writes of 64 KiB: as with 256 KiB |
//! | synced batches of 100 x 100 B: 1.2 x okaywal | a sync takes 86 to 97 µs, as in a plain file; 5 µs the write, 10 µs the messages. okaywal has all of the floor already: 1.2 of it is more than the disk gives to one who waits | |
//! | 1000 x 100 B: 1.2 x okaywal | the sync of 105 KB; then 90 µs of ours: checksums, copies and a `Message` each | buffers that are taken over: 1.2 to 1.4 times as fast as before |
//! | 1000 on their way in an empty store: 1.9 M (2.5 M in a used one; aim 2 M) | in 212 µs 416 are made durable: 180 are the sync of 50 KB, 10 the write, the rest the way from one to the next. While one half is synced there is room for the other half only, and the one thread takes 150 µs to fill it | |
//! | leased and acked alone: 2 M | of 7,000 instructions 3,100 a lease (a record in the journal 1,060, the message 510, which one is next 380, its lease 310, handing it over 560) and 3,000 an ack (a record 1,060, the state 790, counting and rules 270) | it is spread evenly: no part is more than a sixth |
//! | leased, acked and synced alone: 0.9 of the floor | 0.79 in that run, 1.09 in the one before, 0.93 of five turns by itself: one `write` and one sync each, and the disk's mood between the two measurements | |
//! | 8 consumers: 4 x one | 0.92 to 0.97 of what eight threads get that share syncs and do nothing else; those get 3.5 x one | |
//!
//! # What counting costs
//!
//! Instructions of a call, without and with what [`monitoring`](super::monitoring) counts, by callgrind on
//! `benches/loops`: publish at `Memory` 1598 and 1611, at `Os` 2342 and 2403, a message of a batch of 100 leased and
//! acked 1719 and 1779, one leased and acked by itself 6485 and 6938.
//!
//! # What to do
//!
//! Publish many before waiting, or as one batch; lease in batches, and ack them at once:
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::{Group, Message, Store};
//! use std::time::Duration;
//!
//! let store = Store::open(dir.path().join("data"))?;
//! let views = store.topic("views")?;
//! views.publish_all((0..1000).map(|page| Message::new(format!("page {page}")))).wait()?;
//!
//! let count = views.consumer("count", Group::default())?;
//! let mut counted = 0;
//! loop {
//!     let batch = count.lease_many(100, Duration::ZERO)?;
//!     if batch.len() == 0 {
//!         break;
//!     }
//!     counted += batch.len();
//!     // A lost ack costs a delivery that comes once more: it need not be waited for.
//!     count.ack_all(batch).detach();
//! }
//! assert_eq!(counted, 1000);
//! # Ok(())
//! # }
//! ```
//!
//! Link-time optimisation in the program's own profile (`lto = "fat"`, `codegen-units = 1`) makes all of it 3 to 10 %
//! quicker.
