//! Which file system a directory is on, how that is mounted, and what is known of such.

use super::{Findings, disk};
use std::path::{Path, PathBuf};

/// A line of `/proc/self/mountinfo`.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    kind: String,
    options: String,
}

/// Looks up where the directory is, and says what that means.
pub(super) fn look(dir: &Path, found: &mut Findings) {
    let text = disk::read_text("/proc/self/mountinfo").unwrap_or_default();
    let Some(mount) = mount_of(&text, dir) else {
        found.fact("file system", "unknown: this system does not say");
        return;
    };
    found.fact("file system", format!("{} at {}", mount.kind, mount.point.display()));
    found.fact("mount options", mount.options.clone());
    if let Some(text) = known(&mount.kind) {
        found.warn(text);
    }
    for option in mount.options.split(',') {
        match option {
            "ro" => found.warn("it is mounted read-only"),
            "nobarrier" | "barrier=0" | "barrier=none" => {
                found.warn(format!("it is mounted with `{option}`: a sync does not reach the disk's own cache"));
            }
            _ => {}
        }
    }
}

/// What is to be said of a kind of file system; nothing of those that keep what they sync.
fn known(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "tmpfs" | "ramfs" => "it is in memory: nothing survives a power cut, or an unmount",
        "overlay" | "aufs" => "it is a layer of a container: what is written goes with the container; use a volume",
        "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "9p" | "afs" | "ceph" | "glusterfs" => {
            "it is on the network: locks and syncs promise less there than a store needs"
        }
        kind if kind.starts_with("fuse") => "it is a program's: whether a sync reaches a disk is up to that",
        "vfat" | "exfat" | "msdos" => "it has no journal: a power cut may take the directory along",
        _ => return None,
    })
}

fn mount_of(mountinfo: &str, dir: &Path) -> Option<Mount> {
    let mounts = mountinfo.lines().filter_map(parse).filter(|mount| dir.starts_with(&mount.point));
    // The last of the longest: what was mounted over the same point later hides what was there.
    mounts.max_by_key(|mount| mount.point.as_os_str().len())
}

/// `36 35 98:0 /root /point rw,noatime - ext4 /dev/x rw,errors=continue`: fields up to a dash, and three behind it.
fn parse(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(4);
    let point = PathBuf::from(unescape(before.next()?));
    let own = before.next()?;
    let mut after = after.split(' ');
    let kind = after.next()?.to_owned();
    let options = after.nth(1).map_or_else(|| own.to_owned(), |more| format!("{own},{more}"));
    Some(Mount { point, kind, options })
}

/// Blanks are written as `\040`.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "22 1 0:20 / / rw,relatime - ext4 /dev/root rw,errors=continue\n\
        30 22 0:25 / /dev/shm rw,nosuid - tmpfs tmpfs rw,size=1k\n\
        31 22 0:26 / /with\\040blank rw shared:1 - nfs4 host:/x rw,vers=4.2\n";

    #[test]
    fn the_longest_mount_point_above_a_directory_is_its_own() {
        let kind = |path: &str| mount_of(INFO, Path::new(path)).map(|mount| mount.kind);
        assert_eq!(kind("/var/data").as_deref(), Some("ext4"));
        assert_eq!(kind("/dev/shm/x").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/dev/shmoo").as_deref(), Some("ext4"));
        assert_eq!(kind("/with blank/x").as_deref(), Some("nfs4"));
        assert_eq!(kind("relative"), None);
    }

    #[test]
    fn what_keeps_nothing_or_promises_little_is_warned_of() {
        let warned = |path: &str| {
            let mut found = Findings::default();
            if let Some(text) = mount_of(INFO, Path::new(path)).and_then(|mount| known(&mount.kind)) {
                found.warn(text);
            }
            found.warnings.len()
        };
        assert_eq!((warned("/x"), warned("/dev/shm"), warned("/with blank")), (0, 1, 1));
    }
}
