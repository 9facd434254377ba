//! Filling in the numbers of `stats`.

use super::backlog::Count;
use super::removal::Removed;
use super::{Core, Engine, GroupStats, ReadCursor, SegmentStats, StoreStats, TopicStats};
use crate::error::Result;
use crate::event::Run;
use crate::types::{GroupId, Offset, SegmentId, TopicId};

impl Engine {
    /// The whole store's numbers.
    pub(crate) fn stats(&self) -> Result<StoreStats> {
        Ok(self.stats_of_first(usize::MAX)?.0)
    }

    /// Likewise, with the numbers of at most so many topics: those made first. How many are left out.
    pub(super) fn stats_of_first(&self, most: usize) -> Result<(StoreStats, usize)> {
        let (mut topics, mut stats) = {
            let core = self.open_core()?;
            let (live, ids) = (core.state.live(), self.kept_ids(&core));
            let topics: Vec<TopicId> = core.state.topics().map(|topic| topic.id()).collect();
            let end = core.tail.end();
            let segments = self.chain(&core).into_iter().map(|id| {
                let seal = self.files.known(id).and_then(|known| known.seal);
                let used = seal.map_or(end.position().get(), |seal| seal.length);
                let bytes = u64::from(used);
                // Of one whose ids are still in memory it is not known how many there are.
                let id_bytes = ids.get(&id).map_or(0, |held| bytes.min(*held));
                let live_bytes = live.get(&id).map_or(0, |live| live.within(bytes).bytes);
                SegmentStats { id, bytes, live_bytes, id_bytes }
            });
            let stats = StoreStats {
                incarnation: self.incarnation,
                topics: Vec::new(),
                segments: segments.collect(),
                disk_bytes: self.files.capacity(core.tail.active().id).saturating_add(core.tail.stock().bytes()),
                reserve_bytes: core.tail.stock().reserve(),
                snapshot_bytes: core.snapshot.size,
                full: core.full.is_some(),
                durable: core.tail.durable(),
                written: core.tail.written(),
                end,
                value_bytes: core.state.value_bytes(),
            };
            (topics, stats)
        };
        topics.sort_unstable();
        let unlisted = topics.len().saturating_sub(most);
        for topic in topics.into_iter().take(most) {
            stats.topics.push(self.topic_stats(topic)?);
        }
        stats.topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((stats, unlisted))
    }

    /// The segments that make up the journal, first to last: without those that are only prepared.
    pub(super) fn chain(&self, core: &Core) -> Vec<SegmentId> {
        let sealed = self.files.all().into_iter().filter(|known| known.seal.is_some()).map(|known| known.segment.id);
        let fresh = core.tail.sealed().iter().map(|sealed| sealed.segment.id);
        sealed.chain(fresh).chain([core.tail.active().id]).collect()
    }

    /// One topic's numbers.
    pub(crate) fn topic_stats(&self, topic: TopicId) -> Result<TopicStats> {
        let (mut stats, groups) = {
            self.retain_for_reading(topic)?;
            let mut core = self.open_core()?;
            self.turn_schedule(&mut core, topic);
            let (first, end) = core.bounds(topic)?;
            let held = core.state.topic(topic).ok_or_else(super::read::no_topic)?;
            let bytes = held.bytes();
            let name = held.name().to_owned();
            let gone = core.state.gone_runs(held, Run { first, count: end.since(first) });
            let gone: u64 = gone.iter().map(|run| run.count).sum();
            let backlog = core.backlogs.count(topic).cloned().unwrap_or_else(|| Count::of(&core.state, held));
            let stats = TopicStats {
                name,
                first,
                end,
                messages: end.since(first).saturating_sub(gone),
                bytes,
                backlog: backlog.messages,
                backlog_bytes: backlog.bytes,
                waiting_publishes: core.waiting_publishes(topic) as u64,
                delayed: held.schedule().waiting().len(),
                removed: Removed::of_topic(held),
                retention: held.policy().retention,
                groups: Vec::new(),
            };
            (stats, held.groups().to_vec())
        };
        for group in groups {
            stats.groups.push(self.group_stats(group)?);
        }
        stats.groups.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(stats)
    }

    /// One group's numbers.
    pub(crate) fn group_stats(&self, group: GroupId) -> Result<GroupStats> {
        let (mut stats, topic, oldest) = self.count_group(group)?;
        stats.leases_known = !self.observes;
        if let Some(oldest) = oldest {
            let mut cursor = ReadCursor::default();
            // One message that can't be read must not hide all other numbers; its turn will say what is wrong with it.
            let record = self.look_up(topic, oldest, &mut cursor).ok().flatten();
            stats.oldest_claimable = record.map(|record| self.now().since(record.time));
        }
        Ok(stats)
    }

    fn count_group(&self, group: GroupId) -> Result<(GroupStats, TopicId, Option<Offset>)> {
        let mut core = self.open_core()?;
        if let Some(topic) = core.state.group(group).map(|held| held.topic()) {
            self.turn_schedule(&mut core, topic);
        }
        core.group_counts(group, self.now())
    }

    /// The names of a group's topic and of the group, for whoever tells of it.
    pub(crate) fn names_of(&self, group: GroupId) -> Option<(String, String)> {
        let core = self.core.lock();
        let held = core.state.group(group)?;
        Some((core.state.topic(held.topic())?.name().to_owned(), held.name().to_owned()))
    }

    /// Whether the group has nothing to hand out, nothing out, and nothing that comes back. What is delayed and was
    /// never handed out does not count: it may be due in a year. Nor does what waits for such a one of its key, or for
    /// a dead letter to go.
    pub(crate) fn is_idle(&self, group: GroupId) -> Result<bool> {
        let (stats, ..) = self.count_group(group)?;
        // Suspects are counted among the others too; what matters are those that wait again since the clock was set
        // back.
        let suspects = stats.suspects.saturating_sub(stats.key_blocked);
        Ok(stats.ready + stats.leased + stats.retrying + suspects == 0)
    }
}

impl Core {
    fn group_counts(
        &self,
        group: GroupId,
        now: crate::types::Timestamp,
    ) -> Result<(GroupStats, TopicId, Option<Offset>)> {
        let held = self.state.group(group).ok_or_else(super::settle::no_group)?;
        let visible = self.visible.end(held.topic());
        let counts = self.state.counts(held, now, visible);
        let (held_off_until, breaker) = self.held_up(held, now);
        let stats = GroupStats {
            leases_known: true,
            name: held.name().to_owned(),
            ready: counts.ready,
            leased: counts.leased,
            retrying: counts.retrying,
            delayed: counts.delayed,
            key_blocked: counts.key_blocked,
            suspects: counts.suspects,
            dead: counts.dead,
            removed: Removed::of_group(held),
            paused_until: held.is_paused(now).then(|| held.paused_until()),
            held_off_until,
            breaker,
            oldest_claimable: None,
        };
        Ok((stats, held.topic(), self.state.oldest_claimable(held, now, visible)))
    }
}
