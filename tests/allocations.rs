//! What each call asks of the allocator, in the caller's thread, counted: no clock, no noise, the same everywhere.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

use allocation_counter::measure;
use millpond::{Durability, Group, Message, Store};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const CALLS: u64 = 1_000;

/// Allocations for each call of `work`, to the next whole number, once everything has been warmed up. What grows with
/// the store (a buffer that doubles, an entry of an index for each 4 KiB) is shared by all calls.
fn each(mut work: impl FnMut()) -> u64 {
    (0..CALLS).for_each(|_| work());
    let count = measure(|| (0..CALLS).for_each(|_| work())).count_total;
    (count + CALLS / 2) / CALLS
}

fn store(directory: &tempfile::TempDir) -> Store {
    // Nothing is written by the way: what the commit allocates is its own.
    Store::options().write_delay(Duration::from_secs(60)).open(directory.path().join("store")).unwrap()
}

#[test]
fn a_publish_allocates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let orders = store.topic("orders").unwrap();
    for level in [Durability::Memory, Durability::Os] {
        let count = each(|| {
            orders.publish(Message::new(&b"4711"[..]).durability(level)).wait().unwrap();
        });
        assert_eq!(count, 0, "{level:?}");
    }
    store.close().unwrap();
}

#[test]
fn a_batch_allocates_for_the_batch_and_not_for_its_messages() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let orders = store.topic("orders").unwrap();
    let count = each(|| {
        let messages = (0..100).map(|_| Message::new(&b"4711"[..]).durability(Durability::Memory));
        orders.publish_all(messages).wait().unwrap();
    });
    // The messages, the heads, the checksums, the stamp, and all of it in one piece.
    assert!(count <= 5, "{count}");
    store.close().unwrap();
}

#[test]
fn a_delivery_allocates_a_fixed_number_of_times() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let orders = store.topic("orders").unwrap();
    orders.publish_all((0..5_000).map(|_| Message::new(&b"4711"[..]))).wait().unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    let count = each(|| email.try_lease().unwrap().unwrap().ack().wait().unwrap());
    assert!(count <= 2, "{count}");
    store.close().unwrap();
}

#[test]
fn a_batch_that_is_leased_and_acked_allocates_for_the_batch_and_not_for_its_messages() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let orders = store.topic("orders").unwrap();
    let batch = || (0..1_000).map(|_| Message::new(&b"4711"[..]).durability(Durability::Memory));
    (0..210).for_each(|_| _ = orders.publish_all(batch()).wait().unwrap());
    let email = orders.consumer("email", Group::default()).unwrap();
    let count = each(|| {
        let leased = email.lease_many(100, Duration::ZERO).unwrap();
        assert_eq!(leased.len(), 100);
        email.ack_all(leased).detach();
    });
    assert!(count <= 6, "{count}");
    store.close().unwrap();
}

/// Listens to nothing, and counts how often it is asked all the same.
#[derive(Clone, Default)]
struct Deaf(Arc<AtomicU64>);

impl Deaf {
    fn asked(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        false
    }
}

impl tracing::Subscriber for Deaf {
    fn register_callsite(&self, _: &'static tracing::Metadata<'static>) -> tracing::subscriber::Interest {
        tracing::subscriber::Interest::never()
    }

    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        self.asked()
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        self.asked();
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {
        self.asked();
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {
        self.asked();
    }

    fn event(&self, _: &tracing::Event<'_>) {
        self.asked();
    }

    fn enter(&self, _: &tracing::span::Id) {
        self.asked();
    }

    fn exit(&self, _: &tracing::span::Id) {
        self.asked();
    }
}

#[test]
fn where_nobody_listens_traces_ask_nothing_of_anybody_and_nothing_of_the_allocator() {
    let directory = tempfile::tempdir().unwrap();
    let store = store(&directory);
    let orders = store.topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    let deaf = Deaf::default();
    tracing::subscriber::with_default(deaf.clone(), || {
        let publish = || orders.publish(Message::new(&b"4711"[..]).durability(Durability::Memory)).wait().unwrap();
        let published = each(|| _ = publish());
        let delivered = each(|| email.try_lease().unwrap().unwrap().ack().wait().unwrap());
        assert!(published == 0 && delivered <= 2, "{published} and {delivered}, as without traces");
    });
    assert_eq!(deaf.0.load(Ordering::Relaxed), 0);
    store.close().unwrap();
}
