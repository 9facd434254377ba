//! What a run is made of, so that a failing one can be made smaller: fewer rounds, fewer operations, fewer parts.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

/// Parts that a run can do without.
const PARTS: [&str; 17] = [
    "ids",
    "transactions",
    "flow",
    "filters",
    "letters",
    "rules",
    "poison",
    "cleaning",
    "clocks",
    "faults",
    "full",
    "cuts",
    "damage",
    "visible",
    "links",
    "packed",
    "encrypted",
];

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// How often the store is ended, one less than that in the middle of things.
    pub(crate) rounds: u32,
    /// Steps of the workload in each of them.
    pub(crate) operations: u32,
    without: BTreeSet<&'static str>,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, rounds: 6, operations: 333, without: BTreeSet::new() }
    }

    /// As [`Display`](fmt::Display) writes it: `rounds:operations:without,without`.
    pub(crate) fn read(seed: u64, text: &str) -> Option<Self> {
        let mut fields = text.split(':');
        let (rounds, operations) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let names = fields.next().unwrap_or_default().split(',').filter(|name| !name.is_empty());
        let find = |name: &str| PARTS.iter().find(|part| **part == name).copied();
        Some(Self { seed, rounds, operations, without: names.map(find).collect::<Option<_>>()? })
    }

    pub(crate) fn has(&self, part: &str) -> bool {
        debug_assert!(PARTS.contains(&part), "{part}");
        !self.without.contains(part)
    }

    /// The plans that are a step smaller, those that save most first.
    fn smaller(&self) -> Vec<Self> {
        let mut found = Vec::new();
        let mut with = |change: &dyn Fn(&mut Self)| {
            let mut plan = self.clone();
            change(&mut plan);
            if plan != *self && !found.contains(&plan) {
                found.push(plan);
            }
        };
        for rounds in [1, self.rounds / 2, self.rounds - 1] {
            with(&|plan| plan.rounds = rounds.max(1));
        }
        for operations in [self.operations / 4, self.operations / 2, self.operations * 7 / 8, self.operations - 1] {
            with(&|plan| plan.operations = operations.max(1));
        }
        for part in PARTS {
            with(&|plan| _ = plan.without.insert(part));
        }
        found
    }

    /// The smallest plan found within `limit` that fails in the same way. `fails` says how a plan fails, if it does.
    pub(crate) fn shrink(self, limit: Duration, fails: impl Fn(&Self) -> Option<String>) -> Self {
        let began = Instant::now();
        let Some(way) = fails(&self) else { return self };
        let mut smallest = self;
        'again: loop {
            for plan in smallest.smaller() {
                if began.elapsed() > limit {
                    return smallest;
                }
                // How it goes is another matter with each change, so each is given another try with fewer operations.
                if fails(&plan).as_ref() == Some(&way) {
                    smallest = plan;
                    continue 'again;
                }
            }
            return smallest;
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.rounds, self.operations)?;
        if !self.without.is_empty() {
            let without: Vec<&str> = self.without.iter().copied().collect();
            write!(formatter, ":{}", without.join(","))?;
        }
        Ok(())
    }
}

#[test]
fn a_plan_reads_back_and_a_wrong_one_is_none() {
    let mut plan = Plan::new(7);
    assert_eq!(Plan::read(7, &plan.to_string()), Some(plan.clone()));
    plan.without.extend(["ids", "cuts"]);
    (plan.rounds, plan.operations) = (2, 40);
    assert_eq!(plan.to_string(), "2:40:cuts,ids");
    assert_eq!(Plan::read(7, "2:40:cuts,ids"), Some(plan));
    assert_eq!(Plan::read(7, "2:40:nothing"), None);
    assert_eq!(Plan::read(7, "2"), None);
}

#[test]
fn a_failing_plan_is_made_as_small_as_it_can_be() {
    // It fails with two rounds of 30 operations, faults and ids; whatever is taken away from that heals it.
    let fails = |plan: &Plan| {
        let bad = plan.rounds >= 2 && plan.operations >= 30 && plan.has("faults") && plan.has("ids");
        bad.then(|| "I1".to_owned())
    };
    let small = Plan::new(7).shrink(Duration::from_secs(60), fails);
    assert_eq!((small.rounds, small.operations), (2, 30));
    assert_eq!(small.without.len(), PARTS.len() - 2);
    assert!(small.has("faults") && small.has("ids"));
}
