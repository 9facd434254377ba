//! A message becomes visible when it and every earlier one of its topic has reached the level each asked for, whichever
//! way it was published. Without threads: nothing is written or synced unless somebody asks for it.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

use millpond::testing::SimDisk;
use millpond::{Consumer, Durability, Group, ManualClock, Message, Offset, Options, Store, Timestamp, Topic};

fn open() -> (Store, Topic, Consumer) {
    let clock = ManualClock::starting_at(Timestamp::new(1_000_000));
    let store = Store::open_simulated(&SimDisk::new(1), clock, 1, Options::default()).unwrap();
    let topic = store.topic("orders").unwrap();
    let consumer = topic.consumer("email", Group::default()).unwrap();
    (store, topic, consumer)
}

/// A plain message, and one that is not: they are taken in by different ways.
fn both() -> [Message; 2] {
    [Message::new("plain"), Message::new("other").header("name", "value")]
}

fn leased(consumer: &Consumer) -> Option<Offset> {
    consumer.try_lease().unwrap().map(|delivery| {
        let offset = delivery.offset();
        delivery.ack().detach();
        offset
    })
}

#[test]
fn nobody_is_given_a_durable_message_before_it_is_durable() {
    for message in both() {
        for level in [Durability::Os, Durability::Disk] {
            let (_store, topic, consumer) = open();
            let ticket = topic.publish(message.clone().durability(level));
            assert_eq!((topic.end_offset(), leased(&consumer)), (Offset::ZERO, None), "{level:?}");
            ticket.wait().unwrap();
            assert_eq!((topic.end_offset(), leased(&consumer)), (Offset::new(1), Some(Offset::ZERO)), "{level:?}");
        }
    }
}

#[test]
fn a_message_that_asks_for_nothing_is_there_at_once_but_not_before_an_earlier_one() {
    for message in both() {
        let (_store, topic, consumer) = open();
        topic.publish(message.clone().durability(Durability::Memory)).wait().unwrap();
        assert_eq!(leased(&consumer), Some(Offset::ZERO));
        let durable = topic.publish(message.clone().durability(Durability::Disk));
        topic.publish(message.durability(Durability::Memory)).wait().unwrap();
        assert_eq!((topic.end_offset(), leased(&consumer)), (Offset::new(1), None));
        durable.wait().unwrap();
        assert_eq!((leased(&consumer), leased(&consumer)), (Some(Offset::new(1)), Some(Offset::new(2))));
    }
}
