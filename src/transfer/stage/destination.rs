//! The destination of a restore: only one restore at a time writes there, and no path is in its
//! way.

use std::collections::HashMap;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::fstatvfs;

use super::leftover;
pub(super) use super::place::PREFIX;
use super::place::{self, Place};
use crate::beneath::{Beneath, entries};
use crate::error::{Error, IoContext as _, Result};
use crate::format::manifest::{self, Link, Manifest};
use crate::lock::LockWait;
use crate::ownership::Owner;

/// The right to restore into a directory. One process at a time holds it.
#[derive(Debug)]
pub struct Destination {
    pub(super) path: PathBuf,
    pub(super) owner: Owner,
    /// The destination itself, and then the mounts below it to which files go.
    pub(super) places: Vec<Place>,
    lock_wait: LockWait,
}

impl Destination {
    /// Makes the directory if it is missing, and waits for other restores into it. Then removes
    /// abandoned stages.
    ///
    /// # Errors
    /// - The path is not a directory.
    /// - The directory cannot be made or locked.
    /// - Another process holds the lock for too long.
    pub fn open(path: &Path, lock_wait: LockWait) -> Result<Self> {
        let owner = Owner::of(path);
        if fs::metadata(path).is_ok_and(|found| !found.is_dir()) {
            return Err(Error::bad_input(format!(
                "the destination `{}` is not a directory",
                path.display()
            )));
        }
        owner.make_directories(path).on("cannot make the directory", path)?;
        let directory = Beneath::open(path).on("cannot open", path)?;
        let main = hold("", directory, path, &lock_wait)?;
        Ok(Self { path: path.to_owned(), owner, places: vec![main], lock_wait })
    }

    /// Returns the open directory.
    pub fn directory(&self) -> &Beneath {
        &self.places[0].directory
    }

    /// Returns whether the link is in place already.
    pub fn has_link(&self, link: &Link) -> bool {
        let found = self
            .directory()
            .parent(&link.path)
            .and_then(|(parent, name)| Ok(rustix::fs::readlinkat(&*parent, name, Vec::new())?));
        found.is_ok_and(|target| target.as_bytes() == link.target.as_bytes())
    }

    /// Returns whether there is a directory at the path.
    pub fn has_directory(&self, path: &str) -> bool {
        self.directory().look(path).is_ok_and(|found| found.is_some_and(|found| found.is_dir()))
    }

    /// Finds the mounts to which files at these paths go, and does for each as [`Self::open`] does.
    ///
    /// # Errors
    /// - A directory on the way is a link.
    /// - A mount cannot be locked.
    pub fn spread<'a>(&mut self, paths: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let mut known = HashMap::new();
        for path in paths {
            if let Some((above, _)) = path.rsplit_once('/') {
                self.locate(above, &mut known)?;
            }
        }
        Ok(())
    }

    /// Returns the index of the place on which a directory is; `None` if it does not exist yet.
    fn locate<'a>(
        &mut self,
        directory: &'a str,
        known: &mut HashMap<&'a str, Option<usize>>,
    ) -> Result<Option<usize>> {
        if directory.is_empty() {
            return Ok(Some(0));
        }
        if let Some(index) = known.get(directory) {
            return Ok(*index);
        }
        let (above, _) = directory.rsplit_once('/').unwrap_or(("", directory));
        let mut located = self.locate(above, known)?;
        if let Some(index) = located {
            let full = self.path.join(directory);
            located = match self.directory().look(directory).on("cannot look at", &full)? {
                None => None,
                Some(found) if found.mount == self.places[index].mount => Some(index),
                Some(_) => Some(self.place_at(directory, &full)?),
            };
        }
        known.insert(directory, located);
        Ok(located)
    }

    /// Returns the index of the place where a mount begins.
    fn place_at(&mut self, directory: &str, full: &Path) -> Result<usize> {
        if let Some(index) = self.places.iter().position(|place| place.at == directory) {
            return Ok(index);
        }
        let opened = self.directory().within(directory).on("cannot open", full)?;
        self.places.push(hold(directory, opened, full, &self.lock_wait)?);
        Ok(self.places.len() - 1)
    }

    /// Checks that every file system has space for its new files, given as path and size. The old
    /// files are removed only afterwards.
    ///
    /// # Errors
    /// A file system has too little space.
    pub fn check_space<'a>(&self, files: impl Iterator<Item = (&'a str, u64)>) -> Result<()> {
        let mut needed = vec![0_u64; self.places.len()];
        for (path, size) in files {
            let (index, _) = place::of(self.places.iter().map(|place| place.at.as_str()), path);
            needed[index] = needed[index].saturating_add(size);
        }
        let mut devices: HashMap<u64, u64> = HashMap::new();
        for (place, needed) in self.places.iter().zip(needed).filter(|(_, needed)| *needed > 0) {
            let full = self.path.join(&place.at);
            let found = place.directory.look("").on("cannot look at", &full)?;
            // Two mounts of a file system share its space.
            let all = devices.entry(found.map_or(0, |found| found.device)).or_default();
            *all = all.saturating_add(needed);
            let system = fstatvfs(&place.directory)
                .map_err(io::Error::from)
                .on("cannot look at the file system of", &full)?;
            let free = system.f_bavail.saturating_mul(system.f_frsize);
            if *all > free {
                return Err(too_little(*all, free, &full));
            }
        }
        Ok(())
    }
}

fn too_little(needed: u64, free: u64, path: &Path) -> Error {
    let (needed, free) = (indicatif::HumanBytes(needed), indicatif::HumanBytes(free));
    Error::failed(format!(
        "the model needs {needed}, but `{}` has only {free} free",
        path.display()
    ))
    .hint("free some space, or give a `destination` on a larger disk")
}

/// Locks a place, and removes abandoned stages there.
fn hold(at: &str, directory: Beneath, full: &Path, lock_wait: &LockWait) -> Result<Place> {
    let told = format!("`{}`", full.display());
    let place = Place::lock(at, directory, &told, lock_wait).map_err(|error| {
        let failed = Error::io("cannot lock", full, &error);
        match error.kind() {
            io::ErrorKind::TimedOut => {
                failed.hint("end the other process, or raise `lock-timeout`")
            }
            _ => failed,
        }
    })?;
    sweep(&place);
    Ok(place)
}

/// Removes abandoned stages, unless a restore holds the lock of the directory.
pub fn tidy(path: &Path) {
    if let Ok(directory) = Beneath::open(path)
        && let Ok(place) = Place::try_lock("", directory)
    {
        sweep(&place);
    }
}

fn sweep(place: &Place) {
    for name in entries(&place.directory).unwrap_or_default() {
        if let Some(text) = stage_name(&name)
            && place.directory.look(text).is_ok_and(|found| found.is_some_and(|it| it.is_dir()))
        {
            // A stage that stays does no harm.
            let _ = leftover::clear(place, text);
        }
    }
}

fn stage_name(name: &CStr) -> Option<&str> {
    name.to_str().ok().filter(|name| name.starts_with(PREFIX))
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
