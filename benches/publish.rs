//! What publishing costs, beside the least that the machine asks for it: `cargo bench --bench publish`.
//!
//! Criterion looks at single calls. The table behind it has the ratios that the project promises; there figure and
//! floor are measured in turns, and `Memory` over two million messages, since its price is paid by the commits and the
//! segments behind the call. Without `--bench` everything is done once, only to see that it works.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in a benchmark, a panic is how it fails")]
#![expect(clippy::disallowed_methods, reason = "what is measured is this machine: its clock, its disk")]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

#[path = "support/asked.rs"]
mod asked;
#[path = "support/durable.rs"]
mod durable;
#[path = "support/publishing.rs"]
mod publishing;
mod support;

use criterion::Criterion;
use millpond::Durability;
use publishing::{message, topic};
use support::{Memory, RawFile, print, scratch};

fn calls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    let directory = scratch();
    let mut memory = Memory::new();
    group.bench_function("floor/memcpy + CRC", |bencher| bencher.iter(|| memory.copy_and_checksum()));
    let raw = RawFile::fresh(directory.path());
    group.bench_function("floor/pwrite", |bencher| bencher.iter(|| raw.write()));
    for (name, level) in [("memory", Durability::Memory), ("os", Durability::Os)] {
        let directory = scratch();
        let (store, topic) = topic(&directory, level);
        group.bench_function(name, |bencher| bencher.iter(|| topic.publish(message()).wait().unwrap()));
        store.close().unwrap();
    }
    let raw = RawFile::written(directory.path(), 4 << 20);
    group.bench_function("floor/write + fdatasync", |bencher| bencher.iter(|| raw.write_and_sync()));
    let (store, topic) = topic(&directory, Durability::Disk);
    group.bench_function("disk", |bencher| bencher.iter(|| topic.publish(message()).wait().unwrap()));
    store.close().unwrap();
    group.finish();
}

fn main() {
    calls(&mut asked::criterion());
    print(&publishing::rows(asked::effort()));
    print(&durable::rows(asked::effort()));
}
