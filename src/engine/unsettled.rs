//! How far a group is, message by message: enough to make it elsewhere what it is here.

use super::{Engine, ParkedLetter};
use crate::error::{Code, Error, Result};
use crate::event::{BuryReason, Counters, Patch, Run, Setting};
use crate::state::{Group, History};
use crate::types::{GroupId, Offset, Timestamp, TopicId};

/// Settings as they are stored: numbered tags with their values, those of a newer release included. The chapter on the
/// file format says what they mean; [`TopicSettings`](crate::TopicSettings) and [`Group`](crate::Group) are what they
/// come of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredSettings(pub(super) Patch);

impl StoredSettings {
    /// The tags with their values.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &[u64])> {
        self.0.iter().map(|setting| (setting.tag, setting.values.as_slice()))
    }
}

impl FromIterator<(u16, Vec<u64>)> for StoredSettings {
    fn from_iter<I: IntoIterator<Item = (u16, Vec<u64>)>>(settings: I) -> Self {
        Self(settings.into_iter().map(|(tag, values)| Setting { tag, values }).collect())
    }
}

/// What a group remembers of a message that it has not settled; and of a dead letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Which message.
    pub offset: Offset,
    /// How often it was handed out, failed, timed out, and brought the process down, over all its lives.
    pub counters: [u32; 4],
    /// The same when its present life began.
    pub before: [u32; 4],
    /// Not to be handed out before; zero: at once.
    pub due: Timestamp,
    /// How often it was redriven.
    pub life: u32,
    /// The errors that are kept, the newest last, with their times.
    pub errors: Vec<(Timestamp, String)>,
    /// Of a dead letter: why it is one (`asked`, `failures`, `timeouts`, `crashes`, `unreadable` or `key-parked`), and
    /// since when.
    pub parked: Option<(String, Timestamp)>,
}

/// How far a group is; see [`ReadOnlyTopic::progress`](crate::ReadOnlyTopic::progress). What is neither unsettled nor
/// a dead letter is settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupProgress {
    /// What it has yet to settle: runs of offsets, first and last, that rise. Without dead letters.
    pub unsettled: Vec<(Offset, Offset)>,
    /// What it remembers of those, and of its dead letters, offsets rising. A hand-out that is
    /// under way is not counted.
    pub past: Vec<Past>,
    /// Its settings, but for those that name another topic or a table of processed ids that is shared.
    pub settings: StoredSettings,
    /// The topic that gets copies of its dead letters.
    pub forward: Option<String>,
    /// Until when it is paused; the end of time, if until it is resumed.
    pub paused_until: Option<Timestamp>,
}

impl GroupProgress {
    /// The first message that is not settled.
    pub(super) fn first_open(&self) -> Option<Offset> {
        let unsettled = self.unsettled.first().map(|(first, _)| *first);
        let dead = self.past.first().map(|past| past.offset);
        unsettled.into_iter().chain(dead).min()
    }

    /// What is settled from `from` up to `end`.
    pub(super) fn settled_behind(&self, from: Offset, end: Offset) -> Vec<Run> {
        let dead = self.past.iter().filter(|past| past.parked.is_some()).map(|past| (past.offset, past.offset));
        let mut open: Vec<(Offset, Offset)> = self.unsettled.iter().copied().chain(dead).collect();
        open.sort_unstable();
        let (mut next, mut runs) = (from, Vec::new());
        for (first, last) in open {
            if next < first {
                runs.push(Run { first: next, count: first.since(next) });
            }
            next = next.max(last.next());
        }
        if next < end {
            runs.push(Run { first: next, count: end.since(next) });
        }
        runs
    }
}

/// Names of the reasons, in the order of their numbers.
const REASONS: [&str; 6] = ["asked", "failures", "timeouts", "crashes", "unreadable", "key-parked"];

fn name_of(reason: BuryReason) -> String {
    REASONS.get(usize::from(u8::from(reason))).copied().unwrap_or("asked").to_owned()
}

pub(super) fn reason_named(name: &str) -> Result<BuryReason> {
    let number = REASONS.iter().position(|known| *known == name).and_then(|number| u8::try_from(number).ok());
    let unknown = || Error::new(Code::BadSetting, format!("{name:?} is no reason of a dead letter: {REASONS:?} are"));
    BuryReason::try_from(number.ok_or_else(unknown)?).map_err(|_| unknown())
}

fn told(counters: Counters) -> [u32; 4] {
    [counters.leases, counters.failures, counters.timeouts, counters.crashes]
}

fn errors(of: &[(Timestamp, Box<str>)]) -> Vec<(Timestamp, String)> {
    of.iter().map(|(time, text)| (*time, text.to_string())).collect()
}

fn past(offset: Offset, past: &History) -> Past {
    Past {
        offset,
        counters: told(past.counters),
        before: told(past.before()),
        due: past.due,
        life: past.life,
        errors: errors(past.errors()),
        parked: None,
    }
}

fn letter(offset: Offset, letter: &ParkedLetter) -> Past {
    let parked = Some((name_of(letter.reason), letter.time));
    let (counters, life, errors) = (told(letter.counters), letter.life, errors(&letter.errors));
    Past { offset, counters, life, errors, parked, ..Past::default() }
}

/// Everything with a past, offsets rising.
fn pasts(group: &Group) -> Vec<Past> {
    let waiting = group.history().iter().map(|(offset, history)| past(*offset, history));
    let dead = group.dead().iter().map(|(offset, parked)| letter(*offset, parked));
    let mut all: Vec<Past> = waiting.chain(dead).collect();
    all.sort_unstable_by_key(|past| past.offset);
    all
}

impl Engine {
    /// The settings of a topic.
    pub(crate) fn topic_settings(&self, topic: TopicId) -> Result<StoredSettings> {
        let core = self.open_core()?;
        let of = core.state.topic(topic).ok_or_else(super::read::no_topic)?;
        Ok(StoredSettings(of.settings().clone()))
    }

    /// The group of a topic that has this name.
    pub(crate) fn group_named(&self, topic: TopicId, name: &str) -> Result<GroupId> {
        let group = self.open_core()?.state.group_named(topic, name);
        group.ok_or_else(|| Error::new(Code::UnknownGroup, format!("the topic has no group {name:?}")))
    }

    /// The progress of the group of this name.
    pub(crate) fn group_progress(&self, topic: TopicId, name: &str) -> Result<GroupProgress> {
        let group = self.group_named(topic, name)?;
        let core = self.open_core()?;
        let held = core.state.group(group).ok_or_else(super::settle::no_group)?;
        let of = core.state.topic(topic).ok_or_else(super::read::no_topic)?;
        let mut unsettled: Vec<(Offset, Offset)> = Vec::new();
        let (first, end) = core.bounds(topic)?;
        let mut offset = core.state.next_present(of, first);
        while offset < end {
            if held.is_open(offset) {
                match unsettled.last_mut() {
                    Some((_, last)) if last.next() == offset => *last = offset,
                    _ => unsettled.push((offset, offset)),
                }
            }
            offset = core.state.next_present(of, offset.next());
        }
        let forward = held.policy().forward.and_then(|to| core.state.topic(to)).map(|to| to.name().to_owned());
        let elsewhere = |setting: &Setting| !crate::event::names_others(setting.tag);
        let settings = StoredSettings(held.settings().iter().filter(|one| elsewhere(one)).cloned().collect());
        let paused_until = Some(held.paused_until()).filter(|until| *until != Timestamp::ZERO);
        Ok(GroupProgress { unsettled, past: pasts(held), settings, forward, paused_until })
    }
}
