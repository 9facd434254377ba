//! Putting messages and groups where they were in another store: at their offsets and times, with what was known of
//! them. It is the same events that made them there, but for those whose messages are gone.

use super::publish::Terms;
use super::removal::{Whom, removal};
use super::unsettled::{GroupProgress, Past, StoredSettings, reason_named};
use super::{Core, Engine};
use crate::config::Durability;
use crate::error::{Code, Error, Result};
use crate::event::{Ack, Bury, Cause, ConfigureTopic, Counters, CreateGroup, Draft, Event};
use crate::event::{Nack, Patch, Pause, Redrive, Release, Run, forward_setting, is_retention};
use crate::journal::{Class, Refusal};
use crate::message::Message;
use crate::types::{GroupId, Offset, Timestamp, TopicId};
use std::borrow::Cow;

/// Events of a group that are written as one frame.
const EVENTS: usize = 1000;

/// The end makes all of it durable.
const LEVEL: Durability = Durability::Memory;

/// A message and where it was.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) offset: Offset,
    pub(crate) time: Timestamp,
    pub(crate) message: Message,
}

impl Engine {
    /// A topic with these settings and no message; it may be there already, if it is empty.
    pub(crate) fn restore_topic(&self, name: &str, settings: &StoredSettings) -> Result<TopicId> {
        let topic = self.topic(name, Some(&crate::config::TopicSettings::default()))?;
        self.establish(|core| {
            if core.next_offset(topic) != Offset::ZERO {
                let what = format!("topic {name:?} has messages already: restore it in a store where it has none");
                return Err(Error::new(Code::UnexpectedEnd, what));
            }
            // What the rules drop is not to go before it is known which of it is a dead letter.
            let settings: Patch = settings.0.iter().filter(|one| !is_retention(one.tag)).cloned().collect();
            let change = (!settings.is_empty()).then_some(Event::ConfigureTopic(ConfigureTopic { topic, settings }));
            Ok(((), change.into_iter().collect()))
        })?;
        // Whatever follows from settings follows from these.
        self.lifetimes.store(true, std::sync::atomic::Ordering::Relaxed);
        self.forgetful.store(true, std::sync::atomic::Ordering::Relaxed);
        Ok(topic)
    }

    /// Takes in messages behind the topic's end, their offsets rising; what lies between them is gone.
    pub(crate) fn restore_messages(&self, topic: TopicId, messages: &mut [Placed]) -> Result<()> {
        let now = self.now();
        for placed in messages.iter_mut() {
            self.check_size(&placed.message)?;
            // A time that is still to come would put the store's clock forward.
            placed.time = placed.time.min(now);
            self.set_times(&mut placed.message);
            self.hash_id(topic, &mut placed.message);
        }
        // A frame has first what is gone, then what follows that; so each gap begins one.
        let follows = |left: &Placed, right: &Placed| left.offset.next() == right.offset;
        for dense in messages.chunk_by(follows) {
            let runs: Vec<(Offset, Timestamp, Vec<Message>)> = dense
                .chunk_by(|left, right| left.time == right.time)
                .filter_map(|run| Some((run.first()?, run)))
                .map(|(first, run)| (first.offset, first.time, run.iter().map(|one| one.message.clone()).collect()))
                .collect();
            let drafts: Vec<Draft<'_>> = runs.iter().map(|(.., run)| Draft::batch(topic, run)).collect();
            let places = runs.iter().map(|(first, now, _)| Terms { now: *now, level: LEVEL, at: Some(*first) });
            let first = runs.first().map(|(first, ..)| *first).unwrap_or_default();
            self.append_behind(topic, first, &drafts.iter().zip(places).collect::<Vec<_>>())?;
        }
        Ok(())
    }

    /// What lies between the topic's end and `end` is gone.
    pub(crate) fn restore_end(&self, topic: TopicId, end: Offset) -> Result<()> {
        if self.open_core()?.next_offset(topic) < end { self.append_behind(topic, end, &[]) } else { Ok(()) }
    }

    fn append_behind(&self, topic: TopicId, first: Offset, drafts: &[(&Draft<'_>, Terms)]) -> Result<()> {
        self.append_restored(|core| {
            let end = core.next_offset(topic);
            if first < end {
                let what = format!("offset {first} does not come behind the one before: the topic ends at {end}");
                return Err(Error::new(Code::UnexpectedEnd, what));
            }
            let gap = Run { first: end, count: first.since(end) };
            let gone = (gap.count > 0).then(|| removal(Whom::Everybody(topic), Cause::Settled, vec![gap]));
            let events: Vec<Event<'_>> = gone.into_iter().collect();
            Ok(core.record_frame(Class::Publish, &events, drafts).map(|recorded| {
                core.took_in(topic, core.next_offset(topic), recorded.span, LEVEL);
                self.after_publish(core, topic, LEVEL);
            }))
        })
    }

    fn append_restored(&self, append: impl Fn(&mut Core) -> Result<Result<(), Refusal>>) -> Result<()> {
        loop {
            if self.open_core()?.ids.is_full() {
                self.make_room_for_ids()?;
            }
            let mut core = self.open_core()?;
            let Err(refusal) = append(&mut core)? else { return Ok(()) };
            drop(core);
            self.relieve(refusal)?;
        }
    }

    /// All that was restored is durable, and the rules by which messages go hold from now on.
    pub(crate) fn restored(&self, topic: TopicId, settings: &StoredSettings) -> Result<()> {
        let settings: Patch = settings.0.iter().filter(|one| is_retention(one.tag)).cloned().collect();
        if !settings.is_empty() {
            let change = ConfigureTopic { topic, settings };
            self.establish(|_| Ok(((), vec![Event::ConfigureTopic(change.clone())])))?;
        }
        let end = self.open_core()?.tail.end();
        self.drive(end, Durability::Disk, None)?;
        self.retention_changed(topic)
    }

    /// A group as far as it was, of a topic whose messages are there.
    pub(crate) fn restore_group(&self, topic: TopicId, name: &str, progress: &GroupProgress) -> Result<()> {
        let mut settings = progress.settings.0.clone();
        if let Some(to) = &progress.forward {
            settings.push(forward_setting(Some(self.topic(to, Some(&crate::config::TopicSettings::default()))?)));
        }
        let time = self.now();
        let group = self.establish(|core| {
            if core.state.group_named(topic, name).is_some() {
                return Err(Error::new(Code::BadSetting, format!("the topic has a group {name:?} already")));
            }
            let group = core.state.next_group();
            let start = progress.first_open().unwrap_or_else(|| core.next_offset(topic));
            let name = Cow::Owned(name.to_owned());
            let created = CreateGroup { group, topic, time, start, name, settings: settings.clone() };
            let settled = progress.settled_behind(start, core.next_offset(topic));
            let settled = (!settled.is_empty()).then(|| Event::Ack(Ack::done(group, Cow::Owned(settled))));
            let pause = progress.paused_until.map(|until| Event::Pause(Pause { group, until }));
            Ok((group, [Event::CreateGroup(created)].into_iter().chain(settled).chain(pause).collect()))
        })?;
        for pasts in progress.past.chunks(EVENTS) {
            let events = pasts.iter().map(|past| events_of(group, past, time)).collect::<Result<Vec<_>>>()?.concat();
            self.append_restored(|core| Ok(core.record_all(&events).map(drop)))?;
        }
        self.park_over_limits(group)?;
        let mut core = self.open_core()?;
        self.touched(&mut core, topic);
        self.tell_waiting(&mut core);
        Ok(())
    }
}

/// What makes a message's past what it was.
fn events_of(group: GroupId, past: &Past, now: Timestamp) -> Result<Vec<Event<'static>>> {
    let (offset, due, counters) = (past.offset, past.due, stored(past.counters));
    let mut events = Vec::new();
    let run = || Cow::Owned(vec![Run::one(offset)]);
    // As of messages: no time that is still to come.
    let nack = |(time, error): &(Timestamp, String)| ((*time).min(now), error.clone());
    if past.life > 0 && past.parked.is_none() {
        let (life, time, error) = (past.life - 1, now, Cow::Borrowed(""));
        let reason = crate::event::BuryReason::Asked;
        events.push(Event::Bury(Bury { group, offset, reason, counters: stored(past.before), life, time, error }));
        events.push(Event::Redrive(Redrive { group, runs: run(), time }));
    }
    let mut errors: Vec<(Timestamp, String)> = past.errors.iter().map(nack).collect();
    match &past.parked {
        Some((reason, time)) => {
            let (reason, time) = (reason_named(reason)?, (*time).min(now));
            let last = errors.pop_if(|(at, _)| *at == time).map(|(_, error)| error).unwrap_or_default();
            events.extend(errors.into_iter().map(|(time, error)| {
                Event::Nack(Nack { group, offset, counters, time, due, error: Cow::Owned(error) })
            }));
            let (life, error) = (past.life, Cow::Owned(last));
            events.push(Event::Bury(Bury { group, offset, reason, counters, life, time, error }));
        }
        None => {
            events.extend(errors.into_iter().map(|(time, error)| {
                Event::Nack(Nack { group, offset, counters, time, due, error: Cow::Owned(error) })
            }));
            events.push(Event::Release(Release { group, runs: run(), due, counters: Some(counters) }));
        }
    }
    Ok(events)
}

fn stored(counters: [u32; 4]) -> Counters {
    let [leases, failures, timeouts, crashes] = counters;
    Counters { leases, failures, timeouts, crashes }
}
