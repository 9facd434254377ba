//! Typed: values of your own types instead of bytes (feature `typed`), and what to do when the types change.
//!
//! A typed topic is an ordinary one whose payloads are written and read with serde: in
//! [postcard](https://docs.rs/postcard), which is small and quick, in JSON (feature `json`), which every language
//! reads, or in a format of your own. Each message says in a header which format and which version it is. The default
//! build has none of it.
//!
//! # When a type changes
//!
//! Messages outlive programs: what was published yesterday is read by today's code, and after a rollback the other way
//! round. postcard names no fields, so any change of a type is a new version; in JSON an optional field is not. Count
//! the version up, keep the old type, and say how one becomes the other:
//!
#![cfg_attr(feature = "typed", doc = "```")]
#![cfg_attr(not(feature = "typed"), doc = "```ignore")]
//! # fn main() -> millpond::Result<()> {
//! # let dir = tempfile::tempdir().unwrap();
//! use millpond::{Group, Store};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct OrderV1 {
//!     number: u32,
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Order {
//!     number: u64,
//!     express: bool,
//! }
//!
//! let store = Store::open(dir.path())?;
//! // Yesterday:
//! store.typed_topic::<OrderV1>("orders")?.publish(&OrderV1 { number: 4711 }).wait()?;
//! // Today:
//! let orders = store
//!     .typed_topic::<Order>("orders")?
//!     .version(2)
//!     .upcast(1, |old: OrderV1| Order { number: old.number.into(), express: false });
//! orders.publish(&Order { number: 4712, express: true }).wait()?;
//!
//! let email = orders.consumer("email", Group::default())?;
//! let numbers = [email.lease()?, email.lease()?].map(|order| {
//!     let number = order.number;
//!     order.ack().detach();
//!     number
//! });
//! assert_eq!(numbers, [4711, 4712]);
//! # store.close()
//! # }
//! ```
//!
//! Bring the new reader out before the new writer: a reader doesn't guess at versions it has not heard of.
//!
//! # What is no value
//!
//! A payload that can't be read (another format, an unknown version, bytes that are no such value, a `Deserialize` that
//! panics) is never handed out. It fails with the reason as its error, and the group's retry policy applies; retries
//! are of use here, as the next program may know more. With the last one it is a dead letter, whose error says what is
//! wrong; nobody behind it waits. Once the reader has learned it, [`redrive`](crate::Consumer::redrive) brings it back.
//!
//! A message without the header, put there by hand or by another program, is read as the present version.
