//! [`Metrics`]: what was counted, as it was at one moment.

use super::{METERED_MAX, OfGroup, OfTopic};
use crate::engine::{Engine, IdStats, StoreStats};
use crate::error::Result;
use crate::histogram::Histogram;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What a store has counted since it was opened, beside its numbers now; see [`Store::metrics`](crate::Store::metrics).
///
/// Counters only rise, from zero at each opening. The numbers of topics and groups are taken one after the other, while
/// others go on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Metrics {
    /// The numbers now. Of topics, those 1024 that were made first, by name; `unlisted_topics` says how many more there
    /// are.
    pub stats: StoreStats,
    /// Topics whose numbers are left out.
    pub unlisted_topics: u64,
    /// What is known of ids.
    pub ids: IdStats,
    /// Since when it is open.
    pub open_for: Duration,
    /// Whether a write or a sync has failed, so that the store takes nothing more. Other numbers are zero then.
    pub poisoned: bool,
    /// Bytes of each commit: what was written to the journal in one go for all who waited.
    pub commit_bytes: Histogram,
    /// How long each sync of the journal took.
    pub syncs: Histogram,
    /// Messages that could not be read because their bytes are damaged or gone; each time counts.
    pub corrupt: u64,
    /// Messages whose settlement was refused because their lease was lost.
    pub stale_settlements: u64,
    /// By topic, in the order in which they were first published to. Those beyond 1024 together, without a name, last.
    pub topics: Vec<TopicMetrics>,
    /// By group, likewise.
    pub groups: Vec<GroupMetrics>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            stats: StoreStats::default(),
            unlisted_topics: 0,
            ids: IdStats::default(),
            open_for: Duration::ZERO,
            poisoned: false,
            commit_bytes: Histogram::bytes(),
            syncs: Histogram::micros(),
            corrupt: 0,
            stale_settlements: 0,
            topics: Vec::new(),
            groups: Vec::new(),
        }
    }
}

/// What was counted of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicMetrics {
    /// The topic's name; empty for all that have no counters of their own.
    pub topic: String,
    /// Messages that were taken in.
    pub published: u64,
    /// Bytes of them: payloads and attributes.
    pub published_bytes: u64,
    /// Publishes that were answered with the receipt of an earlier one of the same id.
    pub duplicates: u64,
}

/// What was counted of a group. Times are in whole milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupMetrics {
    /// The topic's name; empty for all groups that have no counters of their own.
    pub topic: String,
    /// The group's name; likewise.
    pub group: String,
    /// Messages that were handed out, each time counted.
    pub delivered: u64,
    /// Those of them that had been handed out before.
    pub redelivered: u64,
    /// Messages that were acked.
    pub acked: u64,
    /// Messages that failed, or whose lease ran out, and that are tried again.
    pub failed: u64,
    /// Leases that ran out while the process lived, whatever came of it.
    pub timed_out: u64,
    /// Messages that were given back uncharged.
    pub released: u64,
    /// Messages that became dead letters.
    pub buried: u64,
    /// Dead letters that were made deliverable again.
    pub redriven: u64,
    /// From the publish to the first hand-out, of messages that were settled by whoever was handed them first. A delay
    /// that was asked for is in it.
    pub wait: Histogram,
    /// From the hand-out to the settlement, of messages that were acked, nacked or buried.
    pub processing: Histogram,
    /// From the first publish to the ack, whatever came in between: retries, restarts, dead letters that were redriven.
    pub end_to_end: Histogram,
}

impl TopicMetrics {
    fn new(topic: String, of: &OfTopic) -> Self {
        let OfTopic { published, bytes, duplicates } = *of;
        Self { topic, published, published_bytes: bytes, duplicates }
    }
}

impl GroupMetrics {
    fn new(topic: String, group: String, of: &OfGroup) -> Self {
        let spans = of.spans.as_deref().cloned().unwrap_or_default();
        Self {
            topic,
            group,
            delivered: of.delivered,
            redelivered: of.redelivered,
            acked: of.acked,
            failed: of.failed,
            timed_out: of.timed_out,
            released: of.released,
            buried: of.buried,
            redriven: of.redriven,
            wait: spans.wait,
            processing: spans.processing,
            end_to_end: spans.end_to_end,
        }
    }
}

impl Engine {
    /// What was counted, and the numbers now.
    pub(crate) fn metrics(&self) -> Result<Metrics> {
        let mut metrics = {
            let core = self.core.lock();
            if core.poison.is_some() {
                return Ok(Metrics { poisoned: true, ..Metrics::default() });
            }
            core.check()?;
            let meters = &core.meters;
            let topics = meters.topics.sorted().into_iter();
            let topics =
                topics.filter_map(|(id, of)| Some(TopicMetrics::new(core.state.topic(*id)?.name().to_owned(), of)));
            let groups = meters.groups.sorted().into_iter().filter_map(|(id, of)| {
                let held = core.state.group(*id)?;
                let topic = core.state.topic(held.topic())?.name().to_owned();
                Some(GroupMetrics::new(topic, held.name().to_owned(), of))
            });
            let mut metrics = Metrics {
                open_for: self.uptime().1,
                commit_bytes: meters.commits.clone(),
                syncs: meters.syncs.clone(),
                corrupt: self.corrupt.load(Ordering::Relaxed),
                stale_settlements: meters.stale,
                topics: topics.collect(),
                groups: groups.collect(),
                ..Metrics::default()
            };
            if meters.topics.is_full() {
                metrics.topics.push(TopicMetrics::new(String::new(), &meters.topics.others));
            }
            if meters.groups.is_full() {
                metrics.groups.push(GroupMetrics::new(String::new(), String::new(), &meters.groups.others));
            }
            metrics
        };
        metrics.ids = self.id_stats()?;
        let (stats, unlisted) = self.stats_of_first(METERED_MAX)?;
        (metrics.stats, metrics.unlisted_topics) = (stats, unlisted as u64);
        Ok(metrics)
    }
}
