//! The directory of a store, and the paths below it.
//!
//! Another user may write in the directory, so [`Beneath`] opens all that is below it.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::beneath::{Beneath, entries};
use crate::ownership::Owner;
use crate::store::layout;

/// The file that marks a directory as a store.
const MARK: &str = ".ml-cache-store";
/// Files that an empty directory may have all the same.
const HARMLESS: [&str; 5] = ["lost+found", ".gitignore", ".gitkeep", ".keep", ".DS_Store"];

/// A reason not to use a path.
#[derive(Debug, thiserror::Error)]
pub(super) enum Odd {
    /// A component of the path is a link.
    #[error("`{0}` is a link, and nothing below a store's directory may be a link")]
    Link(String),
    /// A link is in the place of a file.
    #[error("`{0}` is a link, and nothing below a store's directory may be a link")]
    LinkedFile(String),
    /// The path leads to a directory, a pipe, a socket or a device.
    #[error("it is not a regular file")]
    NotRegular,
    /// This user may not read the file.
    #[error("this user may not read it")]
    Forbidden,
    /// The directory holds other files.
    #[error("the directory has other files in it and is no store")]
    NotAStore,
}

impl From<Odd> for io::Error {
    fn from(odd: Odd) -> Self {
        Self::other(odd)
    }
}

/// The open directory of a store, and the owner of its new files.
#[derive(Debug)]
pub(super) struct Place {
    directory: Beneath,
    owner: Owner,
}

impl Place {
    /// Opens the directory. It need not be a store.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let directory = Beneath::open(root)?;
        let owner = Owner::of_open(&directory)?;
        Ok(Self { directory, owner })
    }

    /// Does the same, and makes the missing directories. No link that appears in their place
    /// meanwhile is followed.
    pub(super) fn make_root(root: &Path) -> io::Result<Self> {
        match Self::open(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let real =
            |above: &Path| Some(above.canonicalize().ok()?.join(root.strip_prefix(above).ok()?));
        let real = root.ancestors().find_map(real).ok_or(io::ErrorKind::NotFound)?;
        let (directory, owner) = Beneath::make_real(&real)?;
        Ok(Self { directory, owner })
    }

    /// Returns the owner of new files.
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Returns whether the directory bears the mark of a store, or has the layout of a store that
    /// an earlier version made.
    pub(super) fn is_store(&self) -> io::Result<bool> {
        if self.kind(MARK)? == Some(FileType::RegularFile) {
            return Ok(true);
        }
        if self.kind(layout::ROOT)? != Some(FileType::Directory) {
            return Ok(false);
        }
        // Other programs also call a directory `v1`.
        let found = names(&self.directory(layout::ROOT)?)?;
        Ok(found.iter().any(|name| layout::PARTS.contains(&name.as_str())))
    }

    /// Checks that the directory is a store or may become one.
    pub(super) fn check(&self, own: &[&str]) -> io::Result<()> {
        if self.is_store()? {
            return Ok(());
        }
        if self.kind(layout::ROOT)? == Some(FileType::Symlink) {
            return Err(Odd::Link(layout::ROOT.to_owned()).into());
        }
        for name in names(&self.directory("")?)? {
            if !HARMLESS.contains(&name.as_str()) && !self.is_empty(&name, own)? {
                // Another process may have made the store meanwhile.
                return if self.is_store()? { Ok(()) } else { Err(Odd::NotAStore.into()) };
            }
        }
        Ok(())
    }

    /// Makes a store of an empty directory. The directories `own` may be there, without files.
    pub(super) fn claim(&self, own: &[&str]) -> io::Result<()> {
        self.check(own)?;
        if self.is_store()? {
            return Ok(());
        }
        match create(&self.directory("")?, MARK) {
            Ok(mut file) => {
                self.owner.adopt_file(&file)?;
                file.write_all(b"This directory is a store of ml-cache.\n")
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.is_store()? => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Opens the directory at a path.
    pub(super) fn directory(&self, path: &str) -> io::Result<OwnedFd> {
        self.directory.directory(path).map_err(|error| self.told(path, error))
    }

    /// Opens the directory at a path. Makes the missing directories, and gives them to the owner.
    pub(super) fn make(&self, path: &str) -> io::Result<OwnedFd> {
        self.directory.make(path, &self.owner).map_err(|error| self.told(path, error))
    }

    /// Opens a regular file for reading, and the directory above it.
    pub(super) fn file(&self, path: &str) -> io::Result<(Arc<OwnedFd>, File)> {
        let (directory, name) =
            self.directory.parent(path).map_err(|error| self.told(path, error))?;
        match open(&directory, name, OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(Odd::Forbidden.into())
            }
            opened => Ok((directory, opened?)),
        }
    }

    /// Checks that this process may make files at a path, or directories on the way there.
    pub(super) fn check_writable(&self, path: &str) -> io::Result<()> {
        let nearest = match self.directory(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_empty() => {
                return self.check_writable(path.rsplit_once('/').map_or("", |(above, _)| above));
            }
            opened => opened?,
        };
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        Ok(rustix::fs::accessat(&nearest, ".", wanted, AtFlags::empty())?)
    }

    /// Names the link of a path that cannot be opened, if there is a link.
    fn told(&self, path: &str, error: io::Error) -> io::Error {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let is_link = |path: &&str| self.kind(path).is_ok_and(|it| it == Some(FileType::Symlink));
        match Errno::from_io_error(&error) {
            Some(Errno::LOOP | Errno::NOTDIR) => match ends.map(|end| &path[..end]).find(is_link) {
                Some(link) => Odd::Link(link.to_owned()).into(),
                None => error,
            },
            _ => error,
        }
    }

    fn kind(&self, name: &str) -> io::Result<Option<FileType>> {
        Ok(self.directory.look(name)?.map(|found| found.kind))
    }

    /// Returns whether the name is one of ours, and a directory without entries.
    fn is_empty(&self, name: &str, own: &[&str]) -> io::Result<bool> {
        if !own.contains(&name) || self.kind(name)? != Some(FileType::Directory) {
            return Ok(false);
        }
        Ok(names(&self.directory(name)?)?.is_empty())
    }
}

/// Opens a regular file of a directory, and nothing else. It never waits for the writer of a pipe.
pub(super) fn open(directory: &OwnedFd, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    let file = match rustix::fs::openat(directory, name, flags, mode) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return Err(Odd::LinkedFile(name.to_owned()).into()),
        // A socket, a pipe without a reader, or a directory.
        Err(Errno::NXIO | Errno::ISDIR) => return Err(Odd::NotRegular.into()),
        Err(error) => return Err(error.into()),
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(Odd::NotRegular.into()) }
}

/// Makes a file that is not there yet.
pub(super) fn create(directory: &OwnedFd, name: &str) -> io::Result<File> {
    open(directory, name, OFlags::CREATE | OFlags::EXCL | OFlags::RDWR)
}

/// Opens a directory again, so that it can be read, locked and synced.
pub(super) fn readable(directory: &OwnedFd) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(directory, ".", flags, Mode::empty())?))
}

/// Returns the names in a directory. A name that is not UTF-8 has U+FFFD in it.
fn names(directory: &OwnedFd) -> io::Result<Vec<String>> {
    Ok(entries(directory)?.iter().map(|name| name.to_string_lossy().into_owned()).collect())
}
