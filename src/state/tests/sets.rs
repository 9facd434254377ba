//! Sets of offsets against a plain set, and their size.

use super::super::offsets::OffsetSet;
use super::super::packed;
use super::super::settled::Settled;
use super::*;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Change {
    Insert(Run),
    Remove(Run),
    Below(u64),
}

/// Places where chunks meet, with enough room for whole ones.
fn place() -> impl Strategy<Value = u64> {
    prop_oneof![0..200u64, 65_400..65_700u64, 0..300_000u64]
}

fn change() -> impl Strategy<Value = Change> {
    let length = || prop_oneof![8 => 1..4u64, 3 => 1..300u64, 1 => 50_000..200_000u64];
    let run = || (place(), length()).prop_map(|(first, count)| run(first, count));
    prop_oneof![
        6 => run().prop_map(Change::Insert),
        3 => run().prop_map(Change::Remove),
        1 => (0..1000u64).prop_map(Change::Below),
    ]
}

fn assert_same(set: &OffsetSet, model: &BTreeSet<u64>, probes: &[u64]) {
    assert_eq!(set.len(), model.len() as u64);
    assert_eq!(set.is_empty(), model.is_empty());
    assert!(set.runs().flat_map(|run| run.first.0..run.end().0).eq(model.iter().copied()));
    for probe in probes {
        assert_eq!(set.contains(Offset(*probe)), model.contains(probe));
        assert_eq!(set.next_present(Offset(*probe)), model.range(probe..).next().map(|found| Offset(*found)));
        let absent = (*probe..).find(|offset| !model.contains(offset)).unwrap();
        assert_eq!(set.next_absent(Offset(*probe)), Offset(absent));
        let within = run(*probe, 70_000);
        assert_eq!(set.count_in(within), model.range(probe..&(probe + 70_000)).count() as u64);
        assert_eq!(set.runs_in(within).map(|run| run.count).sum::<u64>(), set.count_in(within));
    }
    let mut bytes = Vec::new();
    packed::encode(set, &mut bytes);
    assert!(packed::decode(&bytes).as_ref() == Some(set));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_set_of_offsets_does_what_a_plain_set_does(
        changes in prop::collection::vec(change(), 1..40),
        probes in prop::collection::vec(place(), 4),
    ) {
        let (mut set, mut model) = (OffsetSet::default(), BTreeSet::new());
        for change in changes {
            match change {
                Change::Insert(run) => {
                    let before = model.len();
                    model.extend(run.first.0..run.end().0);
                    prop_assert_eq!(set.insert_run(run), (model.len() - before) as u64);
                }
                Change::Remove(run) => {
                    let removed = set.remove_run(run);
                    let before = model.len();
                    model.retain(|offset| !(run.first.0..run.end().0).contains(offset));
                    prop_assert_eq!(removed, (before - model.len()) as u64);
                }
                Change::Below(floor) => {
                    set.remove_below(Offset(floor));
                    model = model.split_off(&floor);
                }
            }
        }
        assert_same(&set, &model, &probes);
    }

    #[test]
    fn a_chunk_changes_its_form_without_changing_its_content(seed in any::<u64>(), many in 2000..6000usize) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut set, mut model) = (OffsetSet::default(), BTreeSet::new());
        for step in 0..many * 3 {
            let run = run(random.u64(..65_536), if random.u8(..8) == 0 { random.u64(1..80) } else { 1 });
            // First it fills with holes, then the holes close, then it empties.
            if step < many * 2 {
                set.insert_run(run);
                model.extend(run.first.0..run.end().0);
            } else {
                set.remove_run(run);
                (run.first.0..run.end().0).for_each(|offset| _ = model.remove(&offset));
            }
            if step % (many / 2) == 0 {
                assert_same(&set, &model, &[random.u64(..70_000)]);
            }
        }
        assert_same(&set, &model, &[0, 63, 64, 65_535, 65_536]);
    }

    #[test]
    fn settling_does_what_a_plain_set_does(
        start in 0..50u64,
        steps in prop::collection::vec((0..150u64, 1..20u64, 0..6u8), 1..60),
    ) {
        let mut settled = Settled::at(Offset(start));
        let mut model: BTreeSet<u64> = (0..start).collect();
        for (first, count, kind) in steps {
            if kind == 0 {
                settled.reopen(Offset(first));
                model.remove(&first);
            } else {
                let before = model.len();
                model.extend(first..first + count);
                prop_assert_eq!(settled.settle(run(first, count)), (model.len() - before) as u64);
            }
            let absent = |from: u64| (from..).find(|offset| !model.contains(offset)).unwrap();
            prop_assert_eq!(settled.floor().0, absent(0));
            prop_assert_eq!(settled.next_unsettled(Offset(first)).0, absent(first));
            prop_assert_eq!(settled.next_settled(Offset(first)).map(|at| at.0), model.range(first..).next().copied());
            prop_assert_eq!(settled.count_in(run(first, count)), model.range(first..first + count).count() as u64);
        }
    }

    #[test]
    fn damaged_bytes_of_a_set_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Some(set) = packed::decode(&bytes) {
            prop_assert_eq!(set.runs().map(|run| run.count).sum::<u64>(), set.len());
        }
    }
}

#[test]
fn a_set_takes_at_most_about_a_bit_per_offset_however_its_holes_lie() {
    let span = 16 << 16;
    for step in [2, 3, 17, 63, 1000] {
        let mut set = OffsetSet::default();
        (0..span).filter(|offset| offset % step != 0).for_each(|offset| _ = set.insert(Offset(offset)));
        let bits = set.heap_bytes() * 8;
        assert!(bits as u64 <= span * 103 / 100, "{bits} bits with a hole every {step}");
        let mut bytes = Vec::new();
        packed::encode(&set, &mut bytes);
        assert!(bytes.len() as u64 * 8 <= span * 2, "{} bytes packed with a hole every {step}", bytes.len());
    }
}

#[test]
fn what_is_settled_above_one_forgotten_message_takes_next_to_nothing() {
    let mut settled = Settled::default();
    for offset in 1..3_000_000 {
        settled.settle(Run::one(Offset(offset)));
    }
    assert!(settled.above().heap_bytes() < 500);
    settled.settle(run(0, 1));
    assert_eq!((settled.floor(), settled.above().heap_bytes()), (Offset(3_000_000), 0));
}

#[test]
fn a_run_of_everything_is_one_entry() {
    let mut set = OffsetSet::default();
    assert_eq!(set.insert_run(run(0, u64::MAX)), u64::MAX);
    assert!(set.heap_bytes() < 10_000);
    assert_eq!(set.next_absent(Offset(0)), Offset(u64::MAX));
    assert_eq!(set.remove_run(run(5, u64::MAX)), u64::MAX - 5);
    assert_eq!(set.runs().collect::<Vec<_>>(), [run(0, 5)]);
}

#[test]
fn a_million_acks_in_any_order_leave_exactly_what_was_not_acked() {
    let mut world = World::with(0);
    world.state.apply(lsn(40), &publish(TOPIC, 0, 1_000_000));
    let mut order: Vec<u64> = (0..1_000_000).collect();
    fastrand::Rng::with_seed(7).shuffle(&mut order);
    let (kept, acked) = order.split_at(1000);
    for offset in acked {
        world.state.apply(lsn(41), &ack(GROUP, &[Run::one(Offset(*offset))]));
    }
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    assert_eq!(world.lease(0, 2000), kept);
    assert_eq!(world.group().settled().floor().0, kept[0]);
    assert_whole(&world.state);
}

#[test]
fn many_messages_are_handed_out_and_acked_one_by_one() {
    let mut world = World::with(100_000);
    for offset in 0..100_000 {
        let pick = world.state.pick(GROUP, Timestamp(0), Offset(100_000), 1)[0];
        assert_eq!(pick.offset.0, offset);
        world.grant(pick.offset.0, offset, 30_000);
        world.state.apply(lsn(41), &delivered(GROUP, &[Run::one(pick.offset)]));
        world.state.apply(lsn(41), &ack(GROUP, &[Run::one(pick.offset)]));
    }
    assert_eq!(world.group().settled().floor(), Offset(100_000));
}
