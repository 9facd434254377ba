//! The steps of a checkpoint come in their order: each of them is missed if it is left out (see `tests/mutations`).

use crate::clock::ManualClock;
use crate::config::{Durability, Group, Options, TopicSettings, Window};
use crate::engine::{Engine, Environment, Outcome, SimDisk, Wait};
use crate::message::Message;
use crate::sync::Mutex;
use crate::tables::{Checked, Hash, MemoryTables, Step};
use crate::types::{Lsn, Timestamp};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A step, how far the journal was durable then, and which checkpoint it named.
type Seen = (Step, Lsn, Option<Hash>);

#[test]
fn rows_are_durable_before_their_checkpoint_and_that_before_the_journal_names_it() {
    let (disk, tables) = (SimDisk::new(1), MemoryTables::default());
    let clock = ManualClock::starting_at(Timestamp(1_700_000_000_000));
    let environment = Environment::simulated(&disk, &tables, clock, 1);
    let engine = Engine::open(environment, Options::default().durability(Durability::Os), false).unwrap();
    let topic = engine.topic("orders", Some(&TopicSettings::default())).unwrap();
    let inbox = Group::default().remember_processed(Window::Forever);
    let group = engine.group(topic, "book", &inbox).unwrap();
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let (weak, told) = (Arc::downgrade(&engine), seen.clone());
    tables.watch(move |step| {
        let engine = weak.upgrade().unwrap();
        let core = engine.core.lock();
        told.lock().push((step, core.tail.durable(), core.state.tables_trusted().map(|trusted| trusted.checkpoint)));
    });
    let mut before: Option<Hash> = None;
    for round in 0..3u32 {
        for number in 0..20 {
            let message = Message::new(&b"payload"[..]).id(format!("{round} {number}"));
            engine.clone().publish(topic, message).wait().unwrap();
            let leased = engine.lease(group, 1, Wait::No, &AtomicBool::new(false)).unwrap();
            let held = [(leased[0].record.offset(), leased[0].epoch)];
            engine.settle(group, &held, &[], &Outcome::Ack).wait().unwrap();
        }
        let end = engine.core.lock().tail.end();
        assert!(engine.core.lock().tail.durable() < end, "nobody has synced them yet");
        assert!(engine.checkpoint(true).unwrap());
        let steps = std::mem::take(&mut *seen.lock());
        // The acks are durable in the journal before a row enters; the journal names the checkpoint when all is over.
        for (step, durable, trusted) in &steps {
            assert!(*durable >= end, "{step:?} at {durable} of {end}");
            assert_eq!(*trusted, before, "{step:?}");
        }
        let whole = [Step::Flush, Step::SyncFiles, Step::SyncNames];
        let wanted = [&[Step::Put][..], &whole, &[Step::Mark], &whole].concat();
        assert_eq!(tables.steps(), wanted);
        let trusted = engine.core.lock().state.tables_trusted().map(|trusted| trusted.checkpoint);
        assert!(trusted.is_some() && trusted != before);
        assert!(Checked::open(Arc::new(tables.clone()), trusted.unwrap()).unwrap().is_some());
        before = trusted;
    }
    assert_eq!(tables.times_set_aside(), 0);
    // A row of an earlier checkpoint that is gone is noticed by whoever asks for it, and made again.
    let rows = tables.rows();
    tables.lose_a_row(rows / 2);
    assert_eq!(tables.rows(), rows - 1);
    for round in 0..3u32 {
        (0..20).for_each(|number| assert!(engine.is_processed(group, format!("{round} {number}").as_bytes()).unwrap()));
    }
    assert!(!engine.is_processed(group, b"another").unwrap());
    assert_eq!((tables.times_set_aside(), tables.rows()), (1, rows));
}
