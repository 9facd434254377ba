//! The rows of a run, from its file, in their order.

use super::published::{Published, PublishedKey};
use super::run::{BLOCK, Run, rows, take};
use crate::storage::{Storage, StorageFile, read_exact_at};
use std::io::Result;
use std::sync::Arc;

/// Blocks that are read at a time.
const CHUNK: u32 = 32;

/// See the module. After an error there is nothing more.
#[derive(Debug)]
pub(crate) struct Rows {
    run: Arc<Run>,
    file: Arc<dyn StorageFile>,
    chunk: std::vec::IntoIter<(PublishedKey, Published)>,
    next: u32,
}

impl Rows {
    pub(crate) fn new(storage: &dyn Storage, run: Arc<Run>) -> Result<Self> {
        let file = run.file(storage)?;
        Ok(Self { run, file, chunk: Vec::new().into_iter(), next: 0 })
    }

    pub(crate) fn run(&self) -> &Arc<Run> {
        &self.run
    }

    fn read(&mut self) -> Result<()> {
        let count = CHUNK.min(self.run.blocks - self.next);
        let first = self.next.saturating_add(self.run.filters).saturating_add(1);
        self.next = self.run.blocks;
        let mut bytes = vec![0; count as usize * BLOCK];
        read_exact_at(&*self.file, &mut bytes, u64::from(first) * BLOCK as u64)?;
        let mut chunk = Vec::with_capacity(count as usize * super::run::ROWS);
        for (number, block) in (first..).zip(bytes.chunks_exact(BLOCK)) {
            for row in rows(self.run.checked(number, block)?) {
                chunk.push(take(row)?);
            }
        }
        self.chunk = chunk.into_iter();
        self.next = first.saturating_sub(self.run.filters).saturating_sub(1).saturating_add(count);
        Ok(())
    }
}

impl Iterator for Rows {
    type Item = Result<(PublishedKey, Published)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.chunk.next() {
                return Some(Ok(row));
            }
            if self.next >= self.run.blocks {
                return None;
            }
            if let Err(error) = self.read() {
                return Some(Err(error));
            }
        }
    }
}
