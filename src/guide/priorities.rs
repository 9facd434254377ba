//! Priorities: the urgent first.
//!
//! A topic may declare up to eight levels; a message says which it has, 0 being the ordinary one. Groups are handed the
//! highest level first, and within a level the oldest.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let store = millpond::Store::open(dir.path())?;
//! use millpond::{Group, Message, TopicSettings};
//!
//! let orders = store.topic_with("orders", TopicSettings::default().priorities(3))?;
//! let email = orders.consumer("email", Group::default())?;
//! orders.publish("newsletter").wait()?;
//! orders.publish(Message::new("password reset").priority(2)).wait()?;
//! let first = email.lease()?;
//! assert_eq!(first.payload(), b"password reset");
//! first.ack().wait()?;
//! # Ok(())
//! # }
//! ```
//!
//! * **Nobody starves.** What has waited for [`priority_aging`](crate::TopicSettings::priority_aging), a minute by
//!   default, is not passed any more: all that is so old goes first, in the order of offsets. If a group can't keep up
//!   with what is that old, its topic is in the end handed out in the order of offsets. RabbitMQ has no such thing: its
//!   lower levels wait for as long as there is something above them.
//! * **Retries that are due go before everything**, whatever their level, as in any other topic; so does what is
//!   suspected of having brought the process down.
//! * **An [ordered](crate::Group::ordered) group keeps its order**: of the messages that are first of their key, the
//!   highest level goes first. One that is urgent and behind another of its key waits for that one. Such a group looks
//!   for what is urgent as far as its [`look_ahead`](crate::Group::look_ahead) reaches, and not beyond.
//! * **Offsets stay what they are**: readers, seeks and retention go by them, and [`why`](crate::Consumer::why) counts
//!   those before a message by them. What is leased is not called back for something more urgent.
//! * **It costs** a bit of memory for each message above the ordinary level until it is gone, and nothing in topics
//!   that declare no levels. The levels survive a crash and a restart.
//! * A topic that declares levels later has them for what is published from then on.
