//! What the seeds came to: how often each fault, each row of the recovery's table, each way out for a message, each
//! path in the background, and each invariant's checker. What none of them came to is proved by none of them.

use millpond::testing::Seen;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The contract's invariants, each with what checks it here.
pub(crate) const INVARIANTS: [(&str, &str); 12] = [
    ("I1", "what was promised is there after each death"),
    ("I2", "what is read and delivered was published, byte by byte"),
    ("I3", "offsets are dense and rise; one of a key at a time, in order"),
    ("I4", "each group gets each message, or it is counted as dropped"),
    ("I5", "what was acked does not come again"),
    ("I6", "an id is accepted once"),
    ("I7", "a transaction is there whole or not at all, a dead letter with its copy"),
    ("I8", "what kills its process is parked, and those beside it are not charged"),
    ("I9", "damage is told, and a repair accounts for all that is gone"),
    ("I10", "the answers are the same without tables and runs, and with older ones"),
    ("I11", "the disk holds no more than it has to"),
    ("I12", "what can be seen survives what it was to survive"),
];

/// Places that these seeds do not come to. To the first two nothing but a lie with right checksums leads, which the
/// hostile directories have; to the next two a state with a part larger than a segment, which this workload seldom has
/// (`tests/space.rs`); to the last one a full disk with a backup beside it (`tests/linked.rs`).
const ELSEWHERE: [Seen; 5] =
    [Seen::RowBehindSeal, Seen::RowSealedTorn, Seen::SnapshotGivenUp, Seen::SnapshotFirst, Seen::RoomForCopy];

thread_local! {
    static CHECKED: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// The checker of an invariant ran, and found nothing.
pub(crate) fn checked(invariant: &'static str) {
    debug_assert!(INVARIANTS.iter().any(|(known, _)| *known == invariant));
    CHECKED.with_borrow_mut(|counts| *counts.entry(invariant).or_default() += 1);
}

/// All that was come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage {
    places: BTreeMap<Seen, u64>,
    checked: BTreeMap<&'static str, u64>,
    pub(crate) seeds: u64,
    pub(crate) operations: u64,
}

impl Coverage {
    /// What this thread came to since it was asked last.
    pub(crate) fn take() -> Self {
        Self { places: Seen::take(), checked: CHECKED.take(), seeds: 0, operations: 0 }
    }

    pub(crate) fn add(&mut self, other: Self) {
        other.places.into_iter().for_each(|(seen, count)| *self.places.entry(seen).or_default() += count);
        other.checked.into_iter().for_each(|(which, count)| *self.checked.entry(which).or_default() += count);
        self.seeds += other.seeds;
        self.operations += other.operations;
    }

    /// The table.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut last = "";
        for (seen, group, words) in Seen::ALL {
            if *group != last {
                lines.push(format!("{group}:"));
                last = group;
            }
            lines.push(format!("{:>10}  {words}", self.places.get(seen).copied().unwrap_or(0)));
        }
        lines.push("invariants:".to_owned());
        for (name, words) in INVARIANTS {
            lines.push(format!("{:>10}  {name}: {words}", self.checked.get(name).copied().unwrap_or(0)));
        }
        lines
    }

    /// What was not come to, and has to be.
    pub(crate) fn missed(&self) -> Vec<String> {
        let cannot = |seen| !cfg!(feature = "lz4") && matches!(seen, Seen::Packed | Seen::MovedPacked);
        let missed = |seen| !self.places.contains_key(seen) && !ELSEWHERE.contains(seen) && !cannot(*seen);
        let places = Seen::ALL.iter().filter(|(seen, ..)| missed(seen));
        let checks = INVARIANTS.iter().filter(|(name, _)| !self.checked.contains_key(name));
        let places = places.map(|(_, group, words)| format!("{group}: {words}"));
        places.chain(checks.map(|(name, words)| format!("{name}: {words}"))).collect()
    }
}
