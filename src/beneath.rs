//! Opens paths below a directory, and follows no link there.
//!
//! Another user may write in the directory, and replace a part of a path at any moment. So each
//! operation goes from an open directory to a name. The directory itself may be reached through
//! links, as its user wants.

mod entry;
mod real;
mod remove;
mod step;

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

pub use self::entry::{Found, Mount, enter, entries, look, look_at};
pub use self::remove::remove;
use self::step::{PLACE, make, step};
use crate::ownership::Owner;

/// An open file, and no wait for the other end of a pipe.
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// The way to a path below the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A single call, in which the kernel refuses links and `..`.
    Call,
    /// A call for each component. Old kernels need this, and so do some filters of system calls.
    Steps,
}

impl Way {
    /// Chooses by the result of a first call. A filter answers with EPERM where nothing else can.
    fn after<T>(tried: &Result<T, Errno>) -> Self {
        match tried {
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => Self::Steps,
            _ => Self::Call,
        }
    }
}

/// An open directory, and all paths below it.
#[derive(Debug)]
pub struct Beneath {
    root: OwnedFd,
    way: Way,
    /// The last parent directory, because the next path often has the same parent.
    last: Mutex<Option<(String, Arc<OwnedFd>)>>,
}

impl Beneath {
    /// Opens a directory. Its own path may lead through links.
    ///
    /// # Errors
    /// The path is no directory, or the file system refuses.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::of(rustix::fs::open(path, PLACE, Mode::empty())?))
    }

    /// Opens a directory by its real path. Where a part of the path has become a link since the
    /// path was found, the link is not followed.
    ///
    /// # Errors
    /// - A part of the path is a link or no directory.
    /// - The file system refuses.
    pub fn open_real(path: &Path) -> io::Result<Self> {
        Ok(Self::of(real::open(path)?))
    }

    /// As [`Self::open_real`], and makes the missing directories. Also returns the owner for new
    /// files.
    ///
    /// # Errors
    /// As [`Self::open_real`].
    pub fn make_real(path: &Path) -> io::Result<(Self, Owner)> {
        let (opened, owner) = real::make(path)?;
        Ok((Self::of(opened), owner))
    }

    /// Takes a directory that is open already.
    pub fn of(root: OwnedFd) -> Self {
        let way = Way::after(&by_call(&root, ".", PLACE, Mode::empty()));
        Self { root, way, last: Mutex::default() }
    }

    /// Opens a directory below this one.
    ///
    /// # Errors
    /// As [`Self::directory`].
    pub fn within(&self, path: &str) -> io::Result<Self> {
        Ok(Self { root: self.directory(path)?, way: self.way, last: Mutex::default() })
    }

    /// Opens a regular file. It never waits for the other end of a pipe.
    ///
    /// # Errors
    /// - A part of the path is a link or leads to anything but a regular file.
    /// - The file system refuses.
    pub fn file(&self, path: &str, flags: OFlags) -> io::Result<File> {
        Ok(self.file_with_metadata(path, flags)?.0)
    }

    /// Opens a regular file, and returns its metadata, too.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn file_with_metadata(&self, path: &str, flags: OFlags) -> io::Result<(File, Metadata)> {
        regular(self.at(path, flags | FILE)?)
    }

    /// As [`Self::file_with_metadata`], for paths in order: the parent directory stays open for the
    /// next path.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn next_file(&self, path: &str, flags: OFlags) -> io::Result<(File, Metadata)> {
        let (parent, name) = self.parent(path)?;
        regular(step(&parent, name, flags | FILE, Mode::empty())?)
    }

    /// Opens a directory, without the right to read it. An empty path means the directory itself.
    ///
    /// # Errors
    /// - A part of the path is a link or no directory.
    /// - The file system refuses.
    pub fn directory(&self, path: &str) -> io::Result<OwnedFd> {
        self.at(if path.is_empty() { "." } else { path }, PLACE | OFlags::NOFOLLOW)
    }

    /// Opens the parent directory of a path, and returns it with the last name of the path.
    ///
    /// # Errors
    /// As [`Self::directory`].
    pub fn parent<'a>(&self, path: &'a str) -> io::Result<(Arc<OwnedFd>, &'a str)> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        if matches!(name, "" | "." | "..") {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        if let Ok(last) = self.last.lock()
            && let Some((_, parent)) = last.as_ref().filter(|(path, _)| path == above)
        {
            return Ok((parent.clone(), name));
        }
        let parent = Arc::new(self.directory(above)?);
        if let Ok(mut last) = self.last.lock() {
            *last = Some((above.to_owned(), parent.clone()));
        }
        Ok((parent, name))
    }

    /// Opens a directory. Makes the missing directories, and gives them to the owner.
    ///
    /// # Errors
    /// As [`Self::directory`].
    pub fn make(&self, path: &str, owner: &Owner) -> io::Result<OwnedFd> {
        match self.directory(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_empty() => {}
            opened => return opened,
        }
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.make(above, owner)?;
        make(&parent, name, owner)
    }

    /// Returns what is at the path; `None` if there is nothing. A link is a link.
    ///
    /// # Errors
    /// - A part of the path above its last name is a link or no directory.
    /// - The file system refuses.
    pub fn look(&self, path: &str) -> io::Result<Option<Found>> {
        if path.is_empty() {
            return look(&self.root, c".");
        }
        match self.parent(path) {
            Ok((parent, name)) => look_at(&parent, name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn at(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        if self.way == Way::Call {
            for _ in 0..3 {
                match by_call(&self.root, path, flags, Mode::empty()) {
                    // Another process renamed a directory of the path meanwhile.
                    Err(Errno::AGAIN) => {}
                    opened => return Ok(opened?),
                }
            }
        }
        Ok(by_steps(&self.root, path, flags)?)
    }
}

impl AsFd for Beneath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

/// Makes a regular file that is not there yet, with mode 0600.
///
/// # Errors
/// There is something, or the file system refuses.
pub fn create(parent: impl AsFd, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(openat(parent, name, flags, Mode::from_raw_mode(0o600))?))
}

fn regular(opened: OwnedFd) -> io::Result<(File, Metadata)> {
    let file = File::from(opened);
    let found = file.metadata()?;
    match found.is_file() {
        true => Ok((file, found)),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

fn by_call(root: &OwnedFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, mode, resolve)
}

fn by_steps(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut components = path.split('/').peekable();
    let mut current: Option<OwnedFd> = None;
    while let Some(name) = components.next() {
        if matches!(name, "" | "..") || (name == "." && path != ".") {
            return Err(Errno::INVAL);
        }
        let flags = if components.peek().is_some() { PLACE } else { flags };
        current = Some(step(current.as_ref().unwrap_or(root), name, flags, Mode::empty())?);
    }
    current.ok_or(Errno::INVAL)
}

#[cfg(test)]
mod tests;
