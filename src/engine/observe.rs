//! Looking at a store that somebody else may have open: the same fold over the same journal, and nothing that follows
//! from it. Nothing is written, nobody's lock is taken, and nothing is said in the journal of having looked.

use super::assemble::Parts;
use super::open::{known_identity, limits};
use super::rebuild::Replay;
use super::{Core, Engine, Environment, RecoveryReport};
use crate::config::Options;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::journal::{Files, Scanner, Sighting};
use crate::journal::{Known, Numbers, Recovery, Sealer, Start, Tail, segment_name};
use crate::storage::{Access, ReadOnlyDisk};
use std::sync::Arc;

/// How often it is begun anew because the owner went on meanwhile, before that is taken for something else. Each time
/// takes less than the owner needs for a segment or two.
const ATTEMPTS: usize = 50;

impl Environment {
    /// The same, so that nothing can be written.
    pub(crate) fn read_only(mut self) -> Self {
        self.storage = Arc::new(ReadOnlyDisk::new(self.storage));
        self
    }
}

impl Engine {
    /// The store as it is now, for reading. What was known `before` of segments that are full is not read again.
    /// The environment is one that is [read only](Environment::read_only).
    pub(crate) fn observe(environment: &Environment, options: &Options, before: Option<&Self>) -> Result<Arc<Self>> {
        let mut last: Option<Error> = None;
        for _ in 0..ATTEMPTS {
            match Self::observe_once(environment.clone(), options.clone(), before) {
                Ok(engine) => return Ok(Arc::new(engine)),
                Err(error) if may_have_moved(&error, last.as_ref()) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::new(Code::Io, "the store could not be read while its owner went on")))
    }

    fn observe_once(environment: Environment, options: Options, before: Option<&Self>) -> Result<Self> {
        let storage = environment.storage.clone();
        let Some(identity) = known_identity(&*storage)? else {
            return Err(Error::new(Code::NoSuchStore, "there is no store at this path"));
        };
        super::salvage::refuse_half_repaired(&*storage)?;
        let mut recovery = Recovery::observe(storage.clone(), identity.store, &environment.keys)?;
        let mut replay = Replay::default();
        replay.run(&mut recovery)?;
        recovery.check_keys(&replay.gone)?;
        let snapshots = recovery.snapshots();
        let (clean, frames) = (recovery.closed, recovery.frames);
        let (mut found, listing) = recovery.observed()?;
        let files = Files::new(storage.clone(), options.open_segments);
        let known = before.filter(|before| before.identity.store == identity.store).map(|before| before.files.all());
        for known in known.into_iter().flatten().filter(|known| known.seal.is_some()) {
            if listing.segments.contains_key(&known.segment.id) && !replay.gone.has(known.segment.id) {
                files.add(known);
            }
        }
        super::rebuild::indexes(&*storage, identity.store, &files, (&found, &listing, &replay.gone))?;
        let start = Start { begin: None, ..found.start(&*storage, snapshots, Access::Read)? };
        let ids = super::ids::Ids::new(identity.store, options.id_memory_bytes);
        let sealer = Sealer::begin(&environment.keys, environment.entropy.clone())
            .map_err(|source| Error::io("asking for randomness", source))?;
        let mut core = Core::new(Tail::new(limits(&options), start, sealer), replay.state, 0, ids);
        core.snapshot.size = replay.snapshot_bytes;
        let ends: Vec<_> = core.state.topics().map(|topic| (topic.id(), topic.end())).collect();
        ends.into_iter().for_each(|(topic, end)| core.visible.set(topic, end));
        let wall = environment.clock.wall().max(core.state.newest_time()).max(found.active.base);
        let start = (wall, environment.clock.monotonic());
        let incarnation = core.state.incarnation();
        files.add(Known { segment: found.active, seal: None, index: None });
        Ok(Self::assemble(Parts {
            environment,
            options,
            identity,
            incarnation,
            start,
            report: RecoveryReport { clean, frames, ..RecoveryReport::default() },
            doubted: 0,
            lifetimes: false,
            forgetful: false,
            packs: false,
            runs: crate::tables::Runs::default(),
            tables: None,
            files,
            core,
            numbers: Numbers::new(listing.highest(), Vec::new()),
            lock: None,
        }))
    }

    /// Whether anything was written since. Nothing is read for that but the place where the next frame will be.
    pub(crate) fn is_behind(&self) -> Result<bool> {
        let (segment, end) = {
            let core = self.core.lock();
            (core.tail.active().clone(), core.tail.end())
        };
        let name = segment_name(segment.id);
        let file = match self.environment.storage.open(&name, Access::Read) {
            Ok(file) => file,
            // It is done with altogether.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
            Err(source) => return Err(Error::io(format!("reading {name}"), source)),
        };
        let mut scanner = Scanner::new(file, segment);
        scanner.seek(end.position());
        let sighting = scanner.next().map_err(|source| Error::io(format!("reading {name}"), source))?;
        Ok(matches!(sighting, Sighting::Frame(_)))
    }
}

/// Whether the owner may have gone on meanwhile, so that it is to be begun anew. Damage is damage if it is there twice.
fn may_have_moved(error: &Error, last: Option<&Error>) -> bool {
    if error.is_not_found() {
        return true;
    }
    error.kind() == ErrorKind::Corrupt
        && last.is_none_or(|last| last.damage() != error.damage() || last.to_string() != error.to_string())
}
