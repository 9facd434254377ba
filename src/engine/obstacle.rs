//! What is in the way of recording something, and doing away with it.

use super::Engine;
use crate::config::Durability;
use crate::error::{Error, Result};
use crate::journal::Refusal;
use crate::types::{GroupId, Offset};

/// Why something can't be recorded now. [`Engine::relieve`] does what is needed, without the lock.
#[derive(Debug)]
pub(super) enum Obstacle {
    Room(Refusal),
    /// A copy of this message is to be published, and it has not been read.
    Unread(GroupId, Offset),
    /// Others stand in line for room, and were there before.
    InLine,
    /// It is refused for good.
    Refused(Error),
}

impl From<Error> for Obstacle {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<Refusal> for Obstacle {
    fn from(refusal: Refusal) -> Self {
        Self::Room(refusal)
    }
}

impl Engine {
    /// Does away with what was in the way: writes what is buffered, prepares a segment, reads what is to be copied.
    pub(super) fn relieve(&self, obstacle: impl Into<Obstacle>) -> Result<()> {
        let refusal = match obstacle.into() {
            Obstacle::Unread(group, offset) => return self.read_to_copy(group, offset),
            Obstacle::InLine => return self.relieve_line(),
            Obstacle::Refused(error) => return Err(error),
            Obstacle::Room(refusal) => refusal,
        };
        match refusal {
            Refusal::TooLarge { limit } => Err(super::publish::too_large(limit)),
            Refusal::BufferFull => {
                let end = self.core.lock().tail.end();
                self.drive(end, Durability::Os, None).map(drop)
            }
            Refusal::NoSegment { bytes } => {
                let mut core = self.core.lock();
                core.wanted_bytes = core.wanted_bytes.max(bytes);
                drop(core);
                self.make_room(bytes)
            }
            Refusal::Reserve => {
                self.core.lock().space.ask_beyond();
                self.make_room(0)?;
                match self.core.lock().full.clone() {
                    Some(source) => Err(super::publish::disk_full(source)),
                    None => Ok(()),
                }
            }
        }
    }
}
