//! The owner of new files.
//!
//! A container runs as root, but its files in a user's directory must belong to the user. Otherwise
//! the next checkout on the same machine fails (actions/runner issue 434).

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Uid, chownat};

/// The user and group of new files; `None` unless this process runs as root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(Option<(u32, u32)>);

impl Owner {
    /// Returns the owner of the path, or of the nearest existing directory above it.
    pub fn of(path: &Path) -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self(None);
        }
        let found = path.ancestors().find_map(|path| fs::metadata(path).ok());
        Self(found.map(|found| (found.uid(), found.gid())))
    }

    /// Returns the owner of an open directory.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn of_open(directory: impl AsFd) -> io::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self(None));
        }
        let found = rustix::fs::fstat(directory)?;
        Ok(Self(Some((found.st_uid, found.st_gid))))
    }

    /// Returns whether this process gives new files away.
    pub fn gives_away(&self) -> bool {
        self.0.is_some()
    }

    /// Returns whether files of this user count as files of this process.
    pub fn is(&self, uid: u32) -> bool {
        rustix::process::geteuid().as_raw() == uid || self.0.is_some_and(|(own, _)| own == uid)
    }

    /// Gives an open file to the owner.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn adopt_file(&self, file: impl AsFd) -> io::Result<()> {
        match self.0 {
            Some((uid, gid)) => fchown(file, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }

    /// Gives an open directory to the owner. The right to read it is not needed.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn adopt_open(&self, directory: impl AsFd) -> io::Result<()> {
        let Some((uid, gid)) = self.0 else { return Ok(()) };
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(chownat(directory, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
    }

    /// Gives an entry of an open directory to the owner. A link itself changes hands.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn adopt_at(&self, directory: impl AsFd, name: &str) -> io::Result<()> {
        let Some((uid, gid)) = self.0 else { return Ok(()) };
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}
