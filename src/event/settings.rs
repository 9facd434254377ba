//! Settings as they are stored: tags with values, and their meaning.
//!
//! ```text
//! topic  1  durability      0 memory, 1 os, 2 disk
//! group  1  lease           milliseconds
//!        2  retry           first wait in milliseconds, longest wait in milliseconds, failures
//!        3  timeouts        the limit
//!        4  crashes         the limit
//! ```
//!
//! A tag keeps its meaning for ever, zero is no tag, and values may be added at the end of one. Tags of a newer release
//! are kept and have no effect, and so has a value that means nothing here: what was set before, or the default, holds.

use super::{Patch, Setting};
use crate::config::{Durability, Group, GroupPolicy, Retry, TopicSettings};
use crate::types::millis;
use std::time::Duration;

const TOPIC_DURABILITY: u16 = 1;

const GROUP_LEASE: u16 = 1;
const GROUP_RETRY: u16 = 2;
const GROUP_MAX_TIMEOUTS: u16 = 3;
const GROUP_MAX_CRASHES: u16 = 4;

/// What these settings change.
pub(crate) fn topic_patch(settings: &TopicSettings) -> Patch {
    settings
        .durability
        .map(|durability| {
            let value = match durability {
                Durability::Memory => 0,
                Durability::Os => 1,
                Durability::Disk => 2,
            };
            Setting { tag: TOPIC_DURABILITY, values: vec![value] }
        })
        .into_iter()
        .collect()
}

/// What these settings change. Where the group starts is not among them: that is an offset by then.
pub(crate) fn group_patch(settings: &Group) -> Patch {
    let number = |tag, value: Option<u64>| value.map(|value| Setting { tag, values: vec![value] });
    let retry = settings.retry.map(|retry| Setting {
        tag: GROUP_RETRY,
        values: vec![millis(retry.first), millis(retry.longest), u64::from(retry.attempts)],
    });
    [
        number(GROUP_LEASE, settings.lease.map(millis)),
        retry,
        number(GROUP_MAX_TIMEOUTS, settings.max_timeouts.map(u64::from)),
        number(GROUP_MAX_CRASHES, settings.max_crashes.map(u64::from)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The policy with what `patch` changes.
pub(crate) fn patch_group_policy(mut policy: GroupPolicy, patch: &[Setting]) -> GroupPolicy {
    for setting in patch {
        match (setting.tag, setting.values.as_slice()) {
            (GROUP_LEASE, &[lease, ..]) => policy.lease = Duration::from_millis(lease),
            (GROUP_RETRY, &[first, longest, attempts, ..]) => {
                let waits = Retry::exponential(Duration::from_millis(first), Duration::from_millis(longest));
                policy.retry = waits.attempts(limit(attempts));
            }
            (GROUP_MAX_TIMEOUTS, &[value, ..]) => policy.max_timeouts = limit(value),
            (GROUP_MAX_CRASHES, &[value, ..]) => policy.max_crashes = limit(value),
            _ => {}
        }
    }
    policy
}

/// A limit of nothing would park a message that nothing had happened to; the setters refuse it as well.
fn limit(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX).max(1)
}

/// The topic's durability with what `patch` changes; `None`: what the store says.
pub(crate) fn patch_topic_durability(mut durability: Option<Durability>, patch: &[Setting]) -> Option<Durability> {
    for setting in patch {
        if let (TOPIC_DURABILITY, &[value, ..]) = (setting.tag, setting.values.as_slice()) {
            durability = match value {
                0 => Some(Durability::Memory),
                1 => Some(Durability::Os),
                2 => Some(Durability::Disk),
                // A level that this release doesn't know: the store's own, however it came about.
                _ => None,
            };
        }
    }
    durability
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
        let settings = Group::default().lease(Duration::from_secs(5)).retry(retry).max_timeouts(4).max_crashes(2);
        let patch = group_patch(&settings);
        assert_eq!(patch_group_policy(GroupPolicy::default(), &patch), GroupPolicy::default().patched(&settings));
        let only_lease = group_patch(&Group::default().lease(Duration::from_secs(6)));
        let policy = patch_group_policy(GroupPolicy::default().patched(&settings), &only_lease);
        assert_eq!((policy.lease, policy.retry), (Duration::from_secs(6), retry));
        assert!(group_patch(&Group::default()).is_empty() && topic_patch(&TopicSettings::default()).is_empty());
        for durability in [Durability::Memory, Durability::Os, Durability::Disk] {
            let patch = topic_patch(&TopicSettings::default().durability(durability));
            assert_eq!(patch_topic_durability(None, &patch), Some(durability));
        }
    }

    #[test]
    fn unknown_tags_and_values_have_no_effect() {
        let patch = vec![setting(9000, &[1]), setting(GROUP_LEASE, &[]), setting(GROUP_RETRY, &[1, 2])];
        assert_eq!(patch_group_policy(GroupPolicy::default(), &patch), GroupPolicy::default());
        let patch = vec![setting(TOPIC_DURABILITY, &[77])];
        // A level that isn't known is as if none was set, whatever stood there before.
        assert_eq!(patch_topic_durability(Some(Durability::Os), &patch), None);
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
