//! A small world around the state: what the engine would append, without an engine.

mod counters;
mod delivery;
mod ordered;
mod replay;
mod sets;
mod suspects;
mod topics;

use super::*;
use crate::event::*;
use crate::types::*;
use std::borrow::Cow;

const TOPIC: TopicId = TopicId(1);
const GROUP: GroupId = GroupId(1);
/// Nothing is invisible in these tests unless they say so.
const END: Offset = Offset(u64::MAX);

/// One topic with one group, and the decisions that an engine makes.
struct World {
    state: State,
    frames: u32,
    epoch: u64,
}

impl World {
    /// With `count` messages, and no limits that get in the way.
    fn with(count: u64) -> Self {
        let mut world = Self { state: State::default(), frames: 0, epoch: 0 };
        world.open("machine", true);
        world.apply(&create_topic(TOPIC, "orders"));
        world.apply(&create_group(GROUP, TOPIC, 0));
        world.publish(count);
        world
    }

    fn apply(&mut self, event: &Event<'_>) {
        self.frames += 1;
        self.state.apply(lsn(self.frames), event);
        assert_whole(&self.state);
    }

    fn publish(&mut self, count: u64) {
        let first = self.state.topic(TOPIC).unwrap().end();
        self.apply(&publish(TOPIC, first.0, count));
    }

    fn open(&mut self, boot_id: &str, clean: bool) {
        let incarnation = Incarnation(self.state.incarnation().0 + 1);
        self.apply(&opened(incarnation.0, boot_id, clean));
    }

    /// The process dies and is started again on the same machine.
    fn crash(&mut self) {
        self.open("machine", false);
    }

    fn group(&mut self) -> &mut Group {
        self.state.group_mut(GROUP).unwrap()
    }

    fn counters(&mut self, offset: u64) -> Counters {
        self.group().counters(Offset(offset))
    }

    fn picks(&mut self, now: u64, max: usize) -> Vec<u64> {
        let end = self.state.topic(TOPIC).unwrap().end();
        self.state.pick(GROUP, Timestamp(now), end, max).into_iter().map(|pick| pick.offset.0).collect()
    }

    /// Hands out what comes next, until `now` + 30 s.
    fn lease(&mut self, now: u64, max: usize) -> Vec<u64> {
        let picks = self.picks(now, max);
        for offset in &picks {
            self.epoch += 1;
            let epoch = self.epoch;
            let lease = Lease { epoch, granted: Timestamp(now), deadline: Timestamp(now + 30_000) };
            self.state.grant(GROUP, Offset(*offset), lease);
        }
        let unrecorded = picks.iter().filter(|offset| self.state.group(GROUP).unwrap().needs_record(Offset(**offset)));
        let runs: Vec<Run> = unrecorded.map(|offset| Run::one(Offset(*offset))).collect();
        if !runs.is_empty() {
            self.apply(&delivered(GROUP, &runs));
        }
        picks
    }

    /// Leases a message at time 0.
    fn grant(&mut self, offset: u64, epoch: u64, deadline: u64) {
        let lease = Lease { epoch, granted: Timestamp(0), deadline: Timestamp(deadline) };
        self.state.grant(GROUP, Offset(offset), lease);
    }

    fn ack(&mut self, offset: u64) {
        self.apply(&ack(GROUP, &[Run::one(Offset(offset))]));
    }

    fn fail(&mut self, offset: u64, due: u64, error: &str) {
        let counters = self.counters(offset);
        let counters = Counters { failures: counters.failures + 1, ..counters };
        self.apply(&nack(GROUP, offset, counters, due, error));
    }

    fn time_out(&mut self, offset: u64, due: u64) {
        let counters = self.counters(offset);
        let counters = Counters { timeouts: counters.timeouts + 1, ..counters };
        self.apply(&nack(GROUP, offset, counters, due, ""));
    }

    fn release(&mut self, offset: u64, due: u64) {
        self.apply(&release(GROUP, &[Run::one(Offset(offset))], due));
    }

    fn bury(&mut self, offset: u64, reason: BuryReason, error: &str) {
        let (counters, life) = (self.counters(offset), self.group().life(Offset(offset)));
        self.apply(&bury(GROUP, offset, reason, counters, life, error));
    }
}

fn lsn(frame: u32) -> Lsn {
    Lsn::new(SegmentId(1 + frame / 50), Position(4096 + frame % 50 * 64))
}

fn run(first: u64, count: u64) -> Run {
    Run { first: Offset(first), count }
}

fn opened(incarnation: u64, boot_id: &str, clean: bool) -> Event<'_> {
    let boot_id = Cow::Borrowed(boot_id);
    Event::Opened(Opened { incarnation: Incarnation(incarnation), time: Timestamp(1), boot_id, clean, doubted: 0 })
}

fn create_topic(topic: TopicId, name: &str) -> Event<'_> {
    Event::CreateTopic(CreateTopic { topic, time: Timestamp(1), name: name.into(), settings: Patch::new() })
}

fn create_group(group: GroupId, topic: TopicId, start: u64) -> Event<'static> {
    let name = Cow::Owned(format!("group {group}"));
    Event::CreateGroup(CreateGroup {
        group,
        topic,
        time: Timestamp(1),
        start: Offset(start),
        name,
        settings: Patch::new(),
    })
}

fn publish(topic: TopicId, first: u64, count: u64) -> Event<'static> {
    Event::Publish(Published::bare(topic, Offset(first), count, Timestamp(2), count * 100))
}

/// One message that is due then.
fn publish_later(topic: TopicId, first: u64, at: u64, wall: bool) -> Event<'static> {
    let mut message = crate::message::Message::new("later");
    let attributes = message.attributes_mut();
    attributes.due = Some(crate::message::Due { at: Timestamp(at), wall });
    attributes.expiry = Some(Timestamp(at + 10));
    // For ever: the event borrows it, and tests are short.
    let draft: &'static Draft<'static> = Box::leak(Box::new(Draft::one(topic, Box::leak(Box::new(message)))));
    Event::Publish(draft.published(Offset(first), Timestamp(2)))
}

fn delivered(group: GroupId, runs: &[Run]) -> Event<'_> {
    Event::Delivered(Delivered { group, runs: runs.into() })
}

fn ack(group: GroupId, runs: &[Run]) -> Event<'_> {
    Event::Ack(Ack::done(group, runs.into()))
}

fn nack(group: GroupId, offset: u64, counters: Counters, due: u64, error: &str) -> Event<'_> {
    let (offset, due) = (Offset(offset), Timestamp(due));
    Event::Nack(Nack { group, offset, counters, time: Timestamp(3), due, error: error.into() })
}

fn release(group: GroupId, runs: &[Run], due: u64) -> Event<'_> {
    Event::Release(Release { group, runs: runs.into(), due: Timestamp(due), counters: None })
}

fn bury(group: GroupId, offset: u64, reason: BuryReason, counters: Counters, life: u32, error: &str) -> Event<'_> {
    let offset = Offset(offset);
    Event::Bury(Bury { group, offset, reason, counters, life, time: Timestamp(4), error: error.into() })
}

fn redrive(group: GroupId, runs: &[Run]) -> Event<'_> {
    Event::Redrive(Redrive { group, runs: runs.into(), time: Timestamp(5) })
}

fn seek(group: GroupId, to: u64) -> Event<'static> {
    Event::Seek(Seek { group, to: Offset(to) })
}

fn pause(group: GroupId, until: u64) -> Event<'static> {
    Event::Pause(Pause { group, until: Timestamp(until) })
}

fn limits(attempts: u64, timeouts: u64, crashes: u64) -> Event<'static> {
    let tag = |tag, values: &[u64]| Setting { tag, values: values.into() };
    let settings = vec![tag(2, &[1000, 1000, attempts]), tag(3, &[timeouts]), tag(4, &[crashes])];
    Event::ConfigureGroup(ConfigureGroup { group: GROUP, settings })
}

/// What has to hold between the parts of every group, whatever has happened.
fn assert_whole(state: &State) {
    for group in state.groups() {
        let hands = &group.hands;
        let settled = |offset: &&Offset| group.settled.contains(**offset);
        assert_eq!(group.history.keys().find(settled), None, "remembered though settled");
        assert_eq!(group.dead.keys().find(settled), None, "dead though settled");
        assert_eq!(group.dead.keys().find(|offset| group.history.contains_key(offset)), None, "dead and remembered");
        for run in group.handed.runs() {
            assert_eq!(group.settled.count_in(run), 0, "in flight though settled");
            assert_eq!(group.dead.range(run.first..run.end()).next(), None, "in flight though dead");
        }
        assert_eq!(hands.leases.iter().find(|(offset, _)| !group.is_open(*offset)), None, "leased though done with");
        let deadlines = hands.deadlines.until(Timestamp(u64::MAX), &hands.leases);
        let deadlines: Vec<_> = deadlines.into_iter().map(|(deadline, offset, _)| (offset, deadline)).collect();
        let mut leases: Vec<_> = hands.leases.iter().map(|(offset, lease)| (offset, lease.deadline)).collect();
        leases.sort_by_key(|(offset, deadline)| (*deadline, *offset));
        assert_eq!(deadlines, leases);
        let waiting = group.history.iter().filter(|(offset, _)| !hands.leases.contains(**offset));
        assert!(waiting.map(|(offset, past)| (past.due, *offset)).collect::<BTreeSet<_>>() == hands.due);
        let suspects = group.history.iter().filter(|(_, past)| past.suspicion.is_suspect());
        assert!(suspects.map(|(offset, _)| *offset).collect::<BTreeSet<_>>() == hands.suspects);
        for run in hands.back.runs() {
            assert!(run.end() <= hands.cursor && group.settled.count_in(run) == 0);
            assert_eq!(group.history.range(run.first..run.end()).next(), None);
            assert_eq!(hands.leases.range(run).next(), None);
        }
    }
}
