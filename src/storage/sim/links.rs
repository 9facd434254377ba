//! Second names outside the store, as a backup gives them to files.

use super::SimDisk;
use super::machine::Machine;
use std::io::{Error, ErrorKind, Result};

impl SimDisk {
    /// Gives a file a second name outside the store, durable at once.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn link_outside(&self, name: &str) -> Result<()> {
        let mut machine = self.machine.lock();
        let inode = machine.find(name)?;
        if let Some(file) = machine.files.get_mut(&inode) {
            file.links += 1;
        }
        machine.outside.push((name.to_owned(), inode));
        Ok(())
    }

    /// What the file holds that had this name when it got one outside.
    ///
    /// # Errors
    ///
    /// None had.
    pub fn outside(&self, name: &str) -> Result<Vec<u8>> {
        let machine = self.machine.lock();
        let inode = machine.outside.iter().find(|(other, _)| other == name).map(|(_, inode)| inode);
        let file = inode.and_then(|inode| machine.files.get(inode)).ok_or_else(|| Error::from(ErrorKind::NotFound))?;
        Ok(file.pages.live().to_vec())
    }

    /// The names outside, sorted.
    #[must_use]
    pub fn outside_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.machine.lock().outside.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Takes all names outside away.
    pub fn unlink_outside(&self) {
        let mut machine = self.machine.lock();
        for (_, inode) in std::mem::take(&mut machine.outside) {
            machine.unlink(inode);
        }
    }
}

/// After a power cut all names are counted anew.
pub(super) fn count(machine: &mut Machine) {
    for (_, inode) in &machine.outside {
        if let Some(file) = machine.files.get_mut(inode) {
            file.links += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::storage::sim::SimDisk;
    use crate::storage::{Access, Storage};

    #[test]
    fn a_file_lives_as_long_as_one_of_its_names_and_writes_to_two_are_counted() {
        let disk = SimDisk::new(1);
        disk.write_file("journal/1", b"one");
        disk.link_outside("journal/1").unwrap();
        let file = disk.open("journal/1", Access::Write).unwrap();
        assert_eq!(file.links().unwrap(), 2);
        file.write_at(b"O", 0).unwrap();
        assert_eq!(disk.counts().writes_to_linked, 1);
        file.sync().unwrap();
        disk.remove_file("journal/1").unwrap();
        disk.crash();
        assert_eq!(disk.outside("journal/1").unwrap(), b"One");
        disk.write_file("journal/1", b"other");
        assert_eq!(disk.open("journal/1", Access::Read).unwrap().links().unwrap(), 1);
        disk.unlink_outside();
        disk.outside("journal/1").unwrap_err();
    }
}
