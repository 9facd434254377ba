//! Where groups begin, and where they are moved to.

use super::removal::{Whom, removal};
use super::{Core, Engine};
use crate::config::Start;
use crate::error::Result;
use crate::event::{Cause, Event, Run, Seek};
use crate::state::{Group, State, Topic};
use crate::types::{GroupId, Offset, Timestamp, TopicId};

/// What a seek does, or would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct SeekReport {
    /// Where the group goes on.
    pub to: Offset,
    /// How many messages come again that the group had settled, or given up on.
    pub again: u64,
    /// How many messages the group had not settled and will not get: they lie before `to`. Dead letters before it stay
    /// dead letters and are not among them.
    pub skipped: u64,
    /// How many messages of the range that was asked for are gone, and can't come again. The range goes from the offset
    /// that was asked for, or the topic's first one, to the topic's end.
    pub gone: u64,
}

impl Engine {
    /// Where a start lies in a topic now.
    pub(super) fn resolve(&self, topic: TopicId, start: Start) -> Result<Offset> {
        let (first, end) = self.bounds(topic)?;
        Ok(match start {
            Start::Earliest => first,
            Start::Latest => self.end_of(topic)?,
            Start::Offset(offset) => offset.max(first).min(self.end_of(topic)?),
            Start::Time(time) => self.first_since(topic, time, first, end)?,
        })
    }

    /// The first message accepted at or after `time`, by halving: times rise with offsets.
    pub(super) fn first_since(&self, topic: TopicId, time: Timestamp, first: Offset, end: Offset) -> Result<Offset> {
        let (mut low, mut high) = (first, end);
        let mut cursor = super::ReadCursor::default();
        while low < high {
            let middle = low.plus(high.since(low) / 2);
            match self.read(topic, middle, &mut cursor)? {
                Some(record) if record.time < time => low = record.offset.next(),
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// Moves a group: everything before the start is settled, everything from there on is not. With `dry` it only says
    /// what would happen.
    pub(crate) fn seek(&self, group: GroupId, start: Start, dry: bool) -> Result<SeekReport> {
        let topic = {
            let core = self.open_core()?;
            core.state.group(group).map(|group| group.topic()).ok_or_else(super::settle::no_group)?
        };
        let asked = match start {
            Start::Earliest => Some(Offset::ZERO),
            Start::Offset(offset) => Some(offset),
            Start::Latest | Start::Time(_) => None,
        };
        let to = self.resolve(topic, start)?;
        let report = self.establish(|core| {
            let held = core.state.group(group).ok_or_else(super::settle::no_group)?;
            let of = core.state.topic(topic).ok_or_else(super::read::no_topic)?;
            let report = weigh(&core.state, of, held, to, asked.unwrap_or(to));
            if dry {
                return Ok((report, Vec::new()));
            }
            let missing = core.missing(topic, group, to);
            let sought = Event::Seek(Seek { group, to });
            Ok((report, core.pinned(topic).into_iter().chain([sought]).chain(missing).collect()))
        })?;
        let mut core = self.core.lock();
        self.tell_leasing(&mut core);
        Ok(report)
    }
}

/// What a seek to `to` does, which was asked to go to `asked`.
fn weigh(state: &State, topic: &Topic, group: &Group, to: Offset, asked: Offset) -> SeekReport {
    let run = |first: Offset, end: Offset| Run { first, count: end.since(first) };
    let there = |within: Run| within.count - gone_in(state, topic, within);
    let (before, behind) = (run(Offset::ZERO, to), run(to, topic.end()));
    // Of what is there, what the group has not settled: dead letters are not settled.
    let open = |within: Run| within.count - group.settled().count_in(within) - dead_in(group, within);
    let gone = gone_in(state, topic, run(asked.min(topic.end()), topic.end()));
    SeekReport { to, again: there(behind).saturating_sub(open(behind)), skipped: open(before), gone }
}

fn dead_in(group: &Group, within: Run) -> u64 {
    group.dead().range(within.first..within.end()).count() as u64
}

fn gone_in(state: &State, topic: &Topic, within: Run) -> u64 {
    state.gone_runs(topic, within).iter().map(|run| run.count).sum()
}

impl Core {
    /// What has to be written down before a group goes back, comes or leaves: what every group has settled, and no
    /// rule keeps, stays gone.
    pub(super) fn pinned(&self, topic: TopicId) -> Option<Event<'static>> {
        let held = self.state.topic(topic).filter(|held| !held.policy().retention.keeps())?;
        let first = held.gone().floor();
        let runs = self.state.settled_runs(held, Run { first, count: held.end().since(first) });
        (!runs.is_empty()).then(|| removal(Whom::Everybody(topic), Cause::Settled, runs))
    }

    /// What is gone from `start` on is not there for a group that begins there.
    pub(super) fn missing(&self, topic: TopicId, group: GroupId, start: Offset) -> Option<Event<'static>> {
        let held = self.state.topic(topic)?;
        let runs = self.state.gone_runs(held, Run { first: start, count: held.end().since(start) });
        (!runs.is_empty()).then(|| removal(Whom::Group(group), Cause::Settled, runs))
    }
}
