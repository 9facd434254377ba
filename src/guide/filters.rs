//! Filters: a group that wants some of a topic's messages.
//!
//! One topic can carry messages of several kinds, and a group can want some of them: by a header with a value, or by
//! what its key begins with. See [`Filter`](crate::Filter).
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let store = millpond::Store::open(dir.path())?;
//! use millpond::{Filter, Group, Message};
//!
//! let orders = store.topic("orders")?;
//! let created = Group::default().filter(Filter::header("kind", "created"));
//! let email = orders.consumer("email", created)?;
//! orders.publish(Message::new("4711").header("kind", "created")).wait()?;
//! orders.publish(Message::new("4711").header("kind", "paid")).wait()?;
//! orders.publish(Message::new("4712").header("kind", "created")).wait()?;
//! let mut given = Vec::new();
//! while let Some(order) = email.try_lease()? {
//!     given.push(order.payload().to_vec());
//!     order.ack().wait()?;
//! }
//! assert_eq!(given, [b"4711", b"4712"]);
//! assert_eq!(email.stats().removed.filtered, 1);
//! # Ok(())
//! # }
//! ```
//!
//! * What is not selected is settled for the group, and counted as [`filtered`](crate::Removed::filtered). It is never
//!   out, takes no place of [`max_in_flight`](crate::Group::max_in_flight) and no token of a rate.
//! * The store looks at a message when its turn comes, and ahead of that in the background, some ten thousand a second:
//!   a group that wants nothing of what there is pins none of it, though nobody asks. Until a message was looked at it
//!   counts as ready. After a restart what is not settled is looked at once more.
//! * The filter is stored with the group. A change goes for what is neither settled nor out: what an earlier filter
//!   left out stays settled, unless the group [seeks](crate::Consumer::seek); what is out stays with its holder, and is
//!   looked at again if it comes back. Dead letters stay, and are looked at when they are redriven.
//!
//! NATS has `filter_subject` for the like of it, and Amazon SNS filter policies between a topic and a queue. AMQP
//! brokers route by a header when a message is published, so that a change of the binding goes for later ones only.
