//! The patterns of the guide, stopped at every step they ask of the disk: what the examples do is right wherever they
//! are killed, and wherever the power goes.
#![expect(clippy::field_reassign_with_default, reason = "a fault is set by name")]

#[path = "../examples/intake/desk.rs"]
mod desk;
#[path = "../examples/consume_transform_produce/invoices.rs"]
mod invoices;
#[path = "../examples/outbox/shop.rs"]
mod shop;
#[path = "../examples/saga/trips.rs"]
mod trips;

use desk::{Answer, Desk, request};
use invoices::Office;
use millpond::testing::{Faults, SimDisk};
use millpond::{ManualClock, Options, Result, Store, Timestamp};
use rusqlite::Connection;
use shop::Shop;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;
use trips::{Agency, Services};

struct World {
    disk: SimDisk,
    clock: ManualClock,
    openings: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
        Self { disk: SimDisk::new(seed), clock, openings: 0 }
    }

    /// Opens the store, which dies after so many steps, and lets `work` have it; whether that came to its end.
    fn live(
        &mut self,
        stop: Option<u64>,
        power: bool,
        work: &mut dyn FnMut(&Store, &ManualClock) -> Result<()>,
    ) -> bool {
        self.openings += 1;
        let mut faults = Faults::default();
        faults.stop_after = stop;
        self.disk.set_faults(faults);
        let options: Options = Store::options().segment_bytes(16 << 10).first_segment_bytes(16 << 10);
        let store = Store::open_simulated(&self.disk, self.clock.clone(), self.openings, options);
        let outcome = store.and_then(|store| work(&store, &self.clock));
        if let Err(error) = &outcome {
            assert!(stop.is_some(), "without a fault: {error}");
        }
        if power {
            self.disk.crash()
        } else {
            self.disk.kill()
        }
        self.disk.set_faults(Faults::default());
        outcome.is_ok()
    }
}

/// Has `work` stopped after each number of steps there is, and again soon after that; then it comes to its end, and
/// `verdict` says what is wrong. How many lives there were.
fn stop_everywhere<Outside>(
    outside: impl Fn() -> Outside,
    mut work: impl FnMut(&Store, &ManualClock, &mut Outside) -> Result<()>,
    verdict: impl Fn(&Store, &mut Outside) -> Vec<String>,
) -> u64 {
    let mut lives = 0;
    for (power, seed) in [(false, 1), (true, 2), (true, 3)] {
        for stop in 1.. {
            let (mut world, mut outside) = (World::new(seed * 1000 + stop), outside());
            let mut work = |store: &Store, clock: &ManualClock| work(store, clock, &mut outside);
            let through = world.live(Some(stop), power, &mut work);
            world.live(Some(stop % 23), !power, &mut work);
            assert!(world.live(None, power, &mut work), "it comes to its end");
            let mut wrong = Vec::new();
            world.live(None, false, &mut |store, _| {
                wrong = verdict(store, &mut outside);
                Ok(())
            });
            assert!(wrong.is_empty(), "stopped after {stop} steps, power {power}: {wrong:?}");
            lives += world.openings;
            if through {
                break;
            }
        }
    }
    lives
}

#[test]
fn each_order_is_billed_once_wherever_the_office_stops() {
    const ORDERS: u64 = 12;
    let work = |store: &Store, _: &ManualClock, (): &mut ()| {
        let office = Office::open(store)?;
        office.accept(ORDERS)?;
        while office.bill_one()?.is_some() {}
        assert!(office.billing.idle());
        Ok(())
    };
    let lives = stop_everywhere(|| (), work, |store, (): &mut ()| Office::open(store).unwrap().wrong(ORDERS).unwrap());
    assert!(lives > 300, "{lives}");
}

#[test]
fn what_the_database_has_committed_is_published_and_booked_once_wherever_the_relay_stops() {
    const ORDERS: u64 = 9;
    // The database survives: what it had not committed is rolled back when the call that it was in ends.
    let database = || Connection::open_in_memory().unwrap();
    let work = |store: &Store, _: &ManualClock, database: &mut Connection| {
        let outcome = Shop::open(store, database).and_then(|mut shop| shop.work(ORDERS, &mut |_| Ok(())));
        outcome.map_err(|error| *error.downcast::<millpond::Error>().unwrap())
    };
    let verdict =
        |store: &Store, database: &mut Connection| Shop::open(store, database).unwrap().wrong(ORDERS).unwrap();
    assert!(stop_everywhere(database, work, verdict) > 300);
}

#[test]
fn the_same_request_has_the_same_answer_and_is_accepted_once_wherever_the_desk_stops() {
    const REQUESTS: u64 = 12;
    // The client keeps what it has heard, and asks everything again each time.
    let work = |store: &Store, _: &ManualClock, heard: &mut BTreeMap<String, Answer>| {
        let desk = Desk::open(store)?;
        for number in 0..REQUESTS {
            let (key, body) = request(number);
            let answer = desk.accept(&key, &body)?;
            if answer.status == 202 {
                assert_eq!(*heard.entry(key.clone()).or_insert_with(|| answer.clone()), answer, "{key}");
                assert_eq!(desk.accept(&key, "something else")?.status, 409, "{key}");
            }
        }
        Ok(())
    };
    let verdict = |store: &Store, heard: &mut BTreeMap<String, Answer>| {
        assert_eq!(heard.len() as u64, REQUESTS);
        Desk::open(store).unwrap().wrong(REQUESTS).unwrap()
    };
    assert!(stop_everywhere(BTreeMap::new, work, verdict) > 150);
}

/// Services that survive the agency, and are in trouble now and then.
#[derive(Default)]
struct Outside {
    booked: BTreeSet<(String, u64)>,
    calls: u64,
}

impl Outside {
    fn trouble(&mut self) -> io::Result<()> {
        self.calls += 1;
        if self.calls.is_multiple_of(7) { Err(io::Error::other("no answer in time")) } else { Ok(()) }
    }
}

impl Services for Outside {
    fn book(&mut self, service: &str, trip: u64) -> io::Result<bool> {
        if (service, trip % 3) == ("car", 1) || (service, trip) == ("hotel", 2) {
            return Ok(false);
        }
        self.booked.insert((service.to_owned(), trip));
        // It may have been done though the answer was lost.
        self.trouble().map(|()| true)
    }

    fn cancel(&mut self, service: &str, trip: u64) -> io::Result<()> {
        self.trouble()?;
        self.booked.remove(&(service.to_owned(), trip));
        Ok(())
    }
}

#[test]
fn a_trip_is_booked_with_all_services_or_with_none_wherever_the_agency_stops() {
    const TRIPS: u64 = 5;
    let work = |store: &Store, clock: &ManualClock, services: &mut Outside| {
        let agency = Agency::open(store)?;
        (0..TRIPS).try_for_each(|trip| agency.begin(trip))?;
        while !agency.steps.idle() {
            if agency.take_a_step(services)?.is_none() {
                clock.advance(Duration::from_secs(1));
            }
        }
        Ok(())
    };
    let verdict = |store: &Store, services: &mut Outside| {
        let agency = Agency::open(store).unwrap();
        assert_eq!(services.booked.len(), 6, "two of five trips: {:?}", services.booked);
        agency.wrong(TRIPS, &services.booked).unwrap()
    };
    assert!(stop_everywhere(Outside::default, work, verdict) > 300);
}
