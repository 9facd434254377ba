//! Messages for later, and by which clock.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let store = millpond::Store::open(dir.path())?;
//! use millpond::{Group, Message, Timestamp};
//! use std::time::Duration;
//!
//! let reminders = store.topic("reminders")?;
//! let mail = reminders.consumer("mail", Group::default())?;
//! reminders.publish(Message::new("in a moment").delay(Duration::from_secs(1))).wait()?;
//! reminders.publish(Message::new("in 2100").deliver_at(Timestamp::new(4_102_444_800_000))).wait()?;
//! reminders.publish("now").wait()?;
//!
//! let now = mail.lease()?;
//! assert_eq!(now.payload(), b"now"); // the two before it hold nobody up
//! let later = mail.lease()?; // sleeps until it is due; nothing is polled
//! assert_eq!(later.payload(), b"in a moment");
//! later.snooze(Duration::from_secs(60)).wait()?; // once more in a minute, without a charge
//!
//! let waiting: Vec<_> = reminders.scheduled(..).collect::<millpond::Result<_>>()?;
//! assert_eq!(waiting.len(), 1);
//! assert!(reminders.cancel(waiting[0].offset)?);
//! # now.ack().wait()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Never early
//!
//! * A **delay** and a snooze run on a clock that nobody sets as long as the store is open, and on the wall clock from
//!   a
//!   close, or a crash, to the next opening. Setting the machine's clock while the store is open changes nothing.
//! * A **deliver-at** is held against the wall clock as it stands. If it is set back, a message that nobody was given
//!   yet waits again; if it is set forward, the message is due at once, which is noticed at the latest after
//!   [`Options::wall_check`](crate::Options::wall_check).
//!
//! A consumer that waits in [`Consumer::lease`](crate::Consumer::lease) wakes when the next message falls due.
//!
//! In an [ordered](super::ordering) group a delayed message holds those behind it that have the same key.
//!
//! # What it costs
//!
//! A delayed message keeps its offset and is in its topic's schedule once, however many groups there are: less than 48
//! bytes of memory. A delay leaves the schedule when it is due, a deliver-at when every group is done with it, since
//! the
//! clock may be set back. [`Topic::scheduled`](crate::Topic::scheduled) lists what waits,
//! [`Topic::cancel`](crate::Topic::cancel) drops it before any group was handed it. This is what beanstalkd and SQS
//! call
//! a delay, without an upper limit.
