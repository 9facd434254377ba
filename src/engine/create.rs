//! Topics and groups: opening, creating, changing, dropping.

use super::{Core, Engine};
use crate::config::{Compression, Durability, Group, Retry, Start, TopicSettings, Window};
use crate::error::{Code, Error, Result};
use crate::event::{ConfigureGroup, ConfigureTopic, CreateGroup, CreateTopic, DropGroup, Event};
use crate::event::{forward_setting, group_patch, processed_table_setting, topic_patch};
use crate::types::{GroupId, TopicId};
use std::borrow::Cow;
use std::sync::atomic::Ordering;

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
    /// Appends events that are decided under the lock, as one frame, and makes them durable.
    pub(super) fn establish<T>(&self, decide: impl Fn(&mut Core) -> Result<(T, Vec<Event<'static>>)>) -> Result<T> {
        loop {
            let mut core = self.open_core()?;
            let (value, events) = decide(&mut core)?;
            if events.is_empty() {
                return Ok(value);
            }
            match core.record_all(&events) {
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
        settings.and_then(|settings| settings.compression).unwrap_or_default().check()?;
        let time = self.now();
        let patch = settings.map(topic_patch).unwrap_or_default();
        let id = self.establish(|core| match core.state.topic_named(name) {
            Some(topic) => {
                let known = core.state.topic(topic).map(|topic| topic.settings().clone()).unwrap_or_default();
                let changes = patch.iter().any(|setting| !known.contains(setting));
                let change = ConfigureTopic { topic, settings: patch.clone() };
                let mut events = Vec::new();
                if changes {
                    // A rule that keeps more brings nothing back.
                    events.extend(core.pinned(topic));
                    events.push(Event::ConfigureTopic(change));
                }
                Ok((topic, events))
            }
            None if settings.is_some() && self.options.create_topics => {
                let topic = core.state.next_topic();
                let created = CreateTopic { topic, time, name: Cow::Owned(name.to_owned()), settings: patch.clone() };
                Ok((topic, vec![Event::CreateTopic(created)]))
            }
            None => Err(Error::new(Code::UnknownTopic, format!("there is no topic {name:?} in this store"))),
        })?;
        if !patch.is_empty() {
            if settings.is_some_and(|settings| settings.expires_after.is_some()) {
                self.lifetimes.store(true, Ordering::Relaxed);
            }
            let packs = settings.is_some_and(|set| set.compression.is_some_and(|how| how != Compression::Off));
            self.packs.fetch_or(packs, Ordering::Relaxed);
            self.forgetful
                .fetch_or(settings.is_some_and(|set| set.deduplicate == Some(Window::Off)), Ordering::Relaxed);
            self.retention_changed(id)?;
        }
        Ok(id)
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
        if let Some(filter) = &settings.filter {
            filter.check()?;
        }
        let time = self.now();
        let mut patch = group_patch(settings);
        if let Some(forward) = &settings.forward {
            let to = forward.as_deref().map(|to| self.forward_target(topic, to)).transpose()?;
            patch.push(forward_setting(to));
        }
        if let Some(table) = &settings.processed_table {
            let number = table.as_deref().map(|name| self.table_number(name)).transpose()?.unwrap_or(0);
            patch.push(processed_table_setting(number));
        }
        let known = self.open_core()?.state.group_named(topic, name).is_some();
        // Where a new group starts; what is gone by then is not there for it.
        let start = if known { None } else { Some(self.resolve(topic, settings.start.unwrap_or(Start::Earliest))?) };
        let group = self.establish(|core| {
            let (first, _) = core.bounds(topic)?;
            Ok(match core.state.group_named(topic, name) {
                Some(group) => {
                    let known = core.state.group(group).map(|group| group.settings().clone()).unwrap_or_default();
                    let changes = patch.iter().any(|setting| !known.contains(setting));
                    let change = ConfigureGroup { group, settings: patch.clone() };
                    (group, if changes { vec![Event::ConfigureGroup(change)] } else { Vec::new() })
                }
                None => {
                    let group = core.state.next_group();
                    let start = start.unwrap_or(first);
                    let name = Cow::Owned(name.to_owned());
                    let created = CreateGroup { group, topic, time, start, name, settings: patch.clone() };
                    let missing = core.missing(topic, group, start);
                    let events = core.pinned(topic).into_iter().chain([Event::CreateGroup(created)]).chain(missing);
                    (group, events.collect())
                }
            })
        })?;
        // A limit may have been lowered below what some messages have reached.
        self.park_over_limits(group)?;
        let mut core = self.open_core()?;
        // Those of the other groups are known.
        if core.state.topic(topic).is_some_and(|held| core.has_own_rules(held) || core.gives_rules(group)) {
            self.touched(&mut core, topic);
        }
        // There may be more to hand out by the new settings.
        self.tell_waiting(&mut core);
        Ok(group)
    }

    /// The number of a table of processed ids that is shared: made from its name, so that nothing has to be kept of it.
    fn table_number(&self, name: &str) -> Result<u64> {
        check_name("table of processed ids", name)?;
        let hash = self.hash(&[b"table ", name.as_bytes()].concat());
        Ok((hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)) >> 1).max(1))
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

    /// Drops a group with all it knows. What every group had settled until then stays gone. Whether there was one.
    pub(crate) fn drop_group(&self, topic: TopicId, name: &str) -> Result<bool> {
        let dropped = self.establish(|core| {
            let Some(group) = core.state.group_named(topic, name) else { return Ok((None, Vec::new())) };
            let events = core.pinned(topic).into_iter().chain([Event::DropGroup(DropGroup { group })]);
            Ok((Some(group), events.collect()))
        })?;
        let Some(group) = dropped else { return Ok(false) };
        self.readers.forget(group);
        let mut core = self.core.lock();
        core.windows.remove(&group);
        // Who waits for its messages waits for nothing.
        self.tell_leasing(&mut core);
        Ok(true)
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
