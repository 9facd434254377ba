//! What files the journal's directory has.

use super::control::Seal;
use super::gone::Gone;
use super::index::SegmentIndex;
use super::segment::{BadSegment, DIRECTORY, FileKind, Segment, parse_name, segment_name, sidecar_name};
use super::sidecar;
use crate::config::Keys;
use crate::error::{Code, Error, Result};
use crate::storage::{Access, EntryKind, Storage, read_exact_at};
use crate::types::{Position, SegmentId, StoreId};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// No sidecar of ours is larger; what is, is not read.
const MAX_SIDECAR: u64 = 256 << 20;

/// The journal's files, by what they are. Foreign ones are left alone.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) segments: BTreeMap<SegmentId, Arc<Segment>>,
    /// Named as segments, but not usable ones.
    pub(crate) bad: BTreeMap<SegmentId, BadSegment>,
    /// Files that are set aside or were being prepared, with their lengths.
    pub(crate) unfinished: Vec<(SegmentId, u64)>,
    pub(crate) sidecars: Vec<SegmentId>,
    /// Files that a search has found to be other segments than their names say.
    pub(crate) aliases: BTreeMap<SegmentId, String>,
    pub(crate) bytes: u64,
    /// The highest number of files that were removed since.
    pub(crate) used: SegmentId,
}

impl Listing {
    /// Reads names and headers.
    pub(crate) fn read(storage: &dyn Storage, store: StoreId, keys: &Keys) -> Result<Self> {
        let mut listing = Self::default();
        let entries = match storage.list(DIRECTORY) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
            Err(error) => return Err(Error::io("listing the journal's directory", error)),
        };
        for entry in entries {
            let Some((id, kind)) = parse_name(&entry.name) else { continue };
            match (kind, entry.kind) {
                (FileKind::Segment, EntryKind::File) => {
                    let name = segment_name(id);
                    let failed = |source| Error::io(format!("reading the header of {name}"), source);
                    let file = match storage.open(&name, Access::Read) {
                        // It went meanwhile, or its owner has not finished it yet: if it is needed, that comes out.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        other => other.map_err(failed)?,
                    };
                    let read = Segment::read(&*file, (store, keys), id).map_err(failed)?;
                    listing.bytes += entry.len;
                    match read {
                        Ok(segment) => drop(listing.segments.insert(id, Arc::new(segment))),
                        Err(BadSegment::Future(version)) => {
                            let what = format!(
                                "{name} has format version {version}, newer than this release reads: use a newer one"
                            );
                            return Err(Error::new(Code::FutureVersion, what));
                        }
                        Err(bad) => drop(listing.bad.insert(id, bad)),
                    }
                }
                (FileKind::Segment, _) => drop(listing.bad.insert(id, BadSegment::Damaged)),
                (FileKind::Unfinished, EntryKind::File) => listing.unfinished.push((id, entry.len)),
                (FileKind::Sidecar, EntryKind::File) => listing.sidecars.push(id),
                _ => {}
            }
        }
        Ok(listing)
    }

    /// The name of the file that holds segment `id`.
    pub(crate) fn file_of(&self, id: SegmentId) -> String {
        self.aliases.get(&id).cloned().unwrap_or_else(|| segment_name(id))
    }

    /// The first segment that is not gone; it may be one that is needed and not there.
    pub(crate) fn first(&self, gone: &Gone) -> Option<SegmentId> {
        let good = self.segments.keys().find(|id| !gone.has(**id));
        let bad = self.bad.keys().find(|id| !gone.has(**id));
        let needed = gone.needed.iter().find(|id| !gone.has(**id));
        good.into_iter().chain(bad).chain(needed).min().copied()
    }

    /// The first usable segment behind `id` that is not gone.
    pub(crate) fn after(&self, id: SegmentId, gone: &Gone) -> Option<Arc<Segment>> {
        let behind = SegmentId(id.get().saturating_add(1))..;
        self.segments.range(behind).find(|(id, _)| !gone.has(**id)).map(|(_, segment)| segment.clone())
    }

    /// The highest number in any name.
    pub(crate) fn highest(&self) -> SegmentId {
        let unfinished = self.unfinished.iter().map(|(id, _)| id);
        let named = self.segments.keys().chain(self.bad.keys()).chain(unfinished);
        named.chain([&self.used]).max().copied().unwrap_or_default()
    }

    /// Why segment `id` can't be used.
    pub(crate) fn why_missing(&self, id: SegmentId) -> String {
        self.bad.get(&id).map_or_else(|| "the file is missing".to_owned(), ToString::to_string)
    }
}

/// Reads the sidecar of `id`; nothing if there is none or it is not what it should be.
pub(crate) fn read_sidecar(storage: &dyn Storage, store: StoreId, id: SegmentId) -> Option<(SegmentIndex, Seal)> {
    let file = storage.open(&sidecar_name(id), Access::Read).ok()?;
    let length = file.len().ok().filter(|length| *length <= MAX_SIDECAR)?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    read_exact_at(&*file, &mut bytes, 0).ok()?;
    sidecar::decode(&bytes, store, id).ok()
}

/// How far segment `id` went when its sidecar was written: all of that was durable then.
pub(crate) fn sidecar_claim(storage: &dyn Storage, store: StoreId, id: SegmentId) -> Option<Position> {
    read_sidecar(storage, store, id).map(|(_, seal)| Position(seal.length))
}
