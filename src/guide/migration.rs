//! Coming from a table of jobs: what stands for what.
//!
//! Many programs begin with a table: `id, payload, status, attempts, run_at, locked_by, locked_until, last_error`, and
//! a loop that selects the next row `FOR UPDATE SKIP LOCKED`. It is a good beginning. What hurts later is the polling,
//! the bloat of a table whose every row is updated several times, and the rows that are `running` for ever since a
//! worker died. Here is where each column goes:
//!
//! | the table | here |
//! |---|---|
//! | a row | a message; its place is an [`Offset`](crate::Offset) that never changes |
//! | `status = 'ready'` | everything that a group has not settled and nobody holds |
//! | `locked_by`, `locked_until` | a lease: [`Delivery`](crate::Delivery); it ends with the process, at once |
//! | `attempts`, `last_error` | counted per group and message: [`Delivery::counters`](crate::Delivery::counters) |
//! | `run_at` | [`Message::deliver_at`](crate::Message::deliver_at), [`Message::delay`](crate::Message::delay) |
//! | `status = 'failed'` | a [`DeadLetter`](crate::DeadLetter), with its errors |
//! | `UPDATE .. SET status = 'ready' WHERE ..` | [`Consumer::redrive`](crate::Consumer::redrive) |
//! | a unique index on a business key | [`Message::id`](crate::Message::id) |
//! | a trigger that copies the row for a second reader | a second [group](crate::Topic::consumer) |
//! | `DELETE FROM jobs WHERE done_at < ..` | nothing: what is settled goes by itself, see [`retention`](super::retention) |
//!
//! # Moving without a gap
//!
//! 1. Open the store and its groups, and let the workers lease from it. There is nothing to do for them yet.
//! 2. Publish new work to the store. From here on the table only shrinks.
//! 3. Carry the rest over: each row as a message with an id made of the row's own, then delete the row. If the process
//!    dies in between, the row is carried over once more, and the id tells that it was.
//! 4. When the table is empty, drop it.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::{Group, Message, Store, Timestamp};
//!
//! struct Row { id: u64, payload: &'static str, run_at: Option<u64> }
//! let table = [
//!     Row { id: 1, payload: "send mail", run_at: None },
//!     Row { id: 2, payload: "remind", run_at: Some(4_102_444_800_000) },
//! ];
//!
//! let store = Store::open(dir.path())?;
//! let jobs = store.topic("jobs")?;
//! let workers = jobs.consumer("workers", Group::default())?;
//! let rows = table.iter().map(|row| {
//!     let message = Message::new(row.payload).id(format!("jobs-{}", row.id));
//!     match row.run_at {
//!         Some(millis) => message.deliver_at(Timestamp::new(millis)),
//!         None => message,
//!     }
//! });
//! jobs.publish_all(rows).wait()?; // durable: now the rows can be deleted
//!
//! let job = workers.lease()?;
//! assert_eq!((job.payload(), job.id()), (&b"send mail"[..], Some(&b"jobs-1"[..])));
//! job.ack().wait()?;
//! assert_eq!(workers.stats().delayed, 1);
//! # store.close()
//! # }
//! ```
//!
//! What a table can do and this can't: select by any column, and change the row and the job in one SQL transaction. For
//! the second, keep a small outbox table and let a relay publish from it, as in
//! [`transactions`](super::transactions).
