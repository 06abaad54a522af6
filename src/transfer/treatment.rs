//! Decides what a restore does with each file of a model.

use std::io::{Error as IoError, ErrorKind};

use rustix::fs::{StatVfsMountFlags, fstatvfs};

use super::stage::{self, Destination};
use super::unchanged::InPlace;
use crate::beneath::{Found, Mount};
use crate::error::{Error, IoContext as _, Result};
use crate::format::manifest::{File, Manifest};

/// What a restore does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// What it does with the bytes.
    pub content: Content,
    /// Whether it sets the mode of the file in place.
    pub sets_mode: bool,
}

/// What a restore does with the bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The right bytes are in place and stay.
    Keep,
    /// The file cannot be replaced. So the restore fails, unless the right bytes are in place.
    Compare(Fixed),
    /// A new file takes the place.
    Write,
}

/// The reason why a file cannot be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// Something is mounted on the file itself.
    MountPoint,
    /// Its file system cannot be written.
    ReadOnly,
}

impl Fixed {
    /// Returns the error about a file with other bytes.
    pub fn error(self, held: &Destination, path: &str) -> Error {
        let full = held.full(path);
        let (reason, hint) = match self {
            Self::MountPoint => (stage::MOUNT_POINT, "unmount it, and restore again"),
            Self::ReadOnly => ("its file system is read-only", stage::READ_ONLY),
        };
        Error::failed(format!("cannot put in place `{}`: {reason}", full.display()))
            .hint(format!("{hint}; nothing was changed"))
    }
}

/// The treatments of all files of a model.
#[derive(Debug)]
pub struct Plan {
    /// The treatment of each file, in the order of the manifest.
    pub treatments: Vec<Treatment>,
    /// The files whose modes stay wrong, because the file system permits no change.
    pub odd_modes: Vec<String>,
}

/// Decides by what is in place. The caller holds the lock of the destination.
///
/// # Errors
/// - A file must be replaced and cannot.
/// - The file system refuses.
pub fn plan(held: &Destination, manifest: &Manifest, found: Vec<InPlace>) -> Result<Plan> {
    let mut planner = Planner { held, above: None, systems: Vec::new(), odd_modes: Vec::new() };
    let treatments = manifest
        .files
        .iter()
        .zip(found)
        .map(|(file, found)| planner.file(file, found))
        .collect::<Result<_>>()?;
    Ok(Plan { treatments, odd_modes: planner.odd_modes })
}

const WRITE: Treatment = Treatment { content: Content::Write, sets_mode: false };

struct Planner<'a> {
    held: &'a Destination,
    /// The last directory, and the mount on which it is. The next file is often in the same one.
    above: Option<(String, Mount)>,
    /// The known mounts, and whether each is read-only.
    systems: Vec<(Mount, bool)>,
    odd_modes: Vec<String>,
}

impl Planner<'_> {
    fn file(&mut self, file: &File, in_place: InPlace) -> Result<Treatment> {
        if in_place == InPlace::Nothing {
            return Ok(WRITE);
        }
        let (path, full) = (file.path.as_str(), self.held.full(&file.path));
        let Some(found) = self.held.directory().look(path).on("cannot look at", &full)? else {
            return Ok(WRITE);
        };
        let content = match in_place {
            InPlace::Same if found.is_file() && found.mode == file.mode.bits() => Content::Keep,
            InPlace::Same if found.is_file() => {
                return self.other_mode(file, &found, Content::Keep);
            }
            _ => match self.fixed(path, &found)? {
                None => Content::Write,
                Some(fixed) if in_place == InPlace::Sized => Content::Compare(fixed),
                Some(fixed) => return Err(fixed.error(self.held, path)),
            },
        };
        match content {
            Content::Compare(_) if found.mode != file.mode.bits() => {
                self.other_mode(file, &found, content)
            }
            _ => Ok(Treatment { content, sets_mode: false }),
        }
    }

    /// Decides about a file whose bytes are right and whose mode is wrong.
    fn other_mode(&mut self, file: &File, found: &Found, content: Content) -> Result<Treatment> {
        let path = file.path.as_str();
        let fixed = self.fixed(path, found)?;
        // Another name of the file may lie outside of the model, such as in a cache.
        let has_other_names = found.names > 1;
        if has_other_names && fixed.is_none() {
            return Ok(WRITE);
        }
        let checked = stage::check_mode(self.held.directory(), path, found.mode);
        match checked {
            Ok(()) if !has_other_names => Ok(Treatment { content, sets_mode: true }),
            // The file belongs to another user. A new file belongs to this user.
            Err(error) if fixed.is_none() && error.kind() == ErrorKind::PermissionDenied => {
                Ok(WRITE)
            }
            Err(error) if fixed.is_none() && error.kind() != ErrorKind::ReadOnlyFilesystem => {
                Err(error).on("cannot set the mode of", &self.held.full(path))
            }
            _ => {
                self.odd_modes.push(path.to_owned());
                Ok(Treatment { content, sets_mode: false })
            }
        }
    }

    /// Returns why the file cannot be replaced; `None` if nothing is known.
    fn fixed(&mut self, path: &str, found: &Found) -> Result<Option<Fixed>> {
        let full = self.held.full(path);
        let (parent, _) = self.held.directory().parent(path).on("cannot open", &full)?;
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        let mount = match &self.above {
            Some((last, mount)) if last == above => *mount,
            _ => {
                let directory = crate::beneath::look(&*parent, c".").on("cannot look at", &full)?;
                let mount = directory.map_or(found.mount, |directory| directory.mount);
                self.above = Some((above.to_owned(), mount));
                mount
            }
        };
        if mount != found.mount {
            return Ok(Some(Fixed::MountPoint));
        }
        let known = self.systems.iter().find(|(known, _)| *known == mount).map(|known| known.1);
        let is_read_only = match known {
            Some(is_read_only) => is_read_only,
            None => {
                let system = fstatvfs(&*parent).map_err(IoError::from);
                let system = system.on("cannot look at the file system of", &full)?;
                let is_read_only = system.f_flag.contains(StatVfsMountFlags::RDONLY);
                self.systems.push((mount, is_read_only));
                is_read_only
            }
        };
        Ok(is_read_only.then_some(Fixed::ReadOnly))
    }
}
