//! Order by key: one holder of a key at a time, in the order of offsets.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! # let store = millpond::Store::open(dir.path())?;
//! use millpond::{Group, Message, WhenParked};
//! use std::time::Duration;
//!
//! let events = store.topic("events")?;
//! let message = |text: &'static str| Message::new(text).key(&text[..1]);
//! events.publish_all(["a: opened", "b: opened", "a: closed"].map(message)).wait()?;
//! let ledger = events.consumer("ledger", Group::default().ordered(WhenParked::Block))?;
//!
//! let first: Vec<_> = ledger.lease_many(10, Duration::ZERO)?.collect();
//! assert_eq!(first.len(), 2); // one of each key: what was closed waits for what was opened
//! ledger.ack_all(first).wait()?;
//! let mut runs = ledger.lease_runs(10, Duration::ZERO)?; // or all of a key at once
//! let mut run = runs.pop().unwrap();
//! while let Some(event) = run.next_delivery() {
//!     println!("{}", String::from_utf8_lossy(event.payload()));
//! }
//! run.ack().wait()?; // or `nack_at`: what came before is done, the rest goes back
//! # assert!(ledger.idle());
//! # Ok(())
//! # }
//! ```
//!
//! # The rule
//!
//! Of each key only the first message can be handed out that the group has neither settled nor given up on, and only
//! while nobody has a message of the key. Everything else follows from that:
//!
//! * A message that failed comes again before its successors, which wait while it backs off. So they do while it is
//!   snoozed, or is not due yet though it was published for later: a *delayed* message holds its key.
//! * One that expires, is cancelled, purged or dropped by a rule holds nobody.
//! * One that is redriven, or sought, joins the line at its offset: it goes before whatever of its key is not out then.
//! * After a crash, suspects (see [`poison`](super::poison)) run alone, and each in its turn.
//! * Messages without a key, and messages of different keys, do not wait for each other.
//!
//! [`Consumer::why`](crate::Consumer::why) names the offset that a message waits for;
//! [`GroupStats::key_blocked`](crate::GroupStats::key_blocked) counts those that wait.
//!
//! # When a message of a key is parked
//!
//! | [`WhenParked`](crate::WhenParked) | the others of its key | until |
//! |---|---|---|
//! | `Skip` | go on; [`Delivery::skipped`](crate::Delivery::skipped) names the one that is missing | |
//! | `Block` | wait | it is redriven or purged |
//! | `ParkKey` | are parked too, with the reason [`KeyParked`](crate::BuryReason::KeyParked), as the group comes to them | likewise; redrive them together, and they come in order |
//!
//! Nothing of that is stored: it follows from the dead letters, so that it is the same after a restart.
//!
//! # Runs
//!
//! [`Consumer::lease_runs`](crate::Consumer::lease_runs) leases several messages of a key to one holder. A
//! [`Run`](crate::Run) is settled up to a point, so that nothing is settled before what goes first.
//!
//! # What it costs
//!
//! A group that is not ordered pays nothing. An ordered one reads the keys of messages ahead of handing them out, each
//! message once in an opening of the store; and keeps in mind, with less than 48 bytes each, the messages that it came
//! past and that wait for their key. [`Group::look_ahead`](crate::Group::look_ahead) bounds how many those may be. A
//! key that is held for long stops nobody, however many messages it has: when so many wait, long lines are cut to a
//! few, and of what is cut off the group keeps a bit for each message, and for each key where they begin and how many
//! they are; it reads them again when it comes to them. Only if very many keys wait at once, each with a few messages,
//! the group looks no further, and `why` says so. [`Group::max_retrying`](crate::Group::max_retrying) bounds what waits
//! for a retry, in any group.
//!
//! Keys are told apart by 64 bits of a keyed hash. If two have the same, they wait for each other, and are parked or
//! held together; with a million keys at a time the chance that any two have is 1 in 37 million. Order is kept all the
//! same. A message whose bytes can't be read has no key that is known: it is in nobody's way, its successors go on, and
//! it is parked as [`Unreadable`](crate::BuryReason::Unreadable).
//!
//! # What others have
//!
//! * An **SQS** FIFO queue has message groups: one group is one key here, and a receive may take several messages of a
//!   group, as a run. There a failed message holds its group until it moves to the dead letter queue, which then leaves
//!   a gap in silence.
//! * **Kafka** keeps the order of a whole partition, one consumer to a partition: a slow key holds all that share the
//!   partition with it. Here the unit is the key, and any number of consumers share all of them.
//! * **Service Bus** sessions are locked to a consumer as a whole, also while nothing is in them. Here a key is free as
//!   soon as nobody has a message of it.
