//! Consuming values: [`TypedConsumer`], [`TypedDelivery`].

use super::codec::{Codec, Postcard};
use super::schema::Schema;
use crate::clock::{Clock, SystemClock};
use crate::consumer::Consumer;
use crate::delivery::Delivery;
use crate::engine::Outcome;
use crate::error::Result;
use crate::leasing::Leasing;
use crate::ticket::Ticket;
use crate::workers::{Handled, IntoHandled, Worked, Workers};
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// A [`Consumer`] that hands out values. What can't be read as one is never handed out: it fails, with what is wrong
/// with it as the error, and the group's retry policy applies. Only with feature `typed`.
///
/// [`untyped`](Self::untyped) has all the rest: dead letters, seeking, numbers, and what stops it.
pub struct TypedConsumer<T, C = Postcard> {
    consumer: Consumer,
    schema: Arc<Schema<T, C>>,
}

impl<T, C> Clone for TypedConsumer<T, C> {
    fn clone(&self) -> Self {
        Self { consumer: self.consumer.clone(), schema: self.schema.clone() }
    }
}

impl<T, C> std::fmt::Debug for TypedConsumer<T, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TypedConsumer").field(&self.consumer).finish()
    }
}

impl<T: DeserializeOwned, C: Codec> TypedConsumer<T, C> {
    pub(super) fn new(consumer: Consumer, schema: Arc<Schema<T, C>>) -> Self {
        Self { consumer, schema }
    }

    pub(super) fn parts(&self) -> (&Consumer, &Arc<Schema<T, C>>) {
        (&self.consumer, &self.schema)
    }

    /// The consumer without the type.
    #[must_use]
    pub fn untyped(&self) -> &Consumer {
        &self.consumer
    }

    /// The next value, if one can be handed out now; see [`Consumer::try_lease`].
    ///
    /// # Errors
    /// As for [`Consumer::try_lease`].
    pub fn try_lease(&self) -> Result<Option<TypedDelivery<T>>> {
        loop {
            let Some(delivery) = self.consumer.try_lease()? else { return Ok(None) };
            if let Some(typed) = typed(&self.schema, delivery) {
                return Ok(Some(typed));
            }
        }
    }

    /// The next value, waited for as long as it takes; see [`Consumer::lease`].
    ///
    /// # Errors
    /// As for [`Consumer::lease`].
    pub fn lease(&self) -> Result<TypedDelivery<T>> {
        loop {
            if let Some(typed) = typed(&self.schema, self.consumer.lease()?) {
                return Ok(typed);
            }
        }
    }

    /// The next value, waited for up to `patience`; see [`Consumer::lease_timeout`].
    ///
    /// # Errors
    /// As for [`Consumer::lease`].
    pub fn lease_timeout(&self, patience: Duration) -> Result<Option<TypedDelivery<T>>> {
        let clock = SystemClock::new();
        let until = clock.monotonic().saturating_add(patience);
        loop {
            let left = until.saturating_sub(clock.monotonic());
            let Some(delivery) = self.consumer.lease_timeout(left)? else { return Ok(None) };
            if let Some(typed) = typed(&self.schema, delivery) {
                return Ok(Some(typed));
            }
        }
    }

    /// The next value, awaited; see [`Consumer::next`].
    ///
    /// # Errors
    /// As for [`Consumer::lease`].
    pub fn next(&self) -> TypedLeasing<T, C> {
        TypedLeasing { next: self.consumer.next(), schema: self.schema.clone() }
    }

    /// Hands values to `handler` on threads, with the deliveries they came in; see [`Consumer::run`].
    ///
    /// # Errors
    /// As for [`Consumer::run`].
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// # let orders = store.typed_topic::<u32>("orders")?;
    /// # orders.publish(&4711).wait()?;
    /// use millpond::{Group, Workers};
    /// let email = orders.consumer("email", Group::default())?;
    /// let stopper = email.untyped().stopper();
    /// email.run(Workers::threads(2), move |number: u32, delivery| {
    ///     println!("order {number}, attempt {}", delivery.attempt());
    ///     stopper.stop();
    /// })?;
    /// # assert!(email.untyped().idle());
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<R: IntoHandled>(
        &self,
        workers: Workers,
        handler: impl Fn(T, &Delivery) -> R + Send + Sync + 'static,
    ) -> Result<Worked>
    where
        T: 'static,
    {
        let schema = self.schema.clone();
        self.consumer.run(workers, move |delivery: &Delivery| match schema.decode(delivery.record()) {
            Ok(value) => handler(value, delivery).into_handled(),
            Err(error) => Handled::failed(error),
        })
    }

    /// Hands values to `handler` in tasks of tokio, with the deliveries they came in; see [`Consumer::run_async`].
    ///
    /// # Errors
    /// As for [`Consumer::run`].
    #[cfg(feature = "tokio")]
    pub async fn run_async<F, R>(
        &self,
        workers: Workers,
        handler: impl Fn(T, Arc<Delivery>) -> F + Send + Sync + 'static,
    ) -> Result<Worked>
    where
        T: Send + 'static,
        F: Future<Output = R> + Send + 'static,
        R: IntoHandled,
    {
        let (schema, handler) = (self.schema.clone(), Arc::new(handler));
        let typed = move |delivery: Arc<Delivery>| {
            let (schema, handler) = (schema.clone(), handler.clone());
            async move {
                match schema.decode(delivery.record()) {
                    Ok(value) => handler(value, delivery).await.into_handled(),
                    Err(error) => Handled::failed(error),
                }
            }
        };
        self.consumer.run_async(workers, typed).await
    }
}

/// The delivery with its value. One without fails: in a poll as well, so it waits for nothing.
pub(super) fn typed<T: DeserializeOwned, C: Codec>(
    schema: &Schema<T, C>,
    delivery: Delivery,
) -> Option<TypedDelivery<T>> {
    match schema.decode(delivery.record()) {
        Ok(value) => Some(TypedDelivery { value, delivery }),
        Err(error) => {
            tracing::warn!(offset = %delivery.offset(), %error, "a message is not what its topic's type says");
            delivery.let_go(&Outcome::Nack { error: error.to_string(), after: None });
            None
        }
    }
}

/// A typed lease that is waited for without a thread; see [`Leasing`]. Only with feature `typed`.
#[must_use = "a future does nothing unless it is polled"]
pub struct TypedLeasing<T, C = Postcard> {
    next: Leasing<Delivery>,
    schema: Arc<Schema<T, C>>,
}

impl<T, C> std::fmt::Debug for TypedLeasing<T, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TypedLeasing").field(&self.next).finish()
    }
}

impl<T: DeserializeOwned, C: Codec> Future for TypedLeasing<T, C> {
    type Output = Result<TypedDelivery<T>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let delivery = ready!(Pin::new(&mut self.next).poll(context))?;
            // If it is none, the same future waits for the next.
            if let Some(typed) = typed(&self.schema, delivery) {
                return Poll::Ready(Ok(typed));
            }
        }
    }
}

/// A value handed to a consumer, until its lease runs out: it derefs to the value, and is settled like a [`Delivery`].
/// Only with feature `typed`.
#[derive(Debug)]
#[must_use = "a delivery that is dropped unsettled counts as a failure"]
pub struct TypedDelivery<T> {
    value: T,
    delivery: Delivery,
}

impl<T> Deref for TypedDelivery<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> TypedDelivery<T> {
    /// The delivery: offset, key, headers, attempts.
    pub fn delivery(&self) -> &Delivery {
        &self.delivery
    }

    /// The value by itself, and the delivery, which is still to be settled.
    pub fn into_parts(self) -> (T, Delivery) {
        (self.value, self.delivery)
    }

    /// See [`Delivery::ack`].
    ///
    /// # Errors
    /// In the ticket; see [`Delivery`].
    pub fn ack(self) -> Ticket<()> {
        self.delivery.ack()
    }

    /// See [`Delivery::nack`].
    ///
    /// # Errors
    /// In the ticket; see [`Delivery`].
    pub fn nack(self, error: impl Display) -> Ticket<()> {
        self.delivery.nack(error)
    }

    /// See [`Delivery::nack_after`].
    ///
    /// # Errors
    /// In the ticket; see [`Delivery`].
    pub fn nack_after(self, error: impl Display, delay: Duration) -> Ticket<()> {
        self.delivery.nack_after(error, delay)
    }

    /// See [`Delivery::release`].
    ///
    /// # Errors
    /// In the ticket; see [`Delivery`].
    pub fn release(self) -> Ticket<()> {
        self.delivery.release()
    }

    /// See [`Delivery::snooze`].
    ///
    /// # Errors
    /// In the ticket; see [`Delivery`].
    pub fn snooze(self, delay: Duration) -> Ticket<()> {
        self.delivery.snooze(delay)
    }

    /// See [`Delivery::bury`].
    ///
    /// # Errors
    /// In the ticket; see [`Delivery`].
    pub fn bury(self, error: impl Display) -> Ticket<()> {
        self.delivery.bury(error)
    }

    /// See [`Delivery::extend`].
    ///
    /// # Errors
    /// As for [`Delivery::extend`].
    pub fn extend(&self, by: Duration) -> Result<()> {
        self.delivery.extend(by)
    }
}
