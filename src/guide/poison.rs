//! Poison-proof: a message that kills its process is found and parked, and those beside it go free.
//!
//! An error of a handler is a *failure* and is counted. A message whose handler brings the whole process down, by an
//! abort, a stack overflow or the kernel's out-of-memory killer, never gets that far. So that a message is about to be
//! handed out is in the journal before a handler sees it, and when a store opens after its process died:
//!
//! * Every message that was in flight is a *suspect*. Suspects are handed out one at a time, before anything else of
//!   the group, until each is settled or its lease ends with the process alive: then it is cleared, and nothing is
//!   charged.
//! * A process that dies while a suspect is the only delivery in flight lays that death to it: it counts one *crash*
//!   more, and the crash that made it a suspect.
//! * With [`max_crashes`](crate::Group::max_crashes) (3) it is parked as a dead letter with reason
//!   [`Crashes`](crate::BuryReason::Crashes).
//!
//! So one killer among a hundred costs three restarts at most, and the other ninety-nine are charged nothing. If the
//! machine went down and not only the process (its boot id changed), nobody is a suspect. The record of hand-outs runs
//! a little ahead of them, so that a lease costs no write of its own; a message that was named and never handed out
//! costs at most one turn alone.
//!
//! ```
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::{Group, Store};
//!
//! let store = Store::open(dir.path())?;
//! let orders = store.topic("orders")?;
//! let email = orders.consumer("email", Group::default().max_crashes(5))?;
//! println!("{} were in flight when the last process died", store.recovery().suspects);
//! if let Some(order) = email.try_lease()? {
//!     // Time to be careful: more logging, a subprocess, a memory limit.
//!     let careful = order.is_suspect();
//!     # let _ = careful;
//!     order.ack().wait()?;
//! }
//! # store.close()
//! # }
//! ```
