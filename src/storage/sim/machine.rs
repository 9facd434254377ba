//! The simulated machine: its files and directories, and what processes, crashes and restarts do to them.

use super::crash::Mood;
use super::faults::Gate;
use super::names::{Directory, Inode};
use super::pages::Pages;
use crate::storage::{Entry, EntryKind};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};

/// A file longer than this is a mistake of the test, and is refused before memory is taken for it.
pub(super) const LONGEST: usize = 1 << 30;
/// Free space of a disk without capacity.
const PLENTY: u64 = 1 << 40;

/// One file, whatever it is called.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) pages: Pages,
    /// How many write-backs failed so far; each handle remembers up to where it was told.
    pub(super) errors: u64,
    /// How many names it has.
    pub(super) links: u64,
    /// How many handles are open.
    pub(super) opens: u64,
    /// The handle that locks it for itself.
    pub(super) exclusive: Option<u64>,
    /// The handles that share its lock.
    pub(super) shared: Vec<u64>,
}

impl File {
    /// Still takes space: it has a name or is open.
    fn is_live(&self) -> bool {
        self.links > 0 || self.opens > 0
    }

    pub(super) fn unlock(&mut self, handle: u64) {
        self.shared.retain(|other| *other != handle);
        self.exclusive = self.exclusive.filter(|other| *other != handle);
    }
}

/// All that one lock protects.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) gate: Gate,
    crashes: Rng,
    pub(super) files: BTreeMap<Inode, File>,
    directories: BTreeMap<String, Directory>,
    /// Second names of files, outside the store.
    pub(super) outside: Vec<(String, Inode)>,
    /// Counts processes: a handle of an earlier one is dead.
    pub(super) process: u64,
    boot: u64,
    named_boot: Option<String>,
    next: u64,
    /// Bytes of all live files.
    pub(super) used: u64,
    /// What the last file held that went away for good: the garbage that new files may find.
    stale: Vec<u8>,
}

impl Machine {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            gate: Gate::new(seed),
            crashes: Rng::with_seed(!seed),
            files: BTreeMap::new(),
            directories: BTreeMap::new(),
            outside: Vec::new(),
            process: 0,
            boot: 1,
            named_boot: None,
            next: 0,
            used: 0,
            stale: Vec::new(),
        }
    }

    pub(super) fn reseed(&mut self, seed: u64) {
        (self.gate.rng, self.crashes) = (Rng::with_seed(seed), Rng::with_seed(!seed));
    }

    /// A number never given before.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The file behind a handle, unless the handle's process is gone.
    pub(super) fn file(&mut self, inode: Inode, process: u64) -> Result<&mut File> {
        let alive = process == self.process;
        let file = self.files.get_mut(&inode).filter(|_| alive);
        file.ok_or_else(|| Error::other("simulated disk: a handle from before the crash"))
    }

    pub(super) fn directory(&self, name: &str) -> Result<&Directory> {
        self.directories.get(name).ok_or_else(|| match self.directories.get(split(name).0) {
            Some(above) if above.get(split(name).1).is_some() => Error::from(ErrorKind::NotADirectory),
            _ => missing(name),
        })
    }

    pub(super) fn directory_mut(&mut self, name: &str) -> Result<&mut Directory> {
        self.directories.get_mut(name).ok_or_else(|| missing(name))
    }

    pub(super) fn find(&self, name: &str) -> Result<Inode> {
        let (directory, file) = split(name);
        self.directory(directory)?.get(file).ok_or_else(|| missing(name))
    }

    /// Makes a directory that lacks. Its name is not durable yet.
    pub(super) fn make_directory(&mut self, name: &str) {
        self.directories.entry(name.to_owned()).or_default();
    }

    pub(super) fn has_directory(&self, name: &str) -> bool {
        self.directories.contains_key(name)
    }

    /// Makes the names in a directory durable, `None` being the directory above the store.
    pub(super) fn sync_names(&mut self, name: Option<&str>) {
        for (child, directory) in &mut self.directories {
            let parent = if child.is_empty() { None } else { Some(split(child).0) };
            directory.durable |= parent == name;
        }
        if let Some(directory) = name.and_then(|name| self.directories.get_mut(name)) {
            directory.sync();
            self.sweep();
        }
    }

    pub(super) fn entries(&self, name: &str) -> Result<Vec<Entry>> {
        let files = self.directory(name)?.live().map(|(name, inode)| Entry {
            name: name.to_owned(),
            kind: EntryKind::File,
            len: self.files.get(&inode).map_or(0, |file| file.pages.len() as u64),
        });
        let inside = |child: &&String| !child.is_empty() && split(child).0 == name;
        let directories = self.directories.keys().filter(inside).map(|child| Entry {
            name: split(child).1.to_owned(),
            kind: EntryKind::Directory,
            len: 0,
        });
        Ok(files.chain(directories).collect())
    }

    /// Every file's name with its directory, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for (directory, inside) in &self.directories {
            let full =
                |(name, _): (&str, _)| if directory.is_empty() { name.into() } else { format!("{directory}/{name}") };
            names.extend(inside.live().map(full));
        }
        names.sort();
        names
    }

    /// A name of the file is gone.
    pub(super) fn unlink(&mut self, inode: Inode) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.links = file.links.saturating_sub(1);
        }
        self.release(inode);
    }

    /// Frees the space of a file that neither a name nor a handle holds any more.
    pub(super) fn release(&mut self, inode: Inode) {
        let Some(file) = self.files.get(&inode).filter(|file| !file.is_live()) else { return };
        self.used = self.used.saturating_sub(file.pages.len() as u64);
        self.sweep();
    }

    pub(super) fn free(&self) -> u64 {
        self.gate.faults.capacity.map_or(PLENTY, |capacity| capacity.saturating_sub(self.used))
    }

    /// How long a file may become that is `len` long now.
    pub(super) fn longest(&self, len: usize) -> usize {
        usize::try_from(self.free()).unwrap_or(LONGEST).saturating_add(len).min(LONGEST.max(len))
    }

    pub(super) fn boot_id(&self) -> String {
        self.named_boot.clone().unwrap_or_else(|| format!("simulated-boot-{}", self.boot))
    }

    pub(super) fn set_boot_id(&mut self, id: &str) {
        self.named_boot = Some(id.to_owned());
    }

    /// Write-back in the background fails.
    pub(super) fn fail_write_back(&mut self, inode: Inode) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.pages.fail_write_back(&mut self.gate.rng, &self.stale);
            file.errors += 1;
        }
    }

    /// The process is gone: its handles and locks with it, the page cache not.
    pub(super) fn kill(&mut self) {
        self.process += 1;
        self.gate.restart();
        for file in self.files.values_mut() {
            (file.opens, file.exclusive) = (0, None);
            file.shared.clear();
        }
        self.sweep();
        self.used = self.files.values().filter(|file| file.is_live()).map(|file| file.pages.len() as u64).sum();
    }

    /// The power is gone and back.
    pub(super) fn crash(&mut self) {
        self.boot += 1;
        self.named_boot = self.named_boot.take().filter(String::is_empty);
        let mood = Mood::draw(&mut self.crashes);
        self.crash_names(mood);
        for file in self.files.values_mut() {
            file.links = 0;
        }
        for inode in self.directories.values().flat_map(|directory| directory.live().map(|(_, inode)| inode)) {
            if let Some(file) = self.files.get_mut(&inode) {
                file.links = 1;
            }
        }
        super::links::count(self);
        for file in self.files.values_mut().filter(|file| file.links > 0) {
            file.pages.crash(mood, &mut self.crashes, &self.stale);
            file.errors = 0;
        }
        self.kill();
    }

    fn crash_names(&mut self, mood: Mood) {
        let mut gone: Vec<String> = Vec::new();
        for (name, directory) in &mut self.directories {
            directory.durable |= match mood {
                Mood::Lost => false,
                Mood::Kept => true,
                Mood::Mixed => self.crashes.bool(),
            };
            // A directory goes with the one it is in; that one comes first in the map.
            let inside = !name.is_empty() && gone.iter().any(|parent| parent == split(name).0);
            if !directory.durable || inside {
                gone.push(name.clone());
            }
            directory.crash(mood, &mut self.crashes);
        }
        self.directories.retain(|name, _| !gone.contains(name));
    }

    /// Forgets files that nothing can bring back.
    fn sweep(&mut self) {
        let directories = &self.directories;
        let returns = |inode: &Inode| directories.values().any(|directory| directory.may_return(*inode));
        let dead: Vec<Inode> = self
            .files
            .iter()
            .filter(|(inode, file)| !file.is_live() && !returns(inode))
            .map(|(inode, _)| *inode)
            .collect();
        for inode in dead {
            if let Some(file) = self.files.remove(&inode) {
                self.stale = file.pages.into_garbage();
            }
        }
    }
}

/// The directory a name is in, and the name there.
pub(super) fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("simulated disk: no {name:?}"))
}
