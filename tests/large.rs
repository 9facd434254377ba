//! A large message is not copied more than needed: into the journal's buffer once when it is published, and once when
//! it is leased or read, out of that buffer or out of the file. Counted by what the allocator is asked for: whoever
//! copies 16 MiB has to put them somewhere.
#![expect(clippy::print_stdout, reason = "it shows what it counted")]

use allocation_counter::measure;
use bytes::Bytes;
use millpond::{Durability, Group, Message, Store};

const SIZE: usize = (16 << 20) - 1000;
/// Beside a copy there are attributes, tickets, and what is read around it.
const LITTLE: f64 = 0.05;

/// How many times as many bytes as the message has were allocated, in this thread.
fn copies(what: &str, work: impl FnOnce()) -> f64 {
    let copies = measure(work).bytes_total as f64 / SIZE as f64;
    println!("{what}: {copies:.3} copies");
    copies
}

fn once(what: &str, work: impl FnOnce()) -> f64 {
    let copies = copies(what, work);
    assert!(copies < 1.0 + LITTLE, "{what}: copied {copies:.3} times");
    copies
}

fn payload() -> Bytes {
    Bytes::from(vec![7; SIZE])
}

#[test]
fn a_large_message_is_copied_once_when_it_is_published_and_once_when_it_is_leased() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::options().open(directory.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    orders.publish("small").wait().unwrap();
    email.lease().unwrap().ack().wait().unwrap();
    // Now and then a publish waits for room, and is taken in by another thread, where nobody counts.
    let mut seen = 0.0;
    for level in [Durability::Memory, Durability::Os, Durability::Disk] {
        for with in [false, true] {
            let what = format!("{level:?}, with attributes: {with}");
            let message = Message::new(payload()).durability(level);
            let message =
                if with { message.key("key").id(format!("{level:?}")).header("name", "value") } else { message };
            seen += once(&format!("publish, {what}"), || _ = orders.publish(message).wait().unwrap());
            once(&format!("lease, {what}"), || {
                let delivery = email.try_lease().unwrap().unwrap();
                assert_eq!(delivery.payload().len(), SIZE);
                delivery.ack().wait().unwrap();
            });
        }
    }
    assert!(seen >= 1.0, "nothing was counted");
    // In a batch, and behind others in the buffer, it is no more than that.
    let batch = vec![Message::new("before"), Message::new(payload()), Message::new("after")];
    (0..100).for_each(|_| orders.publish(Message::new("many").durability(Durability::Memory)).detach());
    once("publish in a batch", || _ = orders.publish_all(batch).wait().unwrap());
    store.close().unwrap();
}

#[test]
fn a_large_message_is_copied_once_out_of_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::options().open(directory.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    orders.publish(Message::new(payload())).wait().unwrap();
    orders.publish(Message::new(payload()).key("key")).wait().unwrap();
    store.close().unwrap();
    let store = Store::options().open(directory.path()).unwrap();
    let orders = store.topic("orders").unwrap();
    let mut records = orders.read(..);
    for what in ["read", "read, with a key"] {
        once(what, || assert_eq!(records.next().unwrap().unwrap().payload().len(), SIZE));
    }
    drop(records);
    let email = orders.consumer("email", Group::default()).unwrap();
    once("lease", || {
        let delivery = email.try_lease().unwrap().unwrap();
        // Whoever shares the payload shares its bytes.
        assert_eq!(copies("payload_bytes", || drop(delivery.record().payload_bytes())), 0.0);
        delivery.ack().wait().unwrap();
    });
    store.close().unwrap();
}
