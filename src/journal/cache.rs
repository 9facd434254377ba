//! The last of what was written, still in memory: readers that are nearly up to date need no system call.

use super::commit::Written;
use crate::types::{Lsn, Position};
use std::collections::VecDeque;

/// Written bytes, oldest first, without a gap, up to a number of bytes.
#[derive(Debug)]
pub(crate) struct Cache {
    limit: usize,
    held: VecDeque<Written>,
    bytes: usize,
}

impl Cache {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, held: VecDeque::new(), bytes: 0 }
    }

    /// Keeps what was just written, at the cost of the oldest.
    pub(crate) fn keep(&mut self, written: Written) {
        if self.limit == 0 {
            return;
        }
        self.bytes += written.bytes.len();
        self.held.push_back(written);
        while self.bytes > self.limit {
            let Some(oldest) = self.held.pop_front() else { break };
            self.bytes -= oldest.bytes.len();
        }
    }

    /// Gathers from `next` on, moving it forward, as long as `left` lasts.
    pub(crate) fn from(&self, next: &mut Lsn, left: &mut usize, found: &mut Vec<Written>) {
        let after = self.held.partition_point(|written| written.start_lsn() <= *next);
        for written in self.held.iter().skip(after.saturating_sub(1)) {
            if *left == 0 {
                break;
            }
            written.gather(next, left, found);
        }
    }
}

impl Written {
    fn start_lsn(&self) -> Lsn {
        Lsn::new(self.segment.segment.id, self.start)
    }

    /// Adds what lies at `next`, if it lies here, and moves `next` behind it.
    pub(crate) fn gather(&self, next: &mut Lsn, left: &mut usize, found: &mut Vec<Self>) {
        let id = self.segment.segment.id;
        if next.segment() != id || next.position() < self.start || *left == 0 {
            return;
        }
        let skip = (next.position().get() - self.start.get()) as usize;
        if skip >= self.bytes.len() {
            return;
        }
        let bytes = self.bytes.slice(skip..);
        let start = next.position();
        *next = Lsn::new(id, Position(start.get().saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX))));
        *left = left.saturating_sub(bytes.len());
        found.push(Self { segment: self.segment.clone(), start, bytes });
    }
}
