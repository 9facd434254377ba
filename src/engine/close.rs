//! Closing: what was taken in is made durable, what is out is given back, and the journal says that it ends here.

use super::Engine;
use crate::config::Durability;
use crate::error::{Code, Error, Result};
use crate::ticket::Ticket;
use std::sync::Arc;

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
        let outcome = self.finish();
        {
            let mut core = self.core.lock();
            core.closed = true;
        }
        self.arrived.notify_all();
        self.wake_followers();
        self.commit_work.notify_all();
        self.upkeep_work.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        let here = std::thread::current().id();
        for thread in threads {
            // The last handle may be dropped by one of the threads themselves.
            if thread.thread().id() != here && thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
        *self.lock.lock() = None;
        outcome
    }

    /// Takes in what stands in line: it was published before the store was closed, and its tickets may be gone. What
    /// there is no room for is sent away.
    fn serve_line(&self) {
        loop {
            let end = {
                let mut core = self.core.lock();
                if core.check().is_err() {
                    break;
                }
                self.admit_line(&mut core);
                if core.line.is_empty() {
                    return;
                }
                core.tail.end()
            };
            if self.drive(end, Durability::Os, None).and_then(|_| self.make_room()).is_err() {
                break;
            }
        }
        let mut core = self.core.lock();
        let why = core.dismissal();
        self.dismiss_line(&mut core, &why);
    }

    /// The last frames: everything durable, then `Closed`, then the sidecar that says how far the journal goes.
    fn finish(&self) -> Result<()> {
        self.core.lock().check()?;
        let end = self.core.lock().tail.end();
        self.drive(end, Durability::Disk, None)?;
        let closing = loop {
            let mut core = self.core.lock();
            // Settled meanwhile, by those who let go of their deliveries: those come first.
            if core.tail.end() > core.tail.durable() {
                let end = core.tail.end();
                drop(core);
                self.drive(end, Durability::Disk, None)?;
                continue;
            }
            let refusal = match core.tail.append_control(true) {
                Ok(_) => {
                    // From here on nothing more is appended: `Closed` is the last.
                    core.closed = true;
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
