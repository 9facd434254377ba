//! Ids are cut at every step (I6, I7, I10): acks that record them, transactions, the checkpoint of the tables, runs
//! that are made into one, and the opening that makes tables and runs anew; killed and with the power cut, with tables
//! that are gone, older, or failing.
#![expect(clippy::unwrap_used, clippy::field_reassign_with_default, reason = "a test")]

use millpond::testing::Faults;
use millpond::{Consumer, Durability, Error, Group, Message, Offset, Store, Topic, TopicSettings, Window};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[path = "support/bench.rs"]
mod bench;
use bench::Bench;

/// Small, so that segments roll, runs are written and made into one, and tables are written, all within some steps.
fn bench() -> Bench {
    let mut bench = Bench::new(16 << 10);
    bench.options = bench.options.id_memory_bytes(16 << 10).durability(Durability::Os);
    bench
}

/// What was answered.
#[derive(Clone, Debug, Default)]
struct Answered {
    published: BTreeMap<u64, Offset>,
    processed: BTreeSet<u64>,
    /// Transactions that were asked for, and that were answered.
    asked: u64,
    committed: u64,
}

fn topics(store: &Store) -> Result<(Topic, Topic, Consumer), Error> {
    let once = store.topic_with("once", TopicSettings::default().deduplicate(Window::Forever))?;
    let mail = store.topic_with("mail", TopicSettings::default().deduplicate(Window::Off))?;
    let book = mail.consumer("book", Group::default().remember_processed(Window::Forever))?;
    Ok((once, mail, book))
}

fn message(number: u64) -> Message {
    Message::new(vec![b'm'; 60]).id(number.to_be_bytes().to_vec())
}

fn number(id: Option<&[u8]>) -> u64 {
    u64::from_be_bytes(id.unwrap().try_into().unwrap())
}

/// Publishes, acks and commits with ids; what is durable is noted. It ends with the first error.
fn work(store: &Store, rounds: std::ops::Range<u64>, answered: &mut Answered) -> Result<(), Error> {
    let (once, mail, book) = topics(store)?;
    for round in rounds {
        let numbers = round * 40..round * 40 + 40;
        let batch = || numbers.clone().map(message);
        let receipt = once.publish_all(batch()).wait()?;
        let offsets: Vec<Offset> = receipt.receipts().map(|one| one.offset).collect();
        mail.publish_all(batch()).wait()?;
        let delivered: Vec<_> = book.lease_many(40, Duration::ZERO)?.collect();
        let ids: Vec<u64> = delivered.iter().map(|delivery| number(delivery.id())).collect();
        let mut delivered = delivered.into_iter();
        let last = delivered.next_back();
        book.ack_all(delivered).wait()?;
        // One more by a transaction: its ack and a message are there, or neither.
        answered.asked = round + 1;
        let mut tx = store.transaction();
        tx.durability(Durability::Disk).publish(&once, message(1 << 32 | round));
        tx.set("round", round.to_be_bytes().to_vec());
        last.into_iter().for_each(|last| _ = tx.ack(last));
        let committed = tx.commit().wait()?;
        // All before it in the journal is as durable as it is.
        answered.published.extend(numbers.zip(offsets));
        answered.published.extend(committed.receipts.iter().map(|one| (1 << 32 | round, one.offset)));
        answered.processed.extend(ids);
        answered.committed = round + 1;
        while store.step_upkeep()? {}
    }
    Ok(())
}

fn check(store: &Store, answered: &Answered, when: &str) {
    let (once, _, book) = topics(store).unwrap();
    let mut found = BTreeMap::new();
    for record in once.read(..) {
        let record = record.unwrap();
        let twice = found.insert(number(record.id()), record.offset());
        assert_eq!(twice, None, "I6: an id is there twice, {when}");
    }
    for (id, offset) in &answered.published {
        assert_eq!(found.get(id), Some(offset), "I1: id {id}, {when}");
    }
    let all: Vec<(u64, Offset)> = found.iter().map(|(id, offset)| (*id, *offset)).collect();
    for part in all.chunks(64) {
        let receipt = once.publish_all(part.iter().map(|(id, _)| message(*id))).wait().unwrap();
        let right = receipt.receipts().zip(part).all(|(one, (_, offset))| one.duplicate && one.offset == *offset);
        assert!(right, "I6: {receipt:?} instead of {part:?}, {when}");
    }
    assert!(!once.publish(message(u64::MAX - once.end_offset().get())).wait().unwrap().duplicate, "{when}");
    for id in &answered.processed {
        assert!(book.is_processed(id.to_be_bytes()).unwrap(), "I6: id {id} was processed, {when}");
    }
    // Whole, or not at all: the message, the ack and the value.
    let round = store.get("round").unwrap().map(|value| u64::from_be_bytes(value[..].try_into().unwrap()) + 1);
    let round = round.unwrap_or(0);
    assert!((answered.committed..=answered.asked).contains(&round), "I7: {round} of {answered:?}, {when}");
    for one in 0..answered.asked {
        assert_eq!(found.contains_key(&(1 << 32 | one)), one < round, "I7: transaction {one} of {round}, {when}");
        if one < round {
            assert!(book.is_processed((one * 40 + 39).to_be_bytes()).unwrap(), "I7: the ack of {one}, {when}");
        }
    }
    // What was never acked is not processed.
    assert!(!book.is_processed((answered.asked * 40 + 1).to_be_bytes()).unwrap(), "I4: {when}");
}

/// What nobody should do to tables and runs, in turn.
fn meddle(bench: &Bench, step: u64) {
    let runs = || bench.disk.file_names().into_iter().filter(|name| name.ends_with(".ids"));
    match step % 5 {
        0 => bench.tables.clear(),
        1 => bench.tables.roll_back(1 + usize::try_from(step % 3).unwrap()),
        2 => runs().for_each(|name| bench.disk.remove_file(&name).unwrap()),
        3 => bench.tables.fail_after(step % 29),
        _ => {}
    }
}

#[test]
fn a_crash_at_any_step_of_acks_transactions_checkpoints_and_merges_leaves_ids_as_they_were_answered() {
    for power in [false, true] {
        let mut step = 0;
        loop {
            let mut bench = bench();
            let mut answered = Answered::default();
            let store = bench.open();
            work(&store, 0..12, &mut answered).unwrap();
            let mut faults = Faults::default();
            faults.stop_after = Some(step);
            bench.disk.set_faults(faults);
            let outcome = work(&store, 12..30, &mut answered);
            let die = |bench: &Bench| if power { bench.disk.crash() } else { bench.disk.kill() };
            die(&bench);
            drop(store);
            meddle(&bench, step);
            // Once more, while it recovers.
            let mut again = Faults::default();
            again.stop_after = Some(step % 31);
            bench.disk.set_faults(again);
            drop(bench.try_open());
            die(&bench);
            bench.disk.set_faults(Faults::default());
            let store = bench.open();
            check(&store, &answered, &format!("step {step}, power {power}"));
            if outcome.is_ok() {
                let names = bench.disk.file_names();
                let merged = |name: &&String| name.ends_with(".ids") && name.matches('.').count() == 1;
                assert!(names.iter().any(|name| merged(&name)) || step % 5 == 2, "{names:?}");
                assert!(step > 300, "{step}");
                break;
            }
            step += 7;
        }
    }
}

/// The tables' own steps: each of their calls is the last that goes well.
#[test]
fn tables_that_fail_at_any_of_their_calls_cost_time_and_nothing_else() {
    for calls in (0..60).chain((60..600).step_by(23)) {
        let mut bench = bench();
        let mut answered = Answered::default();
        let store = bench.open();
        work(&store, 0..6, &mut answered).unwrap();
        bench.tables.fail_after(calls);
        work(&store, 6..14, &mut answered).unwrap();
        check(&store, &answered, &format!("call {calls}, at once"));
        let store = bench.kill(store);
        check(&store, &answered, &format!("call {calls}, after a kill"));
        store.sync().wait().unwrap();
        bench.disk.crash();
        drop(store);
        bench.tables.fail_after(calls % 13);
        let store = bench.open();
        check(&store, &answered, &format!("call {calls}, after a power cut"));
    }
}

#[test]
fn an_opening_that_makes_tables_and_runs_anew_may_be_cut_at_any_step() {
    for power in [false, true] {
        let mut step = 0;
        loop {
            let mut bench = bench();
            let mut answered = Answered::default();
            let store = bench.open();
            work(&store, 0..16, &mut answered).unwrap();
            store.close().unwrap();
            bench.tables.clear();
            let runs = bench.disk.file_names().into_iter().filter(|name| name.ends_with(".ids"));
            runs.for_each(|name| bench.disk.remove_file(&name).unwrap());
            let mut faults = Faults::default();
            faults.stop_after = Some(step);
            bench.disk.set_faults(faults);
            let opened = bench.try_open();
            let whole = opened.as_ref().is_ok_and(|store| store.recovery().tables_rebuilt.is_some());
            if power {
                bench.disk.crash()
            } else {
                bench.disk.kill()
            };
            drop(opened);
            bench.disk.set_faults(Faults::default());
            let store = bench.open();
            check(&store, &answered, &format!("step {step}, power {power}"));
            drop(store);
            let store = bench.open();
            check(&store, &answered, &format!("step {step}, power {power}, once more"));
            if whole {
                assert!(step > 40, "{step}");
                break;
            }
            step += if step < 30 { 1 } else { 3 };
        }
    }
}
