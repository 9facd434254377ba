//! One run: a store on a simulated disk, a workload, crashes, and the model that watches.

use crate::awaited::Awaited;
use crate::filter::Sorted;
use crate::flow::Narrow;
use crate::ids::{Ids, OpenIds};
use crate::model::{Fact, Firm, Model};
use crate::order::{self, Order};
use crate::pending::settle_publishes;
use crate::plan::Plan;
use crate::poison::Poison;
use crate::rules::Rules;
use crate::transactions::Transactions;
use crate::{keys, letters, space, visible};
use millpond::testing::{Faults, SimDisk};
use millpond::{
    Consumer, Delivery, Durability, Error, ManualClock, Options, Receipt, Run, Store, Ticket, Timestamp, Topic,
};
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub(crate) const TOPICS: usize = 2;
pub(crate) const GROUPS: usize = 2;

/// Something asked for and not answered yet.
pub(crate) struct Pending {
    pub(crate) ticket: Ticket<Receipt>,
    pub(crate) fact: Fact,
    pub(crate) level: Durability,
    pub(crate) mark: usize,
}

pub(crate) struct PendingAck {
    pub(crate) ticket: Ticket<()>,
    pub(crate) facts: Vec<Fact>,
    pub(crate) mark: usize,
}

pub(crate) struct Open {
    pub(crate) store: Store,
    pub(crate) topics: Vec<Topic>,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) ids: Option<OpenIds>,
    pub(crate) held: Vec<(usize, Delivery)>,
    pub(crate) runs: Vec<(usize, Run)>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) acks: Vec<PendingAck>,
    pub(crate) awaited: Awaited,
}

pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) clock: ManualClock,
    pub(crate) rng: fastrand::Rng,
    pub(crate) model: Model,
    pub(crate) order: Order,
    pub(crate) narrow: Narrow,
    pub(crate) sorted: Sorted,
    pub(crate) transactions: Transactions,
    pub(crate) ids: Ids,
    /// Whether ids are remembered.
    pub(crate) with_ids: bool,
    pub(crate) open: Option<Open>,
    pub(crate) openings: u64,
    pub(crate) published: u64,
    /// Whether no message is delayed or expires: then publishes and leases go the short way, mostly.
    pub(crate) plain: bool,
    pub(crate) trace: String,
    pub(crate) faulty: bool,
    /// Reads may have failed in this run.
    pub(crate) read_faults: bool,
    pub(crate) plan: Plan,
    pub(crate) rules: Rules,
    pub(crate) poison: Poison,
    /// The disk is full, for a while.
    pub(crate) full: bool,
    /// Steps that were done.
    pub(crate) steps: u64,
}

pub(crate) fn poll<T: Unpin>(ticket: &mut Ticket<T>) -> Poll<Result<T, Error>> {
    Pin::new(ticket).poll(&mut Context::from_waker(Waker::noop()))
}

pub(crate) type Check = Result<(), String>;

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut rng = fastrand::Rng::with_seed(plan.seed);
        let faulty = (rng.u8(0..3) == 0) & plan.has("faults");
        let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
        Self {
            disk: SimDisk::new(rng.u64(..)),
            narrow: Narrow::new(rng.u8(0..3), clock.clone()),
            sorted: Sorted::new(clock.clone()),
            model: Model::new(TOPICS, GROUPS),
            order: Order::new(&mut rng),
            transactions: Transactions::default(),
            ids: Ids::default(),
            with_ids: rng.bool() & plan.has("ids"),
            open: None,
            openings: 0,
            published: 0,
            plain: plan.seed % 2 == 1,
            trace: String::new(),
            faulty,
            read_faults: faulty,
            rules: Rules::default(),
            poison: Poison::new(clock.clone()),
            full: false,
            steps: 0,
            plan,
            clock,
            rng,
        }
    }

    pub(crate) fn options(&mut self) -> Options {
        let segment = self.rng.choice([16 << 10, 24 << 10, 64 << 10]).unwrap();
        let encrypts = cfg!(feature = "encrypt") && self.plan.has("encrypted") && self.plan.seed % 4 == 2;
        let key = if encrypts { self.rng.choice([None, Some(0), Some(1), Some(2)]).unwrap() } else { None };
        Store::options()
            .encryption(keys::ring(key))
            .segment_bytes(segment)
            .first_segment_bytes(16 << 10)
            .id_memory_bytes(self.rng.choice([16 << 10, 64 << 10]).unwrap())
            .tail_cache_bytes(self.rng.choice([0, 4096, 1 << 20]).unwrap())
            .buffer_bytes(self.rng.choice([4096, 1 << 20]).unwrap())
    }

    pub(crate) fn set_faults(&mut self) {
        let mut faults = Faults::default();
        faults.short_read = 0.01;
        faults.short_write = 0.01;
        if self.faulty {
            faults.sync_error = 0.002;
            faults.write_error = 0.001;
            faults.read_error = 0.0005;
            faults.name_error = 0.001;
            faults.background_error = 0.0005;
            faults.interrupted = 0.01;
        }
        if self.full {
            let files = self.disk.file_names();
            let used: u64 =
                files.iter().map(|name| self.disk.read_file(name).map_or(0, |file| file.len() as u64)).sum();
            faults.capacity = Some(used + self.rng.u64(0..64 << 10));
        }
        self.disk.set_faults(faults);
    }

    /// One step of the workload.
    fn step(&mut self) -> Check {
        let Some(mut open) = self.open.take() else { return self.reopen(Firm::Disk) };
        self.steps += 1;
        let dice = self.rng.u8(0..165);
        let mut power = None;
        let good = match dice {
            155.. if self.plan.has("poison") => match self.poison.step(&mut self.rng)? {
                Some(good) => good,
                None => {
                    // Whoever was given it dies of it, and the machine does not.
                    power = Some(false);
                    false
                }
            },
            145..155 if self.plan.has("rules") => self.rules.step(&mut self.rng)?,
            139..145 if self.plan.has("transactions") => {
                let (rng, model) = (&mut self.rng, &mut self.model);
                // Who holds which key is followed where single deliveries are settled.
                let unordered = |(group, _): &(usize, Delivery)| !order::is_ordered(*group);
                let (mut free, mut rest): (Vec<_>, Vec<_>) = open.held.drain(..).partition(unordered);
                let (pending, trace) = (&mut open.pending, &mut self.trace);
                let line = |model: &mut Model| settle_publishes(pending, model, trace);
                let good = self.transactions.commit(rng, model, &open.store, &open.topics, &mut free, line)?;
                rest.append(&mut free);
                open.held = rest;
                good
            }
            128..139 => match &open.ids {
                Some(ids) => self.ids.step(&mut self.rng, &open.store, ids)?,
                None => true,
            },
            125..128 if self.plan.has("cleaning") => space::clean(&open.store),
            117..125 if self.plan.has("filters") => self.sorted.step(&mut self.rng)?,
            102..117 if self.plan.has("flow") => {
                self.narrow.check()?;
                self.narrow.step(&mut self.rng)?
            }
            100..102 if self.plan.has("letters") => {
                let group = self.rng.usize(0..TOPICS * GROUPS);
                letters::sweep(&mut self.rng, &mut self.model, group, &open.consumers[group])
            }
            0..=39 => self.publish(&mut open),
            40..=54 => {
                if self.plan.has("visible") && self.rng.u8(0..60) == 0 {
                    let machine = (&self.disk, &self.clock);
                    visible::check(&mut self.rng, machine, &self.model, &open.topics)?;
                }
                self.lease(&mut open)?
            }
            55..=79 => self.settle(&mut open),
            80..=87 => open.store.step_commit().is_ok(),
            88..=93 => open.store.step_upkeep().is_ok(),
            94..=97 => {
                self.clock.advance(Duration::from_millis(self.rng.u64(1..8_000)));
                true
            }
            98 => {
                if std::mem::take(&mut self.full) {
                    self.set_faults();
                }
                let mark = self.model.mark();
                let synced = open.store.sync().wait().is_ok();
                if synced {
                    self.model.reached(mark, Firm::Disk);
                }
                synced
            }
            99 if self.plan.has("clocks") => {
                let wall = self.rng.u64(1_600_000_000_000..1_800_000_000_000);
                self.clock.set_wall(Timestamp::new(wall));
                true
            }
            _ => true,
        };
        let _ = writeln!(self.trace, "{dice} {good} {}", self.disk.operations());
        let good = self.settle_pending(&mut open) && good;
        self.open = Some(open);
        if good {
            Ok(())
        } else {
            {
                let coin = self.rng.bool();
                self.die(power.unwrap_or(coin))
            }
        }
    }

    /// The whole run.
    pub(crate) fn run(&mut self) -> Check {
        self.reopen(Firm::Disk)?;
        for round in 1..=self.plan.rounds {
            for _ in 0..self.plan.operations {
                self.step()?;
            }
            if round == self.plan.rounds {
                break;
            }
            if self.rng.bool() {
                self.burst(60)?;
            }
            self.repeat()?;
            match self.rng.u8(0..8) {
                0 => self.close()?,
                1..=3 => {
                    // In the middle of whatever comes next.
                    let mut faults = Faults::default();
                    faults.stop_after = Some(self.rng.u64(0..20));
                    self.disk.set_faults(faults);
                    for _ in 0..30 {
                        let Some(mut open) = self.open.take() else { break };
                        let good =
                            self.publish(&mut open) && self.settle(&mut open) && open.store.step_upkeep().is_ok();
                        let good = self.settle_pending(&mut open) && good;
                        self.open = Some(open);
                        if !good {
                            break;
                        }
                    }
                    self.die(true)?;
                }
                dice => self.die(dice < 6)?,
            }
            // Often once more, soon: while what the first one left behind still lies just behind the journal's end.
            while self.rng.bool() {
                for _ in 0..self.rng.u32(0..3) {
                    self.step()?;
                }
                self.burst(4)?;
                self.repeat()?;
                let power = self.rng.bool();
                self.die(power)?;
            }
        }
        self.drain()
    }
}
