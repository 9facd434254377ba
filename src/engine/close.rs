//! Closing: what was taken in is made durable, what is out is given back, and the journal says that it ends here.

use super::Engine;
use crate::config::Durability;
use crate::error::{Code, Error, Result};
use crate::event::{Event, Release};
use crate::sync::thread;
use crate::ticket::Ticket;
use crate::types::{Offset, Timestamp};
use std::borrow::Cow;
use std::sync::Arc;
use std::task::Waker;

/// How many deliveries one event gives back.
const GIVEN_BACK: usize = 1 << 16;

impl Engine {
    /// Everything appended so far is durable when the ticket resolves.
    pub(crate) fn sync(self: &Arc<Self>) -> Ticket<()> {
        let end = match self.open_core() {
            Ok(mut core) => {
                let end = core.tail.end();
                core.disk_end = end;
                end
            }
            Err(error) => return Ticket::done(Err(error)),
        };
        Ticket::committing(self.clone(), end, Durability::Disk, ())
    }

    /// Closes the store; the directory is free when this returns. A second call does nothing.
    pub(crate) fn close(&self) -> Result<()> {
        // A second caller waits for the first, and finds the directory free like it.
        let mut done = self.closing.lock();
        if std::mem::replace(&mut *done, true) {
            return Ok(());
        }
        {
            let mut core = self.core.lock();
            core.closing = true;
        }
        self.wake();
        self.serve_line();
        self.give_back_leased();
        // A checkpoint that is under way comes to its end first: tables that are written and not marked in the journal
        // would be made anew.
        let checkpointing = self.checkpointing.lock();
        let outcome = self.finish();
        drop(checkpointing);
        let unheard = self.core.lock().unheard.take();
        {
            let mut core = self.core.lock();
            core.closed = true;
            core.departures.note();
            core.watchers.end();
        }
        self.arrived.notify_all();
        self.wake_followers();
        self.commit_work.notify_all();
        self.upkeep_work.notify_all();
        self.lease_work.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        let here = thread::current().id();
        for thread in threads {
            // The last handle may be dropped by one of the threads themselves.
            if thread.thread().id() != here && thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
        *self.tables.lock() = None;
        *self.lock.lock() = None;
        outcome?;
        match unheard {
            None => Ok(()),
            Some((1, error)) => Err(error),
            Some((count, error)) => {
                Err(error.about(&format!("{count} publishes were refused whose tickets had been dropped; the first: ")))
            }
        }
    }

    /// Takes in what stands in line: it was published before the store was closed, and its tickets may be gone. What
    /// there is no room for is sent away.
    fn serve_line(&self) {
        loop {
            self.ask_line();
            let end = {
                let mut core = self.core.lock();
                if core.check().is_err() {
                    break;
                }
                let wakers = self.room_made(&mut core);
                let (end, done) = (core.tail.end(), core.line.is_empty() && core.let_go.is_empty());
                let placeless = !core.backlogs.lines.is_empty();
                drop(core);
                wakers.into_iter().for_each(Waker::wake);
                if done && !placeless {
                    return;
                }
                if done {
                    // Some wait for a place in a backlog, and nobody makes any now.
                    break;
                }
                end
            };
            let made = self.drive(end, Durability::Os, None).and_then(|_| self.make_room(0));
            let made = made.and_then(|()| self.make_room_for_ids());
            if made.and_then(|()| self.read_wanted()).is_err() {
                break;
            }
        }
        let mut core = self.core.lock();
        // What was let go comes back uncharged with the next opening, as everything that is out does.
        let why = core.dismissal();
        let wakers = self.dismiss_line(&mut core, &why);
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Gives back what is out, uncharged: that it was handed out counts, and nothing else. It would come back uncharged
    /// with the next opening anyway, so whatever keeps this from being recorded is no failure.
    fn give_back_leased(&self) {
        loop {
            let mut core = self.core.lock();
            if core.check().is_err() {
                return;
            }
            let leased = core.state.groups().find(|group| group.leased() > 0).map(|group| {
                let offsets: Vec<Offset> = group.leases().take(GIVEN_BACK).map(|(offset, _)| offset).collect();
                (group.id(), super::settle::runs(&offsets))
            });
            let Some((group, runs)) = leased else { return };
            let release = Release { group, runs: Cow::Owned(runs), due: Timestamp::ZERO, counters: None };
            if let Err(refusal) = core.record(&Event::Release(release)) {
                drop(core);
                if let Err(error) = self.relieve(refusal) {
                    tracing::warn!(%error, "no room to give back what is out; it comes back all the same");
                    return;
                }
            }
        }
    }

    /// The last frames: everything durable, then `Closed`, then the sidecar that says how far the journal goes.
    fn finish(&self) -> Result<()> {
        self.core.lock().check()?;
        let end = self.core.lock().tail.end();
        self.drive(end, Durability::Disk, None)?;
        if let Err(error) = self.write_sidecars() {
            // They are made anew when the store is opened.
            self.core.lock().check()?;
            tracing::warn!(%error, "the index of a sealed segment can't be written");
        }
        let closing = loop {
            let mut core = self.core.lock();
            // Settled meanwhile, by those who let go of their deliveries: those come first.
            if core.tail.end() > core.tail.durable() {
                let end = core.tail.end();
                drop(core);
                self.drive(end, Durability::Disk, None)?;
                continue;
            }
            // What `Closed` claims to be durable lies in its own segment. One that had to go on to the next would claim
            // nothing, and damage in the one before could pass for a torn tail.
            let last = !core.tail.control_rolls();
            let refusal = match core.tail.append_control(last) {
                Ok(_) if !last => continue,
                Ok(_) => {
                    // From here on nothing more is appended: `Closed` is the last.
                    core.closed = true;
                    core.departures.note();
                    break core.tail.closing();
                }
                Err(refusal) => refusal,
            };
            drop(core);
            self.relieve(refusal)?;
        };
        let end = self.core.lock().tail.end();
        if !self.drive(end, Durability::Disk, None)? {
            return Err(Error::new(Code::Io, "the last sync did not end"));
        }
        self.write_sidecar(&closing)
    }
}
