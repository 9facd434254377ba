//! A store on a simulated disk with simulated tables, opened again and again.

use millpond::testing::{SimDisk, SimTables};
use millpond::{Error, ManualClock, Options, Store, Timestamp};

pub(crate) struct Bench {
    pub(crate) disk: SimDisk,
    pub(crate) tables: SimTables,
    pub(crate) clock: ManualClock,
    pub(crate) openings: u64,
    pub(crate) options: Options,
}

impl Bench {
    /// With segments of so many bytes, and little memory for ids.
    pub(crate) fn new(segment: u32) -> Self {
        let options = Store::options().segment_bytes(segment).first_segment_bytes(segment).id_memory_bytes(64 << 10);
        let clock = ManualClock::starting_at(Timestamp::new(1_700_000_000_000));
        Self { disk: SimDisk::new(1), tables: SimTables::default(), clock, openings: 0, options }
    }

    pub(crate) fn try_open(&mut self) -> Result<Store, Error> {
        self.openings += 1;
        let (clock, options) = (self.clock.clone(), self.options.clone());
        Store::open_simulated_with(&self.disk, &self.tables, clock, self.openings, options)
    }

    pub(crate) fn open(&mut self) -> Store {
        self.try_open().unwrap()
    }

    /// The process dies, what was written stays, and another one opens the store.
    pub(crate) fn kill(&mut self, store: Store) -> Store {
        self.disk.kill();
        drop(store);
        self.open()
    }
}
