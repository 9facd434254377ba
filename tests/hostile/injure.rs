//! What happens to bytes: flipped, zeroed, cut, inserted, swapped, left over from an older version, forged with right
//! checksums; and to files: swapped, doubled, renamed, removed, taken from another store.

use crate::forge;
use crate::layout::{self, Class, HEADER};
use crate::pond::{Files, Pond, stranger};
use fastrand::Rng;

/// The ways in which bytes and files are hurt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    Flip,
    Zero,
    Garbage,
    Cut,
    Grow,
    Insert,
    SwapBytes,
    Stale512,
    Stale4096,
    SwapFiles,
    Double,
    Rename,
    Remove,
    Empty,
    Strange,
    ForgeFrame,
    ForgeLength,
    ForgeHeader,
    ForgeSidecar,
    ForgeIdentity,
    /// Damage to the frame whose payload is a piece of the journal.
    Resync,
}

pub(crate) const ALL: [How; 21] = [
    How::Flip,
    How::Zero,
    How::Garbage,
    How::Cut,
    How::Grow,
    How::Insert,
    How::SwapBytes,
    How::Stale512,
    How::Stale4096,
    How::SwapFiles,
    How::Double,
    How::Rename,
    How::Remove,
    How::Empty,
    How::Strange,
    How::ForgeFrame,
    How::ForgeLength,
    How::ForgeHeader,
    How::ForgeSidecar,
    How::ForgeIdentity,
    How::Resync,
];

/// What was done.
#[derive(Clone, Debug)]
pub(crate) struct Injury {
    pub(crate) how: How,
    pub(crate) class: Class,
    /// The file that was hurt.
    pub(crate) file: String,
    /// The one byte that was, if it was only one.
    pub(crate) byte: Option<usize>,
    /// Bytes that were written for a reason are not what they were.
    pub(crate) hurt: bool,
}

/// A place in a file that is worth a look: near the beginning, in the middle of what is used, near its end.
fn place(rng: &mut Rng, bytes: &[u8]) -> usize {
    let used = layout::used(bytes).min(bytes.len());
    let at = match rng.u8(0..8) {
        0 => rng.usize(0..HEADER.min(bytes.len()).max(1)),
        1 => used.saturating_sub(rng.usize(1..80)),
        2 => used.saturating_add(rng.usize(0..64)),
        _ => rng.usize(0..used.max(1)),
    };
    at.min(bytes.len().saturating_sub(1))
}

fn pick<'a>(rng: &mut Rng, names: &'a [String]) -> &'a str {
    &names[rng.usize(0..names.len())]
}

fn victims(files: &Files, how: How) -> Vec<String> {
    let of = |wanted: fn(&str) -> bool| files.keys().filter(|name| wanted(name)).cloned().collect();
    match how {
        How::ForgeFrame | How::ForgeLength | How::ForgeHeader | How::Resync => layout::segments(files),
        How::ForgeSidecar => of(|name| name.ends_with(".index")),
        How::ForgeIdentity => vec!["identity".to_owned()],
        How::Double | How::Rename | How::SwapFiles | How::Strange => of(|name| name.starts_with("journal/")),
        _ => files.keys().cloned().collect(),
    }
}

/// Whether bytes that were written for a reason differ.
fn differs(before: &Files, after: &Files) -> bool {
    before.iter().any(|(name, old)| {
        if !name.ends_with(".segment") || layout::frames(old).is_empty() {
            return false;
        }
        let used = layout::used(old);
        after.get(name).is_none_or(|new| new.get(..used) != old.get(..used))
    })
}

/// Hurts the files in this way; nothing if there is nothing here to be hurt so.
pub(crate) fn injure(rng: &mut Rng, pond: &Pond, files: &mut Files, how: How) -> Option<Injury> {
    let names = victims(files, how);
    if names.is_empty() {
        return None;
    }
    let file = pick(rng, &names).to_owned();
    let before = files.clone();
    let mut bytes = files.remove(&file)?;
    let at = place(rng, &bytes);
    let length = (1 << rng.u32(0..14)).min(bytes.len().saturating_sub(at));
    let mut byte = None;
    let mut class = layout::class(&before, &file, at);
    match how {
        How::Flip => {
            *bytes.get_mut(at)? ^= 1 << rng.u8(0..8);
            byte = Some(at);
        }
        How::Zero => bytes.get_mut(at..at + length)?.fill(0),
        How::Garbage => bytes.get_mut(at..at + length)?.fill_with(|| rng.u8(..)),
        How::Cut => bytes.truncate(at),
        How::Grow => bytes.extend((0..length).map(|_| rng.u8(..))),
        How::Insert => {
            let more: Vec<u8> = (0..length.min(600)).map(|_| rng.u8(..)).collect();
            bytes.splice(at..at, more);
        }
        How::SwapBytes => {
            let sector = 512;
            let (one, other) = (at / sector * sector, place(rng, &bytes) / sector * sector);
            if one == other || one.max(other) + sector > bytes.len() {
                return None;
            }
            (0..sector).for_each(|byte| bytes.swap(one + byte, other + byte));
        }
        How::Stale512 | How::Stale4096 => {
            let size = if how == How::Stale512 { 512 } else { 4096 };
            let start = at / size * size;
            let old = pond.older.get(&file)?.get(start..start + size)?.to_vec();
            bytes.get_mut(start..start + size)?.copy_from_slice(&old);
        }
        How::SwapFiles => {
            let other = pick(rng, &names).to_owned();
            let taken = files.insert(other, bytes)?;
            bytes = taken;
        }
        How::Double => {
            let ending = file.strip_prefix("journal/")?.split_once('.')?.1.to_owned();
            let number = [0, 999, rng.u32(1..40)][rng.usize(0..3)];
            let copy = format!("journal/{number:010}.{ending}");
            if copy != file && !files.contains_key(&copy) {
                files.insert(copy, bytes.clone());
            }
        }
        How::Rename => {
            let ending = file.strip_prefix("journal/")?.split_once('.')?.1.to_owned();
            let name = format!("journal/{:010}.{ending}", rng.u32(0..60));
            files.insert(name, bytes);
            return finish(before, files, how, class, file, None);
        }
        How::Remove => return finish(before, files, how, class, file, None),
        How::Empty => bytes.clear(),
        How::Strange => {
            let theirs = stranger().iter().filter(|(name, _)| name.ends_with(file.rsplit('.').next().unwrap()));
            let theirs: Vec<_> = theirs.map(|(_, bytes)| bytes.clone()).collect();
            bytes = theirs.get(rng.usize(0..theirs.len().max(1)))?.clone();
        }
        How::ForgeFrame => class = forge::frame(rng, &before, &file, &mut bytes)?,
        How::ForgeLength => class = forge::length(rng, &before, &file, &mut bytes)?,
        How::ForgeHeader => class = forge::header(rng, &mut bytes)?,
        How::ForgeSidecar => class = forge::sidecar(rng, &mut bytes)?,
        How::ForgeIdentity => class = forge::identity(rng, &mut bytes)?,
        How::Resync => {
            let at = forge::image(rng, &bytes)?;
            *bytes.get_mut(at)? ^= 1 << rng.u8(0..8);
            class = layout::class(&before, &file, at);
            byte = Some(at);
        }
    }
    files.insert(file.clone(), bytes);
    finish(before, files, how, class, file, byte)
}

fn finish(before: Files, files: &Files, how: How, class: Class, file: String, byte: Option<usize>) -> Option<Injury> {
    if before == *files {
        return None;
    }
    let hurt = differs(&before, files);
    // A place behind what is used is no place of the journal.
    let used = before.get(&file).map_or(0, |bytes| layout::used(bytes));
    let byte = byte.filter(|at| file.ends_with(".segment") && *at < used);
    Some(Injury { how, class, file, byte, hurt })
}
