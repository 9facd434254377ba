//! [`Chaos`]: a handler is failed, killed and overtaken at each of its steps, to see whether it can be run again.

use super::Pond;
use crate::config::{Group, Retry};
use crate::consumer::Consumer;
use crate::delivery::Delivery;
use crate::error::{ErrorKind, Result};
use crate::message::Message;
use crate::store::Store;
use crate::types::Offset;
use crate::workers::{Handled, IntoHandled};
use std::cell::{Cell, RefCell};
use std::fmt::{self, Debug, Display};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// How long a lease is, and how long a pause between tries.
const LEASE: Duration = Duration::from_secs(30);

/// More deliveries than a handler needs that ever gets done.
const DELIVERIES_MAX: usize = 100;

/// So many rounds with two faults there are unless [`Chaos::pairs`] says otherwise: a second, about, for a handler that
/// does nothing slow.
const PAIRS: usize = 100;

/// How often a message is tried before the handler is said not to get done.
const ATTEMPTS: u32 = 10;

/// What becomes of a handler at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// It stops there and its message is charged with a failure: an error, a panic, a task that was dropped.
    Failed,
    /// Its process is killed there, and started anew.
    Killed,
    /// It stands still there until its lease has run out; another one handles the message from beginning to end, and
    /// then it goes on.
    Overtaken,
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::Overtaken => "overtaken by another one",
        })
    }
}

const FAULTS: [Fault; 3] = [Fault::Failed, Fault::Killed, Fault::Overtaken];

/// The steps of a handler under [`Chaos`]: it says where it is, and may not come back from that.
pub struct Steps<'a> {
    plan: &'a Plan,
    overtake: &'a dyn Fn(),
}

impl Debug for Steps<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps").finish_non_exhaustive()
    }
}

impl Steps<'_> {
    /// Says that the handler has come to this step: best right after each effect on the world outside. Where chaos
    /// wants it, the handler ends here, by unwinding; code that catches panics has to let it through.
    pub fn at(&self, step: &str) {
        match self.plan.reaches(step) {
            Some(Fault::Overtaken) => (self.overtake)(),
            Some(_) => resume_unwind(Box::new(Cut)),
            None => {}
        }
    }
}

/// What the handler is unwound with.
struct Cut;

/// Where the faults of a round are, and what was come by.
#[derive(Debug, Default)]
struct Plan {
    faults: Vec<(usize, Fault)>,
    message: Cell<Offset>,
    reached: RefCell<Vec<(Offset, String)>>,
    /// What has just ended the handler.
    struck: Cell<Option<Fault>>,
}

impl Plan {
    fn reaches(&self, step: &str) -> Option<Fault> {
        let mut reached = self.reached.borrow_mut();
        reached.push((self.message.get(), step.to_owned()));
        let (_, fault) = *self.faults.iter().find(|(place, _)| *place + 1 == reached.len())?;
        self.struck.set(Some(fault));
        Some(fault)
    }
}

/// One thing that came out differently than without faults.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The message that was being handled.
    pub message: Offset,
    /// The step at which it happened.
    pub step: String,
    /// What happened.
    pub fault: Fault,
    /// What happened after that, in a round with two faults: at which step, and what.
    pub then: Option<(String, Fault)>,
    /// How the world looks without faults.
    pub expected: String,
    /// How it looks with this one, or these.
    pub found: String,
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, step, fault, then, expected, found } = self;
        write!(f, "message {message}, {fault} at {step:?}")?;
        if let Some((step, fault)) = then {
            write!(f, ", then {fault} at {step:?}")?;
        }
        write!(f, ": found {found} instead of {expected}")
    }
}

/// What [`Chaos::run`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChaosReport {
    /// How many ways were tried.
    pub rounds: usize,
    /// How many of them had two faults, one after the other.
    pub pairs: usize,
    /// How many ways with two faults there are beyond those: see [`Chaos::pairs`].
    pub pairs_left_out: usize,
    /// The steps that a handler comes by without faults, with those that chaos adds before and after it.
    pub steps: Vec<String>,
    /// What came out differently.
    pub findings: Vec<Finding>,
}

impl ChaosReport {
    /// Whether everything came out the same.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.findings.is_empty()
    }
}

impl Display for ChaosReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_idempotent() {
            write!(f, "the same in all of {} rounds", self.rounds)?;
        } else {
            write!(f, "different in {} of {} rounds", self.findings.len(), self.rounds)?;
        }
        if self.pairs > 0 {
            write!(f, ", {} of them with two faults", self.pairs)?;
        }
        if self.pairs > 0 && self.pairs_left_out > 0 {
            write!(f, " (of {})", self.pairs.saturating_add(self.pairs_left_out))?;
        }
        if !self.is_idempotent() {
            write!(f, ":")?;
        }
        self.findings.iter().try_for_each(|finding| write!(f, "\n  {finding}"))
    }
}

/// Runs a handler over and over, each time with one fault at one of its steps, and then with two, and compares what it
/// leaves behind with what it leaves behind without: a handler is idempotent if that is the same. With feature
/// `testing`.
///
/// The handler gets a world, which is yours and made anew for each round: a database in memory, a mail server that only
/// counts. It says where it is with [`Steps::at`], best after each effect; chaos adds a step before it and one between
/// its end and the ack.
///
/// ```
/// # fn main() -> millpond::Result<()> {
/// use millpond::testing::Chaos;
/// use std::cell::{Cell, RefCell};
/// use std::collections::BTreeSet;
///
/// // It charges twice, if it dies between the charge and the ack:
/// let report = Chaos::new(|| Cell::new(0)).message("4711").run(
///     |charged, _order, steps| {
///         charged.set(charged.get() + 100);
///         steps.at("charged");
///     },
///     |charged| charged.get(),
/// )?;
/// assert!(!report.is_idempotent());
/// println!("{report}"); // message 0, killed at "charged": found 200 instead of 100
///
/// // This one remembers for which messages it did:
/// let report = Chaos::new(|| RefCell::new(BTreeSet::new())).message("4711").run(
///     |charged, order, steps| {
///         charged.borrow_mut().insert(order.offset());
///         steps.at("charged");
///     },
///     |charged| charged.borrow().len() * 100,
/// )?;
/// assert!(report.is_idempotent(), "{report}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Chaos<M> {
    world: M,
    messages: Vec<Message>,
    group: Group,
    pairs: usize,
}

impl<W, M: Fn() -> W> Chaos<M> {
    /// Chaos with a world that is made anew for each round.
    pub fn new(world: M) -> Self {
        let retry = Retry::fixed(Duration::ZERO).without_jitter().attempts(ATTEMPTS);
        Self { world, messages: Vec::new(), group: Group::default().lease(LEASE).retry(retry), pairs: PAIRS }
    }

    /// A message to be handled; each is published before the first is handled.
    #[must_use]
    pub fn message(mut self, message: impl Into<Message>) -> Self {
        self.messages.push(message.into());
        self
    }

    /// At most so many rounds with two faults (default: 100; 0: none), if one alone does no harm anywhere: a second
    /// one, of any kind, at each step that comes after the first. If there are more, they are taken evenly from all of
    /// them, the same each time, and the report says how many were left out.
    #[must_use]
    pub fn pairs(mut self, most: usize) -> Self {
        self.pairs = most;
        self
    }

    /// Runs the handler without faults once, then with each fault at each step, then with two of them. `observe` says
    /// what of the world is compared: leave out what may differ, as times and numbers of tries.
    ///
    /// # Errors
    /// None that a test has to expect: what the store says if its own work fails.
    pub fn run<R: IntoHandled, S: PartialEq + Debug>(
        self,
        handler: impl Fn(&W, &Delivery, &Steps<'_>) -> R,
        observe: impl Fn(&W) -> S,
    ) -> Result<ChaosReport> {
        let round = |faults: &[(usize, Fault)]| self.round(faults, &handler, &observe);
        let (expected, steps) = round(&[])?;
        let mut report = ChaosReport {
            rounds: 1,
            steps: steps.iter().map(|(_, step)| step.clone()).collect(),
            ..ChaosReport::default()
        };
        if let Err(why) = &expected {
            report.findings.push(Finding {
                message: Offset::ZERO,
                step: "none".to_owned(),
                fault: Fault::Failed,
                then: None,
                expected: "a handler that gets done without faults".to_owned(),
                found: why.clone(),
            });
            return Ok(report);
        }
        let mut pairs = Vec::new();
        for (place, (message, step)) in steps.into_iter().enumerate() {
            for fault in FAULTS {
                let (found, reached) = round(&[(place, fault)])?;
                report.rounds += 1;
                if found == expected {
                    let later = reached.into_iter().enumerate().skip(place + 1);
                    let first = (place, message, step.clone(), fault);
                    pairs.extend(later.flat_map(|later| FAULTS.map(|second| (first.clone(), later.clone(), second))));
                } else {
                    let (expected, found) = (say(&expected), say(&found));
                    report.findings.push(Finding { message, step: step.clone(), fault, then: None, expected, found });
                }
            }
        }
        // Where one fault does harm by itself, two of them say nothing new.
        report.pairs = if report.is_idempotent() { pairs.len().min(self.pairs) } else { 0 };
        report.pairs_left_out = pairs.len() - report.pairs;
        for taken in 0..report.pairs {
            let Some((first, later, second)) = pairs.get(taken * pairs.len() / report.pairs) else { break };
            let ((place, message, step, fault), (at, (_, then))) = (first.clone(), later.clone());
            let (found, _) = round(&[(place, fault), (at, *second)])?;
            report.rounds += 1;
            if found != expected {
                let (expected, found) = (say(&expected), say(&found));
                report.findings.push(Finding { message, step, fault, then: Some((then, *second)), expected, found });
            }
        }
        Ok(report)
    }

    /// One round. What the world looks like then, or why the handler did not get done; and the steps.
    #[expect(clippy::type_complexity, reason = "a result of two parts, used twice")]
    fn round<R: IntoHandled, S>(
        &self,
        faults: &[(usize, Fault)],
        handler: &impl Fn(&W, &Delivery, &Steps<'_>) -> R,
        observe: &impl Fn(&W) -> S,
    ) -> Result<(core::result::Result<S, String>, Vec<(Offset, String)>)> {
        let world = (self.world)();
        let plan = Plan { faults: faults.to_vec(), ..Plan::default() };
        let mut pond = Pond::new()?;
        let topic = pond.store().topic("chaos")?;
        topic.consumer("handler", self.group.clone())?;
        topic.publish_all(self.messages.iter().cloned()).wait()?;
        for _ in 0..DELIVERIES_MAX {
            let consumer = consumer(pond.store(), &self.group)?;
            let Some(delivery) = consumer.try_lease()? else {
                if consumer.idle() {
                    break;
                }
                pond.advance(LEASE);
                continue;
            };
            plan.message.set(delivery.offset());
            plan.struck.set(None);
            let overtake = || self.overtake(&pond, &world, handler);
            let steps = Steps { plan: &plan, overtake: &overtake };
            let said = catch_unwind(AssertUnwindSafe(|| {
                steps.at("before the handler");
                let handled = handler(&world, &delivery, &steps).into_handled();
                steps.at("after the handler, before the ack");
                handled
            }));
            match said {
                Ok(handled) => settle(delivery, handled)?,
                Err(cut) if cut.is::<Cut>() && plan.struck.get() == Some(Fault::Killed) => {
                    // Nobody lives to drop it.
                    std::mem::forget(delivery);
                    drop(consumer);
                    pond = pond.kill()?;
                }
                Err(cut) if cut.is::<Cut>() => fail(delivery, "chaos")?,
                Err(_) => fail(delivery, "the handler panicked")?,
            }
        }
        let consumer = consumer(pond.store(), &self.group)?;
        let stats = consumer.stats();
        let done = if stats.dead > 0 {
            Err(format!("{} messages were given up", stats.dead))
        } else if consumer.idle() {
            Ok(observe(&world))
        } else {
            Err(format!("a handler that was not done after {DELIVERIES_MAX} deliveries"))
        };
        Ok((done, plan.reached.into_inner()))
    }

    /// The lease of the handler that is under way runs out, and another one handles the message whole.
    fn overtake<R: IntoHandled>(&self, pond: &Pond, world: &W, handler: &impl Fn(&W, &Delivery, &Steps<'_>) -> R) {
        pond.advance(LEASE.saturating_add(Duration::from_secs(1)));
        let other = consumer(pond.store(), &self.group).and_then(|consumer| consumer.try_lease());
        if let Ok(Some(delivery)) = other {
            let plan = Plan::default();
            let steps = Steps { plan: &plan, overtake: &|| () };
            let handled = handler(world, &delivery, &steps).into_handled();
            if let Err(error) = settle(delivery, handled) {
                tracing::warn!(%error, "the one that overtook could not settle");
            }
        }
    }
}

fn consumer(store: &Store, group: &Group) -> Result<Consumer> {
    store.topic("chaos")?.consumer("handler", group.clone())
}

/// One that was overtaken before has lost its lease by then.
fn fail(delivery: Delivery, why: &str) -> Result<()> {
    let failed = delivery.nack(why).wait();
    failed.or_else(|error| if error.kind() == ErrorKind::LeaseLost { Ok(()) } else { Err(error) })
}

fn settle(delivery: Delivery, handled: Handled) -> Result<()> {
    let ticket = handled.settle(delivery);
    // Who was overtaken has lost its lease: that is what is tried.
    ticket.wait().or_else(|error| if error.kind() == ErrorKind::LeaseLost { Ok(()) } else { Err(error) })
}

fn say<S: Debug>(outcome: &core::result::Result<S, String>) -> String {
    match outcome {
        Ok(world) => format!("{world:?}"),
        Err(why) => why.clone(),
    }
}
