//! Puts restored files in place: each file whole, and the model at once where that is possible.
//!
//! A restore writes files below a hidden directory at the destination, on the same file system.
//! Once every blob is verified, it puts the model in place:
//! - It moves a new directory into place in a single rename.
//! - It exchanges an existing directory for the new directory in one step.
//! - If neither is possible, it moves the files one by one.
//!
//! A lock on the destination keeps restores apart. So a stage that a restore finds under the lock
//! is abandoned, and the restore removes it and fetches its files again.

mod destination;
mod merge;
mod swap;
mod vacant;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use self::destination::PREFIX;
pub use self::destination::{Destination, check, tidy};
use self::merge::merge;
use self::swap::swap;
pub use self::vacant::is_vacant;
use crate::error::{Error, IoContext as _, Result};
use crate::format::manifest::{Manifest, Mode};
use crate::unfinished::Unfinished;

/// A hidden directory for a restore's files. Its drop removes it with all files that are still in
/// it.
#[derive(Debug)]
pub struct Stage {
    root: PathBuf,
    destination: Destination,
    _unfinished: Unfinished,
}

impl Stage {
    /// Makes an empty stage at the destination.
    ///
    /// # Errors
    /// - The destination cannot be written.
    /// - The process is about to end.
    pub fn create(destination: Destination) -> Result<Self> {
        // Count the work before there is a directory to remove, so that no signal can miss it.
        let unfinished = Unfinished::begin().on("cannot restore into", &destination.path)?;
        let root = destination.path.join(format!("{PREFIX}{:032x}", rand::random::<u128>()));
        DirBuilder::new().mode(0o755).create(&root).map_err(|error| {
            Error::io("cannot write to", &destination.path, &error)
                .hint("give the user that runs this write permission there")
        })?;
        let stage = Self { root, destination, _unfinished: unfinished };
        stage.adopt(&stage.root)?;
        Ok(stage)
    }

    /// Returns the place of a model's file in the stage.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Opens a staged file for writing at any offset, and makes its directories.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn open(&self, path: &str) -> Result<File> {
        let full = self.path(path);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        match options.open(&full) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_parents(&full)?;
                options.open(&full).on("cannot write", &full)
            }
            other => other.on("cannot write", &full),
        }
    }

    /// Gives a staged file its final size, so that a full disk shows before the transfer.
    ///
    /// # Errors
    /// - The disk is full.
    /// - The file system refuses.
    pub fn allocate(&self, path: &str, size: u64) -> Result<()> {
        let file = self.open(path)?;
        if size == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                file.set_len(size).on("cannot write", &self.path(path))
            }
            Err(error) => {
                Err(io::Error::from(error)).on("cannot reserve space for", &self.path(path))
            }
        }
    }

    /// Completes the stage: modes and owners of the staged files, missing links, missing empty
    /// directories.
    ///
    /// `staged` says of a file's index whether the stage holds the file.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn finish(&self, manifest: &Manifest, staged: impl Fn(usize) -> bool) -> Result<()> {
        for (index, file) in manifest.files.iter().enumerate() {
            if staged(index) {
                let full = self.path(&file.path);
                fs::set_permissions(&full, fs::Permissions::from_mode(file.mode.bits()))
                    .on("cannot set the mode of", &full)?;
                self.adopt(&full)?;
            }
        }
        for link in &manifest.links {
            if fs::read_link(self.destination.path.join(&link.path))
                .is_ok_and(|target| target == Path::new(&link.target))
            {
                continue;
            }
            let full = self.path(&link.path);
            self.make_parents(&full)?;
            std::os::unix::fs::symlink(&link.target, &full).on("cannot make the link", &full)?;
            self.adopt(&full)?;
        }
        let is_there = |dir: &&String| {
            fs::symlink_metadata(self.destination.path.join(dir)).is_ok_and(|found| found.is_dir())
        };
        for dir in manifest.dirs.iter().filter(|dir| !is_there(dir)) {
            self.make_directory(&self.path(dir))?;
        }
        Ok(())
    }

    /// Puts the staged files in place. `directory` is the directory that holds the whole model, or
    /// empty.
    ///
    /// # Errors
    /// The file system refuses. If the files move one by one, files that moved already stay in
    /// place.
    pub fn promote(self, directory: &str) -> Result<()> {
        let (new, old) = (self.root.join(directory), self.destination.path.join(directory));
        if !directory.is_empty() && old.is_dir() && new.is_dir() && swap(&new, &old).is_ok() {
            return Ok(());
        }
        merge(&self.root, &self.destination.path)
    }

    fn make_parents(&self, path: &Path) -> Result<()> {
        path.parent().map_or(Ok(()), |parent| self.make_directory(parent))
    }

    fn make_directory(&self, path: &Path) -> Result<()> {
        self.destination.owner.make_directories(path).on("cannot make the directory", path)
    }

    fn adopt(&self, path: &Path) -> Result<()> {
        self.destination.owner.adopt(path).on("cannot set the owner of", path)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Sets the mode of a file that was in place before the restore. No other bit stays: neither a
/// set-id bit, nor write access for a group.
///
/// # Errors
/// The file system refuses.
pub fn set_mode(destination: &Path, path: &str, mode: Mode) -> Result<()> {
    let full = destination.join(path);
    let found = fs::symlink_metadata(&full).on("cannot look at", &full)?;
    if found.mode() & 0o7777 == mode.bits() {
        return Ok(());
    }
    fs::set_permissions(&full, fs::Permissions::from_mode(mode.bits()))
        .on("cannot set the mode of", &full)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(destination: &Path, files: &[(&str, &str)]) -> Stage {
        let stage = Stage::create(Destination::open(destination).unwrap()).unwrap();
        for (path, content) in files {
            stage.allocate(path, content.len() as u64).unwrap();
            fs::write(stage.path(path), content).unwrap();
        }
        stage
    }

    fn names(destination: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(destination)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_promoted_stage_leaves_the_files_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("models")).unwrap();
        fs::write(place.path().join("models/a"), "old").unwrap();
        fs::write(place.path().join("models/other"), "kept").unwrap();
        staged(place.path(), &[("models/a", "new"), ("models/sub/b", "b"), ("c", "c")])
            .promote("")
            .unwrap();
        assert_eq!(names(place.path()), ["c", "models"]);
        assert_eq!(names(&place.path().join("models")), ["a", "other", "sub"]);
        assert_eq!(fs::read_to_string(place.path().join("models/a")).unwrap(), "new");
    }

    #[test]
    fn a_directory_is_exchanged_as_a_whole() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("models/sub")).unwrap();
        fs::write(place.path().join("models/sub/a"), "old").unwrap();
        fs::write(place.path().join("models/other"), "kept").unwrap();
        let before = fs::metadata(place.path().join("models")).unwrap().ino();
        staged(place.path(), &[("models/sub/a", "new"), ("models/b", "b")])
            .promote("models")
            .unwrap();
        assert_ne!(fs::metadata(place.path().join("models")).unwrap().ino(), before);
        assert_eq!(names(place.path()), ["models"]);
        assert_eq!(names(&place.path().join("models")), ["b", "other", "sub"]);
        assert_eq!(fs::read_to_string(place.path().join("models/sub/a")).unwrap(), "new");
    }

    #[test]
    fn a_directory_that_cannot_be_exchanged_is_filled_file_by_file() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("models/sub")).unwrap();
        for name in ["a", "extra", "sub/extra"] {
            fs::write(place.path().join("models").join(name), "old").unwrap();
        }
        let _socket =
            std::os::unix::net::UnixListener::bind(place.path().join("models/socket")).unwrap();
        staged(place.path(), &[("models/a", "new"), ("models/sub/b", "b")])
            .promote("models")
            .unwrap();
        assert_eq!(names(place.path()), ["models"]);
        assert_eq!(names(&place.path().join("models")), ["a", "extra", "socket", "sub"]);
        assert_eq!(names(&place.path().join("models/sub")), ["b", "extra"]);
        assert_eq!(fs::read_to_string(place.path().join("models/a")).unwrap(), "new");
        assert_eq!(fs::read_to_string(place.path().join("models/extra")).unwrap(), "old");
    }

    #[test]
    fn a_mode_is_set_to_exactly_the_bits_of_the_manifest() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("a");
        fs::write(&file, "").unwrap();
        for bits in [0o644, 0o755, 0o600, 0o666, 0o777, 0o4755, 0o2755, 0o6644, 0o1644, 0o700] {
            for mode in [Mode::Regular, Mode::Executable] {
                fs::set_permissions(&file, fs::Permissions::from_mode(bits)).unwrap();
                set_mode(place.path(), "a", mode).unwrap();
                let found = fs::metadata(&file).unwrap().mode() & 0o7777;
                assert_eq!(found, mode.bits(), "{bits:o}");
            }
        }
    }

    #[test]
    fn a_dropped_stage_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        drop(staged(place.path(), &[("models/a", "new")]));
        assert!(names(place.path()).is_empty());
    }

    #[test]
    fn an_abandoned_stage_is_removed_and_one_in_use_is_not() {
        let place = tempfile::tempdir().unwrap();
        let stage = staged(place.path(), &[("models/a", "new")]);
        tidy(place.path());
        assert!(stage.path("models/a").exists());
        drop(stage);
        // A kill or a commit may leave such a directory. The next restore removes it and follows no
        // links.
        let left = place.path().join(format!("{PREFIX}left"));
        fs::create_dir_all(left.join("models")).unwrap();
        std::os::unix::fs::symlink("/etc", left.join("link")).unwrap();
        drop(Destination::open(place.path()).unwrap());
        assert!(names(place.path()).is_empty());
        assert!(Path::new("/etc/passwd").exists());
    }
}
