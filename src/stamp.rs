//! The marks of a file by which a change shows: its identity, its size and its times.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::thread;
use std::time::{Duration, SystemTime};

/// The kernel takes a file's times from a clock that stands still for up to 10 ms. A change within
/// that time after an earlier change may leave the times as they were.
const TICK: Duration = Duration::from_millis(20);

/// The identity, the size and the times of a file or a directory.
///
/// Two equal stamps, before the first read and after the last, mean an unchanged file. Writes
/// through `mmap` may change a file and leave its times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Nanoseconds since 1970.
    modified: i64,
    /// Nanoseconds since 1970. No program can set this time.
    changed: i64,
}

impl Stamp {
    /// Returns the stamp of a file, a directory or a link.
    pub fn of(found: &Metadata) -> Self {
        let modified = (found.mtime(), found.mtime_nsec());
        let changed = (found.ctime(), found.ctime_nsec());
        Self::new(found.dev(), found.ino(), found.size(), modified, changed)
    }

    /// Returns the stamp of these marks. Each time is given as seconds and nanoseconds.
    pub fn new(
        device: u64,
        inode: u64,
        size: u64,
        modified: (i64, i64),
        changed: (i64, i64),
    ) -> Self {
        let nanos = |(seconds, rest): (i64, i64)| seconds.saturating_mul(1_000_000_000) + rest;
        Self { device, inode, size, modified: nanos(modified), changed: nanos(changed) }
    }

    /// Returns whether both stamps belong to one file of one length.
    ///
    /// Some network file systems number a file anew. Its times then tell that it is the same file,
    /// because nobody can set the time of the last change.
    pub fn is_same_file(&self, other: &Self) -> bool {
        let place = |stamp: &Self| (stamp.device, stamp.size);
        let times = |stamp: &Self| (stamp.modified, stamp.changed);
        place(self) == place(other) && (self.inode == other.inode || times(self) == times(other))
    }

    /// Returns the later of both times, in nanoseconds since 1970.
    ///
    /// `cp -p`, `tar` and downloads set the time of modification back, but not the other time.
    pub fn latest(&self) -> i64 {
        self.modified.max(self.changed)
    }
}

/// Returns a time as nanoseconds since 1970.
pub fn nanos(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Waits until a further change would show in a stamp. `newest` is the latest time of the stamps.
pub fn settle(newest: Option<i64>) {
    let Some(newest) = newest else { return };
    let age = nanos(SystemTime::now()).saturating_sub(newest);
    // A time far in the future comes from another clock, and waiting does not help.
    let tick = i64::try_from(TICK.as_nanos()).unwrap_or(0);
    if (-tick..tick).contains(&age) {
        thread::sleep(TICK);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn stamp(path: &std::path::Path) -> Stamp {
        Stamp::of(&fs::symlink_metadata(path).unwrap())
    }

    #[test]
    fn a_change_of_the_same_length_shows() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a");
        fs::write(&path, "one").unwrap();
        let before = stamp(&path);
        settle(Some(before.latest()));
        assert_eq!(stamp(&path), before);
        // The time of modification may be set back. The other time tells it all the same.
        let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.write_all(b"two").unwrap();
        file.set_modified(modified).unwrap();
        assert_ne!(stamp(&path), before);
    }

    #[test]
    fn a_file_with_another_number_keeps_its_times() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("a"), "one").unwrap();
        let stamp = stamp(&place.path().join("a"));
        let other = Stamp { inode: stamp.inode + 1, ..stamp };
        assert!(stamp != other && stamp.is_same_file(&other));
        assert!(!stamp.is_same_file(&Stamp { changed: stamp.changed + 1, ..other }));
        assert!(!stamp.is_same_file(&Stamp { modified: stamp.modified + 1, ..other }));
        assert!(stamp.is_same_file(&Stamp { changed: stamp.changed + 1, ..stamp }));
        assert!(!stamp.is_same_file(&Stamp { size: stamp.size + 1, ..stamp }));
        assert!(!stamp.is_same_file(&Stamp { device: stamp.device + 1, ..stamp }));
    }

    #[test]
    fn a_file_in_place_of_another_shows() {
        let place = tempfile::tempdir().unwrap();
        let (path, other) = (place.path().join("a"), place.path().join("b"));
        fs::write(&path, "one").unwrap();
        let before = stamp(&path);
        settle(Some(before.latest()));
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(stamp(&path), before);
    }
}
