//! What may be sent to, shared with and kept by other threads and tasks: checked when this is compiled.

use millpond::{
    Batch, BatchReceipt, BuryReason, Committed, Consumer, Counters, DeadLetter, Delivery, Error, Message, Options,
    Progress, Receipt, Record, RecoveryReport, Replay, Report, Stopper, Store, StoreStats, Ticket, Topic, Transaction,
};

const fn shared<T: Send + Sync + 'static>() {}
const fn sent<T: Send + 'static>() {}
const fn cloned<T: Clone + Send + Sync + 'static>() {}
const fn future<T: Future + Unpin + Send + 'static>() {}
const fn iterator<T: Iterator + Send + 'static>() {}

const _: () = {
    cloned::<Store>();
    cloned::<Topic>();
    cloned::<Consumer>();
    cloned::<Stopper>();
    cloned::<Options>();
    cloned::<Message>();
    cloned::<Record>();
    cloned::<StoreStats>();
    cloned::<Counters>();
    cloned::<BuryReason>();

    shared::<Delivery>();
    shared::<Batch>();
    shared::<Transaction>();
    shared::<DeadLetter>();
    shared::<Error>();
    shared::<RecoveryReport>();
    shared::<Report>();
    sent::<Progress>();

    future::<Ticket<()>>();
    future::<Ticket<Receipt>>();
    future::<Ticket<BatchReceipt>>();
    future::<Ticket<Committed>>();
    iterator::<Batch>();
    iterator::<Replay>();
};

/// A future that holds handles and settles across an `.await` can be spawned on any runtime.
#[expect(dead_code, reason = "that it compiles is the test")]
fn a_task_can_hold_the_handles(store: Store, topic: Topic, consumer: Consumer) {
    sent_value(async move {
        topic.publish("4711").await?;
        if let Some(delivery) = consumer.try_lease()? {
            topic.publish(delivery.payload().to_vec()).await?;
            delivery.ack().await?;
        }
        let mut tx = store.transaction();
        tx.publish(&topic, "4712").ack(consumer.lease()?);
        tx.commit().await?;
        Ok::<(), Error>(())
    });
}

fn sent_value<T: Send + 'static>(_: T) {}

#[test]
fn an_error_is_one_word() {
    assert_eq!(size_of::<Error>(), size_of::<usize>());
}
