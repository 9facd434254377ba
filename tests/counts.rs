//! What each call asks of the disk, counted on the simulated one: no clock, no noise, the same everywhere.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

use millpond::testing::{Counts, SimDisk};
use millpond::{Consumer, Durability, Group, ManualClock, Message, Options, Store, Timestamp, Topic};

const ONE_WRITE: (u64, u64) = (1, 0);
const ONE_WRITE_ONE_SYNC: (u64, u64) = (1, 1);
const NOTHING: (u64, u64) = (0, 0);

struct Bench {
    disk: SimDisk,
    store: Store,
    topic: Topic,
    consumer: Consumer,
}

fn open(disk: &SimDisk, options: Options) -> Store {
    Store::open_simulated(disk, ManualClock::starting_at(Timestamp::new(1_000_000)), 1, options).unwrap()
}

impl Bench {
    fn new(options: Options) -> Self {
        let disk = SimDisk::new(1);
        let store = open(&disk, options.first_segment_bytes(256 << 10).segment_bytes(256 << 10));
        let topic = store.topic("orders").unwrap();
        let consumer = topic.consumer("email", Group::default()).unwrap();
        Self { disk, store, topic, consumer }
    }

    fn publishing(level: Durability) -> Self {
        Self::new(Store::options().durability(level))
    }

    /// Writes and syncs that `work` leads to. Nothing else may happen.
    fn cost(&self, work: impl FnOnce()) -> (u64, u64) {
        cost(&self.disk, work)
    }
}

fn cost(disk: &SimDisk, work: impl FnOnce()) -> (u64, u64) {
    let before = disk.counts();
    work();
    let after = disk.counts();
    let (writes, syncs) = (after.writes - before.writes, after.syncs - before.syncs);
    assert_eq!(after.operations - before.operations, writes + syncs, "{before:?} {after:?}");
    (writes, syncs)
}

fn message() -> Message {
    Message::copy_of(&[7; 100])
}

fn publish(topic: &Topic) {
    topic.publish(message()).wait().unwrap();
}

#[test]
fn a_durable_publish_is_one_write_and_one_sync() {
    let bench = Bench::publishing(Durability::Disk);
    for _ in 0..10 {
        assert_eq!(bench.cost(|| publish(&bench.topic)), ONE_WRITE_ONE_SYNC);
    }
}

#[test]
fn a_durable_batch_of_a_hundred_is_one_write_and_one_sync() {
    let bench = Bench::publishing(Durability::Disk);
    let batch = || bench.topic.publish_all((0..100).map(|_| message())).wait().unwrap().count;
    assert_eq!(bench.cost(|| assert_eq!(batch(), 100)), ONE_WRITE_ONE_SYNC);
}

#[test]
fn sixty_four_durable_publishes_share_one_write_and_one_sync() {
    let bench = Bench::publishing(Durability::Disk);
    let tickets: Vec<_> = (0..64).map(|_| bench.topic.publish(message())).collect();
    // Whoever waits first leads for all.
    let wait_for_all = || tickets.into_iter().for_each(|ticket| assert!(ticket.wait().is_ok()));
    assert_eq!(bench.cost(wait_for_all), ONE_WRITE_ONE_SYNC);
}

#[test]
fn an_os_publish_is_one_write_and_no_sync() {
    let bench = Bench::publishing(Durability::Os);
    assert_eq!(bench.cost(|| publish(&bench.topic)), ONE_WRITE);
}

#[test]
fn a_memory_publish_asks_nothing_of_the_disk_and_a_thousand_become_one_write() {
    let bench = Bench::publishing(Durability::Memory);
    let publish = || (0..1000).for_each(|_| publish(&bench.topic));
    assert_eq!(bench.cost(publish), NOTHING);
    assert_eq!(bench.cost(|| assert!(bench.store.step_commit().unwrap())), ONE_WRITE);
}

#[test]
fn a_lease_is_at_most_one_write_and_a_window_of_them_none() {
    let bench = Bench::publishing(Durability::Disk);
    bench.topic.publish_all((0..100).map(|_| message())).wait().unwrap();
    let mut held = Vec::new();
    let lease_all = || (0..100).for_each(|_| held.push(bench.consumer.try_lease().unwrap().unwrap()));
    let (writes, syncs) = bench.cost(lease_all);
    // The window doubles: 1, 2, 4, ..
    assert!(writes <= 8 && syncs == 0, "{writes} writes, {syncs} syncs");
    held.into_iter().for_each(|delivery| delivery.ack().detach());
}

/// What has to be with the kernel before a hand-out is the record that names it, and not what came behind that.
#[test]
fn a_hundred_leases_and_acks_that_nobody_waits_for_are_a_write_for_each_window_and_no_more() {
    let bench = Bench::publishing(Durability::Disk);
    bench.topic.publish_all((0..100).map(|_| message())).wait().unwrap();
    let drain = || (0..100).for_each(|_| bench.consumer.try_lease().unwrap().unwrap().ack().detach());
    let (writes, syncs) = bench.cost(drain);
    assert!(writes <= 8 && syncs == 0, "{writes} writes, {syncs} syncs");
    assert!(bench.consumer.idle());
}

#[test]
fn an_ack_that_is_waited_for_is_one_write_and_no_sync() {
    let bench = Bench::publishing(Durability::Disk);
    bench.topic.publish(message()).wait().unwrap();
    let delivery = bench.consumer.try_lease().unwrap().unwrap();
    assert_eq!(bench.cost(|| delivery.ack().wait().unwrap()), ONE_WRITE);
}

#[test]
fn an_ack_that_is_asked_to_be_durable_is_one_write_and_one_sync() {
    let bench = Bench::new(Store::options().ack_durability(Durability::Disk));
    bench.topic.publish(message()).wait().unwrap();
    let delivery = bench.consumer.try_lease().unwrap().unwrap();
    assert_eq!(bench.cost(|| delivery.ack().wait().unwrap()), ONE_WRITE_ONE_SYNC);
}

#[test]
fn acks_of_a_whole_batch_are_one_write_and_detached_ones_none() {
    let bench = Bench::publishing(Durability::Disk);
    bench.topic.publish_all((0..100).map(|_| message())).wait().unwrap();
    let first = bench.consumer.lease_many(50, std::time::Duration::ZERO).unwrap();
    assert_eq!(bench.cost(|| bench.consumer.ack_all(first).wait().unwrap()), ONE_WRITE);
    let rest = bench.consumer.lease_many(50, std::time::Duration::ZERO).unwrap();
    assert_eq!(bench.cost(|| bench.consumer.ack_all(rest).detach()), NOTHING);
}

#[test]
fn a_transaction_of_one_ack_and_one_publish_is_one_write_and_one_sync() {
    let bench = Bench::publishing(Durability::Disk);
    let done = bench.store.topic("done").unwrap();
    bench.topic.publish_all((0..3).map(|_| message())).wait().unwrap();
    for (level, cost) in
        [(Durability::Disk, ONE_WRITE_ONE_SYNC), (Durability::Os, ONE_WRITE), (Durability::Memory, NOTHING)]
    {
        let delivery = bench.consumer.try_lease().unwrap().unwrap();
        let mut tx = bench.store.transaction();
        tx.publish(&done, message()).ack(delivery).durability(level);
        assert_eq!(bench.cost(|| assert_eq!(tx.commit().wait().unwrap().receipts.len(), 1)), cost, "{level:?}");
    }
}

#[test]
fn a_transaction_over_many_topics_and_groups_is_one_write_and_one_sync() {
    let bench = Bench::publishing(Durability::Disk);
    let topics: Vec<Topic> = (0..10).map(|number| bench.store.topic(&format!("topic {number}")).unwrap()).collect();
    let consumers: Vec<Consumer> =
        topics.iter().map(|topic| topic.consumer("group", Group::default()).unwrap()).collect();
    topics.iter().for_each(publish);
    let mut tx = bench.store.transaction();
    for (topic, consumer) in topics.iter().zip(&consumers) {
        tx.publish(topic, message()).ack(consumer.try_lease().unwrap().unwrap()).set(topic.name(), "1");
    }
    assert_eq!(bench.cost(|| assert_eq!(tx.commit().wait().unwrap().receipts.len(), 10)), ONE_WRITE_ONE_SYNC);
    let mut tx = bench.store.transaction();
    tx.publish(&bench.topic, message());
    assert_eq!(bench.cost(|| drop(tx)), NOTHING, "rolled back");
}

#[test]
fn a_sync_of_what_is_durable_already_is_nothing() {
    let bench = Bench::publishing(Durability::Os);
    bench.topic.publish(message()).detach();
    assert_eq!(bench.cost(|| bench.store.sync().wait().unwrap()), ONE_WRITE_ONE_SYNC);
    assert_eq!(bench.cost(|| bench.store.sync().wait().unwrap()), NOTHING);
}

/// Writes, syncs of files, and syncs of directories.
fn work(before: Counts, after: Counts) -> (u64, u64, u64) {
    (after.writes - before.writes, after.syncs - before.syncs, after.dir_syncs - before.dir_syncs)
}

#[test]
fn opening_and_closing_a_store_that_was_closed_costs_the_same_however_much_is_in_it() {
    let mut costs = Vec::new();
    for messages in [0, 1, 500] {
        let Bench { disk, store, topic, .. } = Bench::publishing(Durability::Memory);
        (0..messages).for_each(|_| publish(&topic));
        store.close().unwrap();
        let closed = disk.counts();
        let store = open(&disk, Options::default());
        let opened = disk.counts();
        store.close().unwrap();
        costs.push((work(closed, opened), work(opened, disk.counts())));
    }
    // Opening: the last frame once more, with the names of both directories, and `Opened`. Closing: `Closed`, and the
    // sidecar.
    assert_eq!(costs, [((2, 2, 2), (2, 2, 1)); 3], "writes, syncs, syncs of directories");
}
