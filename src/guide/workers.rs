//! Workers: you write the handler, and the rest is done for you.
//!
//! [`Consumer::run`](crate::Consumer::run) hands messages to a handler on so many threads,
//! `Consumer::run_async` (feature `tokio`) in so many tasks. Both
//!
//! * lease a message only when a worker is free, so that what is not begun stays for others;
//! * extend the lease while the handler works, with one timer for all workers;
//! * ack what is done, and nack what fails or panics, with the error's text; [`Handled`](crate::Handled) has more to
//!   say: retry after a time, bury, release, snooze;
//! * go on to the next message without waiting until the ack is durable, and wait for all of that at the end;
//! * stop when the consumer's [`Stopper`](crate::Stopper) says so: what is at work is finished, what was not begun goes
//!   back, and nothing is charged.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::{Delivery, Group, Handled, Store, Workers};
//! use std::time::Duration;
//!
//! let store = Store::open(dir.path())?;
//! let orders = store.topic("orders")?;
//! orders.publish_all(["4711".into(), "47 11".into(), "the last".into()]).wait()?;
//! let email = orders.consumer("email", Group::default())?;
//!
//! let stopper = email.stopper(); // give it to whatever ends your program: a signal, a button
//! let workers = Workers::threads(4).timeout(Duration::from_secs(60)).grace(Duration::from_secs(10));
//! let worked = email.run(workers, move |order: &Delivery| -> Result<Handled, std::str::Utf8Error> {
//!     let text = std::str::from_utf8(order.payload())?; // an error is a failure
//!     if text == "the last" {
//!         stopper.stop();
//!     }
//!     Ok(if text.contains(' ') { Handled::bury("no order number") } else { Handled::done() })
//! })?;
//! println!("{} mails sent", worked.done);
//! # store.close()
//! # }
//! ```
//!
//! # Stopping
//!
//! `stop()` can be called from any thread: from one that waits for signals, say, or after `tokio::signal::ctrl_c()`.
//! It takes locks, so it has no place inside a raw signal handler. The run returns when all handlers have; with
//! [`grace`](crate::Workers::grace), after that at the latest, and what is not done then is released uncharged. Close
//! the store after that: a handler that returns when the store is closed is too late, and its message comes again.
//!
//! # Timeouts
//!
//! [`timeout`](crate::Workers::timeout) means different things. A task is dropped at its next `.await`, and then its
//! message has failed: nobody else has it before. A thread can't be stopped from outside. Its message fails, and what
//! the handler still says is ignored; but it runs on, and its worker is free only when it returns. Both go by the time
//! of the machine, not by the store's clock. A task that never awaits can't be dropped either: its lease is no longer
//! extended, and runs out.
//!
//! A lease that can't be extended any more, since [`Group::max_lease_age`](crate::Group::max_lease_age) is reached, is
//! lost to its worker: a task is dropped, a thread's handler is told when it settles, by being counted as
//! [`lost`](crate::Worked::lost).
//!
//! # Batches
//!
//! [`run_batches`](crate::Consumer::run_batches) gives a handler what is there, up to a number: one insert instead of a
//! hundred. `Ok(())` acks all in one step; an error charges every message of the batch with a failure, so a handler
//! that knows which one it was returns a `Vec<Handled>`.
