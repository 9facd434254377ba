//! The test kit: chaos finds what a handler does twice, and nothing where it does not; a pond's time is moved by hand.

use millpond::testing::{Chaos, Fault, Pond};
use millpond::{Durability, Group, Handled, Message, Retry, Store};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[test]
fn a_handler_that_is_idempotent_is_found_so_by_every_fault_at_every_step() {
    let report = Chaos::new(|| (RefCell::new(BTreeSet::new()), RefCell::new(BTreeMap::new())))
        .message("4711")
        .message("4712")
        .run(
            |(charged, mails), order, steps| {
                charged.borrow_mut().insert(order.offset());
                steps.at("charged");
                mails.borrow_mut().insert(order.offset(), order.payload().to_vec());
                steps.at("mailed");
            },
            |(charged, mails)| (charged.borrow().clone(), mails.borrow().clone()),
        )
        .unwrap();
    assert!(report.is_idempotent(), "{report}");
    let steps = ["before the handler", "charged", "mailed", "after the handler, before the ack"];
    assert_eq!(report.steps, [steps, steps].concat());
    assert_eq!(report.rounds, 1 + 2 * 4 * 3 + report.pairs);
    assert_eq!((report.pairs, report.pairs_left_out > 0), (100, true));
    let all = report.pairs + report.pairs_left_out;
    assert_eq!(report.to_string(), format!("the same in all of 125 rounds, 100 of them with two faults (of {all})"));
}

#[test]
fn a_handler_that_is_not_is_found_at_each_step_behind_the_effect() {
    let report = Chaos::new(|| Cell::new(0))
        .message("4711")
        .run(
            |charged, _, steps| {
                steps.at("looked");
                charged.set(charged.get() + 100);
                steps.at("charged");
            },
            Cell::get,
        )
        .unwrap();
    let found: Vec<(&str, Fault)> =
        report.findings.iter().map(|finding| (finding.step.as_str(), finding.fault)).collect();
    let after = "after the handler, before the ack";
    assert_eq!(
        found,
        [
            // Before the effect, only one who goes on after having been overtaken does it twice.
            ("before the handler", Fault::Overtaken),
            ("looked", Fault::Overtaken),
            ("charged", Fault::Failed),
            ("charged", Fault::Killed),
            ("charged", Fault::Overtaken),
            (after, Fault::Failed),
            (after, Fault::Killed),
            (after, Fault::Overtaken),
        ]
    );
    let first = report.findings.iter().find(|finding| finding.fault == Fault::Killed).unwrap();
    assert_eq!(first.to_string(), "message 0, killed at \"charged\": found 200 instead of 100");
}

#[test]
fn a_handler_that_looks_first_and_writes_later_is_overtaken_between_the_two() {
    let report = Chaos::new(|| (RefCell::new(BTreeSet::new()), Cell::new(0)))
        .message("4711")
        .run(
            |(known, charged), order, steps| {
                if known.borrow().contains(&order.offset()) {
                    return;
                }
                steps.at("looked");
                charged.set(charged.get() + 100);
                known.borrow_mut().insert(order.offset());
                steps.at("written");
            },
            |(_, charged)| charged.get(),
        )
        .unwrap();
    let found: Vec<_> = report.findings.iter().map(|finding| (finding.step.as_str(), finding.fault)).collect();
    assert_eq!(found, [("looked", Fault::Overtaken)], "{report}");
}

/// It remembers how far it came, and what to do if it finds that: but there is only one place for that, and whoever is
/// killed while it makes good begins again from the wrong one.
#[test]
fn what_only_two_faults_show_is_found_by_two_and_not_by_one() {
    let chaos = |pairs: usize| {
        Chaos::new(|| (Cell::new(0), Cell::new(0)))
            .message("4711")
            .pairs(pairs)
            .run(
                |(tried, charged), _, steps| {
                    tried.set(tried.get() + 1);
                    // The first time again it is known to have been charged; the second time that is forgotten.
                    if tried.get() != 2 {
                        charged.set(100 * tried.get());
                    }
                    steps.at("charged");
                },
                |(_, charged)| charged.get(),
            )
            .unwrap()
    };
    let one = chaos(0);
    assert!(one.is_idempotent() && one.pairs == 0 && one.pairs_left_out > 0, "{one}");
    let two = chaos(1000);
    assert!(two.pairs_left_out == 0 && two.rounds == one.rounds + two.pairs, "{two}");
    let found: BTreeSet<(Fault, Fault)> =
        two.findings.iter().map(|finding| (finding.fault, finding.then.clone().unwrap().1)).collect();
    assert!(found.contains(&(Fault::Failed, Fault::Killed)) && found.contains(&(Fault::Killed, Fault::Failed)));
    let first = &two.findings[0];
    assert!(two.findings.iter().all(|finding| finding.then.is_some()), "{two}");
    let said = first.to_string();
    assert!(said.contains(", then ") && said.ends_with("found 300 instead of 100"), "{said}");
    // Fewer are taken evenly, the same each time.
    let some = chaos(5);
    assert_eq!((some.pairs, some.pairs + some.pairs_left_out), (5, two.pairs));
    assert_eq!(some, chaos(5));
}

#[test]
fn one_that_never_gets_done_and_one_that_gets_done_later_are_told_apart() {
    let never = Chaos::new(|| ()).message("4711").run(|(), _, _| Err::<(), _>("no"), |()| ()).unwrap();
    assert_eq!((never.rounds, never.findings.len()), (1, 1));
    assert!(never.to_string().contains("1 messages were given up"), "{never}");
    let later = Chaos::new(|| Cell::new(0))
        .message("4711")
        .run(
            |tries, _, _| {
                tries.set(tries.get() + 1);
                if tries.get() < 3 { Handled::failed("not yet") } else { Handled::done() }
            },
            |tries| tries.get() >= 3,
        )
        .unwrap();
    assert!(later.is_idempotent(), "{later}");
}

#[test]
fn a_ponds_time_passes_when_it_is_told_to_and_it_survives_its_deaths() {
    let pond = Pond::with(Store::options().ack_durability(Durability::Disk)).unwrap();
    let group =
        || Group::default().lease(Duration::from_secs(30)).retry(Retry::fixed(Duration::from_secs(5)).without_jitter());
    let email = |pond: &Pond| pond.store().topic("orders").unwrap().consumer("email", group()).unwrap();
    let orders = pond.store().topic("orders").unwrap();
    let first = email(&pond);
    orders.publish(Message::new("later").delay(Duration::from_secs(60))).wait().unwrap();
    orders.publish("now").wait().unwrap();
    first.try_lease().unwrap().unwrap().ack().wait().unwrap();
    assert!(first.try_lease().unwrap().is_none());
    pond.advance(Duration::from_secs(59));
    assert!(first.try_lease().unwrap().is_none());
    pond.advance(Duration::from_secs(1));
    let held = first.try_lease().unwrap().unwrap();
    assert_eq!(held.payload(), b"later");
    std::mem::forget(held);
    pond.advance(Duration::from_secs(31));
    assert_eq!((first.stats().leased, first.stats().retrying), (0, 1));
    let pond = pond.kill().unwrap();
    assert!(first.try_lease().is_err(), "it is closed");
    let pond = pond.cut_power().unwrap();
    pond.advance(Duration::from_secs(5));
    let again = email(&pond).try_lease().unwrap().unwrap();
    assert_eq!((again.payload(), again.counters().timeouts), (&b"later"[..], 1));
    again.ack().wait().unwrap();
    assert!(email(&pond).idle());
}
