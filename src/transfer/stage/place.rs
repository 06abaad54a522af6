//! The places of a restore: the destination, and each mount below it to which files go.
//!
//! A rename cannot leave a mount. So each place has a stage of its own.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};

use crate::beneath::{Beneath, Mount};
use crate::format::manifest;
use crate::lock::{self, LockWait, Sort};

/// The beginning of every stage's name.
pub(super) const PREFIX: &str = manifest::RESERVED;

/// The destination itself, or the directory where another mount begins.
#[derive(Debug)]
pub(super) struct Place {
    /// The path below the destination; empty for the destination itself.
    pub(super) at: String,
    pub(super) directory: Beneath,
    pub(super) mount: Mount,
    _lock: File,
}

impl Place {
    /// Locks a directory, so that a single restore at a time writes there. `told` names it in
    /// messages.
    pub(super) fn lock(
        at: &str,
        directory: Beneath,
        told: &str,
        lock_wait: &LockWait,
    ) -> io::Result<Self> {
        let held = readable(&directory)?;
        match lock_wait.lock(&held, Sort::Alone, told) {
            // Some network file systems have no locks. There, nothing keeps two restores apart.
            Err(error) if !lock::are_missing(&error) => Err(error),
            _ => Self::with(at, directory, held),
        }
    }

    /// Does the same, but waits for no other process.
    pub(super) fn try_lock(at: &str, directory: Beneath) -> io::Result<Self> {
        let held = readable(&directory)?;
        held.try_lock().map_err(io::Error::from)?;
        Self::with(at, directory, held)
    }

    /// Does the same for a place of a restore whose main place is locked already.
    pub(super) fn try_lock_other(at: &str, directory: Beneath) -> io::Result<Self> {
        let held = readable(&directory)?;
        match held.try_lock().map_err(io::Error::from) {
            Err(error) if !lock::are_missing(&error) => Err(error),
            _ => Self::with(at, directory, held),
        }
    }

    fn with(at: &str, directory: Beneath, lock: File) -> io::Result<Self> {
        let found = directory.look("")?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { at: at.to_owned(), directory, mount: found.mount, _lock: lock })
    }
}

fn readable(directory: &Beneath) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened: OwnedFd = openat(directory.as_fd(), c".", flags, Mode::empty())?;
    Ok(File::from(opened))
}

/// Returns the index of the place to which a path belongs, and the rest of the path. The places
/// are given by their paths, and the first has an empty path.
pub(super) fn of<'a, 'b>(places: impl Iterator<Item = &'b str>, path: &'a str) -> (usize, &'a str) {
    let mut best = (0, path);
    for (index, at) in places.enumerate() {
        let rest = path.strip_prefix(at).and_then(|rest| rest.strip_prefix('/'));
        if let Some(rest) = rest.filter(|rest| !at.is_empty() && rest.len() < best.1.len()) {
            best = (index, rest);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_the_deepest_place_above_it() {
        let places = ["", "models/vol", "models", "models/vol/deep", "mod"];
        for (path, wanted) in [
            ("a", (0, "a")),
            ("models", (0, "models")),
            ("models/a", (2, "a")),
            ("models/vol", (2, "vol")),
            ("models/volume/a", (2, "volume/a")),
            ("models/vol/a", (1, "a")),
            ("models/vol/deep/x/y", (3, "x/y")),
        ] {
            assert_eq!(of(places.into_iter(), path), wanted, "{path}");
        }
    }
}
