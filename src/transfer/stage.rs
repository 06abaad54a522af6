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
mod journal;
mod leftover;
mod merge;
mod place;
mod swap;
mod vacant;

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{FallocateFlags, OFlags, fallocate, fchmod, mkdirat, symlinkat};
use rustix::io::Errno;

pub use self::destination::{Destination, check, tidy};
use self::leftover::{NEW, OLD};
use self::merge::{Failed, Ground};
use self::place::{PREFIX, Place};
use self::swap::{Named, swap};
pub use self::vacant::is_vacant;
use crate::beneath::{Beneath, create, entries, remove};
use crate::error::{Error, IoContext as _, Result};
use crate::format::manifest::{self, Manifest, Mode};
use crate::unfinished::Unfinished;

/// Hidden directories for a restore's files, each at a place of the destination. Its drop removes
/// them with all files that are still in them.
#[derive(Debug)]
pub struct Stage {
    name: String,
    destination: Destination,
    /// The directories of new files, one for each place of the destination.
    new: Vec<Beneath>,
    /// Whether old files are still in the stage, because they could not be put back.
    stuck: bool,
    _unfinished: Unfinished,
}

impl Stage {
    /// Makes an empty stage at each place of the destination.
    ///
    /// # Errors
    /// - A place cannot be written.
    /// - The process is about to end.
    pub fn create(destination: Destination) -> Result<Self> {
        // Count the work before there is a directory to remove, so that no signal can miss it.
        let unfinished = Unfinished::begin().on("cannot restore into", &destination.path)?;
        let name = format!("{PREFIX}{:032x}", rand::random::<u128>());
        let new = Vec::new();
        let mut stage = Self { name, destination, new, stuck: false, _unfinished: unfinished };
        for place in &stage.destination.places {
            let new = stage.begin(place).map_err(|error| {
                Error::io("cannot write to", &stage.destination.path.join(&place.at), &error)
                    .hint("give the user that runs this write permission there")
            })?;
            stage.new.push(new);
        }
        Ok(stage)
    }

    /// Makes the stage of a place, and returns the directory for its new files.
    fn begin(&self, place: &Place) -> io::Result<Beneath> {
        let owner = &self.destination.owner;
        mkdirat(&place.directory, &self.name, rustix::fs::Mode::RWXU)?;
        let stage = place.directory.within(&self.name)?;
        if !entries(&stage)?.is_empty() {
            return Err(io::Error::other("another process has replaced the new directory"));
        }
        if place.at.is_empty() {
            let others: Vec<&str> =
                self.destination.places.iter().skip(1).map(|place| place.at.as_str()).collect();
            journal::note_places(&stage, &others)?;
        }
        stage.make(OLD, owner)?;
        stage.make(NEW, owner)?;
        owner.adopt_at(&place.directory, &self.name)?;
        stage.within(NEW)
    }

    /// Returns the directory of new files to which a path belongs, and the path in it.
    fn at<'a>(&self, path: &'a str) -> (&Beneath, &'a str) {
        let places = self.destination.places.iter().map(|place| place.at.as_str());
        let (index, rest) = place::of(places, path);
        (&self.new[index], rest)
    }

    /// Opens a staged file for writing at any offset.
    ///
    /// # Errors
    /// - The file system refuses.
    /// - Another process has put something else in the file's place.
    pub fn open(&self, path: &str) -> Result<File> {
        let (new, rest) = self.at(path);
        let opened = new.file(rest, OFlags::WRONLY).and_then(|file| {
            // A second name would be a name outside of the stage.
            match file.metadata()?.nlink() {
                0 | 1 => Ok(file),
                _ => Err(io::Error::other("another process has linked the file")),
            }
        });
        opened.on("cannot write", &self.destination.path.join(path))
    }

    /// Makes a staged file with its mode, its owner and its final size, so that a full disk shows
    /// before the transfer.
    ///
    /// # Errors
    /// - The disk is full.
    /// - The file system refuses.
    pub fn allocate(&self, file: &manifest::File) -> Result<()> {
        let full = || self.destination.path.join(&file.path);
        let (new, rest) = self.at(&file.path);
        let (parent, name) = self.make_parent(new, rest).on("cannot write", &full())?;
        let made = create(&*parent, name).on("cannot write", &full())?;
        let mode = rustix::fs::Mode::from_raw_mode(file.mode.bits());
        fchmod(&made, mode).map_err(io::Error::from).on("cannot set the mode of", &full())?;
        self.destination.owner.adopt_file(&made).on("cannot set the owner of", &full())?;
        if file.size == 0 {
            return Ok(());
        }
        match fallocate(&made, FallocateFlags::empty(), 0, file.size) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                made.set_len(file.size).on("cannot write", &full())
            }
            Err(error) => Err(io::Error::from(error)).on("cannot reserve space for", &full()),
        }
    }

    /// Completes the stage: missing links and missing empty directories.
    ///
    /// `staged` says of a file's index whether the stage holds the file.
    ///
    /// # Errors
    /// - The file system refuses.
    /// - A staged file is not as this restore left it.
    pub fn finish(&self, manifest: &Manifest, staged: impl Fn(usize) -> bool) -> Result<()> {
        let full = |path: &str| self.destination.path.join(path);
        for (_, file) in manifest.files.iter().enumerate().filter(|(index, _)| staged(*index)) {
            let (new, rest) = self.at(&file.path);
            let found = new.look(rest).on("cannot look at", &full(&file.path))?;
            if !found
                .is_some_and(|found| found.is_file() && found.names <= 1 && found.size == file.size)
            {
                return Err(Error::failed(format!(
                    "another process changed `{}` while it was restored",
                    full(&file.path).display()
                ))
                .hint("end that process, and restore again"));
            }
        }
        for link in &manifest.links {
            if self.destination.has_link(link) {
                continue;
            }
            let (new, rest) = self.at(&link.path);
            let (parent, name) =
                self.make_parent(new, rest).on("cannot write", &full(&link.path))?;
            symlinkat(&link.target, &*parent, name)
                .map_err(io::Error::from)
                .on("cannot make the link", &full(&link.path))?;
            let owner = &self.destination.owner;
            owner.adopt_at(&*parent, name).on("cannot set the owner of", &full(&link.path))?;
        }
        for dir in manifest.dirs.iter().filter(|dir| !self.destination.has_directory(dir)) {
            let (new, rest) = self.at(dir);
            let owner = &self.destination.owner;
            new.make(rest, owner).on("cannot make the directory", &full(dir))?;
        }
        Ok(())
    }

    /// Puts the staged files in place. `directory` is the directory that holds the whole model, or
    /// empty.
    ///
    /// # Errors
    /// The file system refuses. Then all files are as before.
    pub fn promote(mut self, directory: &str) -> Result<()> {
        if self.new.len() == 1 && !directory.is_empty() && self.exchange(directory).is_ok() {
            return Ok(());
        }
        let result = self.merge();
        self.stuck = matches!(&result, Err(Some(Failed { stuck: Some(_), .. })));
        result.map_err(|failed| {
            let Some(Failed { path, error, stuck }) = failed else {
                return Error::failed("cannot put the model in place");
            };
            let full = |path: &str| self.destination.path.join(path);
            let told = Error::io("cannot put in place", &full(&path), &error);
            match stuck {
                Some(stuck) => told.hint(format!(
                    "look at `{}`: it could not be put back",
                    full(&stuck).display()
                )),
                None => told.hint("remove the cause and restore again; nothing was changed"),
            }
        })
    }

    /// Exchanges the model's directory as a whole.
    fn exchange(&self, directory: &str) -> io::Result<()> {
        let (old, name) = self.destination.directory().parent(directory)?;
        let (new, _) = self.new[0].parent(directory)?;
        swap(Named { parent: &new, name }, Named { parent: &old, name })
    }

    /// Moves the files one by one.
    fn merge(&self) -> std::result::Result<(), Option<Failed>> {
        let failed = |error| Some(Failed { path: String::new(), error, stuck: None });
        let places = &self.destination.places;
        let grounds: Vec<Ground<'_>> = places
            .iter()
            .map(|place| leftover::ground(place, &self.name))
            .collect::<io::Result<_>>()
            .map_err(failed)?;
        let moves = merge::plan(&grounds).map_err(failed)?;
        let main = self.destination.directory().within(&self.name).map_err(failed)?;
        // A single move needs no list: it is made, or it is not.
        if moves.len() > 1 {
            journal::note_moves(&main, &moves).map_err(failed)?;
        }
        let result = merge::carry_out(&grounds, &moves).map_err(Some);
        journal::forget_moves(&main);
        result
    }

    fn make_parent<'a>(
        &self,
        new: &Beneath,
        path: &'a str,
    ) -> io::Result<(std::sync::Arc<OwnedFd>, &'a str)> {
        match new.parent(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (above, _) = path.rsplit_once('/').unwrap_or(("", path));
                new.make(above, &self.destination.owner)?;
                new.parent(path)
            }
            other => other,
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.stuck {
            return;
        }
        // The main stage names the others, so it goes last.
        for place in self.destination.places.iter().rev() {
            if let Ok(name) = CString::new(self.name.as_str()) {
                let _ = remove(&place.directory, &name);
            }
        }
    }
}

/// Sets the mode of a file that was in place before the restore. No other bit stays:
/// neither a set-id bit, nor write access for a group.
///
/// # Errors
/// - The file system refuses.
/// - Another process has replaced the file.
pub fn set_mode(destination: &Beneath, path: &str, mode: Mode) -> io::Result<()> {
    let found = destination.look(path)?.ok_or(io::ErrorKind::NotFound)?;
    if found.is_file() && found.mode == mode.bits() {
        return Ok(());
    }
    let mode = rustix::fs::Mode::from_raw_mode(mode.bits());
    match destination.file(path, OFlags::RDONLY) {
        // An empty file need not be readable. This way to it needs no right to read.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let file = destination.file(path, OFlags::PATH)?;
            Ok(rustix::fs::chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), mode)?)
        }
        file => Ok(fchmod(file?, mode)?),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::lock::LockWait;

    fn open(destination: &Path) -> Destination {
        let lock_wait = LockWait { limit: Duration::from_millis(50), tell: |_| {} };
        Destination::open(destination, lock_wait).unwrap()
    }

    fn staged(destination: &Path, files: &[(&str, &str)]) -> Stage {
        let stage = Stage::create(open(destination)).unwrap();
        for (path, content) in files {
            let (path, size) = ((*path).to_owned(), content.len() as u64);
            let file = manifest::File { path, size, mode: Mode::Regular, parts: vec![] };
            stage.allocate(&file).unwrap();
            stage.open(&file.path).unwrap().write_all(content.as_bytes()).unwrap();
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
        let base = Beneath::open(place.path()).unwrap();
        let file = place.path().join("a");
        fs::write(&file, "").unwrap();
        for bits in [0o644, 0o755, 0o600, 0o666, 0o777, 0o4755, 0o2755, 0o6644, 0o1644, 0o700] {
            for mode in [Mode::Regular, Mode::Executable] {
                fs::set_permissions(&file, fs::Permissions::from_mode(bits)).unwrap();
                set_mode(&base, "a", mode).unwrap();
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
        assert!(stage.open("models/a").is_ok());
        drop(stage);
        // A kill or a commit may leave such a directory. The next restore removes it and follows no
        // links.
        let left = place.path().join(format!("{PREFIX}left"));
        fs::create_dir_all(left.join("models")).unwrap();
        std::os::unix::fs::symlink("/etc", left.join("link")).unwrap();
        drop(open(place.path()));
        assert!(names(place.path()).is_empty());
        assert!(Path::new("/etc/passwd").exists());
    }
}
