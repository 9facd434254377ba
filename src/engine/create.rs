//! Topics and groups: opening, creating, changing, seeking.

use super::{Core, Engine};
use crate::config::{Durability, Group, Retry, Start, TopicSettings};
use crate::error::{Code, Error, Result};
use crate::event::{ConfigureGroup, ConfigureTopic, CreateGroup, CreateTopic, Event, Seek};
use crate::event::{forward_setting, group_patch, topic_patch};
use crate::types::{GroupId, Offset, Timestamp, TopicId};
use std::borrow::Cow;

/// Bytes in a name.
const NAME_MAX: usize = 255;

fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_MAX {
        let message = format!("a {what}'s name has 1 to {NAME_MAX} bytes, this one has {}", name.len());
        return Err(Error::new(Code::BadName, message));
    }
    Ok(())
}

impl Engine {
    /// Appends an event that is decided under the lock, and makes it durable.
    fn establish<T>(&self, decide: impl Fn(&mut Core) -> Result<(T, Option<Event<'static>>)>) -> Result<T> {
        loop {
            let mut core = self.open_core()?;
            let (value, event) = decide(&mut core)?;
            let Some(event) = event else { return Ok(value) };
            match core.record(&event) {
                Ok(span) => {
                    core.disk_end = span.end;
                    drop(core);
                    self.drive(span.end, Durability::Disk, None)?;
                    return Ok(value);
                }
                Err(refusal) => {
                    drop(core);
                    self.relieve(refusal)?;
                }
            }
        }
    }

    /// The topic of this name. Creates or changes it as `settings` say; without them it must exist.
    pub(crate) fn topic(&self, name: &str, settings: Option<&TopicSettings>) -> Result<TopicId> {
        check_name("topic", name)?;
        let time = self.now();
        let patch = settings.map(topic_patch).unwrap_or_default();
        self.establish(|core| match core.state.topic_named(name) {
            Some(topic) => {
                let known = core.state.topic(topic).map(|topic| topic.settings().clone()).unwrap_or_default();
                let changes = patch.iter().any(|setting| !known.contains(setting));
                let change = ConfigureTopic { topic, settings: patch.clone() };
                Ok((topic, changes.then_some(Event::ConfigureTopic(change))))
            }
            None if settings.is_some() && self.options.create_topics => {
                let topic = core.state.next_topic();
                let created = CreateTopic { topic, time, name: Cow::Owned(name.to_owned()), settings: patch.clone() };
                Ok((topic, Some(Event::CreateTopic(created))))
            }
            None => Err(Error::new(Code::UnknownTopic, format!("there is no topic {name:?} in this store"))),
        })
    }

    /// The group of this name; creates or changes it as `settings` say.
    pub(crate) fn group(&self, topic: TopicId, name: &str, settings: &Group) -> Result<GroupId> {
        check_name("consumer group", name)?;
        if settings.lease.is_some_and(|lease| lease.is_zero()) {
            return Err(Error::new(Code::BadSetting, "a lease of no time would run out at once; give it some"));
        }
        if let Some(retry) = settings.retry.as_ref().filter(|retry| retry.waits.len() > Retry::WAITS_MAX) {
            let what =
                format!("{} waits are too many: a retry policy lists up to {}", retry.waits.len(), Retry::WAITS_MAX);
            return Err(Error::new(Code::BadSetting, what));
        }
        let time = self.now();
        let mut patch = group_patch(settings);
        if let Some(forward) = &settings.forward {
            let to = forward.as_deref().map(|to| self.forward_target(topic, to)).transpose()?;
            patch.push(forward_setting(to));
        }
        let start = match settings.start {
            Some(start) => Some(self.resolve(topic, start)?),
            None => None,
        };
        let group = self.establish(|core| {
            let (first, _) = core.bounds(topic)?;
            Ok(match core.state.group_named(topic, name) {
                Some(group) => {
                    let known = core.state.group(group).map(|group| group.settings().clone()).unwrap_or_default();
                    let changes = patch.iter().any(|setting| !known.contains(setting));
                    let change = ConfigureGroup { group, settings: patch.clone() };
                    (group, changes.then_some(Event::ConfigureGroup(change)))
                }
                None => {
                    let group = core.state.next_group();
                    let start = start.unwrap_or(first);
                    let name = Cow::Owned(name.to_owned());
                    let created = CreateGroup { group, topic, time, start, name, settings: patch.clone() };
                    (group, Some(Event::CreateGroup(created)))
                }
            })
        })?;
        // A limit may have been lowered below what some messages have reached.
        self.park_over_limits(group)?;
        Ok(group)
    }

    /// The topic that gets copies of a group's dead letters: made if need be.
    fn forward_target(&self, topic: TopicId, to: &str) -> Result<TopicId> {
        let own = self.open_core()?.state.topic(topic).is_some_and(|own| own.name() == to);
        if own {
            let what = format!(
                "a group of topic {to:?} can't forward its dead letters to the same topic: they would come back"
            );
            return Err(Error::new(Code::BadSetting, what));
        }
        self.topic(to, Some(&TopicSettings::default()))
            .map_err(|error| error.about("the topic that dead letters are forwarded to: "))
    }

    /// Where a start lies in a topic now.
    fn resolve(&self, topic: TopicId, start: Start) -> Result<Offset> {
        let (first, end) = self.bounds(topic)?;
        Ok(match start {
            Start::Earliest => first,
            Start::Latest => self.end_of(topic)?,
            Start::Offset(offset) => offset.max(first).min(self.end_of(topic)?),
            Start::Time(time) => self.first_since(topic, time, first, end)?,
        })
    }

    /// The first message accepted at or after `time`, by halving: times rise with offsets.
    fn first_since(&self, topic: TopicId, time: Timestamp, first: Offset, end: Offset) -> Result<Offset> {
        let (mut low, mut high) = (first, end);
        let mut cursor = super::ReadCursor::default();
        while low < high {
            let middle = low.plus(high.since(low) / 2);
            match self.read(topic, middle, &mut cursor)? {
                Some(record) if record.time < time => low = record.offset.next(),
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// Moves a group: everything before the start is settled, everything from there on is not.
    pub(crate) fn seek(&self, group: GroupId, start: Start) -> Result<()> {
        let topic = {
            let core = self.open_core()?;
            core.state.group(group).map(|group| group.topic()).ok_or_else(super::settle::no_group)?
        };
        let to = self.resolve(topic, start)?;
        self.establish(|_| Ok(((), Some(Event::Seek(Seek { group, to })))))?;
        let mut core = self.core.lock();
        self.tell_leasing(&mut core);
        Ok(())
    }

    pub(crate) fn topic_names(&self) -> Vec<String> {
        let core = self.core.lock();
        core.state.topics().map(|topic| topic.name().to_owned()).collect()
    }

    pub(crate) fn group_names(&self, topic: TopicId) -> Vec<String> {
        let core = self.core.lock();
        let groups = core.state.topic(topic).map(|topic| topic.groups().to_vec()).unwrap_or_default();
        groups.iter().filter_map(|group| core.state.group(*group)).map(|group| group.name().to_owned()).collect()
    }
}
