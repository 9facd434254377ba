//! Deduplication: a message that is published twice is accepted once, and one that comes twice is processed once.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let store = millpond::Store::open(dir.path())?;
//! use millpond::{ErrorKind, Group, Message, Window};
//!
//! let orders = store.topic("orders")?;
//! let first = orders.publish(Message::new("3 mills").id("order-4711")).wait()?;
//! // The answer was lost on the way, so the publisher tries again.
//! let again = orders.publish(Message::new("3 mills").id("order-4711")).wait()?;
//! assert_eq!((again.offset, again.duplicate), (first.offset, true));
//! // The same id for something else is a mistake, and said.
//! let error = orders.publish(Message::new("5 mills").id("order-4711")).wait().unwrap_err();
//! assert_eq!((error.kind(), error.code()), (ErrorKind::Misuse, "id-reused"));
//!
//! // The inbox: what a group has acked is not handed to it again, by whatever way it comes.
//! let inbox = || Group::default().remember_processed(Window::Forever).processed_table("payments");
//! let (mail, web) = (store.topic("by mail")?, store.topic("by web")?);
//! let (by_mail, by_web) = (mail.consumer("book", inbox())?, web.consumer("book", inbox())?);
//! mail.publish(Message::new("12.50").id("payment-7")).wait()?;
//! web.publish(Message::new("12.50").id("payment-7")).wait()?;
//! by_mail.lease()?.ack().wait()?;
//! assert!(by_web.try_lease()?.is_none());
//! assert_eq!(by_web.stats().removed.processed, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Publishing
//!
//! A message with an [`id`](crate::Message::id) is accepted once within its topic's
//! [window](crate::TopicSettings::deduplicate): publishing the id again is no error, appends nothing, and answers with
//! the receipt of the first time, [`duplicate`](crate::Receipt::duplicate) set. So after a timeout, a crash, or
//! [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown), publishing again with the same id settles it.
//!
//! * The answer is a promise like any other: it resolves when the *first* message is as durable as the *second* call
//!   asked for. A publish whose id is still under way waits for the first and shares its fate.
//! * A [batch](crate::Topic::publish_all) is appended without its duplicates, and
//!   [`BatchReceipt::receipts`](crate::BatchReceipt::receipts) has an answer for each message. One id that was reused
//!   for another payload refuses all of it.
//! * An id outlives its message: it is remembered though that was acked, expired or purged, and across restarts.
//!   [`Purge::forget_ids`](crate::Purge::forget_ids) forgets on purpose. An id whose publish was refused is not
//!   remembered.
//! * Of the payload a hash is kept; whether another payload is refused, says
//!   [`TopicSettings::refuse_reused_ids`](crate::TopicSettings::refuse_reused_ids). The hash covers the payload alone,
//!   not key and headers.
//!
//! | window | an id is remembered |
//! |---|---|
//! | [`Window::Off`](crate::Window::Off) | not at all |
//! | [`Window::For`](crate::Window::For) | for so long after it was accepted; 7 days if nothing is said. The clock does not go back with the machine's; one that is far ahead at opening counts after an hour, as for [ages](super::retention) |
//! | [`Window::Last`](crate::Window::Last) | as long as it is one of the topic's last so many messages |
//! | [`Window::Forever`](crate::Window::Forever) | for ever |
//!
//! Elsewhere: Amazon SQS FIFO queues remember for five minutes and Azure Service Bus for ten minutes to seven days,
//! both without looking at the payload; NATS JetStream remembers a `Nats-Msg-Id` for two minutes if nothing is said.
//! Kafka's idempotent producer recognizes the retries of one producer's session, and not a second try of the
//! application.
//!
//! # Processing
//!
//! A window ends, and two systems may send the same thing by two ways. A group with
//! [`remember_processed`](crate::Group::remember_processed) keeps the ids of what it acked, in one step with the ack:
//! a message with such an id is settled instead of handed out, counted as
//! [`processed`](crate::Removed::processed) and shown in [`Store::events`](crate::Store::events). Groups that name one
//! [`processed_table`](crate::Group::processed_table) share what they keep.
//! [`Consumer::is_processed`](crate::Consumer::is_processed) is there for work that arrives from elsewhere.
//!
//! Only an ack counts: what was nacked, released or buried is not processed. Copies that are in two hands at once are
//! not held back from each other. A seek hands nothing out again that the inbox knows: to process it once more, turn
//! the inbox off, or use another group.
//!
//! # How certain it is
//!
//! Ids and payloads are compared by a 128-bit hash, keyed with a random key of the store, so that nobody outside can
//! make two that collide. That it happens by accident has a probability of about n² / 2^129 for n ids in the window:
//! with a billion, one in 10^21. You would sooner lose the machine to a meteorite.
//!
//! What is remembered is in the journal, with the message or the ack. All else is a view of it: runs of published ids
//! beside the journal's segments, and the directory `tables` with processed ids. They can be deleted, be damaged or be
//! an older copy; opening then takes longer, says so in [`RecoveryReport`](crate::RecoveryReport), and gives the same
//! answers.
//!
//! # What it costs
//!
//! A message without an id pays nothing. One with an id has 32 bytes of hashes more in the journal, and about 60 bytes
//! in a run until its window ends. Runs of neighbouring segments become one by and by, whenever there are four of about
//! one size, so that an id is asked for in few of them, and is written again as often as ids grow fourfold.
//!
//! Memory is bounded by [`Options::id_memory_bytes`](crate::Options::id_memory_bytes): ids that came last lie in it
//! with all there is to them, and of those on disk 2.5 bytes each, as long as that is no more than half of it. Then a
//! new id costs no read, and a duplicate one of half a kibibyte. Beyond that the largest runs are asked on disk: a new
//! id costs a read for each of those, and a duplicate some three more; nothing else changes. A duplicate of what came
//! last is cheaper than a new message, since it is in memory; one of what came long ago is about twice as dear as a new
//! one in a batch: that read alone costs more than all there is to a new one. How many ids there may be in all, and
//! what happens then, is said by [`Options::id_budget`](crate::Options::id_budget).
//! [`Store::id_stats`](crate::Store::id_stats) says how things stand.
//!
//! # What is trusted how far
//!
//! Processed ids lie in sled, which is trusted with nothing that the journal does not hold. Each call of it is made by
//! a thread that is left behind if there is no answer within 30 seconds; whatever panics, fails or hangs in there has
//! the tables set aside and made anew from the journal. A hang keeps whoever asked for those 30 seconds, and what hangs
//! keeps its thread and memory until the process ends. Nor is it
//! believed when it says that an id is not there. Ids lie in parts of a few rows, and for each part there is a sum that
//! all of its rows go into; whoever asks for an id has the whole part read, and is answered only if the sum is right.
//! The sums are in memory (up to 512 KiB, and no more than a sixty-fourth of what ids may take), and what the journal
//! names is a hash of all of them: so a row that is lost or stale is noticed by whoever asks for it, and made again
//! from the journal. With a million ids a part has about fifteen rows to be read for an answer, with ten million 150.
