//! Runs of a key, awaited: whole, in their order, in one pair of hands, and back as they were if nobody takes them.

use super::*;
use millpond::{Run, WhenParked};

/// A group in order, and messages of the keys that they begin with.
fn ordered(payloads: &[&'static str]) -> Bench {
    let bench = Bench::new();
    let email = bench.orders.consumer("mail", Group::default().ordered(WhenParked::Skip)).unwrap();
    for payload in payloads {
        bench.orders.publish(Message::new(*payload).key(&payload[..1])).wait().unwrap();
    }
    Bench { email, ..bench }
}

fn payloads(runs: &[Run]) -> Vec<Vec<String>> {
    let text = |delivery: &Delivery| String::from_utf8(delivery.payload().to_vec()).unwrap();
    runs.iter().map(|run| run.deliveries().iter().map(text).collect()).collect()
}

fn ready<T>(outcome: Poll<Result<T>>) -> T {
    match outcome {
        Poll::Ready(outcome) => outcome.unwrap(),
        Poll::Pending => panic!("it is not there"),
    }
}

#[test]
fn runs_are_awaited_whole_and_others_wait_for_their_keys() {
    let bench = ordered(&["a1", "b1", "a2"]);
    let ((woken, waker), (other_woken, other_waker)) = (Woken::new(), Woken::new());
    let (mut runs, mut single) = (bench.email.next_runs(10, SECOND), bench.email.next());
    assert!(poll(&mut runs, &waker).is_pending() && poll(&mut single, &other_waker).is_pending());
    bench.serve();
    assert_eq!((woken.times(), other_woken.times()), (1, 0), "the keys are held");
    let mut runs = ready(poll(&mut runs, &waker));
    assert_eq!(payloads(&runs), [vec!["a1", "a2"], vec!["b1"]]);
    bench.orders.publish(Message::new("a3").key("a")).wait().unwrap();
    bench.serve();
    assert!(poll(&mut single, &other_waker).is_pending());
    let a1 = runs[0].next_delivery().unwrap().offset();
    runs[0].ack_through(a1).wait().unwrap();
    bench.serve();
    assert!(poll(&mut single, &other_waker).is_pending(), "half of a run holds the key");
    runs.into_iter().for_each(|run| run.ack().wait().unwrap());
    bench.serve();
    assert_eq!(payload(poll(&mut single, &other_waker)), b"a3");
    assert!(bench.email.idle());
}

#[test]
fn each_in_a_line_gets_what_it_asked_for() {
    let bench = ordered(&["a1", "b1", "c1", "a2", "c2"]);
    let (mut first, mut runs, mut last) = (bench.email.next(), bench.email.next_runs(10, SECOND), bench.email.next());
    assert!(poll(&mut first, Waker::noop()).is_pending());
    assert!(poll(&mut runs, Waker::noop()).is_pending() && poll(&mut last, Waker::noop()).is_pending());
    bench.serve();
    let a1 = ready(poll(&mut first, Waker::noop()));
    assert_eq!(a1.payload(), b"a1");
    let runs = ready(poll(&mut runs, Waker::noop()));
    assert_eq!(payloads(&runs), [vec!["b1"], vec!["c1", "c2"]]);
    assert!(poll(&mut last, Waker::noop()).is_pending(), "the rest of the key waits for its first");
    a1.ack().wait().unwrap();
    bench.serve();
    assert_eq!(payload(poll(&mut last, Waker::noop())), b"a2");
}

#[test]
fn runs_that_nobody_takes_go_back_whole_and_uncharged() {
    let bench = ordered(&["a1", "a2", "a3"]);
    // Dropped with an answer that nobody saw.
    let mut answered = bench.email.next_runs(10, SECOND);
    assert!(poll(&mut answered, Waker::noop()).is_pending());
    bench.serve();
    drop(answered);
    // Dropped while it waits; and the one behind it wants less.
    let (mut dropped, mut small) = (bench.email.next_runs(10, SECOND), bench.email.next_runs(2, SECOND));
    assert!(poll(&mut dropped, Waker::noop()).is_pending() && poll(&mut small, Waker::noop()).is_pending());
    drop(dropped);
    bench.serve();
    let runs = ready(poll(&mut small, Waker::noop()));
    assert_eq!(payloads(&runs), [vec!["a1", "a2"]]);
    assert!(runs.iter().flat_map(Run::deliveries).all(|delivery| delivery.attempt() == 1));
    drop(runs);
    let mut all = bench.email.next_runs(10, SECOND);
    assert!(poll(&mut all, Waker::noop()).is_pending());
    bench.serve();
    assert_eq!(payloads(&ready(poll(&mut all, Waker::noop()))), [vec!["a1", "a2", "a3"]]);
}

#[test]
fn runs_are_waited_for_as_long_as_was_asked() {
    let bench = ordered(&[]);
    let (woken, waker) = Woken::new();
    let (mut none, mut runs) = (bench.email.next_runs(0, SECOND), bench.email.next_runs(10, SECOND));
    assert!(ready(poll(&mut none, &waker)).is_empty());
    assert!(poll(&mut runs, &waker).is_pending());
    bench.serve();
    assert!(poll(&mut runs, &waker).is_pending());
    bench.clock.advance(SECOND);
    bench.serve();
    assert_eq!(woken.times(), 1);
    assert!(ready(poll(&mut runs, &waker)).is_empty());
}
