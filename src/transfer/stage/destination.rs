//! The destination of a restore: only one restore at a time writes there, and no path is in its
//! way.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext as _, Result};
use crate::format::manifest::{self, Manifest};
use crate::ownership::Owner;

/// The beginning of every stage's name.
pub(super) const PREFIX: &str = manifest::RESERVED;

/// The right to restore into a directory. One process at a time holds it.
#[derive(Debug)]
pub struct Destination {
    pub(super) path: PathBuf,
    pub(super) owner: Owner,
    _lock: File,
}

impl Destination {
    /// Makes the directory if it is missing, and waits for other restores into it. Then removes
    /// abandoned stages.
    ///
    /// # Errors
    /// - The path is not a directory.
    /// - The directory cannot be made or locked.
    pub fn open(path: &Path) -> Result<Self> {
        let owner = Owner::of(path);
        if fs::metadata(path).is_ok_and(|found| !found.is_dir()) {
            return Err(Error::bad_input(format!(
                "the destination `{}` is not a directory",
                path.display()
            )));
        }
        owner.make_directories(path).on("cannot make the directory", path)?;
        let lock = File::open(path).on("cannot open", path)?;
        match lock.lock() {
            // Some network file systems have no locks. There, nothing keeps two restores apart.
            Err(error) if error.kind() != io::ErrorKind::Unsupported => {
                return Err(Error::io("cannot lock", path, &error));
            }
            _ => {}
        }
        sweep(path);
        Ok(Self { path: path.to_owned(), owner, _lock: lock })
    }
}

/// Removes abandoned stages, unless a restore holds the lock of the directory.
pub fn tidy(path: &Path) {
    if let Ok(lock) = File::open(path)
        && lock.try_lock().is_ok()
    {
        sweep(path);
    }
}

fn sweep(path: &Path) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
        {
            // A stage that stays does no harm.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Checks before the transfer that no link leads away and that nothing is in the model's way.
///
/// # Errors
/// Returns an error about the first path that breaks this rule.
pub fn check(destination: &Path, manifest: &Manifest) -> Result<()> {
    let in_the_way = |path: &Path, wanted: &str| {
        Err(Error::failed(format!(
            "`{}` is in the way: the model has {wanted} there",
            path.display()
        ))
        .hint("remove it, or give another `destination`"))
    };
    let mut checked = std::collections::HashSet::new();
    for path in manifest.paths() {
        if manifest::is_reserved(path) {
            return Err(Error::integrity(format!("the manifest has the reserved path `{path}`")));
        }
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            if !checked.insert(parent) {
                continue;
            }
            let full = destination.join(parent);
            match fs::symlink_metadata(&full) {
                Ok(found) if found.is_dir() => {}
                Ok(found) if found.is_symlink() => {
                    return Err(Error::failed(format!(
                        "`{}` is a link, and a restore follows no links",
                        full.display()
                    ))
                    .hint("remove the link, or give another `destination`"));
                }
                Ok(_) => return in_the_way(&full, "a directory"),
                Err(_) => break,
            }
        }
    }
    let is_dir = |path: &Path| fs::symlink_metadata(path).ok().map(|found| found.is_dir());
    for path in manifest
        .files
        .iter()
        .map(|file| &file.path)
        .chain(manifest.links.iter().map(|link| &link.path))
    {
        let full = destination.join(path);
        if is_dir(&full) == Some(true) {
            return in_the_way(&full, "a file");
        }
    }
    for path in &manifest.dirs {
        let full = destination.join(path);
        if is_dir(&full) == Some(false) {
            return in_the_way(&full, "a directory");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::manifest::Mode;

    fn manifest(path: &str, is_dir: bool) -> Manifest {
        use crate::format::manifest::File;
        let file = File { path: path.to_owned(), size: 0, mode: Mode::Regular, parts: vec![] };
        match is_dir {
            true => Manifest::new(vec![], vec![], vec![path.to_owned()]).unwrap(),
            false => Manifest::new(vec![file], vec![], vec![]).unwrap(),
        }
    }

    #[test]
    fn what_is_in_the_way_is_found_beforehand() {
        let place = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", place.path().join("link")).unwrap();
        fs::write(place.path().join("file"), "").unwrap();
        fs::create_dir(place.path().join("dir")).unwrap();
        for (path, is_dir, needle) in [
            ("link/passwd", false, "is a link"),
            ("file/x", false, "is in the way"),
            ("dir", false, "is in the way"),
            ("file", true, "is in the way"),
            (".ml-cache-tmp-x/y", false, "reserved"),
        ] {
            let error = check(place.path(), &manifest(path, is_dir)).unwrap_err();
            assert!(error.to_string().contains(needle), "{path}: {error}");
        }
        for (path, is_dir) in
            [("dir/new", false), ("file", false), ("link", false), ("dir", true), ("new/x", false)]
        {
            check(place.path(), &manifest(path, is_dir)).unwrap();
        }
    }
}
