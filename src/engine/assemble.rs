//! Putting an engine together from what was found.

use super::room::Preparer;
use super::rounds::Followers;
use super::{Core, Engine, Environment, RecoveryReport};
use crate::config::Options;
use crate::journal::{Files, Identity, Numbers};
use crate::storage::StorageFile;
use crate::sync::{Condvar, Mutex};
use crate::tables::{Checked, Runs};
use crate::types::{Incarnation, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

/// What differs from one opening to another.
pub(super) struct Parts {
    pub(super) environment: Environment,
    pub(super) options: Options,
    pub(super) identity: Identity,
    pub(super) incarnation: Incarnation,
    pub(super) start: (Timestamp, Duration),
    pub(super) report: RecoveryReport,
    pub(super) doubted: u64,
    pub(super) lifetimes: bool,
    pub(super) forgetful: bool,
    pub(super) packs: bool,
    pub(super) runs: Runs,
    pub(super) tables: Option<Arc<Checked>>,
    pub(super) files: Files,
    pub(super) core: Core,
    pub(super) numbers: Numbers,
    /// Of the store's owner; one who only looks has none.
    pub(super) lock: Option<Arc<dyn StorageFile>>,
}

impl Engine {
    pub(super) fn assemble(parts: Parts) -> Self {
        let readers = super::readers::Readers::new(parts.options.read_ahead_bytes);
        Self {
            environment: parts.environment,
            options: parts.options,
            identity: parts.identity,
            incarnation: parts.incarnation,
            start: parts.start,
            report: parts.report,
            doubted: parts.doubted,
            lifetimes: AtomicBool::new(parts.lifetimes),
            runs: Mutex::new(Arc::new(parts.runs)),
            mending: Mutex::default(),
            merging: Mutex::default(),
            forgetful: AtomicBool::new(parts.forgetful),
            packs: AtomicBool::new(parts.packs),
            tables: Mutex::new(parts.tables),
            checkpointing: Mutex::default(),
            swept: Mutex::default(),
            files: parts.files,
            core: Mutex::new(parts.core),
            written: Followers::default(),
            committed: Followers::default(),
            admitted: Condvar::new(),
            arrived: Condvar::new(),
            commit_work: Condvar::new(),
            upkeep_work: Condvar::new(),
            lease_work: Condvar::new(),
            threads: Mutex::default(),
            readers,
            closing: Mutex::default(),
            preparing: Mutex::new(Preparer::new(parts.numbers)),
            cleaning: Mutex::default(),
            snapshotting: Mutex::default(),
            removing: Mutex::default(),
            corrupt: AtomicU64::new(0),
            observes: parts.lock.is_none(),
            lock: Mutex::new(parts.lock),
        }
    }
}
