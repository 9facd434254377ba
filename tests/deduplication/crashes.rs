//! Many ids, and crashes at every step.

use super::*;

/// Publishes `count` ids in batches, and says at which offset each is.
pub(crate) fn fill(store: &Store, topic: &Topic, count: u64) -> BTreeMap<u64, Offset> {
    let mut known = BTreeMap::new();
    for first in (0..count).step_by(500) {
        let numbers = first..(first + 500).min(count);
        let receipt = topic.publish_all(numbers.clone().map(message)).wait().unwrap();
        known.extend(numbers.zip(receipt.receipts().map(|one| one.offset)));
        if first % 5_000 == 0 {
            upkeep(store);
        }
    }
    known
}

/// Every id is answered as it was accepted.
fn assert_known(topic: &Topic, known: &BTreeMap<u64, Offset>) {
    let end = topic.end_offset();
    let numbers: Vec<u64> = known.keys().copied().collect();
    for numbers in numbers.chunks(1000) {
        let receipt = topic.publish_all(numbers.iter().map(|number| message(*number))).wait().unwrap();
        for (number, one) in numbers.iter().zip(receipt.receipts()) {
            assert!(one.duplicate, "id {number} was forgotten");
            assert_eq!(one.offset, known[number]);
        }
    }
    assert_eq!(topic.end_offset(), end);
}

#[test]
fn a_hundred_thousand_ids_are_known_whatever_happens() {
    let mut bench = Bench::new();
    bench.options = Store::options()
        .segment_bytes(1 << 20)
        .first_segment_bytes(1 << 20)
        .id_memory_bytes(1 << 20)
        .durability(Durability::Os);
    let mut store = bench.open();
    let known = fill(&store, &windowed(&store, Window::Forever), 100_000);
    upkeep(&store);
    assert!(bench.runs().len() > 5, "{:?}", bench.runs());
    let stats = store.id_stats();
    assert!(stats.memory_bytes <= 1 << 20, "{stats:?}");
    assert_known(&orders(&store), &known);
    // A restart, a kill, and a power cut after a sync.
    store.close().unwrap();
    store = bench.open();
    assert_known(&orders(&store), &known);
    store = bench.kill(store);
    assert_eq!(store.recovery().ids_rebuilt, 0);
    assert_known(&orders(&store), &known);
    store.sync().wait().unwrap();
    bench.disk.crash();
    drop(store);
    store = bench.open();
    assert_known(&orders(&store), &known);
    // The tables are deleted while nobody looks.
    bench.disk.kill();
    drop(store);
    bench.runs().iter().for_each(|name| bench.disk.remove_file(name).unwrap());
    store = bench.open();
    assert!(store.recovery().ids_rebuilt > 5);
    assert_known(&orders(&store), &known);
    // And while somebody does: those that are open are read on, and the next opening makes them again.
    bench.runs().iter().for_each(|name| bench.disk.remove_file(name).unwrap());
    assert_known(&orders(&store), &known);
    store.close().unwrap();
    store = bench.open();
    assert_known(&orders(&store), &known);
}

#[test]
fn damage_in_the_tables_costs_time_and_nothing_else() {
    let mut bench = Bench::new();
    let store = bench.open();
    let known = fill(&store, &windowed(&store, Window::Forever), 3_000);
    upkeep(&store);
    let mut store = Some(store);
    let mut rng = fastrand::Rng::with_seed(5);
    for round in 0..60 {
        let running = round % 2 == 0;
        if !running {
            bench.disk.kill();
            store = None;
        }
        let runs = bench.runs();
        let name = &runs[rng.usize(..runs.len())];
        let bytes = bench.disk.read_file(name).unwrap();
        match rng.u8(0..5) {
            0 => bench.disk.truncate(name, rng.u64(..bytes.len() as u64)).unwrap(),
            1 => bench.disk.write_file(name, &vec![0; bytes.len()]),
            // Another run in its place: an older copy, or one of another stretch.
            2 => bench.disk.write_file(name, &bench.disk.read_file(&runs[rng.usize(..runs.len())]).unwrap()),
            _ => (0..3).for_each(|_| bench.disk.flip_bit(name, rng.u64(..bytes.len() as u64), rng.u8(0..8)).unwrap()),
        }
        let open = match store.take() {
            Some(store) => {
                assert_known(&orders(&store), &known);
                bench.kill(store)
            }
            None => bench.open(),
        };
        assert_known(&orders(&open), &known);
        store = Some(open);
    }
}

#[test]
fn ids_that_left_their_window_leave_memory_and_disk() {
    let mut bench = Bench::new();
    let store = bench.open();
    let topic = windowed(&store, Window::For(Duration::from_secs(3600)));
    fill(&store, &topic, 5_000);
    upkeep(&store);
    let before = store.id_stats();
    assert!(before.disk_bytes > 200_000 && before.published == 5_000, "{before:?}");
    bench.clock.advance(Duration::from_secs(7200));
    upkeep(&store);
    let after = store.id_stats();
    // What is not in a run yet stays until it is.
    assert!(after.disk_bytes < 10_000 && after.published < 1_000, "{after:?}");
    assert!(!publish(&topic, 1).duplicate);
    let store = bench.kill(store);
    assert_eq!(store.recovery().ids_rebuilt, 0, "an empty run says that there is nothing");
    assert!(publish(&orders(&store), 1).duplicate && !publish(&orders(&store), 2).duplicate);
}

#[test]
fn a_budget_refuses_or_forgets_and_says_so() {
    let mut bench = Bench::new();
    bench.options = bench.options.clone().id_budget(IdBudget::unlimited().ids(2_000));
    let store = bench.open();
    let topic = windowed(&store, Window::Forever);
    fill(&store, &topic, 2_000);
    let error = topic.publish(message(2_000)).wait().unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Full, "ids-full"));
    assert_eq!(error.into_message(), Some(message(2_000)));
    assert!(publish(&topic, 1_999).duplicate);
    topic.publish("no id").wait().unwrap();
    store.close().unwrap();
    bench.options = bench.options.clone().id_budget(IdBudget::unlimited().ids(2_000).when_full(WhenFull::ForgetOldest));
    let store = bench.open();
    let topic = orders(&store);
    for number in 2_000..4_000 {
        publish(&topic, number);
        upkeep(&store);
    }
    let stats = store.id_stats();
    assert!(stats.forgotten >= 1_000 && stats.published <= 3_000, "{stats:?}");
    assert!(publish(&topic, 3_999).duplicate && !publish(&topic, 0).duplicate);
}

/// What publishing answered, by id; the ones that were asked for and not answered are in nobody's hands.
fn steps(store: &Store, answered: &mut BTreeMap<u64, Offset>) -> Result<(), Error> {
    let topic = store.topic_with("orders", TopicSettings::default().deduplicate(Window::Forever))?;
    for number in 0..30 {
        let level = [Durability::Disk, Durability::Os, Durability::Memory][usize::try_from(number % 3).unwrap()];
        let receipt = topic.publish(message(number % 20).durability(level)).wait()?;
        if level == Durability::Disk {
            answered.insert(number % 20, receipt.offset);
        }
    }
    for first in 0..8 {
        let batch = (first * 60..first * 60 + 90).map(message);
        let receipt = topic.publish_all(batch).wait()?;
        store.sync().wait()?;
        answered.extend((first * 60..first * 60 + 90).zip(receipt.receipts().map(|one| one.offset)));
        while store.step_upkeep()? {}
    }
    Ok(())
}

#[test]
fn a_crash_at_every_step_leaves_each_id_once_and_none_that_was_answered_unknown() {
    let mut step = 0;
    loop {
        let mut bench = Bench::new();
        bench.options = bench.options.clone().id_memory_bytes(16 << 10).segment_bytes(16 << 10);
        let mut faults = Faults::default();
        faults.stop_after = Some(step);
        bench.disk.set_faults(faults);
        let mut answered = BTreeMap::new();
        let store = bench.try_open();
        let outcome = store.as_ref().map_err(|_| ()).and_then(|store| steps(store, &mut answered).map_err(|_| ()));
        bench.disk.crash();
        drop(store);
        // Once more, while it recovers.
        let mut again = Faults::default();
        again.stop_after = Some(step % 37);
        bench.disk.set_faults(again);
        drop(bench.try_open());
        bench.disk.crash();
        bench.disk.set_faults(Faults::default());
        let store = bench.open();
        let topic = orders(&store);
        let mut at = BTreeMap::new();
        for record in topic.read(..) {
            let record = record.unwrap();
            let twice = at.insert(record.id().unwrap().to_vec(), record.offset());
            assert_eq!(twice, None, "step {step}: an id is there twice");
        }
        for (number, offset) in &answered {
            let again = publish(&topic, *number);
            assert_eq!((again.offset, again.duplicate), (*offset, true), "step {step}");
        }
        for (id, offset) in at {
            let number: u64 = String::from_utf8(id).unwrap().strip_prefix("order ").unwrap().parse().unwrap();
            assert_eq!(publish(&topic, number).offset, offset, "step {step}");
        }
        // Those that are not there were lost with their ids: none is taken for a duplicate of what is not there.
        let end = topic.end_offset();
        (10_000..10_020).for_each(|number| assert!(!publish(&topic, number).duplicate));
        for number in 0..600 {
            let receipt = publish(&topic, number);
            assert_eq!(receipt.duplicate, receipt.offset < end, "step {step}: a lost message, and its id remembered");
        }
        if outcome.is_ok() {
            break;
        }
        step += 1;
    }
    assert!(step > 100, "{step}");
}

/// Publishes ids until they are written as another run, which then goes up to the journal's end.
fn fill_a_run(bench: &Bench, store: &Store, known: &mut BTreeMap<u64, Offset>) {
    let (topic, before) = (orders(store), bench.runs().len());
    while bench.runs().len() == before {
        let number = known.len() as u64;
        known.insert(number, publish(&topic, number).offset);
        // No step more: what comes after may write to the journal.
        while bench.runs().len() == before && store.step_upkeep().unwrap() {}
    }
}

#[test]
fn a_run_that_is_made_anew_does_not_make_its_neighbour_forgotten() {
    let mut bench = Bench::new();
    bench.options = bench.options.segment_bytes(1 << 20).first_segment_bytes(1 << 20);
    let mut store = bench.open();
    windowed(&store, Window::Forever);
    let mut known = BTreeMap::new();
    fill_a_run(&bench, &store, &mut known);
    store = bench.kill(store);
    fill_a_run(&bench, &store, &mut known);
    bench.disk.kill();
    drop(store);
    let runs = bench.runs();
    assert_eq!(runs.len(), 2, "{runs:?}");
    // The first can't be read any more; the second goes up to where the journal goes on.
    bench.disk.truncate(&runs[0], 100).unwrap();
    store = bench.open();
    assert_eq!(store.recovery().ids_rebuilt, 1);
    fill_a_run(&bench, &store, &mut known);
    store = bench.kill(store);
    assert_known(&orders(&store), &known);
}
