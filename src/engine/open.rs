//! Opening is recovery: nothing is answered before everything that was promised has been found and made sure of.

use super::assemble::Parts;
use super::obstacle::Obstacle;
use super::rebuild::Replay;
use super::{Core, Engine, Environment, create_store};
use crate::config::{Compression, Durability, Options, Window};
use crate::error::{Code, Damage, Error, ErrorKind, Result};
use crate::event::{Event, Opened};
use crate::journal::{
    BadIdentity, Files, IDENTITY, IDENTITY_LENGTH, Identity, Known, Limits, Numbers, Recovery, Sealer, Tail, Trimmed,
};
use crate::seen::Seen;
use crate::state::State;
use crate::storage::{Access, Lock, Storage, StorageFile, read_up_to};
use crate::types::{Incarnation, Lsn, Timestamp};
use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The file that is locked while the store is open.
const LOCK: &str = "lock";

/// What opening the store found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Whether the opening before this one ended with a clean close (or there was none).
    pub clean: bool,
    /// Frames that were read.
    pub frames: u64,
    /// The torn tail that was trimmed, if there was one: nobody was promised what was in it.
    pub trimmed: Option<Trimmed>,
    /// Damaged pieces of snapshots: nothing was lost with them, the journal before them was read instead.
    pub snapshot_damage: Vec<Damage>,
    /// Messages that were in somebody's hands when the process died: each is delivered alone first.
    pub suspects: u64,
    /// Messages that were parked because too many deaths of the process are laid to them.
    pub parked: u64,
    /// How much longer the store was closed, by the machine's clock, than
    /// [`Options::doubtful_gap`](crate::Options::doubtful_gap) lets pass without doubt; `None` if it was not. Messages
    /// do not age by it before the store has been open for an hour.
    pub gap: Option<Duration>,
    /// Sealed segments whose index was missing or wrong and was made anew.
    pub rebuilt: u64,
    /// Stretches of the journal whose published ids were missing beside it, or damaged, and were read from it again.
    pub ids_rebuilt: u64,
    /// Why the table of processed ids, in the directory `tables`, was made anew from the journal; `None` if it was not.
    /// What was there before is in `tables.aside`.
    pub tables_rebuilt: Option<String>,
}

/// Takes the store's lock, which dies with the process. The file is never removed.
pub(super) fn take_lock(storage: &dyn Storage) -> Result<Arc<dyn StorageFile>> {
    let opened = match storage.open(LOCK, Access::Create) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => storage.open(LOCK, Access::Write),
        other => other,
    };
    lock(opened.map_err(|source| Error::io("opening the store's lock file", source))?, Lock::Exclusive)
}

/// Makes sure that nobody has the store open for writing, changing nothing: where there is no lock file, nobody has.
pub(super) fn share_lock(storage: &dyn Storage) -> Result<Option<Arc<dyn StorageFile>>> {
    match storage.open(LOCK, Access::Read) {
        Ok(file) => lock(file, Lock::Shared).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("opening the store's lock file", source)),
    }
}

fn lock(file: Arc<dyn StorageFile>, how: Lock) -> Result<Arc<dyn StorageFile>> {
    match file.try_lock(how) {
        Ok(true) => Ok(file),
        Ok(false) => Err(Error::new(
            Code::Locked,
            "the store is locked by its owner: another process, or another `Store` of this one, has it open",
        )),
        Err(source) => Err(Error::io("locking the store", source)),
    }
}

/// Reads the identity; nothing if the file isn't there.
pub(super) fn read_identity(storage: &dyn Storage, name: &str) -> Result<Option<Result<Identity, BadIdentity>>> {
    let file = match storage.open(name, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::io(format!("opening {name}"), source)),
    };
    // One byte more than it should have: a longer file is noticed, and never read whole.
    let mut bytes = vec![0; IDENTITY_LENGTH + 1];
    let read = read_up_to(&*file, &mut bytes, 0).map_err(|source| Error::io(format!("reading {name}"), source))?;
    Ok(Some(Identity::decode(bytes.get(..read).unwrap_or_default())))
}

/// The identity of the store that is here, or the error that says why it can't be used.
pub(super) fn known_identity(storage: &dyn Storage) -> Result<Option<Identity>> {
    match read_identity(storage, IDENTITY)? {
        None => Ok(None),
        Some(Ok(identity)) => Ok(Some(identity)),
        Some(Err(bad)) => {
            let code = match bad {
                BadIdentity::Length | BadIdentity::Damaged => Code::IdentityDamaged,
                BadIdentity::Future(_) | BadIdentity::Features(_) | BadIdentity::Hash(_) => Code::FutureVersion,
            };
            Err(Error::new(code, format!("the store's file `{IDENTITY}` can't be used")).because(Arc::new(bad)))
        }
    }
}

impl Engine {
    /// Opens the store, or creates it. With `threads` it runs by itself; without, the caller polls.
    pub(crate) fn open(environment: Environment, options: Options, threads: bool) -> Result<Arc<Self>> {
        options.check()?;
        let environment = environment.with_keys(&options.encryption);
        let storage = &*environment.storage;
        let (lock, identity) = match known_identity_or_listing(storage)? {
            Some(_) => {
                let lock = take_lock(storage)?;
                // Once more, now that nobody else can be creating it.
                let identity = known_identity(storage)?;
                let identity =
                    identity.ok_or_else(|| Error::new(Code::NoSuchStore, "the store was removed meanwhile"))?;
                // The process that created it may have died between giving the file its name and making that last: what
                // is promised from here on would go with the name.
                storage.sync_dir("").map_err(|source| Error::io("syncing the store's directory", source))?;
                (lock, identity)
            }
            None => create_store::create(&environment, &options)?,
        };
        super::salvage::refuse_half_repaired(storage)?;
        let engine = Arc::new(Self::recover(environment, options, identity, lock)?);
        if threads {
            super::driver::start(&engine)?;
        }
        Ok(engine)
    }

    fn recover(
        environment: Environment,
        options: Options,
        identity: Identity,
        lock: Arc<dyn StorageFile>,
    ) -> Result<Self> {
        let storage = environment.storage.clone();
        let mut recovery = Recovery::begin(storage.clone(), identity.store, &environment.keys)?;
        let mut replay = Replay::default();
        replay.run(&mut recovery)?;
        recovery.check_keys(&replay.gone)?;
        let (clean, frames) = (recovery.closed || recovery.frames == 0, recovery.frames);
        let snapshot_damage = recovery.snapshot_damage().to_vec();
        let snapshots = recovery.snapshots();
        let (mut found, listing) = recovery.finish()?;
        let files = Files::new(storage.clone(), options.open_segments);
        let rebuilt = super::rebuild::indexes(&*storage, identity.store, &files, (&found, &listing, &replay.gone))?;
        let mut numbers = Numbers::new(listing.highest(), listing.unfinished.clone());
        numbers
            .set_aside(&*storage, &found.strays)
            .map_err(|source| Error::io("setting aside segments that hold nothing", source))?;
        Seen::StraySetAside.note_if(!found.strays.is_empty());
        if let Some(trimmed) = &found.trimmed {
            tracing::warn!(from = %trimmed.from, to = %trimmed.to, "a torn tail that nobody was promised was trimmed");
        }
        let start = found.start(&*storage, snapshots, Access::Write)?;
        let wall = environment.clock.wall().max(replay.state.newest_time()).max(found.active.base);
        let (gap, doubted) = doubt(&replay.state, wall, options.doubtful_gap);
        let mut seed = [0; 8];
        let random = |source| Error::io("asking for randomness", source);
        environment.entropy.fill(&mut seed).map_err(random)?;
        let sealer = Sealer::begin(&environment.keys, environment.entropy.clone()).map_err(random)?;
        let lifetimes = replay.state.topics().any(|topic| topic.policy().expires_after.is_some());
        let sealed = files.all().into_iter().filter(|known| known.seal.is_some()).map(|known| known.segment).collect();
        let journal = super::ids::Journal {
            storage: &*storage,
            store: identity.store,
            sealed,
            active: found.active.clone(),
            end: found.end,
            since: replay.state.ids_since(),
        };
        let mut segments: Vec<_> = journal.sealed.clone();
        segments.push(found.active.clone());
        let end = Lsn::new(found.active.id, found.end);
        let source = super::inbox::Source { storage: &*storage, segments, end };
        let door = &*environment.tables;
        let inbox = source.recover(door, &replay.state, options.id_memory_bytes)?;
        let ids = super::ids::Recovered::of(&journal, options.id_memory_bytes)?;
        let packs = replay.state.topics().any(|topic| topic.policy().compression != Compression::Off);
        let forgetful = replay.state.topics().any(|topic| topic.policy().deduplicate == Window::Off);
        let tail = Tail::new(limits(&options), start, sealer);
        let mut core = Core::new(tail, replay.state, u64::from_le_bytes(seed), ids.ids);
        core.snapshot.replayed = replay.bytes;
        core.snapshot.size = replay.snapshot_bytes;
        core.space = super::space::Space::found(&found.walked, &listing, &replay.gone, found.active.id);
        core.tail.stock_mut().set_banked(numbers.banked());
        core.inbox = inbox.inbox;
        core.last_sync = environment.clock.monotonic();
        let incarnation = Incarnation(core.state.incarnation().get().saturating_add(1));
        files.add(Known { segment: found.active, seal: None, index: None });
        let start = (wall, environment.clock.monotonic());
        Seen::SidecarRebuilt.note_if(rebuilt > 0);
        Seen::IdsRebuilt.note_if(ids.rebuilt > 0);
        Seen::TablesRebuilt.note_if(inbox.rebuilt.is_some());
        let report = RecoveryReport {
            clean,
            frames,
            trimmed: found.trimmed,
            snapshot_damage,
            gap,
            rebuilt,
            ids_rebuilt: ids.rebuilt,
            tables_rebuilt: inbox.rebuilt,
            ..RecoveryReport::default()
        };
        let mut engine = Self::assemble(Parts {
            environment,
            options,
            identity,
            incarnation,
            start,
            report,
            doubted,
            lifetimes,
            forgetful,
            packs,
            runs: ids.runs,
            tables: inbox.tables,
            files,
            core,
            numbers,
            lock: Some(lock),
        });
        let (suspects, parked) = engine.announce(clean, wall)?;
        Seen::SuspectsMade.note_if(suspects > 0);
        Seen::ParkedForCrashes.note_if(parked > 0);
        engine.report.suspects = suspects;
        engine.report.parked = parked;
        Ok(engine)
    }

    /// Writes that the store was opened, by whom, and what follows from how it was left.
    fn announce(&self, clean: bool, time: Timestamp) -> Result<(u64, u64)> {
        // From the first publish on it is known what is to be left to others.
        _ = self.measure(&mut self.core.lock());
        self.insist(|core| Ok(core.tail.change_key()?))?;
        let boot_id = Cow::Owned(self.environment.storage.boot_id());
        let opened =
            Event::Opened(Opened { incarnation: self.incarnation, time, boot_id, clean, doubted: self.doubted });
        self.insist(|core| Ok(core.record(&opened).map(drop)?))?;
        let groups: Vec<_> = {
            let mut core = self.core.lock();
            let ends: Vec<_> = core.state.topics().map(|topic| (topic.id(), topic.end())).collect();
            for (topic, end) in ends {
                core.visible.set(topic, end);
            }
            core.state.groups().map(|group| group.id()).collect()
        };
        let (mut suspects, mut parked) = (0, 0);
        for group in groups {
            parked += self.park_over_limits(group)? as u64;
            let core = self.core.lock();
            suspects += core.state.group(group).map_or(0, |group| group.suspects()) as u64;
        }
        let mut core = self.core.lock();
        let topics: Vec<_> = core.state.topics().map(|topic| topic.id()).collect();
        topics.into_iter().for_each(|topic| self.touched(&mut core, topic));
        let end = core.tail.end();
        drop(core);
        self.drive(end, Durability::Disk, None)?;
        Ok((suspects, parked))
    }

    /// Does what something may be in the way of until nothing is.
    fn insist<T>(&self, mut what: impl FnMut(&mut Core) -> Result<T, Obstacle>) -> Result<T> {
        loop {
            let outcome = what(&mut self.core.lock());
            match outcome {
                Ok(value) => return Ok(value),
                Err(obstacle) => self.relieve(obstacle)?,
            }
        }
    }
}

pub(super) const fn limits(options: &Options) -> Limits {
    Limits {
        max_frame_bytes: options.max_frame_bytes,
        buffer_bytes: options.buffer_bytes,
        tail_cache_bytes: options.tail_cache_bytes,
    }
}

/// The gap before this opening, if it is in doubt, and by how many milliseconds ages lag behind the time from now on:
/// a doubt of the opening before goes on, unless that one lasted long enough.
fn doubt(state: &State, now: Timestamp, limit: Duration) -> (Option<Duration>, u64) {
    let newest = state.newest_time();
    let (opened, doubted) = state.last_opening();
    let lasted = newest.since(opened) >= super::retention::DOUBT;
    let carried = if lasted { 0 } else { doubted };
    let gap = Some(now.since(newest)).filter(|gap| newest != Timestamp::ZERO && *gap > limit);
    if let Some(gap) = gap {
        tracing::warn!(?gap, "the clock has gone far ahead since the store was last used; ages wait for an hour");
    }
    (gap, carried.saturating_add(gap.map_or(0, crate::types::millis)))
}

/// The identity, if the directory is a store; nothing if it may become one.
fn known_identity_or_listing(storage: &dyn Storage) -> Result<Option<Identity>> {
    match known_identity(storage) {
        Err(error) if error.kind() == ErrorKind::System && !create_store::is_directory(storage) => {
            Err(Error::new(Code::NotADirectory, "the path is not a directory; a store is one"))
        }
        other => other,
    }
}
