//! The settings of flow control, priorities and compression as they are stored. The tags are told in `settings`.

use super::Setting;
use super::settings::{given, taken};
use crate::config::{
    Backlog, Breaker, Compression, Group, GroupPolicy, LEVELS_MAX, Overflow, Rate, TopicPolicy, TopicSettings,
};
use crate::types::millis;
use std::time::Duration;

const TOPIC_BACKLOG: u16 = 40;
const TOPIC_PRIORITIES: u16 = 60;
const TOPIC_AGING: u16 = 61;
const TOPIC_COMPRESSION: u16 = 70;

const GROUP_MAX_IN_FLIGHT: u16 = 40;
const GROUP_RATE: u16 = 41;
const GROUP_BREAKER: u16 = 42;

/// What these settings change.
pub(super) fn of_topic(settings: &TopicSettings) -> impl Iterator<Item = Setting> {
    let number = |tag, value: Option<u64>| value.map(|value| Setting { tag, values: vec![value] });
    let levels = number(TOPIC_PRIORITIES, settings.levels.map(u64::from));
    let aging = number(TOPIC_AGING, settings.aging.map(millis));
    let compression = number(TOPIC_COMPRESSION, settings.compression.map(|how| u64::from(how == Compression::Lz4)));
    [settings.backlog.map(backlog), levels, aging, compression].into_iter().flatten()
}

fn backlog(limits: Backlog) -> Setting {
    let Backlog { messages, bytes, overflow } = limits;
    let overflow = match overflow {
        Overflow::Reject => 0,
        Overflow::Wait => 1,
        Overflow::DropOldest => 2,
    };
    Setting { tag: TOPIC_BACKLOG, values: vec![given(messages), given(bytes), overflow] }
}

/// What these settings change.
pub(super) fn of_group(settings: &Group) -> impl Iterator<Item = Setting> {
    let setting = |tag, values| Setting { tag, values };
    let in_flight = settings.max_in_flight.map(|most| setting(GROUP_MAX_IN_FLIGHT, vec![most]));
    let rate = settings.rate.map(|rate| setting(GROUP_RATE, vec![rate.messages, millis(rate.per), rate.burst]));
    let breaker = settings.breaker.map(|breaker| {
        let values = vec![u64::from(breaker.failures), millis(breaker.first), millis(breaker.longest)];
        setting(GROUP_BREAKER, values)
    });
    [in_flight, rate, breaker].into_iter().flatten()
}

/// Sets what the setting says, if it is one of these.
pub(super) fn patch_topic(policy: &mut TopicPolicy, setting: &Setting) {
    match (setting.tag, setting.values.as_slice()) {
        (TOPIC_BACKLOG, &[messages, bytes, overflow, ..]) => {
            let overflow = match overflow {
                1 => Overflow::Wait,
                2 => Overflow::DropOldest,
                // What this release doesn't know drops nothing and makes nobody wait.
                _ => Overflow::Reject,
            };
            policy.backlog = Backlog { messages: taken(messages), bytes: taken(bytes), overflow };
        }
        (TOPIC_COMPRESSION, &[how, ..]) => {
            // What this release doesn't know is written as it is.
            policy.compression = if how == 1 { Compression::Lz4 } else { Compression::Off };
        }
        (TOPIC_PRIORITIES, &[levels, ..]) => {
            policy.levels = u8::try_from(levels).unwrap_or(LEVELS_MAX).clamp(1, LEVELS_MAX);
        }
        (TOPIC_AGING, &[age, ..]) => policy.aging = Duration::from_millis(age),
        _ => {}
    }
}

/// Sets what the setting says, if it is one of these.
pub(super) fn patch_group(policy: &mut GroupPolicy, setting: &Setting) {
    match (setting.tag, setting.values.as_slice()) {
        (GROUP_MAX_IN_FLIGHT, &[most, ..]) => policy.max_in_flight = most.max(1),
        (GROUP_RATE, &[0, ..]) => policy.rate = Rate::unlimited(),
        (GROUP_RATE, &[messages, per, burst, ..]) => {
            policy.rate = Rate::new(messages, Duration::from_millis(per)).burst(burst);
        }
        (GROUP_BREAKER, &[0, ..]) => policy.breaker = Breaker::off(),
        (GROUP_BREAKER, &[failures, first, longest, ..]) => {
            let breaker = Breaker::after(u32::try_from(failures).unwrap_or(u32::MAX));
            policy.breaker = breaker.pause(Duration::from_millis(first), Duration::from_millis(longest));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::{group_patch, patch_group_policy, patch_topic_policy, topic_patch};
    use super::*;

    #[test]
    fn what_is_set_comes_back_and_can_be_unset() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let set = Group::default().max_in_flight(7).rate(Rate::new(5, minute).burst(2));
        let set = set.breaker(Breaker::after(3).pause(second, minute));
        let policy = patch_group_policy(GroupPolicy::default(), &group_patch(&set));
        assert_eq!(policy, GroupPolicy::default().patched(&set));
        assert_ne!(policy, GroupPolicy::default());
        let unset = Group::default().max_in_flight(u64::MAX).rate(Rate::unlimited()).breaker(Breaker::off());
        assert_eq!(patch_group_policy(policy, &group_patch(&unset)), GroupPolicy::default());

        let most = Backlog::messages(9);
        let backlogs = [most, most.or_bytes(8), Backlog::bytes(u64::MAX), most.when_full(Overflow::DropOldest)];
        let leveled = TopicSettings::default().priorities(5).priority_aging(minute);
        let policy = patch_topic_policy(TopicPolicy::default(), &topic_patch(&leveled));
        assert_eq!((policy.levels, policy.aging), (5, minute));
        for backlog in backlogs.into_iter().chain([most.when_full(Overflow::Wait), Backlog::unlimited()]) {
            let patch = topic_patch(&TopicSettings::default().max_backlog(backlog));
            assert_eq!(patch_topic_policy(TopicPolicy::default(), &patch).backlog, backlog);
        }
    }

    #[test]
    fn the_stored_form_is_pinned() {
        let values = |settings: &Group| group_patch(settings).into_iter().map(|setting| (setting.tag, setting.values));
        let set = Group::default().max_in_flight(7).rate(Rate::per_second(5).burst(2)).breaker(Breaker::after(3));
        let stored: Vec<_> = values(&set).collect();
        assert_eq!(stored, [(40, vec![7]), (41, vec![5, 1000, 2]), (42, vec![3, 5000, 300_000])]);
        let backlog = Backlog::messages(9).when_full(Overflow::DropOldest);
        let stored = topic_patch(&TopicSettings::default().max_backlog(backlog));
        assert_eq!(stored, [Setting { tag: 40, values: vec![10, 0, 2] }]);
        for (how, number) in [(Compression::Off, 0), (Compression::Lz4, 1)] {
            let stored = topic_patch(&TopicSettings::default().compression(how));
            assert_eq!(stored, [Setting { tag: 70, values: vec![number] }]);
            assert_eq!(patch_topic_policy(TopicPolicy::default(), &stored).compression, how);
        }
        let leveled = TopicSettings::default().priorities(9).priority_aging(Duration::from_secs(1));
        let stored = topic_patch(&leveled).into_iter().map(|setting| (setting.tag, setting.values));
        assert_eq!(stored.collect::<Vec<_>>(), [(60, vec![8]), (61, vec![1000])]);
    }

    #[test]
    fn what_means_nothing_here_drops_nothing() {
        let unknown = [Setting { tag: TOPIC_BACKLOG, values: vec![2, 0, 99] }];
        let policy = patch_topic_policy(TopicPolicy::default(), &unknown);
        assert_eq!(policy.backlog, Backlog::messages(1));
        let short = [Setting { tag: GROUP_RATE, values: vec![5] }, Setting { tag: GROUP_BREAKER, values: vec![] }];
        assert_eq!(patch_group_policy(GroupPolicy::default(), &short), GroupPolicy::default());
    }
}
