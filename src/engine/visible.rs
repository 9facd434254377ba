//! What readers of a topic may see: a message becomes visible when it *and every earlier offset of its topic* has
//! reached the level each asked for (I12).

use crate::config::Durability;
use crate::types::{Lsn, Offset, TopicId};
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Default)]
struct Watermark {
    visible: Offset,
    /// Runs that are not visible yet: where they end, in the topic and in the journal, and what they wait for.
    pending: VecDeque<(Offset, Lsn, Durability)>,
}

impl Watermark {
    /// Whether something is pending still.
    fn advance(&mut self, written: Lsn, durable: Lsn, changed: &mut bool) -> bool {
        while let Some((end, lsn, level)) = self.pending.front() {
            let reached = match level {
                Durability::Memory => true,
                Durability::Os => *lsn <= written,
                Durability::Disk => *lsn <= durable,
            };
            if !reached {
                return true;
            }
            self.visible = *end;
            *changed = true;
            self.pending.pop_front();
        }
        false
    }
}

/// A watermark per topic.
#[derive(Debug, Default)]
pub(crate) struct Visible {
    topics: BTreeMap<TopicId, Watermark>,
    /// Topics with something pending.
    waiting: Vec<TopicId>,
}

impl Visible {
    /// Everything that recovery found is durable, and so visible.
    pub(crate) fn set(&mut self, topic: TopicId, end: Offset) {
        self.topics.entry(topic).or_default().visible = end;
    }

    /// The topic is gone.
    pub(crate) fn remove(&mut self, topic: TopicId) {
        self.topics.remove(&topic);
    }

    /// Up to where the topic may be read.
    pub(crate) fn end(&self, topic: TopicId) -> Offset {
        self.topics.get(&topic).map_or(Offset::ZERO, |watermark| watermark.visible)
    }

    /// Messages up to `end` were appended; true if they are visible at once.
    pub(crate) fn appended(&mut self, topic: TopicId, end: Offset, lsn: Lsn, level: Durability) -> bool {
        // Looked up first: it is there, mostly.
        let watermark = match self.topics.get_mut(&topic) {
            Some(watermark) => watermark,
            None => self.topics.entry(topic).or_default(),
        };
        if level == Durability::Memory && watermark.pending.is_empty() {
            watermark.visible = end;
            return true;
        }
        if watermark.pending.is_empty() {
            self.waiting.push(topic);
        }
        watermark.pending.push_back((end, lsn, level));
        false
    }

    /// The journal has come this far; true if something became visible.
    pub(crate) fn advance(&mut self, written: Lsn, durable: Lsn) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        let mut changed = false;
        let mut at = 0;
        while let Some(topic) = self.waiting.get(at) {
            let watermark = self.topics.get_mut(topic);
            match watermark.map(|watermark| watermark.advance(written, durable, &mut changed)) {
                Some(true) => at += 1,
                // The order among them does not matter.
                Some(false) | None => _ = self.waiting.swap_remove(at),
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_waits_for_every_earlier_one_of_its_topic_and_for_no_other() {
        let mut visible = Visible::default();
        let lsn = Lsn::from_raw;
        let (a, b) = (TopicId(1), TopicId(2));
        assert!(visible.appended(a, Offset(1), lsn(10), Durability::Memory));
        assert!(!visible.appended(a, Offset(2), lsn(20), Durability::Disk));
        assert!(!visible.appended(a, Offset(3), lsn(30), Durability::Memory));
        assert!(visible.appended(b, Offset(1), lsn(40), Durability::Memory));
        assert!(!visible.advance(lsn(40), lsn(10)));
        assert_eq!((visible.end(a), visible.end(b)), (Offset(1), Offset(1)));
        assert!(visible.advance(lsn(40), lsn(20)));
        assert_eq!(visible.end(a), Offset(3));
    }

    #[test]
    fn os_level_becomes_visible_when_written() {
        let mut visible = Visible::default();
        visible.appended(TopicId(1), Offset(1), Lsn::from_raw(10), Durability::Os);
        assert!(visible.advance(Lsn::from_raw(10), Lsn::ZERO));
        assert_eq!(visible.end(TopicId(1)), Offset(1));
    }
}
