//! A group's filter as it is stored, in the numbers of a setting.
//!
//! ```text
//! group 60  filter  how many conditions, 0: everything; then each: 1, name, value for a header, 2, prefix for a key
//! ```
//!
//! A name, value or prefix is its length in bytes, then its bytes, eight to a number, the first the lowest; what is
//! left of the last number is zero.

use super::Setting;
use crate::config::{Condition, Filter, Group, GroupPolicy};
use bytes::Bytes;

const GROUP_FILTER: u16 = 60;

const HEADER: u64 = 1;
const KEY_PREFIX: u64 = 2;

/// What these settings change.
pub(super) fn of_group(settings: &Group) -> Option<Setting> {
    let filter = settings.filter.as_ref()?;
    let mut values = vec![filter.conditions.len() as u64];
    for condition in filter.conditions.iter() {
        match condition {
            Condition::Header { name, value } => {
                values.push(HEADER);
                put(&mut values, name.as_bytes());
                put(&mut values, value);
            }
            Condition::KeyPrefix(prefix) => {
                values.push(KEY_PREFIX);
                put(&mut values, prefix);
            }
        }
    }
    Some(Setting { tag: GROUP_FILTER, values })
}

fn put(values: &mut Vec<u64>, bytes: &[u8]) {
    values.push(bytes.len() as u64);
    values.extend(bytes.chunks(8).map(|chunk| {
        let mut number = [0; 8];
        number.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        u64::from_le_bytes(number)
    }));
}

/// Sets what the setting says, if it is this one. A condition that this release doesn't know could select anything, so
/// such a filter has no effect.
pub(super) fn patch_group(policy: &mut GroupPolicy, setting: &Setting) {
    if setting.tag == GROUP_FILTER
        && let Some(filter) = read(&setting.values)
    {
        policy.filter = filter;
    }
}

fn read(mut values: &[u64]) -> Option<Filter> {
    let count = usize::try_from(next(&mut values)?).ok().filter(|count| *count <= Filter::CONDITIONS_MAX)?;
    let mut conditions = Vec::with_capacity(count);
    for _ in 0..count {
        conditions.push(match next(&mut values)? {
            HEADER => {
                let name = String::from_utf8(take(&mut values)?).ok()?;
                Condition::Header { name, value: Bytes::from(take(&mut values)?) }
            }
            KEY_PREFIX => Condition::KeyPrefix(Bytes::from(take(&mut values)?)),
            _ => return None,
        });
    }
    Some(Filter { conditions: conditions.into() })
}

fn next(values: &mut &[u64]) -> Option<u64> {
    let (first, rest) = values.split_first()?;
    *values = rest;
    Some(*first)
}

fn take(values: &mut &[u64]) -> Option<Vec<u8>> {
    let length = usize::try_from(next(values)?).ok().filter(|length| *length <= Filter::BYTES_MAX)?;
    let (mine, rest) = values.split_at_checked(length.div_ceil(8))?;
    *values = rest;
    let mut bytes: Vec<u8> = mine.iter().flat_map(|number| number.to_le_bytes()).collect();
    bytes.truncate(length);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::{group_patch, patch_group_policy};
    use super::*;

    fn stored(filter: &Filter) -> Vec<Setting> {
        group_patch(&Group::default().filter(filter.clone()))
    }

    #[test]
    fn a_filter_comes_back_as_it_was_and_can_be_unset() {
        let long = vec![7; 1000];
        let filter = Filter::header("kind", "order").or_key_prefix("").or_key_prefix("12345678").or_header("", long);
        let policy = patch_group_policy(GroupPolicy::default(), &stored(&filter));
        assert_eq!(policy.filter, filter);
        assert_eq!(patch_group_policy(policy, &stored(&Filter::everything())), GroupPolicy::default());
    }

    #[test]
    fn the_stored_form_is_pinned() {
        let filter = Filter::header("kind", "order-made").or_key_prefix("a");
        let kind = u64::from_le_bytes(*b"kind\0\0\0\0");
        let (order, made) = (u64::from_le_bytes(*b"order-ma"), u64::from_le_bytes(*b"de\0\0\0\0\0\0"));
        let values = vec![2, 1, 4, kind, 10, order, made, 2, 1, 0x61];
        assert_eq!(stored(&filter), [Setting { tag: 60, values }]);
    }

    #[test]
    fn what_can_not_be_has_no_effect() {
        let known = patch_group_policy(GroupPolicy::default(), &stored(&Filter::key_prefix("a")));
        let wrong: [&[u64]; 8] =
            [&[], &[1], &[1, 9, 0], &[1, 2, 9], &[u64::MAX], &[1, 2, u64::MAX], &[1, 1, 1, 0xFF, 0], &[2, 2, 0]];
        for values in wrong {
            let patch = [Setting { tag: GROUP_FILTER, values: values.to_vec() }];
            assert_eq!(patch_group_policy(known.clone(), &patch), known, "{values:?}");
        }
    }
}
