//! What survives what, and what a [`Ticket`](crate::Ticket) says.
//!
//! A level names where a message is when its ticket resolves:
//!
//! | [`Durability`](crate::Durability) | when the ticket resolves, the message is | it survives |
//! |---|---|---|
//! | `Disk`, the default for publishing | synced (`fdatasync`) | a power cut |
//! | `Os`, the default for settling | written to the kernel; synced within [`sync_interval`] | the death of the process |
//! | `Memory` | in the store's own bounded buffer; written within milliseconds ([`write_delay`]) | nothing yet |
//!
//! The level of the message goes before that of its topic, and that before the store's. Losing an ack costs a delivery
//! that comes once more, and no message: hence `Os` for settling.
//!
//! Many publishers share a sync: while one is under way, those who come queue up for the next, which is for all of
//! them. A single publisher that waits for each ticket is bounded by the disk's sync; one that publishes many and then
//! waits is not:
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::{Durability, Message, Store, Ticket};
//!
//! let store = Store::open(dir.path().join("data"))?;
//! let orders = store.topic("orders")?;
//!
//! // The order of the calls is the order of the offsets, whenever the tickets are waited for.
//! let tickets: Vec<_> = ["4711", "4712", "4713"].map(|order| orders.publish(order)).into();
//! for ticket in tickets {
//!     ticket.wait()?;
//! }
//!
//! // A batch is one frame: all of it or nothing survives, and it has one ticket.
//! let receipt = orders.publish_all(["4714".into(), "4715".into()]).wait()?;
//! assert_eq!((receipt.first.get(), receipt.count), (3, 2));
//!
//! // What is cheap to lose need not wait for the disk.
//! orders.publish(Message::new("page view").durability(Durability::Memory)).wait()?;
//! // Everything so far, whatever its level.
//! store.sync().wait()?;
//! # store.close()
//! # }
//! ```
//!
//! # When a write or a sync fails
//!
//! The store is *poisoned*: the calls whose outcome hung on it fail with
//! [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown), every later one with
//! [`Poisoned`](crate::ErrorKind::Poisoned). A sync is never tried again, since the kernel may have dropped the pages
//! and would report success (Rebello et al., *Can Applications Recover from fsync Failures?*, ATC 2020). Open the store
//! anew: what cannot be proved durable is written again and synced before anything is delivered.
//!
//! A full disk poisons nothing: publishes are refused with [`Full`](crate::ErrorKind::Full), the message comes back
//! with [`into_message`](crate::Error::into_message), and consumers go on settling.
//!
//! [`sync_interval`]: crate::Options::sync_interval
//! [`write_delay`]: crate::Options::write_delay
