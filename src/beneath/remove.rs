//! Removes directories, and nothing that is mounted in them.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::entry::{Found, Mount, enter, entries, look};

/// Removes an entry of a directory, with everything below it on the same mount.
///
/// Other mounts stay, and so do the directories above them. No link is followed.
///
/// # Errors
/// Something stays.
pub fn remove(parent: impl AsFd, name: &CStr) -> io::Result<()> {
    let Some(above) = look(&parent, c".")? else { return Ok(()) };
    one(parent, name, above.mount)
}

fn one(parent: impl AsFd, name: &CStr, mount: Mount) -> io::Result<()> {
    let Some(found) = look(&parent, name)? else { return Ok(()) };
    if found.mount != mount {
        return Err(io::Error::from(io::ErrorKind::CrossesDevices));
    }
    if !found.is_dir() {
        return gone(unlinkat(parent, name, AtFlags::empty()));
    }
    let mut result = Ok(());
    let directory = enter(&parent, name)?;
    // Another process may have exchanged the directory since, for one on another mount.
    let entered = look(&directory, c".")?;
    if !entered.is_some_and(|entered: Found| entered.mount == mount) {
        return Err(io::Error::from(io::ErrorKind::CrossesDevices));
    }
    for name in entries(&directory)? {
        result = result.and(one(&directory, &name, mount));
    }
    result.and(gone(unlinkat(parent, name, AtFlags::REMOVEDIR)))
}

fn gone(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => Ok(other?),
    }
}
