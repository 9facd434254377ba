//! Telling those who asked what becomes of messages, without ever waiting for them.

use super::{Core, Engine};
use crate::error::Result;
use crate::event::{Cause, Event, Run};
use crate::sync::{Condvar, Mutex};
use crate::types::{GroupId, Lsn, Offset, Timestamp, TopicId};
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The most notices that a subscription may keep: some hundred bytes each.
const CAPACITY_MAX: usize = 1 << 20;

/// What became of messages; see [`Events`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// They were taken in.
    Published,
    /// A consumer was given them.
    Leased,
    /// They were acked.
    Acked,
    /// One failed, or its lease ran out, and it will be tried again.
    Retried {
        /// Not before this time.
        until: Timestamp,
    },
    /// They were given back uncharged.
    Released {
        /// Not before this time, if they were snoozed.
        until: Option<Timestamp>,
    },
    /// One became a dead letter.
    Buried,
    /// Dead letters can be delivered again.
    Redriven,
    /// They expired before the group was given them, or given them again.
    Expired,
    /// The group had processed their ids already, and is not given them.
    Processed,
    /// The group is done with them though they were not acked, for another reason: they were purged or passed over.
    Passed,
    /// A policy of the topic dropped them for every group.
    Dropped,
    /// The group was paused. This and what follows concern the group as a whole: first offset and count are zero. That
    /// a pause ends because its time is over is not told.
    Paused {
        /// Until then; the end of time if until it is resumed.
        until: Timestamp,
    },
    /// The pause of the group was ended.
    Resumed,
    /// Messages of the group failed in a row, or a probe did: nothing is handed out.
    BreakerOpened {
        /// Until then; after that one message is, as a probe.
        until: Timestamp,
    },
    /// A probe was acked: messages are handed out again.
    BreakerClosed,
}

/// Messages with consecutive offsets, and what became of them; or a group, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Happening {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The group's name; none if it concerns all groups.
    pub group: Option<Arc<str>>,
    /// The first message.
    pub first: Offset,
    /// How many messages.
    pub count: u64,
    /// What became of them.
    pub what: What,
}

/// One thing that a subscription has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// Something became of messages.
    Happened(Happening),
    /// So many notices came here while the subscription was full; they are gone.
    Missed(u64),
}

/// A subscription to what becomes of messages: for metrics, logs and tests, not for work, which is what groups are for.
///
/// A notice tells what was decided, in the order of the decisions; that it is durable, only a ticket tells. It keeps as
/// many notices as it was opened for. If nobody takes them, later ones are counted and not kept, and the store is never
/// slowed down by it. Dropping it ends it.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    inner: Mutex<Inner>,
    arrived: Condvar,
}

#[derive(Debug)]
struct Inner {
    notices: VecDeque<Notice>,
    capacity: usize,
    missed: u64,
    /// The store is closed: nothing more comes.
    over: bool,
}

impl Events {
    /// The next notice, if there is one now.
    #[must_use]
    pub fn try_next(&self) -> Option<Notice> {
        self.queue.inner.lock().take()
    }

    /// The next notice, waiting for it for at most `patience`; nothing if none came, or the store is closed.
    #[must_use]
    pub fn next_timeout(&self, patience: Duration) -> Option<Notice> {
        let mut inner = self.queue.inner.lock();
        if inner.notices.is_empty() && inner.missed == 0 && !inner.over {
            self.queue.arrived.wait_for(&mut inner, patience);
        }
        inner.take()
    }
}

impl Inner {
    fn take(&mut self) -> Option<Notice> {
        let next = self.notices.pop_front();
        next.or_else(|| {
            Some(Notice::Missed(std::mem::take(&mut self.missed))).filter(|notice| *notice != Notice::Missed(0))
        })
    }

    fn put(&mut self, happening: &Happening) {
        // What was missed is told before what came after it, and takes a place too.
        let needed = if self.missed > 0 { 2 } else { 1 };
        if self.notices.len() + needed > self.capacity {
            self.missed = self.missed.saturating_add(1);
            return;
        }
        if self.missed > 0 {
            self.notices.push_back(Notice::Missed(std::mem::take(&mut self.missed)));
        }
        self.notices.push_back(Notice::Happened(happening.clone()));
    }
}

/// Everybody who asked.
#[derive(Debug, Default)]
pub(super) struct Watchers(Vec<Weak<Queue>>);

impl Watchers {
    fn tell(&mut self, happening: &Happening) {
        self.0.retain(|watcher| {
            let Some(queue) = watcher.upgrade() else { return false };
            queue.inner.lock().put(happening);
            queue.arrived.notify_one();
            true
        });
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        for queue in self.0.drain(..).filter_map(|watcher| watcher.upgrade()) {
            queue.inner.lock().over = true;
            queue.arrived.notify_all();
        }
    }
}

impl Engine {
    /// Subscribes to what becomes of messages from now on.
    pub(crate) fn events(&self, capacity: usize) -> Result<Events> {
        let capacity = capacity.clamp(2, CAPACITY_MAX);
        let inner = Inner { notices: VecDeque::new(), capacity, missed: 0, over: false };
        let queue = Arc::new(Queue { inner: Mutex::new(inner), arrived: Condvar::new() });
        self.open_core()?.watchers.0.push(Arc::downgrade(&queue));
        Ok(Events { queue })
    }
}

impl Core {
    /// Applies what was appended, and tells those who asked.
    pub(super) fn apply(&mut self, lsn: Lsn, event: &Event<'_>) {
        if !self.watchers.0.is_empty() {
            self.tell(event);
        }
        self.meters.saw(event);
        let then = self.backlogs.before(&self.state, event);
        self.state.apply(lsn, event);
        self.backlogs.after(&self.state, lsn, event, then);
        if !matches!(event, Event::Publish(_) | Event::Delivered(_) | Event::Unseen(_)) {
            self.departures.note();
        }
        self.lanes.saw(event);
        self.filters.saw(event);
        if let Some(group) = self.flows.saw(event) {
            self.tell_state(group, What::BreakerClosed);
        }
        self.note_ids(lsn, event);
        self.note_processed(event);
    }

    /// Whether anybody asked.
    pub(super) const fn is_watched(&self) -> bool {
        !self.watchers.0.is_empty()
    }

    fn tell(&mut self, event: &Event<'_>) {
        match event {
            Event::Publish(run) => {
                self.tell_topic(run.topic, &[Run { first: run.first, count: run.count }], What::Published);
            }
            // That is only written down: every group had settled them.
            Event::Dropped(event) if event.cause == Cause::Settled => {}
            Event::Dropped(event) => self.tell_topic(event.topic, &event.runs, What::Dropped),
            Event::Ack(event) => self.tell_group(event.group, &event.runs, What::Acked),
            Event::Settle(event) if event.cause == Cause::Expired => {
                self.tell_group(event.group, &event.runs, What::Expired);
            }
            Event::Settle(event) if event.cause == Cause::Processed => {
                self.tell_group(event.group, &event.runs, What::Processed);
            }
            Event::Settle(event) => self.tell_group(event.group, &event.runs, What::Passed),
            Event::Nack(event) => {
                self.tell_group(event.group, &[Run::one(event.offset)], What::Retried { until: event.due });
            }
            Event::Release(event) => {
                let until = Some(event.due).filter(|due| *due != Timestamp::ZERO);
                self.tell_group(event.group, &event.runs, What::Released { until });
            }
            Event::Bury(event) => self.tell_group(event.group, &[Run::one(event.offset)], What::Buried),
            Event::Redrive(event) => self.tell_group(event.group, &event.runs, What::Redriven),
            Event::Pause(event) if event.until == Timestamp::ZERO => self.tell_state(event.group, What::Resumed),
            Event::Pause(event) => self.tell_state(event.group, What::Paused { until: event.until }),
            _ => {}
        }
    }

    /// Tells that messages were handed out: no event says so of each.
    pub(super) fn tell_leased(&mut self, group: GroupId, offsets: impl Iterator<Item = Offset>) {
        if !self.watchers.0.is_empty() {
            let runs: Vec<Run> = offsets.map(Run::one).collect();
            self.tell_group(group, &runs, What::Leased);
        }
    }

    /// Tells something of a group as a whole.
    pub(super) fn tell_state(&mut self, group: GroupId, what: What) {
        if !self.watchers.0.is_empty() {
            self.tell_group(group, &[Run { first: Offset::ZERO, count: 0 }], what);
        }
    }

    fn tell_topic(&mut self, topic: TopicId, runs: &[Run], what: What) {
        let Some(topic) = self.state.topic(topic).map(|topic| topic.name().into()) else { return };
        self.tell_runs(topic, None, runs, what);
    }

    fn tell_group(&mut self, group: GroupId, runs: &[Run], what: What) {
        let Some(held) = self.state.group(group) else { return };
        let Some(topic) = self.state.topic(held.topic()).map(|topic| topic.name().into()) else { return };
        let group = Some(held.name().into());
        self.tell_runs(topic, group, runs, what);
    }

    fn tell_runs(&mut self, topic: Arc<str>, group: Option<Arc<str>>, runs: &[Run], what: What) {
        for run in runs {
            let happening =
                Happening { topic: topic.clone(), group: group.clone(), first: run.first, count: run.count, what };
            self.watchers.tell(&happening);
        }
    }
}
