//! The directory of a store, and the paths below it.
//!
//! Another user may write in the directory. So each step below it goes from an open directory to a
//! name, and follows no link. The directory itself may be reached through links, as its user wants.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Access, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

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

/// The open directory of a store.
#[derive(Debug)]
pub(super) struct Place(OwnedFd);

impl Place {
    /// Opens the directory. It need not be a store.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(root, flags, Mode::empty())?))
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
        let found = names(&enter(&self.0, layout::ROOT)?)?;
        Ok(found.is_empty() || found.iter().any(|name| layout::PARTS.contains(&name.as_str())))
    }

    /// Checks that the directory is a store or may become one.
    pub(super) fn check(&self, own: &[&str]) -> io::Result<()> {
        if self.is_store()? {
            return Ok(());
        }
        if self.kind(layout::ROOT)? == Some(FileType::Symlink) {
            return Err(Odd::Link(layout::ROOT.to_owned()).into());
        }
        for name in names(&self.0)? {
            if !HARMLESS.contains(&name.as_str()) && !self.is_empty(&name, own)? {
                // Another process may have made the store meanwhile.
                return if self.is_store()? { Ok(()) } else { Err(Odd::NotAStore.into()) };
            }
        }
        Ok(())
    }

    /// Makes a store of an empty directory. The directories `own` may be there, without files.
    pub(super) fn claim(&self, own: &[&str], owner: &Owner) -> io::Result<()> {
        self.check(own)?;
        if self.is_store()? {
            return Ok(());
        }
        match create(&self.0, MARK) {
            Ok(mut file) => {
                owner.adopt_file(&file)?;
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
        let mut current = enter(&self.0, ".")?;
        for name in path.split('/') {
            current = enter(&current, name)?;
        }
        Ok(current)
    }

    /// Opens the directory at a path. Makes the missing directories, and gives them to the owner.
    pub(super) fn make(&self, path: &str, owner: &Owner) -> io::Result<OwnedFd> {
        let mut current = enter(&self.0, ".")?;
        for name in path.split('/') {
            current = match enter(&current, name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    make(&current, name, owner)?
                }
                entered => entered?,
            };
        }
        Ok(current)
    }

    /// Opens a regular file for reading, and the directory above it.
    pub(super) fn file(&self, path: &str) -> io::Result<(OwnedFd, File)> {
        let (above, name) = path.rsplit_once('/').unwrap_or((".", path));
        let directory = self.directory(above)?;
        match open(&directory, name, OFlags::RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(Odd::Forbidden.into())
            }
            opened => Ok((directory, opened?)),
        }
    }

    /// Checks that this process may make files at a path, or directories on the way there.
    pub(super) fn check_writable(&self, path: &str) -> io::Result<()> {
        let mut current = enter(&self.0, ".")?;
        for name in path.split('/') {
            match enter(&current, name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                entered => current = entered?,
            }
        }
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        Ok(rustix::fs::accessat(&current, ".", wanted, AtFlags::empty())?)
    }

    fn kind(&self, name: &str) -> io::Result<Option<FileType>> {
        kind(&self.0, name)
    }

    /// Returns whether the name is one of ours, and a directory without entries.
    fn is_empty(&self, name: &str, own: &[&str]) -> io::Result<bool> {
        if !own.contains(&name) || self.kind(name)? != Some(FileType::Directory) {
            return Ok(false);
        }
        Ok(names(&enter(&self.0, name)?)?.is_empty())
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
pub(super) fn names(directory: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in Dir::new(OwnedFd::from(readable(directory)?))? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// Returns the kind of an entry. A link is a link, wherever it leads.
pub(super) fn kind(directory: &OwnedFd, name: &str) -> io::Result<Option<FileType>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn enter(directory: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) if kind(directory, name)? == Some(FileType::Symlink) => {
            Err(Odd::Link(name.to_owned()).into())
        }
        entered => Ok(entered?),
    }
}

fn make(directory: &OwnedFd, name: &str, owner: &Owner) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => {
            let made = enter(directory, name)?;
            owner.adopt_file(&readable(&made)?)?;
            Ok(made)
        }
        // Another process made the directory first.
        Err(Errno::EXIST) => enter(directory, name),
        Err(error) => Err(error.into()),
    }
}
