//! Typed topics: values of a serde type instead of bytes. Everything but the payload is as in an untyped one.

mod codec;
mod consumer;
mod schema;
mod several;

#[cfg(feature = "json")]
pub use codec::Json;
pub use codec::{Codec, CodecResult, Postcard};
pub use consumer::{TypedConsumer, TypedDelivery, TypedLeasing};
pub use schema::SCHEMA_HEADER;
pub use several::TypedBatch;
#[cfg(feature = "stream")]
pub use several::TypedStream;

use crate::config::Group;
use crate::error::Result;
use crate::message::{BatchReceipt, Message, Receipt, Record};
use crate::store::Store;
use crate::ticket::Ticket;
use crate::topic::Topic;
use schema::Schema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// A [`Topic`] whose payloads are values of `T` in the format `C`. Only with feature `typed`.
///
/// Each message says in a header, [`SCHEMA_HEADER`], of which format and version it is. A payload that is no `T` fails
/// with what is wrong with it, and the group's retry policy applies: it ends among the dead letters, and holds nobody
/// up.
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = millpond::Store::open(dir.path())?;
/// use millpond::Group;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Order {
///     number: u32,
///     customer: String,
/// }
///
/// let orders = store.typed_topic::<Order>("orders")?;
/// orders.publish(&Order { number: 4711, customer: "c-7".into() }).wait()?;
///
/// let email = orders.consumer("email", Group::default())?;
/// let order = email.lease()?;
/// assert_eq!(order.number, 4711); // it is an `Order`
/// order.ack().wait()?; // and a delivery
/// # Ok(())
/// # }
/// ```
pub struct TypedTopic<T, C = Postcard> {
    topic: Topic,
    schema: Arc<Schema<T, C>>,
}

impl<T, C> Clone for TypedTopic<T, C> {
    fn clone(&self) -> Self {
        Self { topic: self.topic.clone(), schema: self.schema.clone() }
    }
}

impl<T, C> std::fmt::Debug for TypedTopic<T, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TypedTopic").field("name", &self.topic.name()).field("version", &self.schema.version).finish()
    }
}

impl<T, C: Codec> TypedTopic<T, C> {
    fn over(topic: Topic) -> Self {
        Self { topic, schema: Arc::new(Schema::new()) }
    }

    /// The topic without the type.
    #[must_use]
    pub fn untyped(&self) -> &Topic {
        &self.topic
    }

    /// The version that `T` is now (default 1): what is published says so.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        Arc::make_mut(&mut self.schema).version = version;
        self
    }

    /// How a message of an older version is read: as a `V`, of which `make` makes a `T`.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// # use serde::{Deserialize, Serialize};
    /// # use millpond::Group;
    /// #[derive(Serialize, Deserialize)]
    /// struct OrderV1 {
    ///     number: u32,
    /// }
    /// #[derive(Serialize, Deserialize)]
    /// struct Order {
    ///     number: u64,
    ///     express: bool,
    /// }
    /// # store.typed_topic::<OrderV1>("orders")?.publish(&OrderV1 { number: 4711 }).wait()?;
    /// let orders = store
    ///     .typed_topic::<Order>("orders")?
    ///     .version(2)
    ///     .upcast(1, |old: OrderV1| Order { number: old.number.into(), express: false });
    /// # let email = orders.consumer("email", Group::default())?;
    /// # assert_eq!(email.lease()?.number, 4711);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn upcast<V: DeserializeOwned>(mut self, version: u32, make: impl Fn(V) -> T + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.schema).upcast(version, make);
        self
    }

    /// Publishes a value; see [`Topic::publish`].
    ///
    /// # Errors
    /// In the ticket: `Misuse` with the code `unencodable` if the format can't write it, else as for
    /// [`Topic::publish`].
    pub fn publish(&self, value: &T) -> Ticket<Receipt>
    where
        T: Serialize,
    {
        match self.message(value) {
            Ok(message) => self.topic.publish(message),
            Err(error) => Ticket::done(Err(error)),
        }
    }

    /// Publishes several values as one; see [`Topic::publish_all`].
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn publish_all<'a>(&self, values: impl IntoIterator<Item = &'a T>) -> Ticket<BatchReceipt>
    where
        T: Serialize + 'a,
    {
        let messages: Result<Vec<Message>> = values.into_iter().map(|value| self.message(value)).collect();
        match messages {
            Ok(messages) => self.topic.publish_all(messages),
            Err(error) => Ticket::done(Err(error)),
        }
    }

    /// The message that a value is published as: for one with a key, an id, a delay.
    ///
    /// # Errors
    /// `Misuse` with the code `unencodable` if the format can't write it.
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// let orders = store.typed_topic::<u64>("orders")?;
    /// orders.untyped().publish(orders.message(&4711)?.id("order-4711").key("customer-7")).wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn message(&self, value: &T) -> Result<Message>
    where
        T: Serialize,
    {
        self.schema.encode(value)
    }

    /// The value of a record of this topic: for [replay](Topic::read), and for dead letters.
    ///
    /// # Errors
    /// `Unsupported` with the code `undecodable` if it is none.
    pub fn decode(&self, record: &Record) -> Result<T>
    where
        T: DeserializeOwned,
    {
        self.schema.decode(record)
    }

    /// Opens a consumer group, or makes it; see [`Topic::consumer`].
    ///
    /// # Errors
    /// As for [`Topic::consumer`].
    pub fn consumer(&self, group: &str, settings: Group) -> Result<TypedConsumer<T, C>>
    where
        T: DeserializeOwned,
    {
        Ok(TypedConsumer::new(self.topic.consumer(group, settings)?, self.schema.clone()))
    }
}

impl Topic {
    /// This topic with payloads of type `T` in the postcard format. Only with feature `typed`.
    #[must_use]
    pub fn typed<T>(&self) -> TypedTopic<T> {
        self.typed_as::<T, Postcard>()
    }

    /// This topic with payloads of type `T` in the format `C`. Only with feature `typed`.
    #[must_use]
    pub fn typed_as<T, C: Codec>(&self) -> TypedTopic<T, C> {
        TypedTopic::over(self.clone())
    }
}

impl Store {
    /// Opens or makes the topic `name`, as [`topic`](Self::topic) does, with payloads of type `T` in the postcard
    /// format. Only with feature `typed`. For another format, see [`Topic::typed_as`].
    ///
    /// # Errors
    /// As for [`topic`](Self::topic).
    pub fn typed_topic<T>(&self, name: &str) -> Result<TypedTopic<T>> {
        Ok(self.topic(name)?.typed())
    }
}
