//! The end of a command's stderr, which becomes the error of its message.

use std::io::{self, Read, Write};

/// Bytes that are kept: as much error text as a store keeps by default.
const KEPT_BYTES: usize = 1_000;

/// Reads to the end, passes everything on to our own stderr, and gives the last of it.
pub(super) fn tail(mut stderr: impl Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let read = match stderr.read(&mut buffer) {
            // A stderr that can't be read any more has ended.
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let bytes = buffer.get(..read).unwrap_or_default();
        drop(io::stderr().lock().write_all(bytes));
        kept.extend_from_slice(bytes);
        kept.drain(..kept.len().saturating_sub(KEPT_BYTES));
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept() {
        assert_eq!(tail(&b""[..]), "");
        assert_eq!(tail(&b"\n"[..]), "");
        let long = [vec![b'\n'; 3 * KEPT_BYTES], b"the end\n".to_vec()].concat();
        assert_eq!(tail(&*long), "the end");
    }
}
