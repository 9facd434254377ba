//! Testing a program that uses millpond: a store in memory, a clock by hand, and handlers that are killed at each step.
//!
//! All of it is behind the feature `testing`, which a program turns on in its `[dev-dependencies]`:
//!
//! ```toml
//! [dev-dependencies]
//! millpond = { version = "0.1", features = ["testing"] }
//! ```
//!
//! # A store in memory, and time
//!
//! `millpond::testing::Pond` is the whole engine on a disk in memory, without threads. Nothing sleeps: `advance` lets
//! time pass, and what falls due by it happens before it returns.
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! # fn main() -> millpond::Result<()> {
//! use millpond::Group;
//! use millpond::testing::Pond;
//! use std::time::Duration;
//!
//! let pond = Pond::new()?;
//! let orders = pond.store().topic("orders")?;
//! let email = orders.consumer("email", Group::default().lease(Duration::from_secs(30)))?;
//! orders.publish("4711").wait()?;
//! std::mem::forget(email.try_lease()?); // a worker that hangs
//! pond.advance(Duration::from_secs(31));
//! assert_eq!(email.stats().retrying, 1); // its lease ran out, and the retry waits
//! # Ok(())
//! # }
//! ```
//!
//! `kill` and `cut_power` end the process or the machine under it, and open what is left.
//!
//! # Is the handler idempotent?
//!
//! A message comes at least once: a process can die between the effect of a handler and its ack. `testing::Chaos` tries
//! that out. It runs the handler once as it is, and then once for each of its steps and each fault: failed there,
//! killed there, overtaken there by another one after its lease ran out. Then with two of them, if one alone did no
//! harm: a second one strikes at each step that comes after the first, in at most as many rounds as `pairs` says (100).
//! What the handler has left behind in the world is compared with what it leaves without faults.
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! # fn main() -> millpond::Result<()> {
//! use millpond::Delivery;
//! use millpond::testing::{Chaos, Steps};
//! use std::cell::RefCell;
//! use std::collections::BTreeMap;
//!
//! /// The world: what was charged, by order, and the mails that were sent.
//! #[derive(Default)]
//! struct World {
//!     charged: RefCell<BTreeMap<u64, u32>>,
//!     mails: RefCell<Vec<u64>>,
//! }
//!
//! fn handle(world: &World, order: &Delivery, steps: &Steps<'_>) {
//!     let order = order.offset().get();
//!     world.charged.borrow_mut().insert(order, 100); // by the order's number: again is the same
//!     steps.at("charged");
//!     world.mails.borrow_mut().push(order); // again is one more
//!     steps.at("mailed");
//! }
//!
//! let report = Chaos::new(World::default).message("4711").run(handle, |world| {
//!     (world.charged.borrow().clone(), world.mails.borrow().len())
//! })?;
//! assert_eq!(report.steps.len(), 4);
//! let at: Vec<&str> = report.findings.iter().map(|finding| finding.step.as_str()).collect();
//! assert!(!at.contains(&"charged") || at.contains(&"mailed"));
//! assert!(!report.is_idempotent()); // a mail too many, unless it is sent once by its id
//! println!("{report}");
//! # Ok(())
//! # }
//! ```
//!
//! In a real handler `Steps` is best hidden behind a function that does nothing outside tests. What it cannot find:
//! three faults in a row, a fault in the one that overtakes, and effects that you don't observe. The report says how
//! many ways with two faults were left out.
