//! A saga with compensation: trips of a hotel, a flight and a car, booked with three services, all of them or none, in
//! a process that is killed again and again.
//!
//! Run it with `cargo run --release --example saga`. The pattern itself is in `trips.rs`.

#[path = "../support/killing.rs"]
mod killing;
mod trips;

use killing::{Outcome, say};
use millpond::Store;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use trips::{Agency, Services};

const TRIPS: u64 = 60;

fn main() -> Outcome<ExitCode> {
    killing::run(child, verdict)
}

fn child(directory: &Path) -> Outcome<()> {
    let store = Store::open(directory.join("store"))?;
    let agency = Agency::open(&store)?;
    let mut services = Ledger::open(directory)?;
    (0..TRIPS).try_for_each(|trip| agency.begin(trip))?;
    while !agency.steps.idle() {
        if let Some(step) = agency.take_a_step(&mut services)? {
            say(&step)?;
        }
    }
    Ok(store.close()?)
}

fn verdict(directory: &Path) -> Outcome<Vec<String>> {
    let store = Store::open(directory.join("store"))?;
    let booked = Ledger::open(directory)?.booked()?;
    let wrong = Agency::open(&store)?.wrong(TRIPS, &booked)?;
    say(&format!("{} bookings for {TRIPS} trips", booked.len()))?;
    Ok(wrong)
}

/// The services: a file to which each of them appends what it did. It may say the same twice, if the process was killed
/// before it had said in the store that it was done: what counts is what it comes to.
struct Ledger {
    path: std::path::PathBuf,
    file: File,
}

impl Ledger {
    #[expect(clippy::disallowed_methods, reason = "an effect outside the store is what this is about")]
    fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join("services");
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(Self { path, file })
    }

    /// What is booked in the end: service and trip.
    fn booked(&self) -> io::Result<BTreeSet<(String, u64)>> {
        let mut booked = BTreeSet::new();
        for line in std::fs::read_to_string(&self.path)?.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [what, service, trip] = words.as_slice() else { continue };
            let booking = ((*service).to_owned(), trip.parse().unwrap_or_default());
            if *what == "book" {
                booked.insert(booking)
            } else {
                booked.remove(&booking)
            };
        }
        Ok(booked)
    }
}

impl Services for Ledger {
    fn book(&mut self, service: &str, trip: u64) -> io::Result<bool> {
        // Every fourth trip finds no car, every fifth no flight.
        if (service == "car" && trip % 4 == 3) || (service == "flight" && trip % 5 == 4) {
            return Ok(false);
        }
        self.file.write_all(format!("book {service} {trip}\n").as_bytes())?;
        Ok(true)
    }

    fn cancel(&mut self, service: &str, trip: u64) -> io::Result<()> {
        self.file.write_all(format!("cancel {service} {trip}\n").as_bytes())
    }
}
