//! Now and then somebody gives the store's files second names while it is down, as a copy made by links does. None of
//! them is written by anybody until they are gone.

use crate::world::{Check, World};

impl World {
    /// The store is down.
    pub(crate) fn link(&mut self) {
        if !self.plan.has("links") {
            return;
        }
        match self.rng.u8(0..8) {
            0 => {
                for name in self.disk.file_names().into_iter().filter(|name| name.ends_with(".segment")) {
                    // Some of them; what shares its file already may get a third name.
                    if self.rng.u8(0..4) > 0 {
                        self.disk.link_outside(&name).unwrap_or_else(|error| unreachable!("{name}: {error}"));
                    }
                }
            }
            1..4 => self.disk.unlink_outside(),
            _ => {}
        }
    }

    /// Whether a file with a second name was left alone.
    pub(crate) fn check_links(&self) -> Check {
        match self.disk.counts().writes_to_linked {
            0 => Ok(()),
            count => Err(format!("{count} writes to files with second names")),
        }
    }

    pub(crate) fn has_links(&self) -> bool {
        !self.disk.outside_names().is_empty()
    }
}
