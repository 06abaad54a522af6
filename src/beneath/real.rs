//! Opens directories by their real paths, in which no part is a link.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use rustix::fs::Mode;
use rustix::io::Errno;

use super::step::{self, PLACE};
use crate::ownership::Owner;

/// Opens a directory.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    walk(path, |_, _| Err(io::Error::from(io::ErrorKind::NotFound)))
}

/// Opens a directory, and makes the missing directories.
pub(super) fn make(path: &Path) -> io::Result<(OwnedFd, Owner)> {
    let mut owner = None;
    let opened = walk(path, |above, name| {
        let owner = match &owner {
            Some(owner) => owner,
            None => owner.insert(Owner::of_open(above)?),
        };
        step::make(above, name, owner)
    })?;
    let owner = owner.map_or_else(|| Owner::of_open(&opened), Ok)?;
    Ok((opened, owner))
}

/// Goes along a path step by step. `missing` makes a missing directory.
fn walk(
    path: &Path,
    mut missing: impl FnMut(&OwnedFd, &CStr) -> io::Result<OwnedFd>,
) -> io::Result<OwnedFd> {
    let start = if path.is_absolute() { c"/" } else { c"." };
    let mut current = rustix::fs::open(start, PLACE, Mode::empty())?;
    for component in path.components() {
        let name = match component {
            Component::RootDir | Component::CurDir => continue,
            Component::Normal(name) => CString::new(name.as_bytes())?,
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::Error::from(io::ErrorKind::InvalidInput));
            }
        };
        current = match step::step(&current, name.as_c_str(), PLACE, Mode::empty()) {
            Err(Errno::NOENT) => missing(&current, &name)?,
            opened => opened?,
        };
    }
    Ok(current)
}
