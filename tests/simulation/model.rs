//! What must be true of the store, kept as plain collections by the side that calls it.

use crate::coverage::checked;
use crate::world::GROUPS;
use millpond::{Durability, Offset};
use std::collections::{BTreeMap, BTreeSet};

/// Which topics keep what every group has settled.
pub(crate) const KEEPS: [bool; crate::world::TOPICS] = [false, true];

/// What a reader of a topic sees.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) messages: BTreeMap<Offset, Vec<u8>>,
    /// The topic's end.
    pub(crate) end: usize,
}

/// How firmly something is known to have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Firm {
    /// The call was made; a crash may take it back.
    Asked,
    /// It survives the death of the process.
    Os,
    /// It survives power loss.
    Disk,
}

impl From<Durability> for Firm {
    fn from(level: Durability) -> Self {
        match level {
            Durability::Os => Self::Os,
            Durability::Disk => Self::Disk,
            _ => Self::Asked,
        }
    }
}

/// A fact that a resolved ticket told us.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fact {
    Message { topic: usize, index: usize },
    Ack { group: usize, offset: Offset },
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) payload: Vec<u8>,
    pub(crate) firm: Firm,
    /// Not to be handed out before the wall clock shows this.
    pub(crate) deliver_at: u64,
    /// It may be settled without having been handed out.
    pub(crate) expires: bool,
    pub(crate) key: Option<u64>,
    pub(crate) has_id: bool,
    /// What it waits for before it can be seen.
    pub(crate) level: Durability,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct GroupModel {
    pub(crate) acked: BTreeMap<Offset, Firm>,
    /// Messages that failed, were buried, or may have been charged with a crash: only these may end as dead letters.
    pub(crate) touched: BTreeSet<Offset>,
    pub(crate) delivered: BTreeSet<Offset>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) topics: Vec<Vec<Entry>>,
    pub(crate) groups: Vec<GroupModel>,
    resolved: Vec<Fact>,
    /// How many facts were taken off the front of `resolved`, being as firm as can be.
    settled: usize,
}

impl Model {
    pub(crate) fn new(topics: usize, groups: usize) -> Self {
        Self {
            topics: vec![Vec::new(); topics],
            groups: vec![GroupModel::default(); topics * groups],
            resolved: Vec::new(),
            settled: 0,
        }
    }

    /// Everything that had resolved when something was asked for: it is before that in the journal.
    pub(crate) fn mark(&self) -> usize {
        self.settled + self.resolved.len()
    }

    pub(crate) fn resolve(&mut self, fact: Fact, firm: Firm) {
        self.firm_up(fact, firm);
        self.resolved.push(fact);
    }

    /// Something asked for at `mark` has become this firm, and so has everything before it.
    pub(crate) fn reached(&mut self, mark: usize, firm: Firm) {
        let count = mark.saturating_sub(self.settled);
        for at in 0..count {
            self.firm_up(self.resolved[at], firm);
        }
        if firm == Firm::Disk {
            self.resolved.drain(..count);
            self.settled += count;
        }
    }

    fn firm_up(&mut self, fact: Fact, firm: Firm) {
        match fact {
            Fact::Message { topic, index } => {
                if let Some(entry) = self.topics[topic].get_mut(index) {
                    entry.firm = entry.firm.max(firm);
                }
            }
            Fact::Ack { group, offset } => {
                let known = self.groups[group].acked.entry(offset).or_insert(Firm::Asked);
                *known = (*known).max(firm);
            }
        }
    }

    /// The store came back after losing everything that was less firm than `least`, and shows these messages. What is
    /// wrong with that, if anything.
    pub(crate) fn reopened(&mut self, topic: usize, found: &Found, least: Firm) -> Result<(), String> {
        let keeps = KEEPS[topic];
        let groups = &self.groups[topic * GROUPS..][..GROUPS];
        let log = &mut self.topics[topic];
        let promised = log.iter().rposition(|entry| entry.firm >= least).map_or(0, |last| last + 1);
        if found.end < promised {
            return Err(format!("I1: topic {topic}: {promised} messages were promised, {} are there", found.end));
        }
        if found.end > log.len() {
            return Err(format!("I2: topic {topic}: {} messages were published, {} are there", log.len(), found.end));
        }
        for (index, entry) in log.iter().enumerate().take(found.end) {
            let offset = Offset::new(index as u64);
            let acked =
                |least: Firm| groups.iter().all(|group| group.acked.get(&offset).is_some_and(|firm| *firm >= least));
            match found.messages.get(&offset) {
                Some(payload) if entry.payload != *payload => {
                    return Err(format!("I2: topic {topic} offset {index}: not what was published there"));
                }
                Some(_) if !keeps && acked(least) => {
                    return Err(format!("topic {topic} offset {index}: settled by every group, and still there"));
                }
                None if keeps || !(entry.expires || acked(Firm::Asked)) => {
                    return Err(format!("I4: topic {topic} offset {index}: gone, though no policy names it"));
                }
                _ => {}
            }
        }
        ["I1", "I2", "I4"].into_iter().for_each(checked);
        log.truncate(found.end);
        // What recovery shows it has first made durable.
        log.iter_mut().for_each(|entry| entry.firm = Firm::Disk);
        Ok(())
    }

    /// After all topics: acks that were not firm enough may have been lost.
    pub(crate) fn forget(&mut self, least: Firm) {
        self.resolved.clear();
        for group in &mut self.groups {
            for firm in group.acked.values_mut() {
                *firm = if *firm >= least { Firm::Disk } else { Firm::Asked };
            }
        }
    }

    /// A message was handed out. What is wrong with that, if anything.
    pub(crate) fn delivered(
        &mut self,
        topic: usize,
        group: usize,
        offset: Offset,
        payload: &[u8],
        wall: u64,
    ) -> Result<(), String> {
        let index = usize::try_from(offset.get()).unwrap();
        let Some(entry) = self.topics[topic].get(index) else {
            return Err(format!("I2: topic {topic} group {group} offset {offset}: never published"));
        };
        if entry.payload != payload {
            return Err(format!("I2: topic {topic} group {group} offset {offset}: another payload"));
        }
        if entry.deliver_at > wall {
            return Err(format!("topic {topic} group {group} offset {offset}: {} ms early", entry.deliver_at - wall));
        }
        let held = &mut self.groups[group];
        if held.acked.get(&offset).is_some_and(|firm| *firm > Firm::Asked) {
            return Err(format!("I5: topic {topic} group {group} offset {offset}: delivered again after its ack"));
        }
        ["I2", "I5"].into_iter().for_each(checked);
        held.acked.remove(&offset);
        held.delivered.insert(offset);
        Ok(())
    }

    /// The group says that it has nothing left. What it has passed over, if anything.
    pub(crate) fn drained(&self, topic: usize, group: usize, dead: &BTreeSet<Offset>) -> Result<(), String> {
        let held = &self.groups[group];
        for index in 0..self.topics[topic].len() {
            let offset = Offset::new(index as u64);
            let settled = held.acked.contains_key(&offset);
            if dead.contains(&offset) {
                if !held.touched.contains(&offset) {
                    return Err(format!(
                        "I4: topic {topic} group {group} offset {offset}: parked, but nothing happened to it"
                    ));
                }
            } else if !settled && !self.topics[topic][index].expires {
                return Err(format!("I4: topic {topic} group {group} offset {offset}: never settled, and not there"));
            }
        }
        Ok(())
    }
}
