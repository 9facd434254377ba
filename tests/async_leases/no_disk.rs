//! What a task does touches no disk, and waits for none.

use super::*;
use millpond::Ticket;

/// What is done here must leave the disk alone.
fn untouched<T>(disk: &SimDisk, what: impl FnOnce() -> T) -> T {
    let before = disk.counts();
    let outcome = what();
    assert_eq!(disk.counts(), before);
    outcome
}

#[test]
fn no_poll_and_no_drop_touches_the_disk() {
    let mut bench = Bench::new();
    ["a", "b", "c"].iter().for_each(|payload| bench.publish(payload));
    bench = bench.reopened();
    let disk = bench.disk.clone();
    let mut next = bench.email.next();
    assert!(untouched(&disk, || poll(&mut next, Waker::noop()).is_pending()));
    bench.serve();
    untouched(&disk, || match poll(&mut next, Waker::noop()) {
        Poll::Ready(delivery) => delivery.unwrap().ack().detach(),
        Poll::Pending => panic!("it is not there"),
    });
    let mut answered = bench.email.next();
    assert!(untouched(&disk, || poll(&mut answered, Waker::noop()).is_pending()));
    bench.serve();
    untouched(&disk, || drop(answered));
    // What this test would say of a lease that does its work where it is called.
    let before = disk.counts();
    bench.email.try_lease().unwrap().unwrap().ack().wait().unwrap();
    assert_ne!(disk.counts(), before);
}

/// Whether `what` returns while the disk hangs; it goes on afterwards.
pub(crate) fn returns_on_a_hanging_disk(
    disk: &SimDisk,
    patience: Duration,
    what: impl FnOnce() + Send + 'static,
) -> bool {
    let (told, tells) = std::sync::mpsc::channel();
    let hang = disk.hang();
    let thread = std::thread::spawn(move || {
        what();
        let _ = told.send(());
    });
    let returned = tells.recv_timeout(patience).is_ok();
    drop(hang);
    thread.join().unwrap();
    returned
}

/// So many that their failures, of which the journal keeps half a kilobyte each, don't fit into the smallest buffer.
pub(crate) const MANY: usize = 300;

/// Settles all as failed, and most of them find no room.
pub(crate) fn nack_all(held: impl IntoIterator<Item = Delivery>) -> Vec<Ticket<()>> {
    let text = "no ".repeat(1000);
    let tickets: Vec<_> = held.into_iter().map(|delivery| delivery.nack(&text)).collect();
    let waits = |ticket: &&Ticket<()>| format!("{ticket:?}").contains("waiting for room");
    let waiting = tickets.iter().filter(waits).count();
    assert!(waiting > MANY / 2, "{waiting} wait");
    tickets
}

/// Messages that are held, of a store that has the smallest buffer.
pub(crate) fn with_a_small_buffer() -> (Bench, Vec<Delivery>) {
    let (disk, clock) = (SimDisk::new(1), ManualClock::starting_at(Timestamp::new(1_700_000_000_000)));
    let options = Store::options().segment_bytes(1 << 20).buffer_bytes(64 << 10).durability(Durability::Os);
    let store = Store::open_simulated(&disk, clock.clone(), 1, options).unwrap();
    let orders = store.topic("orders").unwrap();
    let email = orders.consumer("email", Group::default()).unwrap();
    orders.publish_all((0..MANY).map(|number| Message::new(number.to_string()))).wait().unwrap();
    let held: Vec<Delivery> = email.lease_many(MANY, Duration::ZERO).unwrap().collect();
    assert_eq!(held.len(), MANY);
    (Bench { disk, clock, store, orders, email }, held)
}

#[test]
fn nothing_that_a_task_does_waits_for_a_disk_that_hangs() {
    const LONG: Duration = Duration::from_secs(60);
    let (bench, mut held) = with_a_small_buffer();
    let disk = bench.disk.clone();
    let (tickets, got) = std::sync::mpsc::channel();
    let (email, orders) = (bench.email.clone(), bench.orders.clone());
    let settled = held.split_off(3);
    assert!(returns_on_a_hanging_disk(&disk, LONG, move || {
        let mut next = email.next();
        assert!(poll(&mut next, Waker::noop()).is_pending());
        drop(next);
        let mut publish = orders.publish(Message::new("more").durability(Durability::Disk));
        assert!(poll(&mut publish, Waker::noop()).is_pending());
        // Far more than the buffer holds: none of them is written down inline.
        for mut ticket in nack_all(settled) {
            assert!(poll(&mut ticket, Waker::noop()).is_pending());
            tickets.send(ticket).unwrap();
        }
        publish.detach();
    }));
    // And all of it comes true when the disk goes on.
    let mut tickets: Vec<_> = got.into_iter().collect();
    assert_eq!(tickets.len(), MANY - 3);
    for _ in 0..1000 {
        while bench.store.step_commit().unwrap() {}
        let _ = bench.store.step_upkeep().unwrap();
        tickets.retain_mut(|ticket| match poll(ticket, Waker::noop()) {
            Poll::Pending => true,
            Poll::Ready(outcome) => {
                outcome.unwrap();
                false
            }
        });
        if tickets.is_empty() {
            break;
        }
    }
    assert_eq!(tickets.len(), 0);
    assert_eq!((bench.email.stats().retrying, bench.email.stats().leased), (MANY as u64 - 3, 3));
    // What this test would say of a call that waits for the disk.
    let one = held.pop().unwrap();
    assert!(!returns_on_a_hanging_disk(&disk, SECOND / 5, move || one.ack().wait().unwrap()));
}

#[test]
fn a_settlement_that_waits_for_room_is_made_by_who_waits_for_it_and_one_nobody_waits_for_too() {
    let (bench, held) = with_a_small_buffer();
    let mut tickets = nack_all(held);
    let last = tickets.pop().unwrap();
    tickets.into_iter().for_each(Ticket::detach);
    last.wait().unwrap();
    assert_eq!((bench.email.stats().retrying, bench.email.stats().leased), (MANY as u64, 0));
    bench.store.close().unwrap();
}

#[test]
fn a_settlement_that_waits_when_the_store_fails_says_so() {
    let (bench, held) = with_a_small_buffer();
    let tickets = nack_all(held);
    bench.disk.set_faults(Faults { fail_after: Some(0), ..Faults::default() });
    let failed = tickets.into_iter().map(Ticket::wait).filter(Result::is_err).count();
    assert_eq!(failed, MANY, "none of them is known to have been written");
}

#[test]
fn a_run_is_settled_without_waiting_and_each_part_of_it_whatever_became_of_the_others() {
    const LONG: Duration = Duration::from_secs(60);
    let (bench, held) = with_a_small_buffer();
    let group = Group::default().ordered(millpond::WhenParked::Skip).retry(Retry::fixed(SECOND).without_jitter());
    let mails = bench.orders.consumer("mails", group.start(millpond::Start::Latest)).unwrap();
    let keyed = |number: u32| Message::new(number.to_string()).key((number / 3).to_string());
    bench.orders.publish_all((0..6).map(keyed)).wait().unwrap();
    let mut runs = mails.lease_runs(6, Duration::ZERO).unwrap();
    let (late, first) = (runs.pop().unwrap(), runs.pop().unwrap());
    // The buffer is full of what others settle.
    let text = "no ".repeat(1000);
    let disk = bench.disk.clone();
    let (tickets, got) = std::sync::mpsc::channel();
    assert!(returns_on_a_hanging_disk(&disk, LONG, move || {
        nack_all(held).into_iter().for_each(Ticket::detach);
        let second = first.deliveries()[1].offset();
        for mut ticket in [first.nack_at(second, &text), late.ack()] {
            assert!(poll(&mut ticket, Waker::noop()).is_pending());
            tickets.send(ticket).unwrap();
        }
    }));
    assert_eq!((mails.stats().leased, mails.stats().retrying), (2, 0), "the failure waits, and what is behind it");
    got.into_iter().for_each(|ticket| ticket.wait().unwrap());
    let stats = mails.stats();
    assert_eq!(
        (stats.leased, stats.retrying, stats.key_blocked),
        (0, 1, 1),
        "the last of the run waits for the second"
    );
}

#[cfg(feature = "stream")]
#[test]
fn a_stream_gives_one_after_the_other_and_ends_when_stopped() {
    use futures_core::Stream;
    use std::pin::Pin;
    let bench = Bench::new();
    ["a", "b"].iter().for_each(|payload| bench.publish(payload));
    let mut stream = bench.email.stream();
    let mut next = || {
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut stream).poll_next(&mut context) {
            Poll::Pending => {
                bench.serve();
                Pin::new(&mut stream).poll_next(&mut context)
            }
            ready => ready,
        }
    };
    for expected in [b"a", b"b"] {
        let Poll::Ready(Some(Ok(order))) = next() else { panic!("nothing") };
        assert_eq!(order.payload(), expected);
        order.ack().wait().unwrap();
    }
    assert!(next().is_pending());
    bench.email.stopper().stop();
    assert!(matches!(next(), Poll::Ready(None)) && matches!(next(), Poll::Ready(None)));
}

#[test]
fn futures_and_what_they_give_can_cross_threads() {
    fn crosses<T: Send + Unpin + 'static>(_: &T) {}
    let bench = Bench::new();
    crosses(&bench.email.next());
    crosses(&bench.email.next_many(2, SECOND));
    crosses(&Arc::new(bench.email.next_timeout(SECOND)));
}
