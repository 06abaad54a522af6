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
mod modes;
mod place;
mod swap;

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{
    FallocateFlags, FsWord, OFlags, fallocate, fchmod, fstatfs, ftruncate, mkdirat, symlinkat,
};
use rustix::io::Errno;

pub use self::destination::{Destination, tidy};
use self::leftover::{NEW, OLD};
use self::merge::{Failed, Ground};
use self::modes::Modes;
pub use self::modes::check as check_mode;
use self::place::Place;
use self::swap::{Named, swap};
use crate::beneath::{Beneath, create, entries, remove};
use crate::error::{Error, IoContext as _, Result};
use crate::format::manifest::{self, Manifest};
use crate::unfinished::Unfinished;

/// The hint for a file system without write access.
pub const READ_ONLY: &str = "mount it for writing, or give another `destination`";
/// The reason why a mount point is not replaced.
pub const MOUNT_POINT: &str = "it is a mount point";

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
    /// The files whose modes this restore has set.
    modes: Modes,
    _unfinished: Unfinished,
}

impl Stage {
    /// Makes an empty stage at each place of the destination, if anything will be written.
    ///
    /// # Errors
    /// - A place cannot be written.
    /// - The process is about to end.
    pub fn create(destination: Destination, writes: bool) -> Result<Self> {
        // Count the work before there is a directory to remove, so that no signal can miss it.
        let unfinished = Unfinished::begin().on("cannot restore into", &destination.path)?;
        let name = manifest::stage_name(rand::random());
        let mut stage = Self {
            name,
            destination,
            new: Vec::new(),
            stuck: false,
            modes: Modes::default(),
            _unfinished: unfinished,
        };
        if !writes {
            return Ok(stage);
        }
        for place in &stage.destination.places {
            let new = stage.begin(place).map_err(|error| {
                let full = stage.destination.path.join(&place.at);
                Error::io("cannot write to", &full, &error).hint(match error.kind() {
                    io::ErrorKind::ReadOnlyFilesystem => READ_ONLY,
                    _ => "give the user that runs this write permission there",
                })
            })?;
            stage.new.push(new);
        }
        Ok(stage)
    }

    /// Returns the destination.
    pub fn destination(&self) -> &Destination {
        &self.destination
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
        let opened = new.file_with_metadata(rest, OFlags::WRONLY).and_then(|(file, found)| {
            // A second name would be a name outside of the stage.
            match found.nlink() {
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
        let full = self.destination.path.join(&file.path);
        let (new, rest) = self.at(&file.path);
        let (parent, name) = self.make_parent(new, rest).on("cannot write", &full)?;
        let made = create(&*parent, name).on("cannot write", &full)?;
        let mode = rustix::fs::Mode::from_raw_mode(file.mode.bits());
        fchmod(&made, mode).map_err(io::Error::from).on("cannot set the mode of", &full)?;
        self.destination.owner.adopt_file(&made).on("cannot set the owner of", &full)?;
        match file.size {
            0 => Ok(()),
            size => reserve(&made, size).on("cannot reserve space for", &full),
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

    /// Sets the modes of files that were in place before the restore. No other bit stays: neither a
    /// set-id bit, nor write access for a group. If the restore fails, the old modes come back.
    ///
    /// # Errors
    /// - The file system refuses.
    /// - Another process has replaced or linked a file.
    pub fn set_modes<'a>(&mut self, files: impl Iterator<Item = &'a manifest::File>) -> Result<()> {
        for file in files {
            self.modes.set(self.destination.directory(), file).map_err(|error| {
                Error::io("cannot set the mode of", &self.destination.path.join(&file.path), &error)
            })?;
        }
        Ok(())
    }

    /// Puts the staged files in place.
    ///
    /// # Errors
    /// The file system refuses. Then all files are as before.
    pub fn promote(mut self, manifest: &Manifest) -> Result<()> {
        self.put_in_place(manifest.directory())?;
        self.modes = Modes::default();
        self.destination.settle(manifest);
        Ok(())
    }

    /// Does so. `directory` is the directory that holds the whole model, or empty.
    fn put_in_place(&mut self, directory: &str) -> Result<()> {
        if self.new.is_empty() {
            return Ok(());
        }
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
            let told = match error.kind() {
                io::ErrorKind::ResourceBusy => {
                    let full = full(&path);
                    Error::failed(format!(
                        "cannot put in place `{}`: {MOUNT_POINT}",
                        full.display()
                    ))
                }
                _ => Error::io("cannot put in place", &full(&path), &error),
            };
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
        let result = merge::carry_out(&grounds, &moves);
        // Where old files are stuck, the next command can still complete the moves.
        if !matches!(&result, Err(Failed { stuck: Some(_), .. })) {
            journal::forget_moves(&main);
        }
        result.map_err(Some)
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
        self.modes.take_back(self.destination.directory());
        if self.stuck {
            return;
        }
        let Ok(name) = CString::new(self.name.as_str()) else { return };
        let mut places = self.destination.places.iter().take(self.new.len() + 1);
        if let Some(main) = places.next() {
            // The next command removes what stays.
            let remove = |place: &Place| remove(&place.directory, &name);
            let _ = leftover::in_order(places, main, remove);
        }
    }
}

/// Returns whether a directory is a stage whose moves had begun, so that old and new files may lie
/// beside it.
pub fn has_begun(path: &Path) -> bool {
    Beneath::open_real(path).is_ok_and(|stage| journal::has_begun(&stage))
}

/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS: FsWord = 0x0102_1994;

/// Gives a file its size, and reserves its space on a disk.
///
/// A tmpfs would take the memory of the whole file at once. In a virtual machine, much of that
/// memory is then slow at its first use: such a restore took up to 1.7 times as long.
fn reserve(file: &File, size: u64) -> io::Result<()> {
    if fstatfs(file)?.f_type != TMPFS {
        match fallocate(file, FallocateFlags::empty(), 0, size) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            reserved => return Ok(reserved?),
        }
    }
    Ok(ftruncate(file, size)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::time::Duration;

    use super::place::PREFIX;
    use super::*;
    use crate::format::manifest::Mode;
    use crate::lock::LockWait;

    fn open(destination: &Path) -> Destination {
        let lock_wait = LockWait { limit: Duration::from_millis(50), tell: |_| {} };
        Destination::open(&destination.canonicalize().unwrap(), lock_wait).unwrap()
    }

    fn staged(destination: &Path, files: &[(&str, &str)]) -> Stage {
        let stage = Stage::create(open(destination), true).unwrap();
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
    fn space_is_reserved_on_a_disk_and_not_in_memory() {
        for place in [tempfile::tempdir(), tempfile::tempdir_in("/dev/shm")] {
            let file = tempfile::tempfile_in(place.unwrap().path()).unwrap();
            let is_disk = fstatfs(&file).unwrap().f_type != TMPFS;
            reserve(&file, 1 << 20).unwrap();
            let found = file.metadata().unwrap();
            assert_eq!((found.len(), found.blocks() > 0), (1 << 20, is_disk));
        }
    }

    #[test]
    fn a_promoted_stage_leaves_the_files_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("models")).unwrap();
        fs::write(place.path().join("models/a"), "old").unwrap();
        fs::write(place.path().join("models/other"), "kept").unwrap();
        staged(place.path(), &[("models/a", "new"), ("models/sub/b", "b"), ("c", "c")])
            .put_in_place("")
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
            .put_in_place("models")
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
            .put_in_place("models")
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
        tidy(&place.path().canonicalize().unwrap());
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
