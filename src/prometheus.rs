//! Metrics as families of series, and the text that Prometheus reads.

use crate::engine::{
    BreakerState, GroupMetrics, GroupStats, METERED_MAX, Metrics, Removed, StoreStats, TopicMetrics, TopicStats,
};
use crate::histogram::Histogram;
use crate::link::or_default;
use crate::store::Store;
use crate::types::Timestamp;
use std::fmt::Write;
use std::time::Duration;

/// What a family is, as Prometheus knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One series' value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Number(f64),
    Histogram(&'a Histogram),
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Series of one name.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
    pub(crate) series: Vec<(Labels<'a>, Value<'a>)>,
}

/// The label value of what has no counters of its own.
const OTHERS: &str = "(others)";

impl Store {
    /// What the store has counted since it was opened, beside its numbers now: for a page of metrics, see
    /// [`Metrics::to_prometheus`]. All but [`Metrics::poisoned`] is zero
    /// if the store does not answer, as for [`stats`](Self::stats).
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// let store = millpond::Store::open(dir.path())?;
    /// let orders = store.topic("orders")?;
    /// orders.publish("4711").wait()?;
    /// orders.consumer("email", millpond::Group::default())?.lease()?.ack().wait()?;
    /// let metrics = store.metrics();
    /// assert_eq!((metrics.topics[0].published, metrics.groups[0].acked), (1, 1));
    /// assert_eq!(metrics.groups[0].end_to_end.count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        or_default("metrics", self.engine().metrics())
    }
}

impl StoreStats {
    /// The numbers now as a page for Prometheus: what of [`Metrics::to_prometheus`] is not counted in memory. For a
    /// store that another process has open, see [`Store::open_read_only`].
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut stats = self.clone();
        let unlisted = stats.topics.len().saturating_sub(METERED_MAX);
        stats.topics.truncate(METERED_MAX);
        let metrics = Metrics { stats, unlisted_topics: unlisted as u64, ..Metrics::default() };
        let known = |family: &Family<'_>| match family.kind {
            // They are a part of the store's state.
            Kind::Counter => ["millpond_dropped_total", "millpond_passed_total"].contains(&family.name),
            // Of these, only who has it open knows.
            Kind::Gauge => {
                let own = ["millpond_poisoned", "millpond_full", "millpond_open_seconds"];
                !own.contains(&family.name) && !family.name.starts_with("millpond_ids")
            }
            Kind::Histogram => false,
        };
        page(metrics.families().into_iter().filter(known))
    }
}

impl Metrics {
    /// The text that Prometheus reads, in its format 0.0.4: for a page of an HTTP server that the program has, or a
    /// file of node_exporter's textfile collector.
    ///
    /// There are at most 1024 topics in it and at most 1024 groups; counters of those beyond are together under the
    /// topic `(others)`. Names are those of the guide's chapter on [monitoring](crate::guide::monitoring).
    ///
    /// ```
    /// # fn main() -> millpond::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = millpond::Store::open(dir.path())?;
    /// store.topic("orders")?.publish("4711").wait()?;
    /// let text = store.metrics().to_prometheus();
    /// assert!(text.contains("# TYPE millpond_published_total counter\n"));
    /// assert!(text.contains("millpond_published_total{topic=\"orders\"} 1\n"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        page(self.families())
    }

    /// All of it, by name.
    pub(crate) fn families(&self) -> Vec<Family<'_>> {
        let mut families = self.of_the_store();
        families.extend(self.of_topics());
        families.extend(self.of_groups());
        families
    }

    fn of_the_store(&self) -> Vec<Family<'_>> {
        let Self { stats, ids, .. } = self;
        let live: u64 = stats.segments.iter().map(|segment| segment.live_bytes).sum();
        let one = |name, help, kind, value| Family { name, help, kind, series: vec![(Vec::new(), value)] };
        let gauge = |name, help, value| one(name, help, Kind::Gauge, Value::Number(value));
        let counter = |name, help, value| one(name, help, Kind::Counter, Value::Number(number(value)));
        let histogram = |name, help, value| one(name, help, Kind::Histogram, Value::Histogram(value));
        vec![
            gauge(
                "millpond_poisoned",
                "1 if a write or sync failed: the store takes nothing more.",
                flag(self.poisoned),
            ),
            gauge("millpond_full", "1 if the disk is full: publishes are refused.", flag(stats.full)),
            gauge("millpond_open_seconds", "How long the store has been open.", self.open_for.as_secs_f64()),
            gauge("millpond_disk_bytes", "Bytes of the journal's files.", number(stats.disk_bytes)),
            gauge("millpond_live_bytes", "Bytes of messages in them that some group has not settled.", number(live)),
            gauge("millpond_reserve_bytes", "Bytes kept for settling on a full disk.", number(stats.reserve_bytes)),
            gauge("millpond_snapshot_bytes", "Bytes of the last snapshot.", number(stats.snapshot_bytes)),
            gauge("millpond_value_bytes", "Bytes of the application's values.", number(stats.value_bytes)),
            gauge("millpond_segments", "Segments of the journal.", number(stats.segments.len() as u64)),
            gauge("millpond_unlisted_topics", "Topics whose numbers are left out.", number(self.unlisted_topics)),
            gauge("millpond_ids", "Ids of published messages that are remembered.", number(ids.published)),
            gauge("millpond_ids_memory_bytes", "Bytes of memory that ids take.", number(ids.memory_bytes)),
            gauge("millpond_ids_disk_bytes", "Bytes of disk that ids take beside the journal.", number(ids.disk_bytes)),
            counter("millpond_ids_reused_total", "Publishes refused: their id had another payload.", ids.reused),
            counter("millpond_ids_forgotten_total", "Ids forgotten early because of the budget.", ids.forgotten),
            counter("millpond_corrupt_records_total", "Messages that could not be read for damage.", self.corrupt),
            counter(
                "millpond_stale_settlements_total",
                "Settlements refused because the lease was lost.",
                self.stale_settlements,
            ),
            histogram("millpond_fsync_seconds", "Syncs of the journal.", &self.syncs),
            histogram("millpond_commit_bytes", "Bytes written in one commit for all who waited.", &self.commit_bytes),
        ]
    }

    fn of_topics(&self) -> Vec<Family<'_>> {
        type Number = fn(&TopicStats) -> u64;
        let gauges: [(&str, &str, Number); 6] = [
            ("millpond_topic_messages", "Messages the topic holds.", |topic| topic.messages),
            ("millpond_topic_bytes", "Bytes of them.", |topic| topic.bytes),
            ("millpond_backlog_messages", "Messages that some group is not done with.", |topic| topic.backlog),
            ("millpond_backlog_bytes", "Bytes of them, about.", |topic| topic.backlog_bytes),
            ("millpond_waiting_publishes", "Publishes that wait for room.", |topic| topic.waiting_publishes),
            ("millpond_topic_delayed", "Messages that are not due yet.", |topic| topic.delayed),
        ];
        let mut families: Vec<Family<'_>> = gauges
            .into_iter()
            .map(|(name, help, number_of)| {
                let of = |topic: &'_ TopicStats| Value::Number(number(number_of(topic)));
                let series = self.stats.topics.iter().map(|topic| (vec![("topic", topic.name.as_str())], of(topic)));
                Family { name, help, kind: Kind::Gauge, series: series.collect() }
            })
            .collect();
        type Counter = fn(&TopicMetrics) -> u64;
        let counters: [(&str, &str, Counter); 3] = [
            ("millpond_published_total", "Messages taken in.", |topic| topic.published),
            ("millpond_published_bytes_total", "Bytes of them.", |topic| topic.published_bytes),
            ("millpond_duplicates_refused_total", "Publishes answered as duplicates.", |topic| topic.duplicates),
        ];
        families.extend(counters.into_iter().map(|(name, help, number_of)| {
            let series = self
                .topics
                .iter()
                .map(|topic| (vec![("topic", or_others(&topic.topic))], Value::Number(number(number_of(topic)))));
            Family { name, help, kind: Kind::Counter, series: series.collect() }
        }));
        let dropped = self.stats.topics.iter().flat_map(|topic| {
            causes(&topic.removed).map(|(cause, count)| {
                (vec![("topic", topic.name.as_str()), ("cause", cause)], Value::Number(number(count)))
            })
        });
        families.push(Family {
            name: "millpond_dropped_total",
            help: "Messages dropped for every group, by the policy that did.",
            kind: Kind::Counter,
            series: dropped.collect(),
        });
        families
    }

    fn of_groups(&self) -> Vec<Family<'_>> {
        type Number = fn(&GroupStats) -> f64;
        let known = self.stats.topics.iter().flat_map(|topic| &topic.groups).all(|group| group.leases_known);
        let ready = if known {
            "Messages that can be handed out now."
        } else {
            "Messages that can be handed out now, or are: only the store's owner knows which."
        };
        let gauges: [(&str, &str, Number); 11] = [
            ("millpond_ready", ready, |group| number(group.ready)),
            ("millpond_leased", "Messages that are handed out.", |group| number(group.leased)),
            ("millpond_retrying", "Messages that wait to be tried again.", |group| number(group.retrying)),
            ("millpond_delayed", "Messages that are not due yet.", |group| number(group.delayed)),
            ("millpond_key_blocked", "Messages that wait for another of their key.", |group| number(group.key_blocked)),
            ("millpond_suspects", "Messages handed out alone since a crash.", |group| number(group.suspects)),
            ("millpond_dead", "Dead letters.", |group| number(group.dead)),
            (
                "millpond_oldest_claimable_seconds",
                "Age of the oldest message that can be handed out; 0 if none can.",
                |g| g.oldest_claimable.unwrap_or(Duration::ZERO).as_secs_f64(),
            ),
            ("millpond_paused", "1 if the group is paused.", |group| flag(group.paused_until.is_some())),
            ("millpond_paused_for_good", "1 if it is paused until it is resumed.", |group| {
                flag(group.paused_until == Some(Timestamp::new(u64::MAX)))
            }),
            ("millpond_breaker_open", "1 if the group's breaker hands nothing out.", |group| {
                flag(!matches!(group.breaker, BreakerState::Closed))
            }),
        ];
        let each = || self.stats.topics.iter().flat_map(|topic| topic.groups.iter().map(move |group| (topic, group)));
        let mut families: Vec<Family<'_>> = gauges
            .into_iter()
            // What is not known is not there, rather than 0.
            .filter(|(name, ..)| known || *name != "millpond_leased")
            .map(|(name, help, number_of)| {
                let series =
                    each().map(|(topic, group)| (labels(&topic.name, &group.name), Value::Number(number_of(group))));
                Family { name, help, kind: Kind::Gauge, series: series.collect() }
            })
            .collect();
        let removed = each().flat_map(|(topic, group)| {
            causes(&group.removed).map(|(cause, count)| {
                let mut labels = labels(&topic.name, &group.name);
                labels.push(("cause", cause));
                (labels, Value::Number(number(count)))
            })
        });
        families.push(Family {
            name: "millpond_passed_total",
            help: "Messages that left for the group without an ack, by cause.",
            kind: Kind::Counter,
            series: removed.collect(),
        });
        families.extend(self.counted_of_groups());
        families
    }

    fn counted_of_groups(&self) -> Vec<Family<'_>> {
        type Counter = fn(&GroupMetrics) -> u64;
        let counters: [(&str, &str, Counter); 8] = [
            ("millpond_delivered_total", "Messages handed out.", |group| group.delivered),
            ("millpond_redelivered_total", "Those that had been handed out before.", |group| group.redelivered),
            ("millpond_acked_total", "Messages acked.", |group| group.acked),
            ("millpond_failed_total", "Messages that failed and are tried again.", |group| group.failed),
            ("millpond_lease_timeouts_total", "Leases that ran out.", |group| group.timed_out),
            ("millpond_released_total", "Messages given back uncharged.", |group| group.released),
            ("millpond_buried_total", "Messages that became dead letters.", |group| group.buried),
            ("millpond_redriven_total", "Dead letters made deliverable again.", |group| group.redriven),
        ];
        let mut families: Vec<Family<'_>> = counters
            .into_iter()
            .map(|(name, help, number_of)| {
                let series = self.groups.iter().map(|group| {
                    let labels = labels(or_others(&group.topic), or_others(&group.group));
                    (labels, Value::Number(number(number_of(group))))
                });
                Family { name, help, kind: Kind::Counter, series: series.collect() }
            })
            .collect();
        type Spans = fn(&GroupMetrics) -> &Histogram;
        let spans: [(&str, &str, Spans); 3] = [
            ("millpond_wait_seconds", "From publish to the first hand-out.", |group| &group.wait),
            ("millpond_processing_seconds", "From hand-out to settlement.", |group| &group.processing),
            ("millpond_end_to_end_seconds", "From the first publish to the ack.", |group| &group.end_to_end),
        ];
        families.extend(spans.into_iter().map(|(name, help, of)| {
            let series = self
                .groups
                .iter()
                .map(|group| (labels(or_others(&group.topic), or_others(&group.group)), Value::Histogram(of(group))));
            Family { name, help, kind: Kind::Histogram, series: series.collect() }
        }));
        families
    }
}

fn page<'a>(families: impl IntoIterator<Item = Family<'a>>) -> String {
    let mut text = String::new();
    for family in families {
        // Writing to a string does not fail.
        let _ = family.write(&mut text);
    }
    text
}

fn labels<'a>(topic: &'a str, group: &'a str) -> Labels<'a> {
    // One more for what may follow.
    let mut labels = Vec::with_capacity(3);
    labels.extend([("topic", topic), ("group", group)]);
    labels
}

fn or_others(name: &str) -> &str {
    if name.is_empty() { OTHERS } else { name }
}

/// The causes that have a count.
fn causes(removed: &Removed) -> impl Iterator<Item = (&'static str, u64)> {
    let Removed {
        expired,
        filtered,
        aged,
        over_bytes,
        over_count,
        overflowed,
        purged,
        cancelled,
        processed,
        settled,
        lost,
    } = *removed;
    [
        ("expired", expired),
        ("filtered", filtered),
        ("aged", aged),
        ("over_bytes", over_bytes),
        ("over_count", over_count),
        ("overflowed", overflowed),
        ("purged", purged),
        ("cancelled", cancelled),
        ("processed", processed),
        ("settled", settled),
        ("lost", lost),
    ]
    .into_iter()
    .filter(|(_, count)| *count > 0)
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows floats only")]
fn number(count: u64) -> f64 {
    count as f64
}

fn flag(is: bool) -> f64 {
    f64::from(u8::from(is))
}

impl Family<'_> {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self { name, help, kind, series } = self;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n")?;
        for (labels, value) in series {
            match value {
                Value::Number(number) => {
                    text.push_str(name);
                    write_labels(text, labels, None)?;
                    writeln!(text, " {number}")?;
                }
                Value::Histogram(histogram) => {
                    for (bound, below) in histogram.below(histogram.bounds()) {
                        write!(text, "{name}_bucket")?;
                        write_labels(text, labels, Some(&bound.to_string()))?;
                        writeln!(text, " {below}")?;
                    }
                    write!(text, "{name}_bucket")?;
                    write_labels(text, labels, Some("+Inf"))?;
                    write!(text, " {}\n{name}_sum", histogram.count())?;
                    write_labels(text, labels, None)?;
                    write!(text, " {}\n{name}_count", histogram.sum())?;
                    write_labels(text, labels, None)?;
                    writeln!(text, " {}", histogram.count())?;
                }
            }
        }
        Ok(())
    }
}

fn write_labels(text: &mut String, labels: &[(&str, &str)], below: Option<&str>) -> std::fmt::Result {
    let mut before = '{';
    for (name, value) in labels.iter().copied().chain(below.map(|below| ("le", below))) {
        write!(text, "{before}{name}=\"")?;
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    Ok(())
}
