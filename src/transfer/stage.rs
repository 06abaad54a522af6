//! Putting restored files in place: whole or not at all.
//!
//! Files are written below a hidden directory at the destination, on the same file system. When
//! everything there is verified, the model's directory is renamed into place, or exchanged with
//! the one that is there, in a single step; where that cannot be, files are renamed one by one.
//! A lock on the destination keeps restores apart, so a stage that is found while holding it was
//! abandoned, and is removed: whatever it was for is fetched again.

mod destination;
mod merge;
mod swap;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use self::destination::PREFIX;
pub use self::destination::{Destination, check, tidy};
use self::merge::merge;
use self::swap::swap;
use crate::error::{Error, IoContext as _, Result};
use crate::format::manifest::{Manifest, Mode};
use crate::unfinished::Unfinished;

/// A directory of files that nobody else sees yet; removed with everything that is still in it.
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
    /// A destination that cannot be written.
    pub fn create(destination: Destination) -> Result<Self> {
        // Before there is anything to remove, so that it is never overlooked.
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

    /// Returns where a file of the model is written until it is promoted.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Opens a staged file for writing at offsets, with its directories.
    ///
    /// # Errors
    /// A file system that refuses.
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

    /// Makes a file of its final size, so that a full disk shows before the transfer does.
    ///
    /// # Errors
    /// No space, or a file system that refuses.
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

    /// Makes the links and empty directories that are missing, and gives every staged file its
    /// mode and owner.
    ///
    /// # Errors
    /// A file system that refuses.
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

    /// Puts everything in place; `directory` is the one that holds the whole model, if there is
    /// one.
    ///
    /// # Errors
    /// A file system that refuses.
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

/// Sets the mode of a file that is in place already.
///
/// # Errors
/// A file system that refuses.
pub fn set_mode(destination: &Path, path: &str, mode: Mode) -> Result<()> {
    let full = destination.join(path);
    let found = fs::symlink_metadata(&full).on("cannot look at", &full)?;
    if Mode::of(found.mode()) == mode {
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
        // What a kill leaves, or what somebody committed: it is removed, and never looked into.
        let left = place.path().join(format!("{PREFIX}left"));
        fs::create_dir_all(left.join("models")).unwrap();
        std::os::unix::fs::symlink("/etc", left.join("link")).unwrap();
        drop(Destination::open(place.path()).unwrap());
        assert!(names(place.path()).is_empty());
        assert!(Path::new("/etc/passwd").exists());
    }
}
