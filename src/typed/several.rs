//! Several values: [`TypedBatch`], and `TypedStream`.

use super::codec::{Codec, Postcard};
use super::consumer::{TypedConsumer, TypedDelivery, typed};
use super::schema::Schema;
use crate::consumer::Batch;
use crate::error::Result;
use serde::de::DeserializeOwned;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::time::Duration;

/// Several values of one lease call; see [`TypedConsumer::lease_many`]. What can't be read as a value fails when it is
/// come by, and is left out. What was not taken out of it when it is dropped is given back uncharged.
#[must_use = "what is not taken out of a batch is given back"]
pub struct TypedBatch<T, C = Postcard> {
    batch: Batch,
    schema: Arc<Schema<T, C>>,
}

impl<T, C> std::fmt::Debug for TypedBatch<T, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TypedBatch").field(&self.batch).finish()
    }
}

impl<T: DeserializeOwned, C: Codec> Iterator for TypedBatch<T, C> {
    type Item = TypedDelivery<T>;

    fn next(&mut self) -> Option<TypedDelivery<T>> {
        loop {
            if let Some(typed) = typed(&self.schema, self.batch.next()?) {
                return Some(typed);
            }
        }
    }
}

impl<T: DeserializeOwned, C: Codec> FusedIterator for TypedBatch<T, C> {}

impl<T: DeserializeOwned, C: Codec> TypedConsumer<T, C> {
    /// Up to `max` values at once; waits up to `linger` for the first. See
    /// [`Consumer::lease_many`](crate::Consumer::lease_many).
    ///
    /// # Errors
    /// As for [`Consumer::lease`](crate::Consumer::lease).
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// use std::time::Duration;
    /// let numbers = store.typed_topic::<u32>("numbers")?;
    /// let sum = numbers.consumer("sum", millpond::Group::default())?;
    /// for number in [1, 2, 3] {
    ///     numbers.publish(&number).wait()?;
    /// }
    /// let mut total = 0;
    /// for number in sum.lease_many(10, Duration::ZERO)? {
    ///     total += *number;
    ///     number.ack().detach();
    /// }
    /// assert_eq!(total, 6);
    /// # store.close()
    /// # }
    /// ```
    pub fn lease_many(&self, max: usize, linger: Duration) -> Result<TypedBatch<T, C>> {
        let (consumer, schema) = self.parts();
        Ok(TypedBatch { batch: consumer.lease_many(max, linger)?, schema: schema.clone() })
    }
}

#[cfg(feature = "stream")]
mod stream {
    use super::*;
    use crate::leasing::DeliveryStream;
    use futures_core::stream::{FusedStream, Stream};
    use std::pin::Pin;
    use std::task::{Context, Poll, ready};

    /// The values of a group as a [`Stream`]; see [`TypedConsumer::stream`].
    #[must_use = "a stream does nothing unless it is polled"]
    pub struct TypedStream<T, C = Postcard> {
        deliveries: DeliveryStream,
        schema: Arc<Schema<T, C>>,
    }

    impl<T, C> std::fmt::Debug for TypedStream<T, C> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_tuple("TypedStream").field(&self.deliveries).finish()
        }
    }

    impl<T: DeserializeOwned, C: Codec> Stream for TypedStream<T, C> {
        type Item = Result<TypedDelivery<T>>;

        fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            loop {
                match ready!(Pin::new(&mut self.deliveries).poll_next(context)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    // If it is none, the next may be there.
                    Some(Ok(delivery)) => {
                        if let Some(typed) = typed(&self.schema, delivery) {
                            return Poll::Ready(Some(Ok(typed)));
                        }
                    }
                }
            }
        }
    }

    impl<T: DeserializeOwned, C: Codec> FusedStream for TypedStream<T, C> {
        fn is_terminated(&self) -> bool {
            self.deliveries.is_terminated()
        }
    }

    impl<T: DeserializeOwned, C: Codec> TypedConsumer<T, C> {
        /// The values one after the other, awaited, until the consumer is stopped or the store is closed; see
        /// [`Consumer::stream`](crate::Consumer::stream). Only with feature `stream`.
        pub fn stream(&self) -> TypedStream<T, C> {
            let (consumer, schema) = self.parts();
            TypedStream { deliveries: consumer.stream(), schema: schema.clone() }
        }
    }
}

#[cfg(feature = "stream")]
pub use stream::TypedStream;
