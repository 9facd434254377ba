//! The attack on a search: somebody publishes a payload that is a frame, right for the very place where it will lie,
//! and waits until the frame around it is damaged.

use crate::forge;
use crate::layout::{self, FRAME};
use crate::pond::{self, Files, options};
use millpond::{Dumped, Lsn, Store};
use std::path::Path;

const PHANTOM: &[u8] = b"phantom";

/// A message of topic 1 in a frame of its own, behind everything that was published, as its publisher would write it.
fn phantom(offset: u16) -> Vec<u8> {
    let mut body = vec![1, 1];
    body.extend_from_slice(PHANTOM);
    body.extend_from_slice(&offset.to_le_bytes());
    body.push(2);
    body
}

/// Puts a frame that verifies at its place into the payload of a message, whose own checksums are right too. Where the
/// outer frame is.
fn attack(files: &mut Files, name: &str) -> std::ops::Range<usize> {
    let bytes = files.get_mut(name).unwrap();
    let outer = layout::frames(bytes).into_iter().find(|frame| frame.len() > 4000).unwrap();
    let inner = outer.start + 1000;
    let body = phantom(54_321);
    let length = u32::try_from(body.len()).unwrap();
    bytes[inner..inner + 4].copy_from_slice(&length.to_le_bytes());
    // It even claims that everything before it is durable.
    let durable = u32::try_from(inner).unwrap();
    bytes[inner + 4..inner + 8].copy_from_slice(&durable.to_le_bytes());
    bytes[inner + FRAME..inner + FRAME + body.len()].copy_from_slice(&body);
    forge::seal(bytes, name, inner, body.len()).unwrap();
    forge::seal(bytes, name, outer.start, outer.len() - FRAME).unwrap();
    outer
}

/// Whether the phantom is seen by anybody: by opening, salvaging, dumping, or after a repair.
fn looked_for(path: &Path, what: &str) {
    let offsets = |store: &Store| {
        let orders = store.existing_topic("orders").unwrap();
        assert!(orders.end_offset().get() < 54_321, "{what}");
        for record in orders.read(..).map_while(Result::ok) {
            assert_ne!(record.payload(), PHANTOM, "{what}");
        }
    };
    for message in Store::salvage(path).unwrap() {
        assert_ne!(message.unwrap().record.payload(), PHANTOM, "{what}: salvaged");
    }
    for entry in Store::dump(path, Lsn::ZERO).unwrap() {
        if let Dumped::Frame(frame) = entry.unwrap() {
            assert!(!frame.events.iter().any(|(_, fields)| fields.contains("54321")), "{what}: dumped");
        }
    }
    if let Ok(store) = options(32 << 10).open(path) {
        offsets(&store);
        store.close().unwrap();
    }
    Store::repair(path).unwrap();
    let store = options(32 << 10).open(path).unwrap();
    offsets(&store);
    store.close().unwrap();
}

#[test]
fn a_frame_inside_a_payload_never_comes_to_life() {
    for pond in pond::ponds() {
        let name = layout::segments(&pond.files).pop().unwrap();
        let has_large = layout::frames(&pond.files[&name]).iter().any(|frame| frame.len() > 4000);
        if !has_large {
            continue;
        }
        let mut files = pond.files.clone();
        let outer = attack(&mut files, &name);
        let dir = pond::directory();
        pond::write_all(&files, dir.path());
        looked_for(dir.path(), "undamaged");
        // The body around it is hit, before it and behind it.
        for at in [outer.start + FRAME + 3, outer.start + 500, outer.end - 1] {
            let mut hurt = files.clone();
            hurt.get_mut(&name).unwrap()[at] ^= 1;
            let dir = pond::directory();
            pond::write_all(&hurt, dir.path());
            looked_for(dir.path(), &format!("byte {} of {}, {}", at - outer.start, name, pond.name));
        }
    }
    let tried = pond::ponds().iter().filter(|pond| {
        let name = layout::segments(&pond.files).pop().unwrap();
        layout::frames(&pond.files[&name]).iter().any(|frame| frame.len() > 4000)
    });
    assert!(tried.count() >= 2, "no store has a payload that is large enough");
}
