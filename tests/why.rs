//! What a message is waiting for: one sentence for each thing that it can be.
#![expect(clippy::unwrap_used, reason = "in a test, a panic is how it fails")]

use millpond::testing::SimDisk;
use millpond::{Durability, Group, ManualClock, Message, Offset, Retry, Store, Timestamp, Why};
use std::time::Duration;

const START: u64 = 1_000_000;
const WAIT: Duration = Duration::from_secs(10);

fn open(disk: &SimDisk, clock: &ManualClock) -> Store {
    let options = Store::options().segment_bytes(64 << 10).first_segment_bytes(64 << 10);
    Store::open_simulated(disk, clock.clone(), 1, options).unwrap()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::new(START + seconds * 1_000)
}

#[test]
fn every_reason_to_wait_has_its_sentence() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::starting_at(Timestamp::new(START)));
    let store = open(&disk, &clock);
    let orders = store.topic("orders").unwrap();
    let settings = Group::default().lease(Duration::from_secs(30)).retry(Retry::fixed(WAIT).without_jitter());
    let email = orders.consumer("email", settings).unwrap();
    let why = |offset: u64| email.why(Offset::new(offset)).unwrap();
    let say = |offset: u64| why(offset).to_string();

    assert_eq!(why(0), Why::NotPublished { end: Offset::ZERO });
    assert_eq!(say(0), "it is not published yet: the topic ends at offset 0");
    orders.publish_all((0..7).map(|number| Message::new(number.to_string()))).wait().unwrap();
    assert_eq!([why(0), why(6)], [Why::Ready { before: 0 }, Why::Ready { before: 6 }]);
    assert_eq!(say(0), "it is the next to be handed out");
    assert_eq!(say(6), "it can be handed out; 6 go before it");

    let mut held = email.lease_many(5, Duration::ZERO).unwrap();
    assert_eq!([why(0), why(4)], [Why::Leased { until: at(30) }; 2]);
    assert!(say(0).starts_with("a consumer has it until "));
    held.next().unwrap().ack().wait().unwrap();
    assert_eq!((why(0), say(0).as_str()), (Why::Settled, "the group is done with it"));
    held.next().unwrap().nack("no").wait().unwrap();
    assert_eq!(why(1), Why::Waiting { until: at(10), failures: 1 });
    assert!(say(1).starts_with("it failed once, and waits until "));
    held.next().unwrap().snooze(Duration::from_secs(5)).wait().unwrap();
    assert_eq!(why(2), Why::Waiting { until: at(5), failures: 0 });
    held.next().unwrap().bury("never").wait().unwrap();
    assert_eq!(why(3), Why::Dead { since: at(0) });
    assert!(say(3).starts_with("it is a dead letter since "));
    held.next().unwrap().release().wait().unwrap();

    // What came back goes before what was never out, in the order in which it fell due.
    clock.advance(WAIT);
    assert_eq!([why(4), why(2), why(1), why(5), why(6)], [0, 1, 2, 3, 4].map(|before| Why::Ready { before }));
    let order: Vec<u64> = std::iter::from_fn(|| email.try_lease().unwrap()).map(|next| next.offset().get()).collect();
    assert_eq!(order[..5], [4, 2, 1, 5, 6]);

    let ticket = orders.publish(Message::new("late").durability(Durability::Os));
    assert_eq!(
        (why(7), say(7).as_str()),
        (Why::NotCommitted, "it, or a message before it, is not as durable yet as was asked for")
    );
    ticket.wait().unwrap();
    assert!(matches!(why(7), Why::Ready { .. }));
    store.close().unwrap();
}

#[test]
fn those_that_were_in_flight_when_the_process_died_go_first() {
    let (disk, clock) = (SimDisk::new(1), ManualClock::starting_at(Timestamp::new(START)));
    let store = open(&disk, &clock);
    let orders = store.topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    orders.publish_all((0..4).map(|number| Message::new(number.to_string()))).wait().unwrap();
    let held = [email.lease().unwrap(), email.lease().unwrap()];
    disk.kill();
    drop((held, email, orders, store));
    let store = open(&disk, &clock);
    let email = store.topic("orders").unwrap().consumer("email", Group::default()).unwrap();
    // The record of what is handed out may run ahead by a message or two.
    let suspects = email.stats().suspects;
    assert!((2..=3).contains(&suspects));
    assert_eq!(email.why(Offset::ZERO).unwrap(), Why::BehindSuspects { suspects: suspects - 1 });
    assert_eq!(email.why(Offset::new(3)).unwrap(), Why::BehindSuspects { suspects });
    assert!(email.why(Offset::ZERO).unwrap().to_string().contains("go first, one at a time"));
    while email.stats().suspects > 0 {
        email.lease().unwrap().ack().wait().unwrap();
    }
    assert_eq!(email.why(Offset::new(3)).unwrap(), Why::Ready { before: 3 - suspects });
}
