//! A write does not wait for a sync that somebody else leads, and that sync does not vouch for it.

use super::*;
use crate::clock::{ManualClock, SeededEntropy};
use crate::config::{Group, TopicSettings};
use crate::message::Message;
use crate::storage::sim::{Faults, SimDisk};
use crate::storage::{Access, Entry, Lock};
use crate::types::Offset;
use std::io;
use std::sync::atomic::AtomicBool;

/// Lets syncs of files through, or holds them until it is opened.
#[derive(Debug, Default)]
struct Gate {
    /// Whether it is shut, and how many wait at it.
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, shut: bool) {
        self.state.lock().0 = shut;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock();
        state.1 += 1;
        self.changed.notify_all();
        self.changed.wait_while(&mut state, |state| state.0);
        state.1 -= 1;
    }

    fn somebody_waits(&self) {
        self.changed.wait_while(&mut self.state.lock(), |state| state.1 == 0);
    }
}

struct Shut<'a>(&'a Gate);

impl Drop for Shut<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// A disk whose files sync through a gate.
#[derive(Debug)]
struct Gated<T: ?Sized>(Arc<Gate>, Arc<T>);

impl Storage for Gated<dyn Storage> {
    fn create_directories(&self) -> io::Result<()> {
        self.1.create_directories()
    }
    fn list(&self, directory: &str) -> io::Result<Vec<Entry>> {
        self.1.list(directory)
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(Gated(self.0.clone(), self.1.open(name, access)?)))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.1.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.1.remove(name)
    }
    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        self.1.sync_dir(directory)
    }
    fn free_space(&self) -> io::Result<u64> {
        self.1.free_space()
    }
    fn boot_id(&self) -> String {
        self.1.boot_id()
    }
}

impl StorageFile for Gated<dyn StorageFile> {
    fn len(&self) -> io::Result<u64> {
        self.1.len()
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.1.read_at(buffer, position)
    }
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<usize> {
        self.1.write_at(bytes, position)
    }
    fn sync(&self) -> io::Result<()> {
        // What was written while it waits is not covered: the sync is done before, its answer comes late.
        let outcome = self.1.sync();
        self.0.pass();
        outcome
    }
    fn allocate(&self, len: u64) -> io::Result<bool> {
        self.1.allocate(len)
    }
    fn links(&self) -> io::Result<u64> {
        self.1.links()
    }
    fn try_lock(&self, lock: Lock) -> io::Result<bool> {
        self.1.try_lock(lock)
    }
}

const SOON: Duration = Duration::from_secs(20);

fn open(disk: &SimDisk, gate: &Arc<Gate>) -> Arc<Engine> {
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    let environment = Environment {
        tables: Arc::new(crate::tables::MemoryTables::default()),
        storage: Arc::new(Gated(gate.clone(), storage)),
        clock: Arc::new(ManualClock::starting_at(Timestamp(1_000_000))),
        entropy: Arc::new(SeededEntropy::new(3)),
        keys: crate::config::Keys::none(),
    };
    let options = Options { segment_bytes: 32 << 10, first_segment_bytes: 32 << 10, ..Options::default() };
    Engine::open(environment, options, false).unwrap()
}

/// Runs `meanwhile` while another thread waits for a sync, and gives how that one ended.
fn beside_a_sync(engine: &Arc<Engine>, gate: &Gate, meanwhile: impl FnOnce()) -> Result<()> {
    let topic = engine.topic("orders", Some(&TopicSettings::default())).unwrap();
    gate.set(true);
    std::thread::scope(|scope| {
        let message = Message::new("synced").durability(Durability::Disk);
        let other = scope.spawn(move || engine.clone().publish(topic, message).wait().map(drop));
        gate.somebody_waits();
        // Opened also by a panic: the other thread would never end.
        let shut = Shut(gate);
        meanwhile();
        drop(shut);
        other.join().unwrap()
    })
}

fn publish(engine: &Arc<Engine>, text: &str, level: Durability) -> Result<Offset> {
    let topic = engine.topic("orders", Some(&TopicSettings::default())).unwrap();
    let ticket = engine.clone().publish(topic, Message::new(text.to_owned()).durability(level));
    ticket.wait_timeout(SOON).expect("it need not wait for a sync").map(|receipt| receipt.offset)
}

#[test]
fn a_publish_to_the_kernel_does_not_wait_for_a_sync_and_is_covered_by_the_next_one() {
    let (disk, gate) = (SimDisk::new(11), Arc::new(Gate::default()));
    let engine = open(&disk, &gate);
    beside_a_sync(&engine, &gate, || {
        for number in 1..=5 {
            assert_eq!(publish(&engine, "written", Durability::Os).unwrap(), Offset(number));
        }
    })
    .unwrap();
    let durable = {
        let core = engine.core.lock();
        assert!(core.tail.durable() < core.tail.written(), "the sync began before they were written");
        core.tail.durable()
    };
    // Nothing more is written: only what the sync before did not cover.
    assert!(engine.sync().wait_timeout(SOON).expect("somebody leads").is_ok());
    assert!(engine.core.lock().tail.durable() > durable);
    disk.crash();
    let engine = open(&disk, &gate);
    let topic = engine.topic("orders", None).unwrap();
    assert_eq!(engine.bounds(topic).unwrap(), (Offset(0), Offset(6)));
    engine.close().unwrap();
}

#[test]
fn segments_that_are_begun_during_a_sync_are_synced_by_the_next_one() {
    let (disk, gate) = (SimDisk::new(12), Arc::new(Gate::default()));
    let engine = open(&disk, &gate);
    // The successor is there before the gate is shut: preparing one takes a sync.
    for _ in 0..80 {
        publish(&engine, &"x".repeat(200), Durability::Os).unwrap();
    }
    while engine.poll_upkeep().unwrap() {}
    let before = engine.core.lock().tail.active().id;
    beside_a_sync(&engine, &gate, || {
        for _ in 0..80 {
            publish(&engine, &"x".repeat(200), Durability::Os).unwrap();
        }
    })
    .unwrap();
    assert!(engine.core.lock().tail.active().id > before, "the test is meant to go on in another segment");
    assert!(engine.sync().wait_timeout(SOON).expect("somebody leads").is_ok());
    disk.crash();
    let engine = open(&disk, &gate);
    let topic = engine.topic("orders", None).unwrap();
    assert_eq!(engine.bounds(topic).unwrap(), (Offset(0), Offset(161)));
    let group = engine.group(topic, "email", &Group::default()).unwrap();
    let leased = engine.lease(group, 200, Wait::No, &AtomicBool::new(false)).unwrap();
    assert_eq!(leased.len(), 161);
    engine.close().unwrap();
}

#[test]
fn a_write_that_fails_during_a_sync_is_told_to_its_publisher_and_to_the_one_who_syncs() {
    let (disk, gate) = (SimDisk::new(13), Arc::new(Gate::default()));
    let engine = open(&disk, &gate);
    let synced = beside_a_sync(&engine, &gate, || {
        disk.set_faults(Faults { write_error: 1.0, ..Faults::default() });
        let error = publish(&engine, "lost", Durability::Os).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::OutcomeUnknown);
    });
    assert_eq!(synced.unwrap_err().kind(), crate::error::ErrorKind::OutcomeUnknown);
    assert_eq!(engine.topic("orders", None).unwrap_err().kind(), crate::error::ErrorKind::Poisoned);
}
