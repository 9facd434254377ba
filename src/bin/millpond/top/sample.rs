//! What `top` shows: two looks at a store, and what came in and was done between them.

use crate::output::{self, Align, Table};
use crate::overview;
use millpond::StoreStats;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// One look, and the time of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    pub(crate) stats: StoreStats,
    pub(crate) at: Duration,
}

/// A group with what changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) topic: String,
    /// None of a topic that nobody reads.
    pub(crate) group: Option<String>,
    /// Messages a second, once there are two looks.
    pub(crate) came: Option<f64>,
    pub(crate) done: Option<f64>,
    /// What the group is not done with, dead letters left out.
    pub(crate) lag: u64,
    pub(crate) ready: u64,
    pub(crate) retrying: u64,
    pub(crate) delayed: u64,
    pub(crate) dead: u64,
    pub(crate) oldest: Option<Duration>,
    /// In a word, if nothing is handed out.
    pub(crate) held: Option<&'static str>,
}

/// A store with what changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    pub(crate) rows: Vec<Row>,
    pub(crate) came: Option<f64>,
    pub(crate) disk_bytes: u64,
    pub(crate) live_bytes: u64,
    pub(crate) full: bool,
    /// Whether `ready` of the rows is without what is handed out.
    pub(crate) leases_known: bool,
    /// What was wrong with the last look.
    pub(crate) trouble: Option<String>,
}

/// Ends of topics, and how much of each group is settled.
fn marks(stats: &StoreStats) -> BTreeMap<(&str, Option<&str>), u64> {
    let mut marks = BTreeMap::new();
    for topic in &stats.topics {
        marks.insert((topic.name.as_str(), None), topic.end.get());
        for group in &topic.groups {
            let settled = topic.end.get().saturating_sub(lag(group)).saturating_sub(group.dead);
            marks.insert((topic.name.as_str(), Some(group.name.as_str())), settled);
        }
    }
    marks
}

fn lag(group: &millpond::GroupStats) -> u64 {
    [group.ready, group.leased, group.retrying, group.delayed, group.key_blocked].iter().sum()
}

impl View {
    /// What is there now, and what changed since `before`.
    pub(crate) fn of(before: Option<&Look>, now: &Look) -> Self {
        let then = before.map(|before| (marks(&before.stats), now.at.saturating_sub(before.at).as_secs_f64()));
        let marks = marks(&now.stats);
        let rate = |topic: &str, group: Option<&str>| {
            let (then, seconds) = then.as_ref().filter(|(_, seconds)| *seconds > 0.0)?;
            let (before, now) = (then.get(&(topic, group))?, marks.get(&(topic, group))?);
            // Sought back: less is settled than before.
            Some(now.saturating_sub(*before) as f64 / seconds)
        };
        let mut rows = Vec::new();
        for topic in &now.stats.topics {
            let came = rate(&topic.name, None);
            let new = |group: Option<String>| Row { topic: topic.name.clone(), group, came, ..Row::default() };
            if topic.groups.is_empty() {
                rows.push(Row { lag: topic.messages, delayed: topic.delayed, ..new(None) });
            }
            rows.extend(topic.groups.iter().map(|group| Row {
                done: rate(&topic.name, Some(&group.name)),
                lag: lag(group),
                ready: group.ready,
                retrying: group.retrying,
                delayed: group.delayed,
                dead: group.dead,
                oldest: group.oldest_claimable,
                held: group.paused_until.map(|_| "paused"),
                ..new(Some(group.name.clone()))
            }));
        }
        let came = now.stats.topics.iter().map(|topic| rate(&topic.name, None)).sum();
        let live_bytes = now.stats.segments.iter().map(|segment| segment.live_bytes).sum();
        let StoreStats { disk_bytes, full, .. } = now.stats;
        let leases_known = overview::leases_known(&now.stats.topics);
        Self { rows, came, disk_bytes, live_bytes, full, leases_known, trouble: None }
    }

    /// What `ready` of the rows is.
    pub(crate) const fn ready_title(&self) -> &'static str {
        if self.leases_known { "READY" } else { overview::READY_OR_LEASED }
    }

    /// The same as the picture, for who reads lines.
    pub(crate) fn table(&self) -> Table {
        let right = Align::Right;
        let mut table = Table::new(&[
            ("TOPIC", Align::Left),
            ("GROUP", Align::Left),
            ("IN/S", right),
            ("DONE/S", right),
            ("LAG", right),
            (self.ready_title(), right),
            ("RETRYING", right),
            ("DELAYED", right),
            ("DEAD", right),
            ("OLDEST", right),
            ("", Align::Left),
        ]);
        for row in &self.rows {
            table.row([
                output::text(row.topic.as_bytes()),
                row.group.as_ref().map_or_else(|| "-".to_owned(), |group| output::text(group.as_bytes())),
                rate(row.came),
                rate(row.done),
                row.lag.to_string(),
                row.ready.to_string(),
                row.retrying.to_string(),
                row.delayed.to_string(),
                row.dead.to_string(),
                row.oldest.map_or_else(|| "-".to_owned(), output::span),
                row.held.unwrap_or_default().to_owned(),
            ]);
        }
        table
    }

    /// An object for each topic and group, with its rates.
    pub(crate) fn lines(&self, stats: &StoreStats) -> Vec<Value> {
        let mut lines = vec![json!({
            "kind": "store", "disk_bytes": self.disk_bytes, "live_bytes": self.live_bytes, "full": self.full,
            "came_per_second": self.came,
        })];
        for topic in &stats.topics {
            let mut rows = self.rows.iter().filter(|row| row.topic == topic.name).peekable();
            let mut line = overview::topic_line(topic);
            put(&mut line, "came_per_second", rows.peek().and_then(|row| row.came));
            lines.push(line);
            for group in &topic.groups {
                let row = rows.find(|row| row.group.as_ref() == Some(&group.name));
                let mut line = overview::group_line(topic, group);
                put(&mut line, "done_per_second", row.and_then(|row| row.done));
                if let (Some(object), Some(row)) = (line.as_object_mut(), row) {
                    object.insert("lag".to_owned(), json!(row.lag));
                }
                lines.push(line);
            }
        }
        lines
    }
}

/// Messages a second, as people read them.
pub(crate) fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "-".to_owned(),
        Some(rate) if rate < 10.0 => format!("{rate:.1}"),
        Some(rate) => format!("{rate:.0}"),
    }
}

fn put(line: &mut Value, name: &str, rate: Option<f64>) {
    if let Some(object) = line.as_object_mut() {
        object.insert(name.to_owned(), json!(rate));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::{Group, Offset, Store};

    #[test]
    fn rates_are_what_changed_between_two_looks() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let orders = store.topic("orders").unwrap();
        let email = orders.consumer("email", Group::default()).unwrap();
        let publish = |count: usize| orders.publish_all((0..count).map(|_| "x".into())).wait().unwrap();
        publish(10);
        let before = Look { stats: store.stats(), at: Duration::from_secs(1) };
        assert_eq!(View::of(None, &before).rows[0].came, None);
        publish(20);
        for order in email.lease_many(5, Duration::ZERO).unwrap() {
            order.ack().wait().unwrap();
        }
        email.lease().unwrap().bury("no").wait().unwrap();
        let now = Look { stats: store.stats(), at: Duration::from_secs(3) };
        let view = View::of(Some(&before), &now);
        let row = &view.rows[0];
        assert_eq!((row.came, row.done), (Some(10.0), Some(2.5)));
        assert_eq!((row.lag, row.ready, row.dead), (24, 24, 1));
        let lines = view.lines(&now.stats);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[2]["done_per_second"], 2.5);
        assert_eq!(lines[2]["lag"], 24);
        assert_eq!(now.stats.topics[0].end, Offset::new(30));
    }
}
