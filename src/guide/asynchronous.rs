//! Asynchronous: everything that waits can be awaited, on any runtime or none.
//!
//! | it waits for | blocking | awaited |
//! |---|---|---|
//! | durability of a publish or a settlement | `ticket.wait()` | `ticket.await` |
//! | the next message | [`lease`](crate::Consumer::lease) | [`next`](crate::Consumer::next) |
//! | the same, for a time; or only a look | [`lease_timeout`](crate::Consumer::lease_timeout), [`try_lease`](crate::Consumer::try_lease) | [`next_timeout`](crate::Consumer::next_timeout) |
//! | several messages | [`lease_many`](crate::Consumer::lease_many) | [`next_many`](crate::Consumer::next_many) |
//! | runs of a key | [`lease_runs`](crate::Consumer::lease_runs) | [`next_runs`](crate::Consumer::next_runs) |
//! | one after the other | [`deliveries`](crate::Consumer::deliveries) | `stream` (feature `stream`) |
//! | the end: stopped, closed, poisoned | | [`ended`](crate::Consumer::ended) |
//!
//! No runtime is needed: threads of the store wake whoever awaits, and nothing is done with timers, sockets or tasks of
//! a runtime. Only [`run_async`](crate::guide::workers) starts tasks, and needs tokio for that.
//!
//! # What is done where
//!
//! To lease a message is to write down that it is handed out and to read it, and both can wait for a disk. So neither
//! is done where a future is polled: polling puts it into its group's line, and a thread of the store leases for those
//! at the front, in the order in which they came. It wakes only whom it has something for: with a hundred tasks waiting
//! and three messages come, three tasks wake. While there is nothing, that thread sleeps, without a timer.
//!
//! `publish`, `ack` and their like, those of a [`Run`](crate::Run) too, are ordinary calls that return a ticket. They
//! hold a short lock and no more. What can't be done at once waits in its ticket: publishes, `publish_if` and the
//! `commit` of a transaction that find no room, and those whose ids have to be looked up on the disk. They stand in
//! line, in the order of the calls, and a thread of the store does the rest. A test calls all of these on a disk that
//! hangs.
//!
//! What may wait for the disk where it is called, and the way round it:
//!
//! | call | waits | instead |
//! |---|---|---|
//! | [`Delivery::extend`](crate::Delivery::extend) | for a write, if the lease had run out | extend in time, or let [workers](crate::guide::workers) do it |
//! | publishes with ids | for reads, while half of [`max_waiting_publishes`](crate::Options::max_waiting_publishes) of the topic stand in line | await tickets, so that fewer are out |
//! | [`Consumer::is_processed`](crate::Consumer::is_processed) | for a read of the tables | `spawn_blocking`, or let the inbox of the group decide |
//! | opening and closing; topics, groups and their settings; `seek`, `redrive`, `purge`, `cancel`, `pause` | for a write and its sync | do them before the work begins, or where blocking is allowed |
//! | [`Topic::read`](crate::Topic::read), `dead_letters`, `why` | for reads | where blocking is allowed |
//!
//! # What is dropped loses nothing
//!
//! A future can be dropped at any moment: as a branch of `select!` that was not taken, by a timeout, with its task. If
//! a message was leased for it already, that goes back: nothing is charged, and the next in line gets it. Tickets are
//! different: dropping one cancels nothing, the message is published all the same.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
//! # runtime.block_on(async {
//! use millpond::{Group, Store};
//! use std::time::Duration;
//!
//! let store = Store::open(dir.path())?;
//! let orders = store.topic("orders")?;
//! let email = orders.consumer("email", Group::default())?;
//!
//! // Nothing comes in time, and nothing is lost by giving up.
//! assert!(tokio::time::timeout(Duration::from_millis(10), email.next()).await.is_err());
//!
//! orders.publish("4711").await?;
//! let order = email.next().await?;
//! assert_eq!((order.payload(), order.attempt()), (&b"4711"[..], 1));
//! order.ack().await?;
//! # store.close()
//! # })
//! # }
//! ```
//!
//! [`Store::close`](crate::Store::close) and opening do block: call them before and after the runtime's time, or where
//! blocking is allowed.
