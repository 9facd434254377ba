//! A first queue: from an empty directory to work that is done elsewhere, in ten minutes.
//!
//! A shop takes an order. The customer waits for one thing only: that the order is safe. The mail, the statistics and
//! the recommendations can come later, and must not be lost either. So the order goes into a *topic*, and each of the
//! three is a *consumer group* that reads it at its own pace.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let path = dir.path().join("pond");
//! use millpond::{Group, Message, Retry, Store};
//! use std::time::Duration;
//!
//! // One directory, one process. The first call makes it, every later one recovers what is there.
//! let store = Store::open(&path)?;
//! let orders = store.topic("orders")?;
//!
//! // Open the groups before you publish, or let them start at the earliest message: the default.
//! let retry = Retry::exponential(Duration::from_secs(1), Duration::from_secs(600)).attempts(10);
//! let mail = orders.consumer("mail", Group::default().lease(Duration::from_secs(30)).retry(retry))?;
//! let statistics = orders.consumer("statistics", Group::default())?;
//!
//! // The critical path: when this returns, the order survives a power cut.
//! orders.publish(Message::new("4711: one mill wheel").id("order-4711").key("customer-7")).wait()?;
//!
//! // Elsewhere, in as many threads as you like: take one, do the work, settle it.
//! let order = mail.lease()?;
//! match send(order.payload()) {
//!     Ok(()) => order.ack().wait()?,
//!     Err(error) => order.nack(error).wait()?, // comes again after the policy's wait
//! }
//!
//! // The other group does not care: it has every message, too.
//! statistics.lease()?.ack().wait()?;
//! assert!(mail.idle() && statistics.idle());
//! store.close()?;
//! # fn send(_: &[u8]) -> Result<(), &'static str> { Ok(()) }
//! # Ok(())
//! # }
//! ```
//!
//! # What to decide, and when
//!
//! * **How durable.** The default is safe and waits for the disk; [`durable`](super::durable) has the other levels, and
//!   how many publishers share one sync.
//! * **How long a handler may take.** The lease (30 s by default). Who may take longer
//!   [extends](crate::Delivery::extend) it on the way; a handler that hangs is replaced when the lease ends.
//! * **What happens to failures.** They come again after growing waits, and after the last attempt they are parked
//!   where you can see them: [`dead_letters`](super::dead_letters).
//! * **What a handler does twice.** A process can die between the effect and the ack; then the message comes again.
//!   Make the effect idempotent, by the message's id if need be.
//! * **What stays.** What every group has settled is gone, unless a rule keeps it: [`retention`](super::retention).
//!
//! # What to watch
//!
//! [`Store::stats`](crate::Store::stats) has the numbers, and for each group the age of the oldest message that could
//! be handed out: if that grows, the group is too slow or stopped. `dead` above zero wants a person to look. For a
//! single message [`Consumer::why`](crate::Consumer::why) says what it waits for.
