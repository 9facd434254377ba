//! What a segment holds of ids, for those who want to remove it: what has to be appended again before.

use super::{Taken, in_window};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::{Event, ForgetId, KeepId};
use crate::tables::{Rows, Run, run_name};
use crate::types::SegmentId;
use std::sync::Arc;

/// The ids of a segment that are still in their window.
#[derive(Debug)]
pub(in crate::engine) struct IdsOf {
    runs: Vec<Arc<Run>>,
}

impl Engine {
    /// The ids of a segment that is sealed. Nothing if not all of them are in runs yet: then it can't go yet either.
    ///
    /// The tables never allow a removal: each of these ids has to be appended again, as the event that
    /// [`each`](Self::each_id) gives, or with its message in a `Move`, and be durable, before the segment is retired.
    pub(in crate::engine) fn ids_of(&self, segment: SegmentId) -> Result<Option<IdsOf>> {
        let core = self.open_core()?;
        let waiting = core.ids.frozen.iter().any(|frozen| frozen.owner.segment == segment);
        if waiting || core.ids.owner.segment <= segment {
            return Ok(None);
        }
        let runs = self.runs.lock().all().iter().filter(|run| run.owner.segment == segment).cloned().collect();
        Ok(Some(IdsOf { runs }))
    }

    /// Gives the event for each id that is still in its window, in no particular order.
    pub(in crate::engine) fn each_id(
        &self,
        of: &IdsOf,
        each: &mut dyn FnMut(Event<'static>) -> Result<()>,
    ) -> Result<()> {
        let (windows, now) = (self.open_core()?.windows_of_ids(), self.age_now());
        for run in &of.runs {
            let failed = |source| Error::io(format!("reading {}", run.name()), source);
            for row in Rows::new(&*self.environment.storage, run).map_err(failed)? {
                let (key, row) = row.map_err(failed)?;
                let Some((window, end)) = windows.get(&key.topic) else { continue };
                if !in_window(*window, &row, *end, now) {
                    continue;
                }
                let (topic, offset, time, id_hash) = (key.topic, row.offset, row.time, key.id);
                each(if row.forgotten {
                    Event::ForgetId(ForgetId { topic, offset, time, id_hash })
                } else {
                    Event::KeepId(KeepId { topic, offset, time, id_hash, payload_hash: row.payload })
                })?;
            }
        }
        Ok(())
    }

    /// The runs of a segment go with it: to be called when its retirement is durable.
    pub(in crate::engine) fn drop_ids_of(&self, segment: SegmentId) {
        let mut core = self.core.lock();
        let mut runs = self.runs.lock();
        let going: Vec<Arc<Run>> = runs.all().iter().filter(|run| run.owner.segment == segment).cloned().collect();
        for run in &going {
            *runs = Arc::new(runs.without(run));
        }
        core.runs_changed(None, runs.generation);
        core.ids.runs = Taken::of(&runs);
        drop(runs);
        drop(core);
        for run in going {
            // What is left is removed when the store is opened.
            drop(self.environment.storage.remove(&run_name(&run.owner, run.range)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::config::{Group, Options, TopicSettings, Window};
    use crate::engine::{Environment, Outcome, SimDisk, Wait};
    use crate::message::Message;
    use crate::tables::MemoryTables;
    use crate::types::{Timestamp, TopicId};
    use std::sync::atomic::AtomicBool;

    struct Bench {
        disk: SimDisk,
        tables: MemoryTables,
        clock: ManualClock,
    }

    impl Bench {
        fn new() -> Self {
            let clock = ManualClock::starting_at(Timestamp(1_700_000_000_000));
            Self { disk: SimDisk::new(1), tables: MemoryTables::default(), clock }
        }

        fn open(&self) -> Arc<Engine> {
            let environment = Environment::simulated(&self.disk, &self.tables, self.clock.clone(), 1);
            let small = 16 << 10;
            let options = Options::default().segment_bytes(small).first_segment_bytes(small).id_memory_bytes(1 << 20);
            Engine::open(environment, options, false).unwrap()
        }
    }

    fn upkeep(engine: &Engine) {
        while engine.poll_commit().unwrap() | engine.poll_upkeep().unwrap() {}
    }

    fn message(number: u32) -> Message {
        Message::new(&[b'p'; 200][..]).id(number.to_string())
    }

    fn fill(engine: &Arc<Engine>, topic: TopicId, numbers: std::ops::Range<u32>) {
        for number in numbers {
            assert!(!engine.clone().publish(topic, message(number)).wait().unwrap().duplicate);
            upkeep(engine);
        }
    }

    fn into<'a>(all: &'a mut Vec<Event<'static>>) -> impl FnMut(Event<'static>) -> Result<()> + 'a {
        |event| {
            all.push(event);
            Ok(())
        }
    }

    /// Appends what a segment has to keep, and has it go. How many that were.
    fn carry_over(engine: &Arc<Engine>, segment: SegmentId) -> usize {
        let of = engine.ids_of(segment).unwrap().unwrap();
        let mut kept = Vec::new();
        engine.each_id(&of, &mut into(&mut kept)).unwrap();
        engine.each_processed(segment, &mut into(&mut kept)).unwrap();
        for event in &kept {
            engine.core.lock().record(event).unwrap();
            upkeep(engine);
        }
        engine.sync().wait().unwrap();
        engine.drop_ids_of(segment);
        kept.len()
    }

    #[test]
    fn ids_that_are_carried_over_are_known_without_the_segment_they_came_from() {
        let bench = Bench::new();
        let engine = bench.open();
        let settings = |window| TopicSettings::default().deduplicate(window);
        let topic = engine.topic("orders", Some(&settings(Window::Forever))).unwrap();
        let brief = engine.topic("brief", Some(&settings(Window::For(std::time::Duration::from_secs(1))))).unwrap();
        engine.clone().publish(brief, message(0)).wait().unwrap();
        fill(&engine, topic, 0..400);
        bench.clock.advance(std::time::Duration::from_secs(2));
        let last = engine.core.lock().tail.active().id;
        let sealed = engine.files.all().into_iter().filter(|known| known.seal.is_some());
        let sealed: Vec<SegmentId> = sealed.map(|known| known.segment.id).collect();
        assert!(sealed.len() > 3);
        assert!(engine.ids_of(last).unwrap().is_none(), "that one is still written to");
        let (mut kept, first) = (0, engine.runs.lock().rows());
        for segment in sealed.into_iter().take(3) {
            kept += carry_over(&engine, segment);
        }
        assert!(kept > 100 && kept as u64 <= first, "{kept} of {first}");
        let known = |engine: &Arc<Engine>| {
            for number in 0..400 {
                let receipt = engine.clone().publish(topic, message(number)).wait().unwrap();
                assert_eq!((receipt.offset.get(), receipt.duplicate), (number.into(), true));
            }
        };
        known(&engine);
        assert!(!engine.clone().publish(brief, message(0)).wait().unwrap().duplicate, "it had left its window");
        engine.close().unwrap();
        drop(engine);
        let engine = bench.open();
        known(&engine);
    }

    #[test]
    fn processed_ids_are_carried_over_but_for_those_that_a_later_ack_has_replaced() {
        let bench = Bench::new();
        let engine = bench.open();
        let topic = engine.topic("orders", Some(&TopicSettings::default().deduplicate(Window::Off))).unwrap();
        let inbox = Group::default().remember_processed(Window::Last(1_000));
        let group = engine.group(topic, "book", &inbox).unwrap();
        let run = AtomicBool::new(false);
        for number in 0..300u32 {
            engine.clone().publish(topic, message(number)).wait().unwrap();
            let leased = engine.lease(group, 1, Wait::No, &run).unwrap();
            let held = [(leased[0].record.offset(), leased[0].epoch)];
            engine.settle(group, &held, &Outcome::Ack).wait().unwrap();
            upkeep(&engine);
        }
        let mut kept = Vec::new();
        engine.each_processed(SegmentId(1), &mut into(&mut kept)).unwrap();
        assert!(kept.len() > 20, "{}", kept.len());
        let Event::KeepProcessed(first) = kept[0] else { panic!("{:?}", kept[0]) };
        assert_eq!((first.sequence, first.table), (1, 0));
        // As if the first id had been acked once more.
        let later = crate::event::KeepProcessed { sequence: 301, ..first };
        engine.core.lock().record(&Event::KeepProcessed(later)).unwrap();
        let mut again = Vec::new();
        engine.each_processed(SegmentId(1), &mut into(&mut again)).unwrap();
        assert_eq!(again, kept[1..]);
    }
}
