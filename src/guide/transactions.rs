//! Transactions: several things as one, and the patterns that are built of them.
//!
//! A [`Transaction`](crate::Transaction) takes publishes to any topics, settlements of any groups, and small values of
//! the application, all of one store. [`commit`](crate::Transaction::commit) appends them as one frame under one
//! checksum, with one write and one sync: after a crash all of it is there, or nothing.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::{ErrorKind, Group, Store};
//!
//! let store = Store::open(dir.path())?;
//! let (orders, shipments) = (store.topic("orders")?, store.topic("shipments")?);
//! orders.publish("4711").wait()?;
//! let packing = orders.consumer("packing", Group::default())?;
//!
//! let order = packing.lease()?;
//! let mut tx = store.transaction();
//! tx.publish(&shipments, "box for 4711").ack(order).set("last packed", "4711");
//! match tx.commit().wait() {
//!     Ok(committed) => assert_eq!(committed.receipts[0].offset.get(), 0),
//!     // Somebody else has the order now: nothing of this has happened.
//!     Err(error) if error.kind() == ErrorKind::LeaseLost => drop(error.into_deliveries()),
//!     Err(error) => return Err(error),
//! }
//! assert_eq!(store.get("last packed")?.as_deref(), Some(&b"4711"[..]));
//! # store.close()
//! # }
//! ```
//!
//! # What holds
//!
//! * **Whole or not at all.** One lost lease, one topic that does not end where it was
//!   [expected to](crate::Transaction::expect_end), one message that is too large, and nothing was appended; everything
//!   comes back in the error, as a whole ([`into_transaction`](crate::Error::into_transaction)) or in parts
//!   ([`into_deliveries`](crate::Error::into_deliveries), [`into_messages`](crate::Error::into_messages)).
//! * **Dropped is rolled back**, as by a `?`: what was leased is given back at once, and nothing is charged. A panic is
//!   charged, so that a message that makes its handler panic ends as a dead letter. So does one whose handler says
//!   [`nack`](crate::Delivery::nack), alone or in the transaction.
//! * **What is known is not appended again.** A message whose id was accepted before has the first receipt, and the
//!   rest happens; an id that was used for something else refuses the whole. What is acked is processed, in the same
//!   frame.
//! * **A failure has its consequences.** A nack in a transaction that is one too many parks the message, and the copy
//!   for [another topic](crate::Group::forward_dead_letters) is in the same frame.
//! * **Its level is [`Disk`](crate::Durability::Disk)** unless it
//!   [says otherwise](crate::Transaction::durability), whatever store and topics say: it contains what is published.
//! * **Seen when committed.** A message becomes visible when the transaction has reached its level, and every earlier
//!   message of its topic its own; topics do not wait for each other. A value is seen by
//!   [`Store::get`](crate::Store::get) likewise. Settlements take effect in memory at once, as they do outside.
//! * **Its size is bounded** by what fits in one frame, [`Options::max_frame_bytes`](crate::Options::max_frame_bytes).
//! * **It waits in its ticket**, as a publish does: for a write, for a segment, for ids that have to be looked up on
//!   the disk. What it settles stays leased meanwhile; a lease that is lost by then refuses the whole. On a full disk
//!   one that publishes is refused; one that settles, with values or without, goes through.
//!
//! # Small values
//!
//! A value is a few KiB at most ([`Options::max_value_bytes`](crate::Options::max_value_bytes)), all together are
//! bounded ([`Options::max_values_bytes`](crate::Options::max_values_bytes)), and each is set in a transaction: for
//! cursors, counters, the step that a saga is at. They are in memory and in the snapshots, so that opening does not
//! depend on when they were set. What is larger, or grows without bound, is a message, or belongs in a database.
//!
//! There is no lock on a value. Whoever computes one from the last makes sure by other means that nobody came in
//! between: by the lease of the message that it belongs to, which the same transaction settles, or by what a topic is
//! expected to end at.
//!
//! # Expectations
//!
//! [`Topic::publish_if`](crate::Topic::publish_if) and
//! [`Transaction::expect_end`](crate::Transaction::expect_end) succeed only if nobody has published to the topic since
//! it ended at a given offset. It is how several writers keep an invariant over what a topic holds without a lock:
//! read, decide, publish the decision where it was decided, and begin anew with what is new if somebody was quicker.
//! With an id, the same call can be made once more: it has the first answer.
//!
//! # Patterns
//!
//! Each is an example whose process is killed (SIGKILL) again and again, and a test that stops it at every step it asks
//! of the disk (`tests/patterns.rs`).
//!
//! | pattern | for | example |
//! |---|---|---|
//! | consume, transform, produce | a step of a pipeline: what was read is done, and what came of it is published | `consume_transform_produce` |
//! | transactional outbox | what a SQL database commits is published, exactly that, once | `outbox` |
//! | idempotent intake | a request that is repeated has the same answer, and is accepted once | `intake` |
//! | saga with compensation | several services, all of them or none, without a transaction over them | `saga` |
//!
//! **Consume, transform, produce.** The ack, the output and what was counted on the way are one transaction: each input
//! has its output once, however often the process dies. This is exactly once *within the store*; an effect outside of
//! it happens at least once, and needs a key by which it is known again.
//!
//! **Outbox.** Between a database and a store there is no transaction. The business row and a row of the outbox are one
//! SQL transaction; a relay publishes the rows, and notes in the same frame, as a value, how far it has come. Wherever
//! it dies, it goes on from there. On the other side the consumer makes its effect and notes the message's id in one
//! SQL transaction, and acks afterwards.
//!
//! **Intake.** The client's key is the message's id, and the answer is made of the receipt alone: repeated within the
//! window, the request is not accepted again and has the same answer; with another body it is a conflict. Stripe calls
//! the like of it an idempotency key.
//!
//! **Saga.** Each step is a message, and where the saga stands is a value: a step commits in one frame that it is done,
//! where the saga stands, and the next step. If a service says no, the steps before it are cancelled in the opposite
//! order, in the same way. A service may be called twice for one step, so each call carries a key.
//!
//! # Elsewhere
//!
//! * Kafka's transactions span partitions and consumer offsets, with a coordinator, fencing of producers, and readers
//!   that leave out what was aborted. Here a transaction is a frame: none is ever open in the log, so readers have
//!   nothing to leave out, and nobody waits for one that hangs.
//! * SQS has none: to receive, send and delete are three calls, and between them everything happens twice now and then.
//!   RabbitMQ has them in one channel, not atomic over several queues.
//! * A table of jobs in the business database needs no outbox, as long as one database holds both. See
//!   [`migration`](super::migration) for what is gained and lost.
//! * The outbox and its polling publisher are from Richardson, *Microservices Patterns* (2018); sagas from
//!   Garcia-Molina and Salem (1987); expectations are EventStoreDB's expected revision.
