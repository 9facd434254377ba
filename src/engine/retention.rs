//! What leaves by itself: what a topic's rules don't keep, or drop; old dead letters; what expired.
//!
//! Rules that go by count and bytes follow from the state alone; ages are found by looking at messages, outside the
//! lock. What is to go is then written down under it. Readers, seeks and new groups have this done first; in a topic
//! that is in use it happens at the latest a step later (`Options::retention_step`).

use super::removal::Whom;
use super::{Core, Engine};
use crate::config::TopicPolicy;
use crate::error::{ErrorKind, Result};
use crate::event::{Cause, Run};
use crate::journal::Refusal;
use crate::state::{OffsetSet, Topic};
use crate::types::{GroupId, Offset, Timestamp, TopicId};
use std::collections::BTreeMap;
use std::time::Duration;

/// For so long after an opening messages do not age by a gap that is in doubt.
pub(super) const DOUBT: Duration = Duration::from_secs(3600);

/// When each topic is to be looked at, and how far its messages are too old.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    next: BTreeMap<TopicId, Timestamp>,
    /// By the rule: what is kept, what is dropped, what no priority passes any more.
    aged: BTreeMap<TopicId, [Aged; 3]>,
}

/// Everything before `upto` is older than a rule's age; that is so until `until`, by the clock of ages.
#[derive(Clone, Copy, Debug, Default)]
struct Aged {
    upto: Offset,
    until: Timestamp,
}

/// Up to where each rule reaches.
#[derive(Clone, Copy, Debug)]
struct Reach {
    /// What is settled is kept from here on.
    kept: Offset,
    /// What has left for each cause.
    dropped: [(Cause, Offset); 3],
}

impl Engine {
    /// The clock by which messages age: the engine's, without a gap that is in doubt.
    pub(super) fn age_now(&self) -> Timestamp {
        let (_, uptime) = self.uptime();
        let now = self.now();
        if uptime < DOUBT { Timestamp(now.0.saturating_sub(self.doubted)) } else { now }
    }

    /// Something has changed in a topic: its rules are looked at again within a step.
    pub(super) fn touched(&self, core: &mut Core, topic: TopicId) {
        if core.state.topic(topic).is_none_or(|held| !core.has_rules(held)) {
            return;
        }
        let at = self.after(self.options.retention_step);
        let next = core.retaining.next.entry(topic).or_insert(at);
        *next = at.min(*next);
        self.upkeep_by(core, at);
    }

    /// The rules of a topic, or whether there are any, may have changed.
    pub(super) fn retention_changed(&self, topic: TopicId) -> Result<()> {
        let mut core = self.open_core()?;
        core.retaining.aged.remove(&topic);
        self.touched(&mut core, topic);
        Ok(())
    }

    /// Looks at the topics whose time has come. When to come back.
    pub(super) fn retain_due(&self) -> Result<Option<Timestamp>> {
        let now = self.now();
        let due: Vec<TopicId> = {
            let mut core = self.open_core()?;
            let due = core.retaining.next.iter().filter(|(_, at)| **at <= now).map(|(topic, _)| *topic).collect();
            core.retaining.next.retain(|_, at| *at > now);
            due
        };
        for (done, topic) in due.iter().enumerate() {
            if let Err(error) = self.retain_topic(*topic) {
                // The disk may be full, or a read may have failed: they are looked at again, whoever touches them.
                let mut core = self.open_core()?;
                due.iter().skip(done).for_each(|topic| self.touched(&mut core, *topic));
                return Err(error);
            }
        }
        Ok(self.open_core()?.retaining.next.values().min().copied())
    }

    /// Does what the rules of a topic and of its groups ask for by now, and notes when to come back.
    fn retain_topic(&self, topic: TopicId) -> Result<()> {
        // It may have been dropped meanwhile.
        let Some(groups) = self.open_core()?.state.topic(topic).map(|held| held.groups().to_vec()) else {
            return Ok(());
        };
        self.retain(topic)?;
        self.age_priorities(topic)?;
        let mut next = self.next_aged(topic)?;
        for group in groups {
            let dead = self.drop_old_letters(group)?;
            let expiry = self.sweep_expired(group)?;
            let unseen = self.sweep_filtered(group)?.then(|| self.now());
            next = next.into_iter().chain(dead).chain(expiry).chain(unseen).min();
        }
        if let Some(next) = next {
            let at = next.max(self.after(self.options.retention_step));
            self.open_core()?.retaining.next.entry(topic).and_modify(|known| *known = at.min(*known)).or_insert(at);
        }
        Ok(())
    }

    /// Likewise for somebody who is about to read. On a disk that is so full that even the reserve is used it can't be
    /// written down: then what is there is read, what no rule keeps included.
    pub(super) fn retain_for_reading(&self, topic: TopicId) -> Result<()> {
        match self.retain(topic) {
            Err(error) if error.kind() == ErrorKind::Full => Ok(()),
            outcome => outcome,
        }
    }

    /// A moment of the clock of ages, on the engine's.
    fn on_engine_clock(&self, aged: Timestamp) -> Timestamp {
        let at = self.after(aged.since(self.age_now()));
        if self.age_now() == self.now() { at } else { at.min(self.start.0.plus(DOUBT)) }
    }

    /// Finds what has waited too long to be passed by what is more urgent.
    fn age_priorities(&self, topic: TopicId) -> Result<()> {
        let aging = {
            let core = self.open_core()?;
            let held = core.state.topic(topic).filter(|held| !held.levels().is_empty());
            held.map(|held| held.policy().aging)
        };
        if aging.is_some() {
            let upto = self.older_than(topic, aging, 2, self.age_now())?;
            self.open_core()?.state.set_aged(topic, upto);
        }
        Ok(())
    }

    /// When the next message of a topic becomes too old for a rule.
    fn next_aged(&self, topic: TopicId) -> Result<Option<Timestamp>> {
        let core = self.open_core()?;
        let aged = core.retaining.aged.get(&topic).into_iter().flatten();
        let next = aged.map(|aged| aged.until).filter(|until| *until != Timestamp::ZERO).min();
        Ok(next.map(|next| self.on_engine_clock(next)))
    }

    /// Writes down what a topic's rules say is gone by now.
    pub(super) fn retain(&self, topic: TopicId) -> Result<()> {
        let policy = match self.open_core()?.state.topic(topic) {
            _ if self.observes => return Ok(()),
            Some(held) if held.policy().retention.has_rules() => *held.policy(),
            _ => return Ok(()),
        };
        let now = self.age_now();
        let aged = [
            self.older_than(topic, policy.retention.keep_age, 0, now)?,
            self.older_than(topic, policy.retention.max_age, 1, now)?,
        ];
        loop {
            let mut core = self.open_core()?;
            let outcome = match core.state.topic(topic).map(|held| Reach::of(held, &policy, aged)) {
                Some(reach) => core.apply_rules(topic, &policy, reach, now),
                None => return Ok(()),
            };
            match outcome {
                Ok(true) => {
                    self.arm(&mut core, false);
                    self.keys_freed(&mut core, topic);
                    return Ok(());
                }
                Ok(false) => return Ok(()),
                Err(refusal) => {
                    drop(core);
                    self.relieve(refusal)?;
                }
            }
        }
    }

    /// Up to where a topic's messages are older than `age`.
    fn older_than(&self, topic: TopicId, age: Option<Duration>, rule: usize, now: Timestamp) -> Result<Offset> {
        let Some(age) = age else { return Ok(Offset::ZERO) };
        let (known, end) = {
            let core = self.open_core()?;
            let known = core.retaining.aged.get(&topic).and_then(|aged| aged.get(rule)).copied().unwrap_or_default();
            (known, core.bounds(topic)?.1)
        };
        let cut = now.0.checked_sub(crate::types::millis(age)).map(|cut| Timestamp(cut.saturating_add(1)));
        let Some(cut) = cut.filter(|_| known.until <= now) else { return Ok(known.upto) };
        let upto = match self.first_since(topic, cut, known.upto, end) {
            Ok(upto) => upto,
            // What can't be read is not taken to be old; whoever reads it is told.
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(known.upto),
            Err(error) => return Err(error),
        };
        let mut cursor = super::ReadCursor::default();
        let until = self.read(topic, upto, &mut cursor).ok().flatten().map(|record| record.time.plus(age));
        let mut core = self.open_core()?;
        if let Some(aged) = core.retaining.aged.entry(topic).or_default().get_mut(rule) {
            *aged = Aged { upto, until: until.unwrap_or_default() };
        }
        Ok(upto)
    }

    /// Drops the dead letters of a group that are too old; says when the next one is.
    fn drop_old_letters(&self, group: GroupId) -> Result<Option<Timestamp>> {
        let now = self.age_now();
        loop {
            let mut core = self.open_core()?;
            let Some(held) = core.state.group(group) else { return Ok(None) };
            let Some(age) = held.policy().dead_age else { return Ok(None) };
            let old: Vec<Offset> = held
                .dead()
                .iter()
                .filter(|(_, letter)| letter.time.plus(age) <= now)
                .map(|(offset, _)| *offset)
                .collect();
            let next = held.dead().values().map(|letter| letter.time.plus(age)).filter(|at| *at > now).min();
            if old.is_empty() {
                return Ok(next.map(|next| self.on_engine_clock(next)));
            }
            match core.remove(Whom::Group(group), Cause::Age, super::settle::runs(&old)) {
                Ok(_) => self.key_freed(&mut core, group),
                Err(refusal) => {
                    drop(core);
                    self.relieve(refusal)?;
                }
            }
        }
    }
}

impl Reach {
    fn of(topic: &Topic, policy: &TopicPolicy, [keep_aged, max_aged]: [Offset; 2]) -> Self {
        let rules = &policy.retention;
        let newest = |count: Option<u64>| count.map(|count| Offset(topic.end().get().saturating_sub(count)));
        let kept_by = [
            rules.keep_age.map(|_| keep_aged),
            rules.keep_bytes.map(|bytes| newest_bytes(topic, bytes)),
            newest(rules.keep_count),
        ];
        let dropped_by = [
            (Cause::Age, rules.max_age.map(|_| max_aged)),
            (Cause::Bytes, rules.max_bytes.map(|bytes| newest_bytes(topic, bytes))),
            (Cause::Count, newest(rules.max_count)),
        ];
        Self {
            kept: kept_by.into_iter().flatten().min().unwrap_or(topic.end()),
            dropped: dropped_by.map(|(cause, upto)| (cause, upto.unwrap_or_default())),
        }
    }
}

/// Where the newest messages begin that have at most so many bytes together.
fn newest_bytes(topic: &Topic, bytes: u64) -> Offset {
    let mut left = bytes;
    let mut begin = topic.end();
    for extent in topic.published().iter().rev() {
        if extent.bytes <= left {
            left -= extent.bytes;
            begin = extent.first;
            continue;
        }
        let fit = u128::from(left) * u128::from(extent.count) / u128::from(extent.bytes.max(1));
        let fit = u64::try_from(fit).unwrap_or(extent.count);
        return Offset(extent.last.next().get().saturating_sub(fit)).max(extent.first);
    }
    begin
}

impl Core {
    /// Whether what is published into a topic, or settled in it, has to be looked at again later.
    pub(super) fn has_rules(&self, held: &Topic) -> bool {
        self.has_own_rules(held) || held.groups().iter().any(|group| self.gives_rules(*group))
    }

    /// The same, whatever groups there are.
    pub(super) fn has_own_rules(&self, held: &Topic) -> bool {
        held.policy().retention.has_rules() || held.expires() || !held.levels().is_empty()
    }

    /// Whether a topic has rules because it has this group.
    pub(super) fn gives_rules(&self, group: GroupId) -> bool {
        let policy = self.state.group(group).map(crate::state::Group::policy);
        policy.is_some_and(|policy| policy.dead_age.is_some() || !policy.filter.is_everything())
    }

    /// Writes down what has left by the rules. Whether anything had.
    fn apply_rules(
        &mut self,
        topic: TopicId,
        policy: &TopicPolicy,
        reach: Reach,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        let Some(held) = self.state.topic(topic) else { return Ok(false) };
        let first = held.gone().floor();
        let upto = |end: Offset| Run { first, count: end.since(first) };
        let furthest = reach.dropped.iter().map(|(_, upto)| *upto).max().unwrap_or_default();
        // Where nothing that is settled is kept it is gone already; it is written down as that, not as dropped.
        let settled_upto = if policy.retention.keeps() { reach.kept } else { furthest };
        let mut changed = false;
        if settled_upto > first {
            let settled = self.state.settled_runs(held, upto(settled_upto));
            let young = self.young(held, policy.retention.keep_age, now);
            let runs: Vec<Run> = settled.into_iter().flat_map(|run| without(run, &young)).collect();
            if !runs.is_empty() {
                self.remove(Whom::Everybody(topic), Cause::Settled, runs)?;
                changed = true;
            }
        }
        for (cause, end) in reach.dropped {
            let Some(held) = self.state.topic(topic).filter(|held| held.gone().floor() < end) else { continue };
            let mut spared = self.spared(held, end);
            if cause == Cause::Age {
                self.young(held, policy.retention.max_age, now).runs().for_each(|run| _ = spared.insert_run(run));
            }
            let runs = there(held, end, &spared);
            if !runs.is_empty() {
                self.remove(Whom::Everybody(topic), cause, runs)?;
                changed = true;
            }
        }
        Ok(changed)
    }

    /// What was delayed and is not older than `age` since it fell due.
    fn young(&self, topic: &Topic, age: Option<Duration>, now: Timestamp) -> OffsetSet {
        let mut young = OffsetSet::new();
        if let Some(age) = age {
            let from = Timestamp(now.0.saturating_sub(crate::types::millis(age)).saturating_add(1));
            topic.schedule().between(None, from, None).for_each(|(_, offset)| _ = young.insert(offset));
        }
        young
    }

    /// What a call that drops everything before `end` drops: what no rule would spare.
    pub(super) fn purgeable(&self, topic: &Topic, end: Offset) -> Vec<Run> {
        there(topic, end, &self.spared(topic, end))
    }

    /// What no rule drops for now: leased, delayed, or a dead letter.
    fn spared(&self, topic: &Topic, end: Offset) -> OffsetSet {
        let mut spared = OffsetSet::new();
        let waiting = topic.schedule().waiting().runs_in(Run { first: Offset::ZERO, count: end.get() });
        waiting.for_each(|run| _ = spared.insert_run(run));
        for group in topic.groups().iter().filter_map(|group| self.state.group(*group)) {
            let leased = group.leases().map(|(offset, _)| offset);
            let dead = group.dead().range(..end).map(|(offset, _)| *offset);
            leased.take_while(|offset| *offset < end).chain(dead).for_each(|offset| _ = spared.insert(offset));
        }
        spared
    }
}

/// A run without what is in `set`.
fn without(run: Run, set: &OffsetSet) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut at = set.next_absent(run.first);
    while at < run.end() {
        let end = set.next_present(at).unwrap_or(run.end()).min(run.end());
        runs.push(Run { first: at, count: end.since(at) });
        at = set.next_absent(end);
    }
    runs
}

/// The messages of a topic before `end` that are there, but for some.
fn there(topic: &Topic, end: Offset, spared: &OffsetSet) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut at = topic.gone().floor();
    while at < end {
        let next = topic.gone().next_settled(at).unwrap_or(end).min(end);
        runs.extend(without(Run { first: at, count: next.since(at) }, spared));
        at = topic.gone().next_unsettled(next);
    }
    runs
}
