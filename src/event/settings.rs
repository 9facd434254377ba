//! Settings as they are stored: tags with values, and their meaning.
//!
//! ```text
//! topic  1  durability      0 memory, 1 os, 2 disk
//!        20 retention       what is kept: age in milliseconds, bytes, count; what is dropped: the same three; each
//!                           plus one, 0: no such rule
//!        21 expiry          milliseconds plus one, 0: never
//!        40 backlog         messages plus one, bytes plus one, 0: no such limit; 0 reject, 1 wait, 2 drop the oldest
//!        60 priorities      levels, 1: none
//!        61 aging           milliseconds after which no priority counts
//!        50 ids             0 not remembered, 1 for milliseconds, 2 the last so many, 3 for ever; then that number
//!        51 reused ids      0 refused, 1 taken for duplicates
//! group  1  lease           milliseconds
//!        2  retry           first wait in milliseconds, longest wait in milliseconds, failures; then 0 for jitter or
//!                           1 for none; then the waits in milliseconds, if they are listed
//!        3  timeouts        the limit
//!        4  crashes         the limit
//!        20 dead letters    for how many milliseconds they are kept, plus one; 0: for ever
//!       21  forward         the number of the topic that gets copies of dead letters, 0 for none
//!       22  lease age       milliseconds, 0 for no limit
//!       30  order           0: none; by key, and when one of a key is parked 1: go on, 2: hold it, 3: park it
//!       31  look-ahead      how many messages that wait for their key are kept in mind
//!       32  retrying        how many messages may wait for a retry before no new ones are leased
//!       40  in flight       the most deliveries, `u64::MAX` for no limit
//!       41  rate            messages, 0 for no limit; milliseconds; burst
//!       42  breaker         messages that fail in a row, 0 for none; first and longest pause in milliseconds
//!       60  filter          see `filter_setting`
//!       50  processed       as 50 of a topic
//!       51  shared table    the number of the table of processed ids, made from its name; 0: the group's own
//! ```
//!
//! A tag keeps its meaning for ever, zero is no tag, and values may be added at the end of one. Tags of a newer release
//! are kept and have no effect, and so has a value that means nothing here: what was set before, or the default, holds.

use super::{Patch, Setting, filter_setting, flow_settings};
use crate::config::{Durability, Group, GroupPolicy, Retention, Retry, TopicPolicy, TopicSettings, WhenParked, Window};
use crate::types::{TopicId, millis};
use std::time::Duration;

const TOPIC_DURABILITY: u16 = 1;
const TOPIC_RETENTION: u16 = 20;
const TOPIC_EXPIRY: u16 = 21;
const TOPIC_IDS: u16 = 50;
const TOPIC_REUSED_IDS: u16 = 51;

const GROUP_LEASE: u16 = 1;
const GROUP_RETRY: u16 = 2;
const GROUP_MAX_TIMEOUTS: u16 = 3;
const GROUP_MAX_CRASHES: u16 = 4;
const GROUP_DEAD_AGE: u16 = 20;
const GROUP_FORWARD: u16 = 21;
const GROUP_MAX_LEASE_AGE: u16 = 22;
const GROUP_ORDER: u16 = 30;
const GROUP_LOOK_AHEAD: u16 = 31;
const GROUP_MAX_RETRYING: u16 = 32;
const GROUP_PROCESSED: u16 = 50;
const GROUP_PROCESSED_TABLE: u16 = 51;

/// Whether a topic's setting of this tag says what is dropped of it by and by.
pub(crate) const fn is_retention(tag: u16) -> bool {
    tag == TOPIC_RETENTION
}

/// Whether a group's setting of this tag has a number that means nothing in another store: a topic's, a table's.
pub(crate) const fn names_others(tag: u16) -> bool {
    matches!(tag, GROUP_FORWARD | GROUP_PROCESSED_TABLE)
}

/// What these settings change.
pub(crate) fn topic_patch(settings: &TopicSettings) -> Patch {
    let durability = settings.durability.map(|durability| match durability {
        Durability::Memory => vec![0],
        Durability::Os => vec![1],
        Durability::Disk => vec![2],
    });
    let retention = settings.retention.map(|rules| {
        let age = |age: Option<Duration>| given(age.map(millis));
        vec![
            age(rules.keep_age),
            given(rules.keep_bytes),
            given(rules.keep_count),
            age(rules.max_age),
            given(rules.max_bytes),
            given(rules.max_count),
        ]
    });
    let lifetime = settings.expires_after.map(|lifetime| Some(lifetime).filter(|lifetime| *lifetime != Duration::MAX));
    let expiry = lifetime.map(|lifetime| vec![given(lifetime.map(millis))]);
    let ids = settings.deduplicate.map(window_values);
    let reused = settings.refuse_reused_ids.map(|refuse| vec![u64::from(!refuse)]);
    let tagged = [
        (TOPIC_DURABILITY, durability),
        (TOPIC_RETENTION, retention),
        (TOPIC_EXPIRY, expiry),
        (TOPIC_IDS, ids),
        (TOPIC_REUSED_IDS, reused),
    ];
    let tagged = tagged.into_iter().filter_map(|(tag, values)| Some(Setting { tag, values: values? }));
    tagged.chain(flow_settings::of_topic(settings)).collect()
}

fn window_values(window: Window) -> Vec<u64> {
    match window {
        Window::Off => vec![0],
        Window::For(span) => vec![1, millis(span)],
        Window::Last(count) => vec![2, count],
        Window::Forever => vec![3],
    }
}

/// Nothing if it is none of this release.
fn window(values: &[u64]) -> Option<Window> {
    match values {
        [0, ..] => Some(Window::Off),
        [1, span, ..] => Some(Window::For(Duration::from_millis(*span))),
        [2, count, ..] => Some(Window::Last(*count)),
        [3, ..] => Some(Window::Forever),
        _ => None,
    }
}

/// A number that may be missing: plus one, zero if it is.
pub(super) fn given(number: Option<u64>) -> u64 {
    number.map_or(0, |number| number.saturating_add(1))
}

/// The number that was given so.
pub(super) fn taken(value: u64) -> Option<u64> {
    value.checked_sub(1)
}

/// What these settings change. Where the group starts is not among them: that is an offset by then; and where copies
/// go is a topic by then, see [`forward_setting`].
pub(crate) fn group_patch(settings: &Group) -> Patch {
    let number = |tag, value: Option<u64>| value.map(|value| Setting { tag, values: vec![value] });
    [
        number(GROUP_LEASE, settings.lease.map(millis)),
        settings.retry.as_ref().map(retry_setting),
        number(GROUP_MAX_TIMEOUTS, settings.max_timeouts.map(u64::from)),
        number(GROUP_MAX_CRASHES, settings.max_crashes.map(u64::from)),
        number(GROUP_MAX_LEASE_AGE, settings.max_lease_age.map(millis)),
        number(GROUP_DEAD_AGE, settings.dead_age.map(|age| given(age.map(millis)))),
        number(GROUP_ORDER, settings.ordered.map(order_number)),
        number(GROUP_LOOK_AHEAD, settings.look_ahead.map(u64::from)),
        number(GROUP_MAX_RETRYING, settings.max_retrying.map(u64::from)),
        settings.processed.map(|window| Setting { tag: GROUP_PROCESSED, values: window_values(window) }),
    ]
    .into_iter()
    .flatten()
    .chain(flow_settings::of_group(settings))
    .chain(filter_setting::of_group(settings))
    .collect()
}

fn retry_setting(retry: &Retry) -> Setting {
    let mut values = vec![millis(retry.first), millis(retry.longest), u64::from(retry.attempts)];
    // Left out where it can be: this is what releases before these values wrote.
    if !retry.jitter || !retry.waits.is_empty() {
        values.push(u64::from(!retry.jitter));
    }
    values.extend(retry.waits.iter().map(|wait| millis(*wait)));
    Setting { tag: GROUP_RETRY, values }
}

const fn order_number(ordered: Option<WhenParked>) -> u64 {
    match ordered {
        None => 0,
        Some(WhenParked::Skip) => 1,
        Some(WhenParked::Block) => 2,
        Some(WhenParked::ParkKey) => 3,
    }
}

/// The topic that gets copies of dead letters, or none.
pub(crate) fn forward_setting(topic: Option<TopicId>) -> Setting {
    Setting { tag: GROUP_FORWARD, values: vec![topic.map_or(0, |topic| u64::from(topic.get()))] }
}

/// The table of processed ids that is shared, by its number; zero: the group's own.
pub(crate) fn processed_table_setting(table: u64) -> Setting {
    Setting { tag: GROUP_PROCESSED_TABLE, values: vec![table] }
}

/// The policy with what `patch` changes.
pub(crate) fn patch_group_policy(mut policy: GroupPolicy, patch: &[Setting]) -> GroupPolicy {
    for setting in patch {
        match (setting.tag, setting.values.as_slice()) {
            (GROUP_LEASE, &[lease, ..]) => policy.lease = Duration::from_millis(lease),
            (GROUP_RETRY, &[first, longest, attempts, ref more @ ..]) => {
                let retry = Retry::exponential(Duration::from_millis(first), Duration::from_millis(longest));
                policy.retry = retry.attempts(limit(attempts));
                if let [exact, waits @ ..] = more {
                    policy.retry.jitter = *exact == 0;
                    policy.retry.waits = waits.iter().copied().map(Duration::from_millis).collect();
                }
            }
            (GROUP_MAX_TIMEOUTS, &[value, ..]) => policy.max_timeouts = limit(value),
            (GROUP_MAX_CRASHES, &[value, ..]) => policy.max_crashes = limit(value),
            (GROUP_MAX_LEASE_AGE, &[age, ..]) => policy.max_lease_age = Duration::from_millis(age),
            (GROUP_FORWARD, &[topic, ..]) => {
                policy.forward = u32::try_from(topic).ok().filter(|topic| *topic != 0).map(TopicId::new);
            }
            (GROUP_PROCESSED, values) => policy.processed = window(values).unwrap_or(policy.processed),
            (GROUP_PROCESSED_TABLE, &[table, ..]) => policy.processed_table = table,
            (GROUP_DEAD_AGE, &[value, ..]) => policy.dead_age = taken(value).map(Duration::from_millis),
            (GROUP_ORDER, &[number, ..]) => {
                policy.ordered = match number {
                    0 => None,
                    1 => Some(WhenParked::Skip),
                    2 => Some(WhenParked::Block),
                    3 => Some(WhenParked::ParkKey),
                    _ => policy.ordered,
                };
            }
            (GROUP_LOOK_AHEAD, &[value, ..]) => policy.look_ahead = limit(value),
            (GROUP_MAX_RETRYING, &[value, ..]) => policy.max_retrying = limit(value),
            _ => {
                flow_settings::patch_group(&mut policy, setting);
                filter_setting::patch_group(&mut policy, setting);
            }
        }
    }
    policy
}

/// A limit of nothing would park a message that nothing had happened to; the setters refuse it as well.
fn limit(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX).max(1)
}

/// The policy with what `patch` changes.
pub(crate) fn patch_topic_policy(mut policy: TopicPolicy, patch: &[Setting]) -> TopicPolicy {
    for setting in patch {
        match (setting.tag, setting.values.as_slice()) {
            (TOPIC_DURABILITY, &[value, ..]) => {
                policy.durability = match value {
                    0 => Some(Durability::Memory),
                    1 => Some(Durability::Os),
                    2 => Some(Durability::Disk),
                    // A level that this release doesn't know: the store's own, however it came about.
                    _ => None,
                };
            }
            (TOPIC_RETENTION, &[keep_age, keep_bytes, keep_count, max_age, max_bytes, max_count, ..]) => {
                let age = |value| taken(value).map(Duration::from_millis);
                policy.retention = Retention {
                    keep_age: age(keep_age),
                    keep_bytes: taken(keep_bytes),
                    keep_count: taken(keep_count),
                    max_age: age(max_age),
                    max_bytes: taken(max_bytes),
                    max_count: taken(max_count),
                };
            }
            (TOPIC_IDS, values) => policy.deduplicate = window(values).unwrap_or(policy.deduplicate),
            (TOPIC_REUSED_IDS, &[value, ..]) => policy.reused_ids = value != 0,
            (TOPIC_EXPIRY, &[value, ..]) => policy.expires_after = taken(value).map(Duration::from_millis),
            _ => flow_settings::patch_topic(&mut policy, setting),
        }
    }
    policy
}

/// Lays `patch` over what is stored: a tag it names has its values from then on, the others keep theirs.
pub(crate) fn merge(stored: &mut Patch, patch: &[Setting]) {
    for setting in patch {
        match stored.iter_mut().find(|known| known.tag == setting.tag) {
            Some(known) => known.values.clone_from(&setting.values),
            None => stored.push(setting.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(tag: u16, values: &[u64]) -> Setting {
        Setting { tag, values: values.to_vec() }
    }

    #[test]
    fn what_is_set_comes_back_and_what_is_not_keeps_its_value() {
        let retry = Retry::exponential(Duration::from_millis(20), Duration::from_secs(9)).attempts(7);
        let settings =
            Group::default().lease(Duration::from_secs(5)).retry(retry.clone()).max_timeouts(4).max_crashes(2);
        let settings = settings.max_lease_age(Duration::from_secs(77)).keep_dead_letters(Some(Duration::from_secs(8)));
        let patch = group_patch(&settings);
        assert_eq!(patch_group_policy(GroupPolicy::default(), &patch), GroupPolicy::default().patched(&settings));
        let only_lease = group_patch(&Group::default().lease(Duration::from_secs(6)));
        let policy = patch_group_policy(GroupPolicy::default().patched(&settings), &only_lease);
        assert_eq!((policy.lease, policy.retry), (Duration::from_secs(6), retry));
        assert!(group_patch(&Group::default()).is_empty() && topic_patch(&TopicSettings::default()).is_empty());
        for durability in [Durability::Memory, Durability::Os, Durability::Disk] {
            let patch = topic_patch(&TopicSettings::default().durability(durability));
            assert_eq!(patch_topic_policy(TopicPolicy::default(), &patch).durability, Some(durability));
        }
        let rules = Retention { max_age: Some(Duration::from_secs(9)), ..Retention::everything().keep_bytes(0) };
        let settings = TopicSettings::default().retention(rules).expires_after(Duration::from_secs(5));
        let policy = patch_topic_policy(TopicPolicy::default(), &topic_patch(&settings));
        assert_eq!((policy.retention, policy.expires_after), (rules, Some(Duration::from_secs(5))));
        let back = TopicSettings::default().retention(Retention::until_settled()).expires_after(Duration::MAX);
        assert_eq!(patch_topic_policy(policy, &topic_patch(&back)), TopicPolicy::default());
    }

    #[test]
    fn a_retry_policy_is_stored_as_it_always_was_unless_it_uses_what_is_new() {
        let (first, second) = (Duration::from_millis(20), Duration::from_secs(9));
        let stored = |retry: Retry| group_patch(&Group::default().retry(retry));
        let doubling = Retry::exponential(first, second).attempts(7);
        assert_eq!(stored(doubling.clone()), [setting(GROUP_RETRY, &[20, 9000, 7])]);
        assert_eq!(stored(doubling.clone().without_jitter()), [setting(GROUP_RETRY, &[20, 9000, 7, 1])]);
        let listed = Retry::waits([second, first]);
        assert_eq!(stored(listed.clone()), [setting(GROUP_RETRY, &[9000, 9000, 3, 0, 9000, 20])]);
        for retry in [doubling.clone(), doubling.without_jitter(), listed.clone(), listed.without_jitter()] {
            assert_eq!(patch_group_policy(GroupPolicy::default(), &stored(retry.clone())).retry, retry);
        }
    }

    #[test]
    fn order_can_be_set_changed_and_unset() {
        let stored = |settings: &Group| group_patch(settings);
        for (number, when) in (1..).zip([WhenParked::Skip, WhenParked::Block, WhenParked::ParkKey]) {
            let settings = Group::default().ordered(when).look_ahead(7).max_retrying(0);
            let patch = stored(&settings);
            assert_eq!(patch, [setting(GROUP_ORDER, &[number]), setting(31, &[7]), setting(32, &[1])]);
            let policy = patch_group_policy(GroupPolicy::default(), &patch);
            assert_eq!(policy, GroupPolicy::default().patched(&settings));
            // An order that is not known changes nothing.
            let policy = patch_group_policy(policy, &[setting(GROUP_ORDER, &[4])]);
            assert_eq!(policy.ordered, Some(when));
            assert_eq!(patch_group_policy(policy, &stored(&Group::default().unordered())).ordered, None);
        }
    }

    #[test]
    fn windows_of_ids_come_back_and_one_of_a_newer_release_changes_nothing() {
        let windows = [Window::Off, Window::For(Duration::from_millis(300)), Window::Last(5), Window::Forever];
        for window in windows {
            let patch = topic_patch(&TopicSettings::default().deduplicate(window).refuse_reused_ids(false));
            let policy = patch_topic_policy(TopicPolicy::default(), &patch);
            assert_eq!((policy.deduplicate, policy.reused_ids), (window, true));
            let unknown = [setting(TOPIC_IDS, &[9, 1]), setting(TOPIC_IDS, &[1]), setting(TOPIC_IDS, &[])];
            assert_eq!(patch_topic_policy(policy, &unknown).deduplicate, window);
            let patch = group_patch(&Group::default().remember_processed(window));
            assert_eq!(patch_group_policy(GroupPolicy::default(), &patch).processed, window);
        }
        let policy = patch_group_policy(GroupPolicy::default(), &[processed_table_setting(7)]);
        assert_eq!(policy.processed_table, 7);
    }

    #[test]
    fn where_copies_go_can_be_set_and_unset() {
        let to = |policy, topic| patch_group_policy(policy, &[forward_setting(topic)]);
        let policy = to(GroupPolicy::default(), Some(TopicId::new(7)));
        assert_eq!(policy.forward, Some(TopicId::new(7)));
        assert_eq!(to(policy, None), GroupPolicy::default());
        let unknown = [setting(GROUP_FORWARD, &[u64::MAX])];
        assert_eq!(patch_group_policy(GroupPolicy::default(), &unknown).forward, None);
    }

    #[test]
    fn unknown_tags_and_values_have_no_effect() {
        let patch = vec![setting(9000, &[1]), setting(GROUP_LEASE, &[]), setting(GROUP_RETRY, &[1, 2])];
        assert_eq!(patch_group_policy(GroupPolicy::default(), &patch), GroupPolicy::default());
        let patch = vec![setting(TOPIC_DURABILITY, &[77])];
        // A level that isn't known is as if none was set, whatever stood there before.
        let os = TopicPolicy { durability: Some(Durability::Os), ..TopicPolicy::default() };
        assert_eq!(patch_topic_policy(os, &patch).durability, None);
        let huge = vec![setting(GROUP_MAX_CRASHES, &[u64::MAX]), setting(GROUP_MAX_TIMEOUTS, &[0])];
        let policy = patch_group_policy(GroupPolicy::default(), &huge);
        assert_eq!((policy.max_crashes, policy.max_timeouts), (u32::MAX, 1));
    }

    #[test]
    fn merging_replaces_by_tag_and_keeps_what_it_does_not_know() {
        let mut stored = vec![setting(1, &[10]), setting(9000, &[1, 2])];
        merge(&mut stored, &[setting(1, &[20, 5]), setting(3, &[4])]);
        assert_eq!(stored, [setting(1, &[20, 5]), setting(9000, &[1, 2]), setting(3, &[4])]);
    }
}
