//! The alternatives, one file each.

mod beanstalkd;
mod commitlog;
mod fjall;
mod millpond;
mod nats;
mod okaywal;
mod queue_file;
mod raft_engine;
mod redb;
mod redis;
mod server;
mod sled;
mod sqlite;
mod walrus;
mod yaque;

use crate::queue::Alternative;

/// The name of ours.
pub(crate) const OURS: &str = "millpond";

/// All of them, ours first.
pub(crate) const ALL: &[&dyn Alternative] = &[
    &millpond::Millpond,
    &yaque::Yaque,
    &queue_file::QueueFile,
    &okaywal::Okaywal,
    &raft_engine::RaftEngine,
    &walrus::Walrus,
    &commitlog::CommitLog,
    &sled::Sled,
    &redb::Redb,
    &fjall::Fjall,
    &sqlite::Sqlite,
    &redis::Redis,
    &nats::Nats,
    &beanstalkd::Beanstalkd,
];

pub(crate) fn named(name: &str) -> Option<&'static dyn Alternative> {
    ALL.iter().copied().find(|alternative| alternative.name() == name)
}
