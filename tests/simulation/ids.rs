//! Ids in the simulation (I6, I10): two topics of their own, one that remembers what was published, and one whose group
//! remembers what it processed; with tables that vanish, are damaged, or are old ones, whenever the store is closed.

use crate::coverage::checked;
use crate::gone::{self, Gone, OpenGone};
use crate::model::Firm;
use millpond::testing::{SimDisk, SimTables};
use millpond::{Consumer, Durability, Error, Group, Message, Offset, Receipt, Store, Topic, TopicSettings, Window};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Ids are taken from so many, so that most come more than once.
const POOL: u64 = 700;

#[derive(Default)]
pub(crate) struct Ids {
    pub(crate) tables: SimTables,
    /// What is published, and how firmly.
    published: BTreeMap<u64, (Offset, Firm)>,
    /// What is processed, and how firmly.
    processed: BTreeMap<u64, Firm>,
    pub(crate) gone: Gone,
    /// Runs as they once were.
    older: Vec<(String, Vec<u8>)>,
    /// Something was done to the tables or the runs before this opening.
    meddled: bool,
    /// Transactions since the store was opened: the ids that each was the first to publish, and to process.
    transactions: Vec<(Vec<u64>, Vec<u64>)>,
}

/// What is open of it.
pub(crate) struct OpenIds {
    once: Topic,
    again: Topic,
    book: Consumer,
    pub(crate) gone: OpenGone,
}

pub(crate) fn prepare(store: &Store) -> Result<OpenIds, Error> {
    let once = store.topic_with("once", TopicSettings::default().deduplicate(Window::Forever))?;
    let again = store.topic_with("again", TopicSettings::default().deduplicate(Window::Off))?;
    let settings = Group::default().remember_processed(Window::Forever).lease(Duration::from_secs(3600));
    let book = again.consumer("book", settings)?;
    Ok(OpenIds { once, again, book, gone: gone::prepare(store)? })
}

fn message(number: u64) -> Message {
    Message::new(format!("{number}")).id(number.to_be_bytes().to_vec())
}

fn number(id: Option<&[u8]>) -> u64 {
    u64::from_be_bytes(id.unwrap().try_into().unwrap())
}

/// Of a copy that was repaired: each id that was promised is still refused, with its offset; or, if the loss of
/// something is `accounted` for, never answered with another offset than its own.
pub(crate) fn known_after(ids: &Ids, store: &Store, least: Firm, accounted: bool) -> Result<(), String> {
    let Ok(once) = store.existing_topic("once") else { return Ok(()) };
    for (id, (offset, _)) in ids.published.iter().filter(|(_, (_, firm))| *firm >= least) {
        let end = once.end_offset();
        let receipt = once.publish(message(*id)).wait().map_err(|error| format!("I6: id {id}: {error}"))?;
        if receipt.duplicate && receipt.offset != *offset && !accounted {
            return Err(format!("I6: id {id} is at {offset}, and a repaired store says {receipt:?}"));
        }
        if receipt.duplicate && receipt.offset >= end {
            return Err(format!("I4: id {id} is known from {}, and the topic ends at {end}", receipt.offset));
        }
        if !receipt.duplicate && !accounted {
            return Err(format!("I6: id {id} was promised at {offset}, and a repair forgets it in silence"));
        }
    }
    checked("I6");
    Ok(())
}

impl Ids {
    /// How many ids are published whose messages stay, how many messages the group has before it, how many ids it has
    /// processed.
    pub(crate) fn counts(&self, open: &OpenIds) -> (u64, u64, u64) {
        let stats = open.book.stats();
        let again = stats.ready + stats.leased + stats.retrying + stats.delayed + stats.dead;
        (self.published.len() as u64, again, self.processed.len() as u64)
    }

    /// Does to the tables what nobody should, while the store is closed.
    pub(crate) fn meddle(&mut self, rng: &mut fastrand::Rng, disk: &SimDisk) {
        let row = rng.usize(0..self.tables.rows().max(1));
        match rng.u8(0..10) {
            0 => self.tables.clear(),
            1 => self.tables.roll_back(rng.usize(1..4)),
            2 => self.tables.fail_after(rng.u64(0..40)),
            3 => self.tables.lose_a_row(row),
            4 => self.tables.age_a_row(row),
            _ => {}
        }
        self.meddled = true;
        let runs: Vec<String> = disk.file_names().into_iter().filter(|name| name.ends_with(".ids")).collect();
        if runs.is_empty() {
            return;
        }
        let name = &runs[rng.usize(0..runs.len())];
        let bytes = disk.read_file(name).unwrap();
        match rng.u8(0..12) {
            0 => runs.iter().for_each(|name| disk.remove_file(name).unwrap()),
            1 => disk.remove_file(name).unwrap(),
            2 if !bytes.is_empty() => disk.flip_bit(name, rng.u64(0..bytes.len() as u64), rng.u8(0..8)).unwrap(),
            3 => disk.truncate(name, rng.u64(0..=bytes.len() as u64)).unwrap(),
            4 | 5 => self.older = runs.iter().map(|name| (name.clone(), disk.read_file(name).unwrap())).collect(),
            6 => self.older.iter().for_each(|(name, bytes)| disk.write_file(name, bytes)),
            _ => {}
        }
    }

    /// The store came back after losing what was less firm than `least`.
    pub(crate) fn reopened(&mut self, rng: &mut fastrand::Rng, open: &OpenIds, least: Firm) -> Result<(), String> {
        let failed = |error: Error| format!("ids: {error}");
        let mut found = BTreeMap::new();
        for record in open.once.read(..) {
            let record = record.map_err(failed)?;
            if let Some((other, _)) = found.insert(number(record.id()), (record.offset(), Firm::Disk)) {
                return Err(format!("I6: id {} is at {other} and at {}", number(record.id()), record.offset()));
            }
        }
        for (id, (offset, firm)) in &self.published {
            if *firm >= least && found.get(id).map(|(offset, _)| offset) != Some(offset) {
                return Err(format!("I1: id {id} was promised at {offset}, and is not there"));
            }
        }
        self.published = found;
        // Before anything is published again.
        let there = |id: &u64| self.published.contains_key(id);
        let transactions: Vec<_> = std::mem::take(&mut self.transactions)
            .into_iter()
            .map(|(published, processed)| (published.iter().map(there).collect::<Vec<_>>(), published, processed))
            .collect();
        for _ in 0..30 {
            self.publish(rng.u64(0..POOL), open, Durability::Os).map_err(failed)??;
        }
        let acked: BTreeSet<u64> = self.processed.keys().copied().collect();
        for id in 0..POOL {
            let firm = self.processed.get(&id).copied();
            match (open.book.is_processed(id.to_be_bytes()).map_err(failed)?, firm) {
                (true, None) => return Err(format!("I4: id {id} counts as processed, and was never acked")),
                (false, Some(firm)) if firm >= least => {
                    return Err(format!("I6: id {id} was processed, and is not known any more"));
                }
                (false, Some(_)) => _ = self.processed.remove(&id),
                (true, Some(_)) => _ = self.processed.insert(id, Firm::Disk),
                (false, None) => {}
            }
        }
        for (mut there, published, processed) in transactions {
            there.extend(processed.iter().map(|id| self.processed.contains_key(id)));
            if there.contains(&true) && there.contains(&false) {
                return Err(format!("I7: of a transaction with ids {published:?} and {processed:?}: {there:?}"));
            }
        }
        self.gone.reopened(rng, &open.gone, least)?;
        checked("I6");
        if std::mem::take(&mut self.meddled) {
            checked("I10");
        }
        debug_assert!(self.processed.keys().all(|id| acked.contains(id)));
        Ok(())
    }

    /// What was answered is what has to be; and is remembered.
    fn answered(&mut self, id: u64, receipt: Receipt, firm: Firm) -> Result<(), String> {
        match self.published.get_mut(&id) {
            Some((offset, known)) if receipt.duplicate && receipt.offset == *offset => {
                *known = (*known).max(firm);
                Ok(())
            }
            Some((offset, _)) => Err(format!("I6: id {id} is at {offset}, and the answer is {receipt:?}")),
            None if receipt.duplicate => Err(format!("I4: id {id} is not there, and the answer is {receipt:?}")),
            None => {
                self.published.insert(id, (receipt.offset, firm));
                Ok(())
            }
        }
    }

    fn publish(&mut self, id: u64, open: &OpenIds, level: Durability) -> Result<Result<(), String>, Error> {
        let receipt = open.once.publish(message(id).durability(level)).wait()?;
        if level == Durability::Disk {
            // What lies before it in the topic lies before it in the journal. A duplicate's answer may need no sync,
            // and says nothing of what lies behind it.
            let before = self.published.values_mut().filter(|(offset, _)| *offset <= receipt.offset);
            before.for_each(|(_, firm)| *firm = Firm::Disk);
        }
        Ok(self.answered(id, receipt, level.into()))
    }

    /// A transaction that publishes and acks with ids.
    fn transact(&mut self, rng: &mut fastrand::Rng, store: &Store, open: &OpenIds) -> Result<bool, String> {
        let level = rng.choice([Durability::Os, Durability::Disk]).unwrap();
        let Ok(batch) = open.book.lease_many(rng.usize(1..6), Duration::ZERO) else { return Ok(false) };
        let mut tx = store.transaction();
        tx.durability(level);
        let mut acked = Vec::new();
        for delivery in batch {
            let id = number(delivery.id());
            if self.processed.get(&id).is_some_and(|firm| *firm > Firm::Asked) {
                return Err(format!("I6: id {id} was processed, and is handed out at {}", delivery.offset()));
            }
            acked.push(id);
            tx.ack(delivery);
        }
        let ids: BTreeSet<u64> = (0..rng.u64(1..6)).map(|_| rng.u64(0..POOL)).collect();
        ids.iter().for_each(|id| _ = tx.publish(&open.once, message(*id)));
        let first = |id: &u64| !self.published.contains_key(id);
        let published = ids.iter().copied().filter(first).collect();
        let fresh = acked.iter().copied().filter(|id| !self.processed.contains_key(id)).collect();
        self.transactions.push((published, fresh));
        acked.iter().for_each(|id| _ = self.processed.entry(*id).or_insert(Firm::Asked));
        let Ok(committed) = tx.commit().wait() else { return Ok(false) };
        let firm = level.into();
        for (id, receipt) in ids.iter().zip(&committed.receipts) {
            self.answered(*id, *receipt, firm)?;
        }
        acked.iter().for_each(|id| _ = self.processed.insert(*id, firm));
        Ok(true)
    }

    /// One step. Whether the store is still good.
    pub(crate) fn step(&mut self, rng: &mut fastrand::Rng, store: &Store, open: &OpenIds) -> Result<bool, String> {
        let level = rng.choice([Durability::Memory, Durability::Os, Durability::Disk]).unwrap();
        match rng.u8(0..8) {
            7 => self.transact(rng, store, open),
            4.. => self.gone.step(rng, &open.gone),
            0 => match self.publish(rng.u64(0..POOL), open, level) {
                Ok(outcome) => outcome.map(|()| true),
                Err(_) => Ok(false),
            },
            1 => {
                let ids: Vec<u64> = (0..rng.u64(1..60)).map(|_| rng.u64(0..POOL)).collect();
                let batch = ids.iter().map(|id| message(*id).durability(level));
                let Ok(receipt) = open.once.publish_all(batch).wait() else { return Ok(false) };
                let firm = level.into();
                for (id, receipt) in ids.iter().zip(receipt.receipts()) {
                    self.answered(*id, receipt, firm)?;
                }
                Ok(true)
            }
            2 => {
                let batch: Vec<Message> = (0..rng.u64(1..10)).map(|_| message(rng.u64(0..POOL))).collect();
                Ok(open.again.publish_all(batch.into_iter().map(|one| one.durability(level))).wait().is_ok())
            }
            _ => self.work(rng, open),
        }
    }

    fn work(&mut self, rng: &mut fastrand::Rng, open: &OpenIds) -> Result<bool, String> {
        let Ok(batch) = open.book.lease_many(rng.usize(1..30), Duration::ZERO) else { return Ok(false) };
        let (mut done, mut ids) = (Vec::new(), Vec::new());
        for delivery in batch {
            let id = number(delivery.id());
            if self.processed.get(&id).is_some_and(|firm| *firm > Firm::Asked) {
                return Err(format!("I6: id {id} was processed, and is handed out at {}", delivery.offset()));
            }
            if rng.u8(0..4) == 0 {
                delivery.release().detach();
            } else {
                ids.push(id);
                done.push(delivery);
            }
        }
        ids.iter().for_each(|id| _ = self.processed.entry(*id).or_insert(Firm::Asked));
        let good = open.book.ack_all(done).wait().is_ok();
        if good {
            ids.iter().for_each(|id| _ = self.processed.insert(*id, Firm::Os));
        }
        Ok(good)
    }
}
