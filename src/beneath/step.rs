//! A single step from an open directory to a directory or a file in it.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkdirat, openat, statat};
use rustix::io::Errno;
use rustix::path::Arg;

use super::entry::entries;
use crate::ownership::Owner;

/// An open directory without the right to read it. Other calls use it as their start.
pub(super) const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Makes a directory if it is missing, gives it to the owner, and opens it.
pub(super) fn make<N: Arg + Copy>(parent: &OwnedFd, name: N, owner: &Owner) -> io::Result<OwnedFd> {
    let is_new = match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => true,
        // Another process made the directory first.
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    let opened = step(parent, name, PLACE, Mode::empty())?;
    // Another process may have put another directory there. A directory with entries is not new.
    if is_new && owner.gives_away() && entries(&opened)?.is_empty() {
        owner.adopt_open(&opened)?;
    }
    Ok(opened)
}

/// Opens an entry of a directory, unless it is a link.
pub(super) fn step<N: Arg + Copy>(
    parent: &OwnedFd,
    name: N,
    flags: OFlags,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    match openat(parent, name, flags | OFlags::NOFOLLOW, mode) {
        // For a link, some flags have another error than the single call has.
        Err(Errno::NOTDIR) if is_link(parent, name) => Err(Errno::LOOP),
        opened => opened,
    }
}

fn is_link(parent: &OwnedFd, name: impl Arg) -> bool {
    statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_symlink())
}
