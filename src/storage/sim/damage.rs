//! What tests do to a disk behind the engine's back.
//!
//! These reach past faults and power cuts: what they leave is durable, names included, and no operation is counted.

use super::SimDisk;
use super::machine::{Machine, split};
use super::names::Inode;
use super::pages::Pages;
use std::io::{Error, ErrorKind, Result};

impl SimDisk {
    /// The names of all files, as `identity` or `journal/0000000001.segment`, sorted.
    #[must_use]
    pub fn file_names(&self) -> Vec<String> {
        self.machine.lock().names()
    }

    /// What a file holds, unsynced writes included.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn read_file(&self, name: &str) -> Result<Vec<u8>> {
        let machine = self.machine.lock();
        let inode = machine.find(name)?;
        Ok(machine.files.get(&inode).map(|file| file.pages.live().to_vec()).unwrap_or_default())
    }

    /// What a file holds after a power cut that takes all that was not synced.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn synced_file(&self, name: &str) -> Result<Vec<u8>> {
        let machine = self.machine.lock();
        let inode = machine.find(name)?;
        Ok(machine.files.get(&inode).map(|file| file.pages.durable().to_vec()).unwrap_or_default())
    }

    /// Gives a file these bytes, durable at once. Makes it, and its directory, if there is none.
    pub fn write_file(&self, name: &str, bytes: &[u8]) {
        let mut machine = self.machine.lock();
        let inode = machine.find(name).unwrap_or_else(|_| plant(&mut machine, name));
        replace(&mut machine, inode, bytes.to_vec());
    }

    /// Cuts a file off, or lengthens it with zeros.
    ///
    /// # Errors
    ///
    /// There is no such file, or `len` is beyond all measure.
    pub fn truncate(&self, name: &str, len: u64) -> Result<()> {
        let mut bytes = self.read_file(name)?;
        let len = usize::try_from(len).ok().filter(|len| *len <= super::machine::LONGEST);
        bytes.resize(len.ok_or(ErrorKind::FileTooLarge)?, 0);
        self.write_file(name, &bytes);
        Ok(())
    }

    /// Turns one bit (0 to 7) of one byte over.
    ///
    /// # Errors
    ///
    /// There is no such file, or it ends before that byte.
    pub fn flip_bit(&self, name: &str, byte: u64, bit: u8) -> Result<()> {
        let mut bytes = self.read_file(name)?;
        let byte = usize::try_from(byte).ok().and_then(|byte| bytes.get_mut(byte));
        *byte.ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))? ^= 1 << (bit % 8);
        self.write_file(name, &bytes);
        Ok(())
    }

    /// Takes a file's name away for good.
    ///
    /// # Errors
    ///
    /// There is no such file.
    pub fn remove_file(&self, name: &str) -> Result<()> {
        let mut machine = self.machine.lock();
        let inode = machine.find(name)?;
        let (directory, file) = split(name);
        machine.directory_mut(directory)?.remove(file);
        machine.sync_names(Some(directory));
        machine.unlink(inode);
        Ok(())
    }

    /// Lets write-back of what waits in a file fail in the background, now: see [`Faults::background_error`].
    ///
    /// # Errors
    ///
    /// There is no such file.
    ///
    /// [`Faults::background_error`]: super::Faults::background_error
    pub fn fail_write_back(&self, name: &str) -> Result<()> {
        let mut machine = self.machine.lock();
        let inode = machine.find(name)?;
        machine.fail_write_back(inode);
        Ok(())
    }
}

/// A new file with a durable name.
fn plant(machine: &mut Machine, name: &str) -> Inode {
    let (directory, file) = split(name);
    machine.make_directory("");
    machine.make_directory(directory);
    machine.sync_names(None);
    machine.sync_names(Some(""));
    let inode = machine.number();
    machine.files.entry(inode).or_default().links = 1;
    if let Ok(directory) = machine.directory_mut(directory) {
        directory.plant(file, inode);
    }
    inode
}

fn replace(machine: &mut Machine, inode: Inode, bytes: Vec<u8>) {
    if let Some(file) = machine.files.get_mut(&inode) {
        machine.used = machine.used.saturating_sub(file.pages.len() as u64) + bytes.len() as u64;
        file.pages = Pages::stored(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Access, Storage};

    #[test]
    fn a_written_file_is_durable_with_its_name() {
        let disk = SimDisk::new(1);
        disk.write_file("journal/1", b"one");
        disk.write_file("identity", b"who");
        disk.crash();
        assert_eq!(disk.file_names(), ["identity", "journal/1"]);
        assert_eq!(disk.read_file("journal/1").unwrap(), b"one");
    }

    #[test]
    fn damage_is_done_where_it_is_asked_for() {
        let disk = SimDisk::new(1);
        disk.write_file("file", &[0; 4]);
        disk.flip_bit("file", 2, 7).unwrap();
        assert_eq!(disk.read_file("file").unwrap(), [0, 0, 128, 0]);
        disk.truncate("file", 3).unwrap();
        assert_eq!(disk.synced_file("file").unwrap(), [0, 0, 128]);
        disk.flip_bit("file", 3, 0).unwrap_err();
        disk.remove_file("file").unwrap();
        disk.crash();
        assert_eq!(disk.open("file", Access::Read).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
