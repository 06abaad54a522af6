//! The entries of open directories, and the mounts on which they are.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Statx, StatxFlags, openat, statat, statx};
use rustix::io::Errno;

use crate::stamp::Stamp;

/// A mount. Two bind mounts of the same file system differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mount {
    /// The kernel's number of the mount.
    Number(u64),
    /// The number of the device, where the kernel tells no other. It does not show bind mounts.
    Device(u64),
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The kind: file, directory, link or another.
    pub kind: FileType,
    /// The permission bits, with set-id bits and the sticky bit.
    pub mode: u32,
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The number of the inode.
    pub inode: u64,
    /// The number of the device.
    pub device: u64,
    /// The number of names.
    pub names: u32,
    /// The length in bytes.
    pub size: u64,
    /// The time of the last change of content, names, owner or mode: seconds and nanoseconds.
    pub changed: (i64, u32),
    /// The time of the last change of the content: seconds and nanoseconds.
    pub modified: (i64, u32),
    /// The mount on which it is. A mount point is on the mount that it shows.
    pub mount: Mount,
}

impl Found {
    /// Returns whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }

    /// Returns whether this is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    /// Returns whether this is a symbolic link.
    pub fn is_link(&self) -> bool {
        self.kind == FileType::Symlink
    }

    /// Returns the marks by which a change shows.
    pub fn stamp(&self) -> Stamp {
        let time = |(seconds, nanos): (i64, u32)| (seconds, i64::from(nanos));
        let (modified, changed) = (time(self.modified), time(self.changed));
        Stamp::new(self.device, self.inode, self.size, modified, changed)
    }

    /// Returns whether both are the same file, under whatever name.
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// Opens a directory of an open directory, for reading too.
///
/// # Errors
/// The name is a link or no directory, or the file system refuses.
pub fn enter(parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Returns the names in a directory.
///
/// # Errors
/// The file system refuses.
pub fn entries(directory: impl AsFd) -> io::Result<Vec<CString>> {
    let mut entries = Vec::new();
    // `Dir` needs a descriptor with a position of its own.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    for entry in Dir::new(openat(directory, c".", flags, Mode::empty())?)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            entries.push(name);
        }
    }
    Ok(entries)
}

/// Looks at an entry of a directory, and returns `None` if there is none. A link is a link.
///
/// # Errors
/// The file system refuses.
pub fn look(directory: impl AsFd, name: &CStr) -> io::Result<Option<Found>> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    match statx(&directory, name, flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID) {
        Ok(found) if found.stx_mask & StatxFlags::MNT_ID.bits() != 0 => Ok(Some(of(&found))),
        Err(Errno::NOENT) => Ok(None),
        // The kernel tells no mount, or a filter forbids the call.
        Ok(_) | Err(Errno::NOSYS | Errno::PERM) => without_statx(directory, name),
        Err(error) => Err(error.into()),
    }
}

/// As [`look`], for a name that may hold any character.
///
/// # Errors
/// As [`look`].
pub fn look_at(directory: impl AsFd, name: &str) -> io::Result<Option<Found>> {
    look(directory, &CString::new(name)?)
}

fn of(found: &Statx) -> Found {
    let mode = u32::from(found.stx_mode);
    Found {
        kind: FileType::from_raw_mode(mode),
        mode: mode & 0o7777,
        uid: found.stx_uid,
        gid: found.stx_gid,
        inode: found.stx_ino,
        device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
        names: found.stx_nlink,
        size: found.stx_size,
        changed: (found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec),
        modified: (found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec),
        mount: Mount::Number(found.stx_mnt_id),
    }
}

/// Does the same with older calls, and reads the mount from `/proc`.
pub(super) fn without_statx(directory: impl AsFd, name: &CStr) -> io::Result<Option<Found>> {
    let found = match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        found => found?,
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(&directory, name, flags, Mode::empty())?;
    Ok(Some(Found {
        kind: FileType::from_raw_mode(found.st_mode),
        mode: found.st_mode & 0o7777,
        uid: found.st_uid,
        gid: found.st_gid,
        inode: found.st_ino,
        device: found.st_dev,
        names: u32::try_from(found.st_nlink).unwrap_or(u32::MAX),
        size: found.st_size.cast_unsigned(),
        changed: (found.st_ctime, u32::try_from(found.st_ctime_nsec).unwrap_or_default()),
        modified: (found.st_mtime, u32::try_from(found.st_mtime_nsec).unwrap_or_default()),
        mount: number(&opened).map_or(Mount::Device(found.st_dev), Mount::Number),
    }))
}

/// Reads the number of the mount on which an open file is.
fn number(opened: &OwnedFd) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", opened.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}
