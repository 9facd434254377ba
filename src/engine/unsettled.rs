//! How far a group is, message by message.

use super::Engine;
use crate::error::{Code, Error, Result};
use crate::types::{Offset, TopicId};

/// Dead letters that are looked up at a time.
const PAGE: usize = 1000;

/// How far a group is; see [`ReadOnlyTopic::progress`](crate::ReadOnlyTopic::progress). What is in none of the two
/// lists is settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupProgress {
    /// What it has yet to settle: runs of offsets, first and last, that rise.
    pub unsettled: Vec<(Offset, Offset)>,
    /// Its dead letters, each with the last error that was told of it.
    pub dead: Vec<(Offset, Option<String>)>,
}

impl Engine {
    /// The progress of the group of this name.
    pub(crate) fn group_progress(&self, topic: TopicId, name: &str) -> Result<GroupProgress> {
        let mut progress = GroupProgress::default();
        let group = {
            let core = self.open_core()?;
            let group = core
                .state
                .group_named(topic, name)
                .ok_or_else(|| Error::new(Code::UnknownGroup, format!("the topic has no group {name:?}")))?;
            let held = core.state.group(group).ok_or_else(super::settle::no_group)?;
            let of = core.state.topic(topic).ok_or_else(super::read::no_topic)?;
            let (first, end) = core.bounds(topic)?;
            let mut offset = core.state.next_present(of, first);
            while offset < end {
                if held.is_open(offset) {
                    match progress.unsettled.last_mut() {
                        Some((_, last)) if last.next() == offset => *last = offset,
                        _ => progress.unsettled.push((offset, offset)),
                    }
                }
                offset = core.state.next_present(of, offset.next());
            }
            group
        };
        let mut next = Offset::ZERO;
        loop {
            let page = self.letters(group, next, PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(progress) };
            next = last.next();
            let told = page
                .into_iter()
                .map(|(offset, letter)| (offset, letter.errors.into_iter().next_back().map(|(_, text)| text.into())));
            progress.dead.extend(told);
        }
    }
}
