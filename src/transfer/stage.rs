//! Putting restored files in place: whole or not at all.
//!
//! Files are written below a hidden directory at the destination, on the same file system. When
//! everything there is verified, the model's directory is renamed into place, or exchanged with
//! the one that is there, in a single step. Where that cannot be, files are moved one by one,
//! behind a marker file. Whoever finds an abandoned stage finishes it if it is marked, and removes
//! it otherwise, so a killed restore leaves nothing behind and loses nothing.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext as _, Result};
use crate::format::manifest::{Manifest, Mode};
use crate::ownership::Owner;

use super::swap::swap;

const PREFIX: &str = ".ml-cache-tmp-";
const LOCK: &str = "lock";
const READY: &str = "ready";
const TREE: &str = "tree";

/// A directory of files that nobody else sees yet.
#[derive(Debug)]
pub struct Stage {
    root: PathBuf,
    destination: PathBuf,
    owner: Owner,
    /// Held while the stage is in use; tells an abandoned one from a busy one.
    _lock: File,
}

impl Stage {
    /// Makes an empty stage at the destination, which is made too if need be.
    ///
    /// # Errors
    /// A destination that cannot be written.
    pub fn create(destination: &Path) -> Result<Self> {
        let owner = Owner::of(destination);
        owner.make_directories(destination).on("cannot make the directory", destination)?;
        let root = destination.join(format!("{PREFIX}{:032x}", rand::random::<u128>()));
        DirBuilder::new().mode(0o755).create(&root).map_err(|error| cannot_write(destination, error))?;
        let lock_path = root.join(LOCK);
        let lock = File::create(&lock_path).on("cannot write", &lock_path)?;
        lock.lock().on("cannot lock", &lock_path)?;
        let stage = Self { root, destination: destination.to_owned(), owner, _lock: lock };
        stage.adopt(&stage.root)?;
        stage.make_directory(&stage.root.join(TREE))?;
        Ok(stage)
    }

    /// Returns where a file of the model is written until it is promoted.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(TREE).join(path)
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
            Err(error) => Err(io::Error::from(error)).on("cannot reserve space for", &self.path(path)),
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
            if fs::read_link(self.destination.join(&link.path)).is_ok_and(|target| target == Path::new(&link.target)) {
                continue;
            }
            let full = self.path(&link.path);
            self.make_parents(&full)?;
            std::os::unix::fs::symlink(&link.target, &full).on("cannot make the link", &full)?;
            self.adopt(&full)?;
        }
        let is_there =
            |dir: &&String| fs::symlink_metadata(self.destination.join(dir)).is_ok_and(|found| found.is_dir());
        for dir in manifest.dirs.iter().filter(|dir| !is_there(dir)) {
            self.make_directory(&self.path(dir))?;
        }
        Ok(())
    }

    /// Puts everything in place; `directory` is the one that holds the whole model, if there is one.
    ///
    /// # Errors
    /// Something in the way, which is found before anything is moved; or a file system that
    /// refuses, after which the next run finishes the work.
    pub fn promote(self, directory: &str) -> Result<()> {
        let tree = self.root.join(TREE);
        check_way(&tree, &self.destination)?;
        let (new, old) = (tree.join(directory), self.destination.join(directory));
        if !directory.is_empty() && old.is_dir() && new.is_dir() && swap(&new, &old).is_ok() {
            return Ok(());
        }
        let ready = self.root.join(READY);
        File::create(&ready).and_then(|file| file.sync_all()).on("cannot write", &ready)?;
        merge(&tree, &self.destination)?;
        fs::remove_dir_all(&self.root).on("cannot remove", &self.root)
    }

    fn make_parents(&self, path: &Path) -> Result<()> {
        path.parent().map_or(Ok(()), |parent| self.make_directory(parent))
    }

    fn make_directory(&self, path: &Path) -> Result<()> {
        self.owner.make_directories(path).on("cannot make the directory", path)
    }

    fn adopt(&self, path: &Path) -> Result<()> {
        self.owner.adopt(path).on("cannot give to the workspace's owner", path)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A stage that is ready but not in place is for the next run to finish.
        if !self.root.join(READY).exists() {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

/// Finishes or removes what killed restores left at the destination; returns how many there were.
///
/// # Errors
/// A stage that can be neither finished nor removed.
pub fn recover(destination: &Path) -> Result<usize> {
    let Ok(entries) = fs::read_dir(destination) else { return Ok(0) };
    let mut recovered = 0;
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX)
            || !entry.file_type().is_ok_and(|kind| kind.is_dir())
        {
            continue;
        }
        let root = entry.path();
        let lock = File::open(root.join(LOCK));
        if lock.as_ref().is_ok_and(|lock| lock.try_lock().is_err()) {
            // A restore of another process is at work there.
            continue;
        }
        if root.join(READY).exists() {
            merge(&root.join(TREE), destination)?;
        }
        fs::remove_dir_all(&root).on("cannot remove", &root)?;
        recovered += 1;
    }
    Ok(recovered)
}

/// Sets the modes of files that are in place already and gives a reason where it cannot.
///
/// # Errors
/// A file system that refuses.
pub fn set_mode(destination: &Path, path: &str, mode: Mode) -> Result<()> {
    let full = destination.join(path);
    let found = fs::symlink_metadata(&full).on("cannot look at", &full)?;
    if Mode::of(found.mode()) == mode {
        return Ok(());
    }
    fs::set_permissions(&full, fs::Permissions::from_mode(mode.bits())).on("cannot set the mode of", &full)
}

/// Refuses a destination where a path of the model would be reached through a link.
///
/// # Errors
/// The first such link.
pub fn check_parents<'a>(destination: &Path, paths: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut checked = std::collections::HashSet::new();
    for path in paths {
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            if !checked.insert(parent.to_owned()) {
                continue;
            }
            let full = destination.join(parent);
            match fs::symlink_metadata(&full) {
                Ok(found) if found.is_dir() => {}
                Ok(found) if found.is_symlink() => {
                    return Err(Error::failed(format!(
                        "`{}` is a link; a model is not restored through links",
                        full.display()
                    ))
                    .hint("remove the link, or give another `destination`"));
                }
                Ok(_) => {
                    return Err(Error::failed(format!(
                        "`{}` is in the way: the model has a directory there",
                        full.display()
                    ))
                    .hint("remove the file, or give another `destination`"));
                }
                Err(_) => break,
            }
        }
    }
    Ok(())
}

/// Finds out whether [`merge`] would meet a directory where a file must go, or the other way.
fn check_way(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).on("cannot read the directory", from)? {
        let entry = entry.on("cannot read the directory", from)?;
        let target = to.join(entry.file_name());
        let Ok(found) = fs::symlink_metadata(&target) else { continue };
        let is_dir = entry.file_type().on("cannot look at", &entry.path())?.is_dir();
        if is_dir && found.is_dir() {
            check_way(&entry.path(), &target)?;
        } else if is_dir || found.is_dir() {
            let wanted = if is_dir { "a directory" } else { "a file" };
            return Err(Error::failed(format!("`{}` is in the way: the model has {wanted} there", target.display()))
                .hint("remove it, or give another `destination`"));
        }
    }
    Ok(())
}

/// Moves everything below `from` to `to`, replacing files. Can be repeated after a crash.
fn merge(from: &Path, to: &Path) -> Result<()> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).on("cannot read the directory", from),
    };
    for entry in entries {
        let entry = entry.on("cannot read the directory", from)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let is_dir = entry.file_type().on("cannot look at", &source)?.is_dir();
        if is_dir && fs::symlink_metadata(&target).is_ok_and(|found| found.is_dir()) {
            merge(&source, &target)?;
            fs::remove_dir(&source).on("cannot remove", &source)?;
            continue;
        }
        match fs::rename(&source, &target) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices && !is_dir => copy_across(&source, &target)?,
            other => other.on("cannot put in place", &target)?,
        }
    }
    Ok(())
}

/// Replaces a file on another file system, such as a volume mounted inside the workspace: copies
/// beside it, then renames.
fn copy_across(source: &Path, target: &Path) -> Result<()> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let beside = target.with_file_name(format!("{PREFIX}{name}"));
    let found = fs::symlink_metadata(source).on("cannot look at", source)?;
    if found.is_symlink() {
        let link = fs::read_link(source).on("cannot read the link", source)?;
        let _ = fs::remove_file(&beside);
        std::os::unix::fs::symlink(link, &beside).on("cannot make the link", &beside)?;
    } else {
        fs::copy(source, &beside).on("cannot write", &beside)?;
        Owner::of(source).adopt(&beside).on("cannot give to the workspace's owner", &beside)?;
    }
    fs::rename(&beside, target).on("cannot put in place", target)?;
    fs::remove_file(source).on("cannot remove", source)
}

fn cannot_write(destination: &Path, error: io::Error) -> Error {
    Error::io("cannot write to", destination, error).hint("the user that runs this needs write permission there")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn staged(destination: &Path, files: &[(&str, &str)]) -> Stage {
        let stage = Stage::create(destination).unwrap();
        for (path, content) in files {
            stage.allocate(path, content.len() as u64).unwrap();
            fs::write(stage.path(path), content).unwrap();
        }
        stage
    }

    fn names(destination: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(destination).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_promoted_stage_leaves_the_files_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("models")).unwrap();
        fs::write(place.path().join("models/a"), "old").unwrap();
        fs::write(place.path().join("models/other"), "kept").unwrap();
        staged(place.path(), &[("models/a", "new"), ("models/sub/b", "b"), ("c", "c")]).promote("").unwrap();
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
        staged(place.path(), &[("models/sub/a", "new"), ("models/b", "b")]).promote("models").unwrap();
        assert_ne!(fs::metadata(place.path().join("models")).unwrap().ino(), before);
        assert_eq!(names(place.path()), ["models"]);
        assert_eq!(names(&place.path().join("models")), ["b", "other", "sub"]);
        assert_eq!(fs::read_to_string(place.path().join("models/sub/a")).unwrap(), "new");
    }

    #[test]
    fn a_dropped_stage_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        drop(staged(place.path(), &[("models/a", "new")]));
        assert!(names(place.path()).is_empty());
    }

    #[test]
    fn something_in_the_way_is_found_before_anything_moves() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("z/dir")).unwrap();
        let error = staged(place.path(), &[("a", "new"), ("z/dir", "a file")]).promote("").unwrap_err();
        assert!(error.to_string().contains("is in the way"), "{error}");
        assert_eq!(names(place.path()), ["z"]);
    }

    #[test]
    fn an_abandoned_stage_is_finished_if_ready_and_removed_otherwise() {
        let place = tempfile::tempdir().unwrap();
        for (ready, wanted) in [(false, vec![]), (true, vec!["models"])] {
            let stage = staged(place.path(), &[("models/a", "new")]);
            if ready {
                fs::write(stage.root.join(READY), "").unwrap();
            }
            assert_eq!(recover(place.path()).unwrap(), 0, "a stage in use is left alone");
            // What a kill leaves: the files stay, the lock goes.
            let root = stage.root.clone();
            let copy = root.with_file_name(".ml-cache-tmp-copy");
            fs::rename(&root, &copy).unwrap();
            drop(stage);
            assert_eq!(recover(place.path()).unwrap(), 1);
            assert_eq!(names(place.path()), wanted);
        }
    }

    #[test]
    fn links_on_the_way_are_refused() {
        let place = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", place.path().join("models")).unwrap();
        let error = check_parents(place.path(), ["models/passwd"].into_iter()).unwrap_err();
        assert!(error.to_string().contains("is a link"), "{error}");
        fs::write(place.path().join("file"), "").unwrap();
        let error = check_parents(place.path(), ["file/x"].into_iter()).unwrap_err();
        assert!(error.to_string().contains("is in the way"), "{error}");
    }
}
