//! What was trimmed does not come back: after an opening that found a torn tail, nothing of it is left on the disk, in
//! the page cache or below it, whatever has been appended in its place since.

use millpond::testing::SimDisk;
use millpond::{Position, Store};

/// Looks at the disk just after an opening.
pub(crate) fn check(disk: &SimDisk, store: &Store) -> Result<(), String> {
    let Some(trimmed) = &store.recovery().trimmed else { return Ok(()) };
    let (segment, end) = (trimmed.from.segment(), store.stats().end);
    // Its last frame may be the seal already: then what was trimmed is behind that, at a place that is not told.
    if end.segment() != segment {
        return Ok(());
    }
    let name = format!("journal/{:010}.segment", segment.get());
    let at = |position: Position| usize::try_from(position.get()).unwrap();
    let (from, to) = (at(trimmed.from.position().max(end.position())), at(trimmed.to.position()));
    for (bytes, what) in [(disk.read_file(&name), "is there"), (disk.synced_file(&name), "would be back without power")]
    {
        let bytes = bytes.map_err(|error| format!("{name}: {error}"))?;
        let left = bytes[..to.min(bytes.len())].iter().skip(from).position(|byte| *byte != 0);
        if let Some(left) = left {
            let place = from + left;
            return Err(format!("trimmed: {name}: byte {place} of the torn tail up to {to} {what}; the end is {end}"));
        }
    }
    Ok(())
}
