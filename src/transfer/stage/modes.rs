//! Sets the modes of files that stay in place, and takes that back if the restore fails.

use std::io;
use std::os::fd::AsRawFd as _;

use rustix::fs::{Mode, OFlags, chmod, fchmod};

use crate::beneath::Beneath;
use crate::format::manifest::File;

/// The files whose modes a restore has set, each with the mode before.
#[derive(Debug, Default)]
pub(super) struct Modes(Vec<(String, u32)>);

impl Modes {
    /// Sets the mode of a file to that of the manifest. No other bit stays.
    ///
    /// # Errors
    /// - The file system refuses.
    /// - Another process has replaced or linked the file.
    pub(super) fn set(&mut self, destination: &Beneath, file: &File) -> io::Result<()> {
        let found = destination.look(&file.path)?;
        // Another name of the file may lie outside of the model.
        let Some(found) = found.filter(|found| found.is_file() && found.names <= 1) else {
            return Err(io::Error::other("another process has replaced or linked the file"));
        };
        self.0.push((file.path.clone(), found.mode));
        set(destination, &file.path, file.mode.bits())
    }

    /// Gives all files the modes from before.
    pub(super) fn take_back(&mut self, destination: &Beneath) {
        for (path, mode) in self.0.drain(..) {
            let _ = set(destination, &path, mode);
        }
    }
}

/// Checks that this process may set the mode of a file, which has this mode. Changes nothing.
///
/// # Errors
/// The file system refuses.
pub fn check(destination: &Beneath, path: &str, mode: u32) -> io::Result<()> {
    set(destination, path, mode)
}

fn set(destination: &Beneath, path: &str, mode: u32) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    match destination.file(path, OFlags::RDONLY) {
        // An empty file need not be readable. This way to it needs no right to read.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let file = destination.file(path, OFlags::PATH)?;
            Ok(chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), mode)?)
        }
        file => Ok(fchmod(file?, mode)?),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;
    use crate::format::manifest;

    fn entry(mode: manifest::Mode) -> File {
        File { path: "a".to_owned(), size: 0, mode, parts: vec![] }
    }

    fn bits(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_mode_is_that_of_the_manifest_or_as_before() {
        let place = tempfile::tempdir().unwrap();
        let base = Beneath::open(place.path()).unwrap();
        let file = place.path().join("a");
        fs::write(&file, "").unwrap();
        for before in [0o644, 0o755, 0o600, 0o666, 0o777, 0o4755, 0o2755, 0o6644, 0o1644, 0o700] {
            for mode in [manifest::Mode::Regular, manifest::Mode::Executable] {
                fs::set_permissions(&file, Permissions::from_mode(before)).unwrap();
                check(&base, "a", before).unwrap();
                assert_eq!(bits(&file), before);
                let mut modes = Modes::default();
                modes.set(&base, &entry(mode)).unwrap();
                assert_eq!(bits(&file), mode.bits(), "{before:o}");
                modes.take_back(&base);
                assert_eq!(bits(&file), before);
            }
        }
    }

    #[test]
    fn the_mode_of_a_file_with_another_name_stays() {
        let place = tempfile::tempdir().unwrap();
        let base = Beneath::open(place.path()).unwrap();
        let file = place.path().join("a");
        fs::write(&file, "").unwrap();
        fs::hard_link(&file, place.path().join("elsewhere")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
        assert!(Modes::default().set(&base, &entry(manifest::Mode::Regular)).is_err());
        assert_eq!(bits(&file), 0o400);
    }
}
