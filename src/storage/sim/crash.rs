//! What a power cut leaves of one file. Pure: the same pages, mood and random numbers give the same bytes.
//!
//! The page cache holds whole sectors, so a sector on the disk is always some version the page cache once had: the
//! durable one, or that after the first, the second, ... write that touched it. A version is chosen for each sector.

use super::pages::{PAGE, Pages, SECTOR, Write, paste, slice};
use crate::seen::Seen;
use fastrand::Rng;
use std::collections::BTreeMap;

/// How hard a crash hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// All that was not synced is lost.
    Lost,
    /// All of it survives.
    Kept,
    /// Each file and directory for itself.
    Mixed,
}

impl Mood {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        match rng.u8(..8) {
            0 => Self::Lost,
            1 => Self::Kept,
            _ => Self::Mixed,
        }
    }
}

/// Which writes survive.
#[derive(Clone, Copy, Debug)]
enum Plan {
    None,
    All,
    /// In order up to a write that was under way; of that one the first sectors.
    Cut(usize),
    /// In order up to a write that was under way; of that one any sectors.
    Scattered(usize),
    /// Each write for itself: lost, whole or torn.
    Each,
    /// Each sector or page was last written back at a moment of its own.
    Moments,
}

impl Plan {
    const fn seen(self) -> Seen {
        match self {
            Self::None => Seen::CutLostAll,
            Self::All => Seen::CutKeptAll,
            Self::Cut(_) => Seen::CutInOrder,
            Self::Scattered(_) => Seen::CutScattered,
            Self::Each => Seen::CutOutOfOrder,
            Self::Moments => Seen::CutByPage,
        }
    }

    fn draw(mood: Mood, writes: usize, rng: &mut Rng) -> Self {
        match (mood, rng.u8(..8)) {
            (Mood::Lost, _) | (Mood::Mixed, 0) => Self::None,
            (Mood::Kept, _) | (Mood::Mixed, 1) => Self::All,
            (Mood::Mixed, 2) => Self::Cut(rng.usize(..=writes)),
            (Mood::Mixed, 3) => Self::Scattered(rng.usize(..=writes)),
            (Mood::Mixed, 4 | 5) => Self::Each,
            (Mood::Mixed, _) => Self::Moments,
        }
    }
}

/// A plan and the coins that belong to it.
struct Choice {
    plan: Plan,
    salt: u64,
    writes: usize,
    /// What is torn apart: sectors, or pages of eight.
    unit: usize,
}

impl Choice {
    /// Whether `sector` of `write`, which is number `index`, reached the disk.
    fn keeps(&self, index: usize, write: &Write, sector: usize) -> bool {
        let unit = sector / self.unit;
        let coin = || self.number(index, unit, 2) == 1;
        match self.plan {
            Plan::None => false,
            Plan::All => true,
            Plan::Cut(at) if index == at => {
                let sectors = write.sectors();
                sector < sectors.start + self.number(index, 0, sectors.len() + 1)
            }
            Plan::Scattered(at) if index == at => coin(),
            Plan::Cut(at) | Plan::Scattered(at) => index < at,
            Plan::Each => match self.number(index, usize::MAX, 4) {
                0 | 1 => false,
                2 => true,
                _ => coin(),
            },
            Plan::Moments => index < self.number(unit, usize::MAX - 1, self.writes + 1),
        }
    }

    /// A number below `below` that is the same whenever the same is asked.
    fn number(&self, first: usize, second: usize, below: usize) -> usize {
        let mut rng = Rng::with_seed(
            self.salt ^ (first as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (second as u64).rotate_left(32),
        );
        rng.usize(..below.max(1))
    }
}

/// What the disk holds after the crash.
pub(super) fn content(pages: &Pages, mood: Mood, rng: &mut Rng, stale: &[u8]) -> Vec<u8> {
    let plan = Plan::draw(mood, pages.pending().len(), rng);
    plan.seen().note_if(!pages.pending().is_empty());
    let choice = Choice {
        plan,
        salt: rng.u64(..),
        writes: pages.pending().len(),
        unit: if rng.bool() { 1 } else { PAGE / SECTOR },
    };
    // For each sector, how many of the writes it has seen.
    let mut versions = BTreeMap::new();
    for (index, write) in pages.pending().iter().enumerate() {
        for sector in write.sectors() {
            let version = versions.entry(sector).or_insert(0);
            if choice.keeps(index, write, sector) {
                *version = index + 1;
            }
        }
    }
    let mut kept = pages.durable().to_vec();
    kept.resize(length(pages, mood, rng), 0);
    fill_lost(pages, &mut kept, &versions, rng, stale);
    for (index, write) in pages.pending().iter().enumerate() {
        let bytes = pages.bytes_of(write);
        for sector in write.sectors() {
            if versions.get(&sector).is_some_and(|version| *version > index) {
                let from = write.position.max(sector * SECTOR);
                let to = (write.position + write.len).min((sector + 1) * SECTOR);
                paste(&mut kept, from, slice(bytes, from - write.position, to - from));
            }
        }
    }
    kept
}

/// The length that survives: chosen without regard to which bytes do.
fn length(pages: &Pages, mood: Mood, rng: &mut Rng) -> usize {
    let (durable, live) = (pages.durable().len(), pages.len());
    let least = durable.min(live);
    match (mood, rng.u8(..8)) {
        (Mood::Lost, _) | (Mood::Mixed, 0 | 1) => durable,
        (Mood::Kept, _) | (Mood::Mixed, 2..=4) => live,
        (Mood::Mixed, 5) => rng.usize(least..=live),
        (Mood::Mixed, 6) => (rng.usize(least..=live) / SECTOR * SECTOR).clamp(least, live),
        (Mood::Mixed, _) => {
            let write = pages.pending().get(rng.usize(..pages.pending().len().max(1)));
            write.map_or(live, |write| (write.position + write.len).clamp(least, live))
        }
    }
}

/// The file grew but its data is not there: such sectors read as zeros, as what a file removed earlier held at the same
/// place, or as noise. Not where the file was preallocated.
fn fill_lost(pages: &Pages, kept: &mut [u8], versions: &BTreeMap<usize, usize>, rng: &mut Rng, stale: &[u8]) {
    let with = rng.u8(..4);
    let solid = pages.durable().len().max(pages.allocated()).div_ceil(SECTOR);
    for (sector, _) in versions.range(solid..).filter(|(_, version)| **version == 0) {
        Seen::LengthWithoutBytes.note();
        let mut noise = [0; SECTOR];
        match with {
            0 => rng.fill(&mut noise),
            1 => paste(&mut noise, 0, slice(stale, sector * SECTOR, SECTOR)),
            _ => {}
        }
        paste(kept, sector * SECTOR, &noise);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crashed(pages: &Pages, seed: u64) -> Vec<u8> {
        let mut pages = pages.clone();
        let mut rng = Rng::with_seed(seed);
        let mood = Mood::draw(&mut rng);
        pages.crash(mood, &mut rng, &[7; 8 * PAGE]);
        pages.live().to_vec()
    }

    #[test]
    fn a_write_over_durable_bytes_is_torn_only_between_sectors() {
        let mut pages = Pages::stored(vec![1; 3 * PAGE]);
        pages.write(&vec![2; 2 * PAGE], 300);
        let (mut whole, mut lost, mut torn) = (0, 0, 0);
        for seed in 0..400 {
            let after = crashed(&pages, seed);
            assert_eq!(after.len(), 3 * PAGE);
            for (index, sector) in after.chunks(SECTOR).enumerate() {
                let (from, to) = (index * SECTOR, (index + 1) * SECTOR);
                let new: Vec<u8> =
                    (from..to).map(|at| if (300..300 + 2 * PAGE).contains(&at) { 2 } else { 1 }).collect();
                assert!(sector == [1; SECTOR] || sector == new, "sector {index}, seed {seed}");
            }
            match after.iter().filter(|byte| **byte == 2).count() {
                0 => lost += 1,
                all if all == 2 * PAGE => whole += 1,
                _ => torn += 1,
            }
        }
        assert!(whole > 20 && lost > 20 && torn > 20, "{whole} whole, {lost} lost, {torn} torn");
    }

    #[test]
    fn a_sector_on_the_disk_is_a_version_that_the_page_cache_once_had() {
        let mut pages = Pages::stored(vec![0; SECTOR]);
        let mut versions = vec![pages.live().to_vec()];
        for number in 1..9_u8 {
            pages.write(&[number; 40], usize::from(number) * 30);
            versions.push(pages.live().to_vec());
        }
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..600 {
            let after = crashed(&pages, seed);
            seen.insert(versions.iter().position(|version| *version == after).expect("no such version"));
        }
        assert_eq!(seen.len(), versions.len(), "every version can be met");
    }

    #[test]
    fn writes_survive_out_of_order() {
        let mut pages = Pages::stored(vec![0; 2 * PAGE]);
        pages.write(&[1; SECTOR], 0);
        pages.write(&[2; SECTOR], PAGE);
        let later_alone = (0..200).filter(|seed| {
            let after = crashed(&pages, *seed);
            after[0] == 0 && after[PAGE] == 2
        });
        assert!(later_alone.count() > 10);
    }

    #[test]
    fn a_grown_file_may_hold_zeros_or_garbage_and_a_preallocated_one_only_zeros() {
        let (mut short, mut zeros, mut stale, mut noise) = (0, 0, 0, 0);
        let mut grown = Pages::default();
        grown.write(&[1; PAGE], 0);
        for seed in 0..400 {
            match *crashed(&grown, seed) {
                [0, ..] => zeros += 1,
                [7, ..] => stale += 1,
                [1, ..] => {}
                [] => short += 1,
                _ => noise += 1,
            }
        }
        assert!(short > 5 && zeros > 5 && stale > 5 && noise > 5, "{short} {zeros} {stale} {noise}");
        let mut prepared = Pages::default();
        prepared.allocate(PAGE);
        prepared.write(&[1; PAGE], 0);
        for seed in 0..400 {
            assert!(crashed(&prepared, seed).iter().all(|byte| *byte <= 1), "seed {seed}");
        }
    }
}
