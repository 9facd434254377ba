//! The three threads of an ordinary store. Everything they do is a call of `poll_commit`, `poll_upkeep` or
//! `poll_leases`.

use super::Engine;
use crate::error::{Error, Result};
use crate::sync::thread;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

/// The pause between two pieces of upkeep that nobody waits for.
const PACE: Duration = Duration::from_millis(2);

/// Starts all threads. They end when the store is closed or poisoned.
#[expect(clippy::disallowed_methods, reason = "this is the one file that starts threads")]
pub(super) fn start(engine: &Arc<Engine>) -> Result<()> {
    let spawn = |name: &str, run: fn(&Engine) -> bool| {
        let weak = Arc::downgrade(engine);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || turn(&weak, run))
            .map_err(|source| Error::io("starting a thread of the store", source))
    };
    let started = [spawn("millpond-commit", commit_turn)?, spawn("millpond-upkeep", upkeep_turn)?];
    let lease = spawn("millpond-lease", lease_turn)?;
    *engine.threads.lock() = started.into_iter().chain([lease]).collect();
    Ok(())
}

fn turn(engine: &Weak<Engine>, run: fn(&Engine) -> bool) {
    while let Some(engine) = engine.upgrade() {
        if !run(&engine) {
            break;
        }
    }
}

/// Writes what nobody leads: at once when asked to, otherwise a millisecond after it was appended; syncs what has been
/// written for a while. Sleeps without a timer when there is nothing.
fn commit_turn(engine: &Engine) -> bool {
    let mut core = engine.core.lock();
    if core.closed || core.poison.is_some() {
        return false;
    }
    if !core.urgent {
        let unsynced = core.tail.durable() < core.tail.end();
        if core.armed {
            // Still armed while it waits: of all that comes meanwhile only what is urgent wakes it.
            engine.commit_work.wait_for(&mut core, engine.options.write_delay);
        } else if unsynced {
            let since = engine.environment.clock.monotonic().saturating_sub(core.last_sync);
            let left = engine.options.sync_interval.saturating_sub(since);
            if !left.is_zero() && engine.commit_work.wait_for(&mut core, left).timed_out() {
                drop(core);
                return engine.poll_commit().is_ok();
            }
            if !core.urgent && core.armed {
                return true;
            }
        } else {
            engine.commit_work.wait(&mut core);
            return true;
        }
    }
    core.armed = false;
    if core.committing || (core.syncing && core.tail.unwritten() == 0) {
        // Somebody leads already; what it does not serve is still there afterwards.
        let over =
            if core.committing { engine.written.running(core.writes) } else { engine.committed.running(core.syncs) };
        over.wait_for(&mut core, engine.options.write_delay);
    }
    drop(core);
    let outcome = engine.poll_commit();
    let wakers = {
        let mut core = engine.core.lock();
        let wakers = engine.room_made(&mut core);
        // What it was refused for may be another thing than when it came: somebody has to make that room.
        if !core.line.is_empty() || !core.let_go.is_empty() {
            engine.call_upkeep(&mut core);
        }
        wakers
    };
    wakers.into_iter().for_each(Waker::wake);
    outcome.is_ok()
}

/// Serves those who poll for messages. Sleeps without a timer when nothing is to fall due.
fn lease_turn(engine: &Engine) -> bool {
    if engine.poll_leases() {
        return true;
    }
    let mut core = engine.core.lock();
    if core.closed || core.poison.is_some() {
        return false;
    }
    match engine.lease_pause(&core) {
        // While the store closes there is nothing to serve.
        Some(_) if core.closing => engine.lease_work.wait(&mut core),
        Some(pause) if pause.is_zero() => {}
        Some(pause) => drop(engine.lease_work.wait_for(&mut core, pause)),
        None => engine.lease_work.wait(&mut core),
    }
    true
}

fn upkeep_turn(engine: &Engine) -> bool {
    {
        let mut core = engine.core.lock();
        if core.closed || core.poison.is_some() {
            return false;
        }
        if !core.upkeep_due {
            match engine.upkeep_pause(&core) {
                Some(pause) => drop(engine.upkeep_work.wait_for(&mut core, pause)),
                None => engine.upkeep_work.wait(&mut core),
            }
        }
        if core.closed {
            return false;
        }
        core.upkeep_due = false;
    }
    match engine.poll_upkeep() {
        Ok(true) => {
            let mut core = engine.core.lock();
            core.upkeep_due = true;
            let leisure = core.line.is_empty() && core.wanted_bytes == 0 && !core.preparing_behind;
            if leisure && !core.space.is_hurried() {
                engine.upkeep_work.wait_for(&mut core, PACE);
            }
            true
        }
        Ok(false) => true,
        Err(error) => {
            let core = engine.core.lock();
            let over = core.closed || core.poison.is_some();
            if !over {
                tracing::error!(%error, "upkeep failed; it is tried again");
            }
            !over
        }
    }
}
