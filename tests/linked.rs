//! Recovery beside a backup that shares the store's files (removal and recovery, parts 1 and 4): a file with a second
//! name is never written, on a full disk neither, wherever the recovery is cut; and the store loses nothing by that.
#![expect(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test fails by panicking")]

use millpond::testing::{Faults, SimDisk};
use millpond::{Durability, Group, ManualClock, Message, Offset, Options, Store, Timestamp};
use std::time::Duration;

fn options() -> Options {
    Store::options().segment_bytes(16 << 10).first_segment_bytes(16 << 10).sync_interval(Duration::from_secs(3600))
}

fn open(disk: &SimDisk, seed: u64) -> millpond::Result<Store> {
    Store::open_simulated(disk, ManualClock::starting_at(Timestamp::new(1_700_000_000_000)), seed, options())
}

fn payload(number: u64) -> Vec<u8> {
    let mut payload = number.to_string().into_bytes();
    payload.resize(200, b'.');
    payload
}

/// Bytes that all files have.
fn used(disk: &SimDisk) -> u64 {
    disk.file_names().iter().map(|name| disk.read_file(name).unwrap().len() as u64).sum()
}

fn limit(disk: &SimDisk, capacity: Option<u64>, fault: impl Fn(&mut Faults)) {
    let mut faults = Faults::default();
    faults.capacity = capacity;
    fault(&mut faults);
    disk.set_faults(faults);
}

/// A store that died with so many messages that nothing was made durable for behind the first half, every file of which
/// has a second name; and how many there are.
struct Dead {
    disk: SimDisk,
    messages: u64,
    durable: u64,
    before: Vec<(String, Vec<u8>)>,
}

fn holds_something(disk: &SimDisk, name: &str) -> bool {
    disk.read_file(name).unwrap().iter().skip(4096).any(|byte| *byte != 0)
}

/// With a torn frame at its end, perhaps; and spares that are shared, too.
fn dead(torn: bool, spares: bool) -> Dead {
    let disk = SimDisk::new(5);
    let store = open(&disk, 1).unwrap();
    let jobs = store.topic("jobs").unwrap();
    jobs.consumer("keeper", Group::default()).unwrap();
    let mut durable = 0;
    for number in 0..400 {
        let level = if number < 200 { Durability::Disk } else { Durability::Os };
        jobs.publish(Message::new(payload(number)).durability(level)).wait().unwrap();
        if level == Durability::Disk {
            durable = number + 1;
        }
        while store.step_upkeep().unwrap() {}
    }
    std::mem::forget(store);
    disk.kill();
    let mut messages = 400;
    if torn {
        let last = |name: &String| disk.read_file(name).unwrap().iter().rposition(|byte| *byte != 0);
        let mut written = disk.file_names().into_iter().filter(|name| name.ends_with(".segment"));
        let name = written.rfind(|name| holds_something(&disk, name)).unwrap();
        let at = last(&name).unwrap();
        disk.flip_bit(&name, at as u64 - 8, 3).unwrap();
        messages -= 1;
    }
    for name in disk.file_names().into_iter().filter(|name| name.ends_with(".segment")) {
        // A backup takes what holds something; a copy made by links takes the spares along.
        if spares || holds_something(&disk, &name) {
            disk.link_outside(&name).unwrap();
        }
    }
    let names = disk.outside_names();
    let before = names.into_iter().map(|name| (name.clone(), disk.outside(&name).unwrap())).collect();
    Dead { disk, messages, durable, before }
}

impl Dead {
    /// Nobody wrote to what has two names; after a kill all of it is there as it was.
    fn backup_is_whole(&self, disk: &SimDisk, power: bool, at: &str) {
        assert_eq!(disk.counts().writes_to_linked, 0, "{at}");
        for (name, before) in self.before.iter().filter(|_| !power) {
            assert!(disk.outside(name).unwrap() == *before, "{name} is another one, {at}");
        }
    }

    /// What the store shows is a prefix, and that much of it at least; it goes on, and shows the same again.
    fn check(&self, disk: &SimDisk, power: bool, at: &str) {
        let least = if power { self.durable } else { self.messages };
        let mut count = 0;
        for round in 0..2 {
            let store = open(disk, 7 + round).unwrap_or_else(|error| unreachable!("{at}: {error}"));
            let jobs = store.existing_topic("jobs").unwrap();
            let mut next = 0;
            for record in jobs.read(Offset::ZERO..) {
                let record = record.unwrap();
                assert!(record.offset().get() == next && record.payload() == payload(next), "{record:?}, {at}");
                next += 1;
            }
            assert!(next >= least && next <= self.messages + round, "{next} of {least}, {at}");
            assert!(round == 0 || next == count, "{next} after {count}, {at}");
            count = next;
            // There may be no room for a message, but for settling there is.
            let keeper = jobs.consumer("keeper", Group::default()).unwrap();
            keeper.try_lease().unwrap().unwrap().release().wait().unwrap();
            self.backup_is_whole(disk, power || round > 0, at);
            std::mem::forget(store);
            // Whatever it showed was made durable before.
            disk.crash();
        }
    }
}

#[test]
fn a_file_with_two_names_is_not_written_by_recovery_and_the_store_goes_on_with_a_copy() {
    for torn in [false, true] {
        let dead = dead(torn, true);
        dead.check(&dead.disk.fork(1), false, "killed");
        for cut in 0..20 {
            let disk = dead.disk.fork(cut);
            disk.crash();
            dead.check(&disk, true, &format!("power cut {cut}"));
        }
    }
}

#[test]
fn on_a_full_disk_the_reserve_makes_room_for_the_copy_wherever_it_is_cut() {
    for torn in [false, true] {
        let dead = dead(torn, false);
        // Not one byte more than there is; then half a segment, so that a copy is begun and does not fit; then with
        // prepared segments only, and no file that is set aside.
        for (free, banked) in [(0, true), (8 << 10, true), (0, false)] {
            for name in dead.disk.file_names().into_iter().filter(|name| !banked && name.ends_with(".new")) {
                dead.disk.remove_file(&name).unwrap();
            }
            let capacity = Some(used(&dead.disk) + free);
            let fork = dead.disk.fork(0);
            limit(&fork, capacity, |_| ());
            let before = fork.operations();
            drop(open(&fork, 3).unwrap());
            let steps = fork.operations() - before;
            assert!(steps >= 15, "{steps}");
            for step in 0..steps {
                for (which, power) in [("cut", false), ("cut", true), ("failed", false), ("failed", true)] {
                    // After a power cut two segments may have to be copied, and there is one left of the reserve.
                    if power && !banked {
                        continue;
                    }
                    let at =
                        format!("{which} at step {step} of {steps}, {free} bytes free, torn {torn}, power {power}");
                    let disk = dead.disk.fork(step);
                    limit(&disk, capacity, |faults| match which {
                        "cut" => faults.stop_after = Some(step),
                        _ => faults.fail_after = Some(step),
                    });
                    let opened = open(&disk, 3);
                    opened.into_iter().for_each(std::mem::forget);
                    if power {
                        disk.crash();
                    } else {
                        disk.kill();
                    }
                    limit(&disk, capacity, |_| ());
                    dead.check(&disk, power, &at);
                }
            }
        }
    }
}

#[test]
fn where_nothing_makes_room_the_store_says_so_and_opens_once_there_is() {
    for shared in [false, true] {
        let dead = dead(false, shared);
        let disk = dead.disk.fork(1);
        // The reserve is gone, since somebody took it for something else; or it is shared, so that nothing is gained by
        // removing it.
        let reserve = |name: &String| name.ends_with(".segment") && !holds_something(&disk, name);
        for name in disk.file_names().into_iter().filter(|name| name.ends_with(".new") || (!shared && reserve(name))) {
            disk.remove_file(&name).unwrap();
        }
        let (capacity, there) = (used(&disk), disk.file_names());
        limit(&disk, Some(capacity), |_| ());
        let error = open(&disk, 3).map(drop).unwrap_err();
        assert_eq!(error.code(), "disk-full", "{error}");
        assert!(error.to_string().contains("shares its file with a backup"), "{error}");
        assert_eq!(disk.file_names(), there, "{error}");
        limit(&disk, Some(capacity + (128 << 10)), |_| ());
        dead.check(&disk, false, "with room");
    }
}
