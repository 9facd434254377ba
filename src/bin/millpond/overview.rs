//! Topics and groups with their numbers, as rows and as JSON: what `info`, `ls`, `groups` and `top` show alike.

use crate::output::{self, Align, Table};
use millpond::{GroupStats, Timestamp, TopicStats};
use serde_json::{Value, json};

/// A topic as an object.
pub(crate) fn topic_line(topic: &TopicStats) -> Value {
    json!({
        "kind": "topic", "topic": topic.name, "messages": topic.messages, "first": topic.first.get(),
        "end": topic.end.get(), "bytes": topic.bytes, "delayed": topic.delayed, "backlog": topic.backlog,
    })
}

/// A group as an object.
pub(crate) fn group_line(topic: &TopicStats, group: &GroupStats) -> Value {
    let oldest = group.oldest_claimable.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    let known = |count: u64| group.leases_known.then_some(count);
    json!({
        "kind": "group", "topic": topic.name, "group": group.name, "ready": known(group.ready),
        "leased": known(group.leased), "ready_or_leased": group.ready.saturating_add(group.leased),
        "retrying": group.retrying, "delayed": group.delayed,
        "blocked": group.key_blocked, "suspects": group.suspects, "dead": group.dead,
        "oldest_ms": oldest, "paused_until": group.paused_until.map(|until| until.get()),
    })
}

/// A row for each topic.
pub(crate) fn topics(topics: &[TopicStats]) -> Table {
    let right = Align::Right;
    let mut table = Table::new(&[
        ("TOPIC", Align::Left),
        ("MESSAGES", right),
        ("FIRST", right),
        ("NEXT", right),
        ("BYTES", right),
        ("BACKLOG", right),
        ("GROUPS", right),
    ]);
    for topic in topics {
        table.row([
            output::text(topic.name.as_bytes()),
            topic.messages.to_string(),
            topic.first.to_string(),
            topic.end.to_string(),
            output::size(topic.bytes),
            topic.backlog.to_string(),
            topic.groups.len().to_string(),
        ]);
    }
    table
}

/// Whether it is known of all groups what is handed out: the store's owner knows, and who only looks does not.
pub(crate) fn leases_known(topics: &[TopicStats]) -> bool {
    topics.iter().flat_map(|topic| &topic.groups).all(|group| group.leases_known)
}

/// The title of what can't be told apart by who only looks.
pub(crate) const READY_OR_LEASED: &str = "READY/LEASED";

/// A row for each group of these topics.
pub(crate) fn groups(topics: &[TopicStats]) -> Table {
    let right = Align::Right;
    let known = leases_known(topics);
    let mut columns = vec![("GROUP", Align::Left), ("TOPIC", Align::Left)];
    if known {
        columns.extend([("READY", right), ("LEASED", right)]);
    } else {
        columns.push((READY_OR_LEASED, right));
    }
    columns.extend([
        ("RETRYING", right),
        ("DELAYED", right),
        ("BLOCKED", right),
        ("SUSPECT", right),
        ("DEAD", right),
        ("OLDEST", right),
        ("PAUSED", Align::Left),
    ]);
    let mut table = Table::new(&columns);
    for (topic, group) in topics.iter().flat_map(|topic| topic.groups.iter().map(move |group| (topic, group))) {
        let mut row = vec![output::text(group.name.as_bytes()), output::text(topic.name.as_bytes())];
        row.push(group.ready.to_string());
        row.extend(known.then(|| group.leased.to_string()));
        row.extend([
            group.retrying.to_string(),
            group.delayed.to_string(),
            group.key_blocked.to_string(),
            group.suspects.to_string(),
            group.dead.to_string(),
            group.oldest_claimable.map_or_else(|| "-".to_owned(), output::span),
            group.paused_until.map_or_else(|| "-".to_owned(), paused),
        ]);
        table.row(row);
    }
    table
}

/// Until when a group is paused.
pub(crate) fn paused(until: Timestamp) -> String {
    if until == Timestamp::new(u64::MAX) { "until resumed".to_owned() } else { output::time(until) }
}
