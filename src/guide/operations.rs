//! Running it: the directory, backups, what to do when something is wrong.
//!
//! # The directory
//!
//! A store is a directory on a local disk, opened by one process at a time. The lock goes with the process, however it
//! dies: there is no pid file to clean up. Network file systems promise less about locks and syncs than this needs;
//! `tmpfs` keeps nothing over a restart, whatever a sync says.
//!
//! The files belong together. Nothing in the directory is to be edited, moved or removed by hand, and the directory is
//! copied by hand only while no process has it open. Foreign files in it are left alone.
//!
//! # Looking, backing up, moving
//!
//! [`Store::open_read_only`](crate::Store::open_read_only) looks at a store that another process has open, which
//! notices nothing: so do `millpond info`, `top`, `peek`, `tail -f`, `verify` and `dump`.
//! [`Store::backup`](crate::Store::backup), and `millpond backup` beside the owner, make a copy as of one moment while
//! everything goes on; to restore, open a copy of the backup. On the same file system full segments are linked: that is
//! quick and small, and no protection against a failing disk until it is copied elsewhere. No file that a backup shares
//! is written again, by recovery neither: the store goes on with copies, and on a full disk its reserve makes room for
//! them.
//!
//! `millpond export` and `import` move topics as lines of JSON: messages with their offsets and times, settings, and
//! the progress of groups with counters, errors and dead letters. [`Store::restore`](crate::Store::restore) is what the
//! import is made of.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::Store;
//! let store = Store::open(dir.path().join("data"))?;
//! store.topic("orders")?.publish("4711").wait()?;
//! let seen = Store::open_read_only(dir.path().join("data"))?;
//! assert_eq!(seen.stats()?.topics[0].messages, 1);
//! seen.backup(dir.path().join("backup"))?;
//! # store.close()
//! # }
//! ```
//!
//! # Signs and what they mean
//!
//! | sign | what it means | what to do |
//! |---|---|---|
//! | the oldest claimable age of a group grows | it takes less than is published, or nobody runs it | more workers; look at a stack of the handler |
//! | `retrying` grows | something the handler needs is away | nothing is lost while it waits; look at the last errors |
//! | `dead` is above zero | messages failed as often as they may | look at them, mend, redrive: [`dead_letters`](super::dead_letters) |
//! | `suspects` after an opening | the process died with messages in its hands | they run one at a time until it is clear: [`poison`](super::poison) |
//! | publishes fail with `disk-full` | no segment can be prepared | free space; consumers go on settling meanwhile |
//! | calls fail with `poisoned` | a write or sync failed | look at the system's log, mend the disk, restart the process |
//! | opening fails with `damaged` | promised bytes are not what was written | [`damage`](super::damage) |
//! | opening fails with `locked` | another process has it | find that one; the lock is the system's and never stale |
//!
//! `millpond explain CODE` says the same of every [code](crate::Error::code), and [`explanations`](crate::explanations)
//! gives it to a program:
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::{Store, explanations};
//! let store = Store::open(dir.path())?;
//! let refused = Store::open(dir.path()).unwrap_err();
//! let known = explanations().find(|known| known.code == refused.code()).unwrap();
//! assert!(known.remedy.contains("there is no file to remove"));
//! # store.close()
//! # }
//! ```
//!
//! # Watching
//!
//! `millpond top` shows it live, beside the program that has the store open; `--once --json` gives the same to a
//! script. This is what it looks like:
//!
//! ```text
//! millpond ./pond   disk 192.0 MiB   live 12.5 MiB   in 1251/s
//!
//! TOPIC            GROUP             IN/S  DONE/S       LAG READY/LEASED RETRYING   DELAYED   DEAD       OLDEST
//! orders           email             1250     998     12033        12000       33         0      2   1 min 34 s
//! orders           audit             1250     0.0     12033        12000       33         0      0   1 min 34 s paused
//! a topic nobod... -                  0.2       -         7            0        0         0      0            -
//! q quits, arrows scroll. What of it is leased, only the store's owner knows.
//! ```
//!
//! And a dead letter of a group that tries three times, with `millpond dlq show ./pond orders email 2`:
//!
//! ```text
//! offset    2
//! parked    2026-11-30T15:58:13.717Z
//! reason    failures
//! leases    3
//! failures  3
//! timeouts  0
//! crashes   0
//! life      0
//! published 2026-11-30T15:58:11.628Z
//! key       customer-7
//! payload   {"order":4711}
//! error     2026-11-30T15:58:11.628Z 550 no such mailbox
//! error     2026-11-30T15:58:12.483Z 550 no such mailbox
//! error     2026-11-30T15:58:13.717Z 550 no such mailbox
//! ```
//!
//! # What is logged
//!
//! Through [`tracing`](https://docs.rs/tracing): as an error what costs somebody something (a commit that failed, a
//! message that can't be read, a publish that was refused and whose ticket nobody held), as a warning what a person
//! should know of (a trimmed tail, a parked message, a disk that is full), as debug what policies remove. Payloads,
//! keys and ids are never logged.
//!
//! # Stopping
//!
//! [`Store::close`](crate::Store::close) wakes those who wait, writes and syncs what was accepted, and gives the
//! directory back. What is held then comes again and is charged nothing. A process that is killed instead loses nothing
//! that was promised: opening is recovery, and its [report](crate::Store::recovery) says what was found.
