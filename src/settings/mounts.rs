//! Tells which directories outlive a container.
//!
//! A step of a container action sees the workspace and a few directories of the runner. Files that
//! it writes elsewhere are lost with its container, and no later step sees them.

use std::path::{Path, PathBuf};

/// The mounts of this process. Source: proc_pid_mountinfo(5).
const MOUNTS: &str = "/proc/self/mountinfo";
/// The mounts that every container has and that do not outlive it.
const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Returns whether the directory is a mount or lies below a mount. If the system does not say,
/// returns true.
pub(super) fn outlives_container(directory: &Path) -> bool {
    let Ok(mounts) = std::fs::read_to_string(MOUNTS) else { return true };
    // A directory that does not exist yet will lie on the mount of its parent.
    let real = directory.ancestors().find_map(|parent| parent.canonicalize().ok());
    is_mounted(&real.unwrap_or_else(|| directory.to_owned()), &mounts)
}

fn is_mounted(directory: &Path, mounts: &str) -> bool {
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let mut kept = places.filter(|place| {
        place != Path::new("/")
            && !KERNEL.iter().any(|kernel| place.starts_with(kernel))
            && directory.starts_with(place)
    });
    kept.next().is_some()
}

/// Undoes the octal escapes of spaces, tabs, line ends and backslashes.
fn unescape(place: &str) -> PathBuf {
    let plain = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    plain
        .iter()
        .fold(place.to_owned(), |place, (escaped, plain)| place.replace(escaped, plain))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_mounted_outlives_a_container() {
        let mounts = "22 1 0:20 / / rw,relatime - overlay overlay rw\n\
            23 22 0:21 / /proc rw - proc proc rw\n\
            24 22 0:22 / /dev/shm rw - tmpfs shm rw\n\
            25 22 8:1 /home/runner/work /github/workspace rw - ext4 /dev/sda1 rw\n\
            26 22 8:1 /data /mnt/my\\040data rw - ext4 /dev/sda1 rw\n";
        for (directory, kept) in [
            ("/github/workspace", true),
            ("/github/workspace/models", true),
            ("/mnt/my data/store", true),
            ("/github/workspaces", false),
            ("/opt/models", false),
            ("/tmp/x", false),
            ("/dev/shm/x", false),
            ("/", false),
        ] {
            assert_eq!(is_mounted(Path::new(directory), mounts), kept, "{directory}");
        }
    }
}
