//! The names in one simulated directory: those that are there, those that are durable, and the changes in between.

use super::crash::Mood;
use crate::seen::Seen;
use fastrand::Rng;
use std::collections::BTreeMap;

/// A file's number, whatever it is called.
pub(super) type Inode = u64;

/// A change of names since the last sync of the directory.
#[derive(Clone, Debug)]
enum Change {
    Create(String, Inode),
    Rename(String, String, Inode),
    Remove(String, Inode),
}

/// One directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    /// Whether the directory's own name is durable.
    pub(super) durable: bool,
    live: BTreeMap<String, Inode>,
    kept: BTreeMap<String, Inode>,
    pending: Vec<Change>,
}

impl Directory {
    pub(super) fn get(&self, name: &str) -> Option<Inode> {
        self.live.get(name).copied()
    }

    pub(super) fn live(&self) -> impl Iterator<Item = (&str, Inode)> {
        self.live.iter().map(|(name, inode)| (name.as_str(), *inode))
    }

    /// Whether the file may still be here after a power cut.
    pub(super) fn may_return(&self, inode: Inode) -> bool {
        let created = |change: &Change| match change {
            Change::Create(_, other) | Change::Rename(_, _, other) | Change::Remove(_, other) => *other == inode,
        };
        self.kept.values().any(|kept| *kept == inode) || self.pending.iter().any(created)
    }

    pub(super) fn create(&mut self, name: &str, inode: Inode) {
        self.live.insert(name.to_owned(), inode);
        self.pending.push(Change::Create(name.to_owned(), inode));
    }

    /// Gives a name that exists to another; the file that had the other name, if one had.
    pub(super) fn rename(&mut self, from: &str, to: &str) -> Option<Inode> {
        let inode = self.live.remove(from)?;
        self.pending.push(Change::Rename(from.to_owned(), to.to_owned(), inode));
        self.live.insert(to.to_owned(), inode).filter(|replaced| *replaced != inode)
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Inode> {
        let inode = self.live.remove(name)?;
        self.pending.push(Change::Remove(name.to_owned(), inode));
        Some(inode)
    }

    /// Puts a durable name there, as a test does that prepares a disk.
    pub(super) fn plant(&mut self, name: &str, inode: Inode) {
        self.live.insert(name.to_owned(), inode);
        self.sync();
    }

    pub(super) fn sync(&mut self) {
        if !self.pending.is_empty() || self.kept.len() != self.live.len() {
            self.kept.clone_from(&self.live);
            self.pending.clear();
        }
    }

    /// The power is gone and back. A prefix of the changes survives, as on a file system with a journal, or now and
    /// then
    /// any of them, as on one without.
    pub(super) fn crash(&mut self, mood: Mood, rng: &mut Rng) {
        let changes = std::mem::take(&mut self.pending);
        let prefix = match (mood, rng.u8(..4)) {
            (Mood::Lost, _) => 0,
            (Mood::Kept, _) => changes.len(),
            (Mood::Mixed, 0) => usize::MAX,
            (Mood::Mixed, _) => rng.usize(..=changes.len()),
        };
        for (index, change) in changes.into_iter().enumerate() {
            if if prefix == usize::MAX { rng.bool() } else { index < prefix } {
                self.keep(change);
            } else {
                Seen::NameLost.note();
            }
        }
        self.live.clone_from(&self.kept);
    }

    /// Applies a change to the durable names, where it still makes sense without those before it.
    fn keep(&mut self, change: Change) {
        match change {
            Change::Create(name, inode) => {
                self.kept.entry(name).or_insert(inode);
            }
            Change::Rename(_, to, inode) => {
                // Whichever name it had, it has one: the old one or the new one.
                self.kept.retain(|_, other| *other != inode);
                self.kept.insert(to, inode);
            }
            Change::Remove(name, inode) => {
                if self.kept.get(&name) == Some(&inode) {
                    self.kept.remove(&name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn names(directory: &Directory) -> Vec<&str> {
        directory.live().map(|(name, _)| name).collect()
    }

    /// All sets of names that crashes of this directory leave.
    fn outcomes(directory: &Directory) -> BTreeSet<Vec<String>> {
        let crash = |seed| {
            let (mut directory, mut rng) = (directory.clone(), Rng::with_seed(seed));
            let mood = Mood::draw(&mut rng);
            directory.crash(mood, &mut rng);
            names(&directory).into_iter().map(str::to_owned).collect()
        };
        (0..300).map(crash).collect()
    }

    #[test]
    fn a_name_is_certain_only_after_a_sync() {
        let mut directory = Directory::default();
        directory.create("a", 1);
        assert_eq!(outcomes(&directory), BTreeSet::from([vec![], vec!["a".to_owned()]]));
        directory.sync();
        assert_eq!(outcomes(&directory), BTreeSet::from([vec!["a".to_owned()]]));
        directory.remove("a");
        assert_eq!(outcomes(&directory).len(), 2, "removed or back again");
    }

    #[test]
    fn a_rename_leaves_the_old_name_or_the_new_one_and_never_both_or_none() {
        let mut directory = Directory::default();
        directory.create("old", 1);
        directory.sync();
        directory.rename("old", "new");
        assert_eq!(outcomes(&directory), BTreeSet::from([vec!["new".to_owned()], vec!["old".to_owned()]]));
    }

    #[test]
    fn a_replaced_file_is_there_until_the_new_one_is() {
        let mut directory = Directory::default();
        directory.create("name", 1);
        directory.sync();
        directory.create("draft", 2);
        assert_eq!(directory.rename("draft", "name"), Some(1));
        assert!(directory.may_return(1) && directory.may_return(2));
        assert!(outcomes(&directory).iter().all(|left| left.iter().any(|name| name == "name")));
        directory.sync();
        assert!(!directory.may_return(1));
    }

    #[test]
    fn changes_survive_out_of_order_now_and_then() {
        let mut directory = Directory::default();
        directory.create("a", 1);
        directory.create("b", 2);
        assert!(outcomes(&directory).contains(&vec!["b".to_owned()]));
    }
}
