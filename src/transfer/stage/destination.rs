//! The destination of a restore: only one restore at a time writes there, and no path is in its
//! way.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::fstatvfs;
use rustix::io::Errno;

use super::leftover::{self, Model};
use super::place::{self, PREFIX, Place};
use crate::beneath::{Beneath, Found, entries};
use crate::error::{Error, IoContext as _, Result};
use crate::format::manifest::{Link, Manifest};
use crate::lock::LockWait;
use crate::ownership::Owner;
use crate::transfer::unchanged::InPlace;

/// The right to restore into a directory. One process at a time holds it.
#[derive(Debug)]
pub struct Destination {
    pub(super) path: PathBuf,
    pub(super) owner: Owner,
    /// The destination itself, and then the mounts below it to which files go.
    pub(super) places: Vec<Place>,
    /// The names of the stages that stay, because they belong to half a model.
    halves: Vec<String>,
    lock_wait: LockWait,
}

impl Destination {
    /// Makes the directory if it is missing, and waits for other restores into it. Then removes
    /// abandoned stages.
    ///
    /// The path was found without links. All later work is in the directory that this opens, so no
    /// link that appears afterwards is followed.
    ///
    /// # Errors
    /// - The path is not a directory, or a part of it has become a link.
    /// - The directory cannot be made or locked.
    /// - Another process holds the lock for too long.
    pub fn open(path: &Path, lock_wait: LockWait) -> Result<Self> {
        let (directory, owner) = Beneath::make_real(path).map_err(|error| refused(path, &error))?;
        let main = hold("", directory, path, &lock_wait)?;
        let halves = sweep(&main, &[]);
        Ok(Self { path: path.to_owned(), owner, places: vec![main], halves, lock_wait })
    }

    /// Returns the whole path of an entry, for messages.
    pub fn full(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    /// Returns a sentence for each killed restore that has left half a model here.
    pub fn doubts(&self) -> impl Iterator<Item = String> {
        self.halves.iter().map(|name| doubt(&self.path, name))
    }

    /// Returns whether the directory has no entries, except for stages.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn is_vacant(&self) -> Result<bool> {
        let names = entries(self.directory()).on("cannot read the directory", &self.path)?;
        Ok(names.iter().all(|name| {
            let found = stage_name(name).and_then(|name| self.directory().look(name).ok()?);
            found.is_some_and(|found| found.is_dir())
        }))
    }

    /// Removes the stages of earlier restores that this model has overtaken.
    pub(super) fn settle(&self, manifest: &Manifest) {
        for name in &self.halves {
            // A stage that stays does no harm, and the next command tells of it.
            let _ = leftover::forget(&self.places[0], name, manifest);
        }
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
        let place = hold(directory, opened, full, &self.lock_wait)?;
        // A volume may hold a part of a stage of the destination.
        sweep(&place, &self.halves);
        self.places.push(place);
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

fn refused(path: &Path, error: &io::Error) -> Error {
    match Errno::from_io_error(error) {
        Some(Errno::LOOP) => Error::failed(format!(
            "a part of `{}` is a link, and a restore follows no links",
            path.display()
        ))
        .hint("give the real path as `destination`"),
        Some(Errno::NOTDIR) => {
            Error::bad_input(format!("the destination `{}` is not a directory", path.display()))
        }
        _ => Error::io("cannot make the directory", path, error),
    }
}

/// Locks a place.
fn hold(at: &str, directory: Beneath, full: &Path, lock_wait: &LockWait) -> Result<Place> {
    let told = format!("`{}`", full.display());
    Place::lock(at, directory, &told, lock_wait).map_err(|error| {
        let failed = Error::io("cannot lock", full, &error);
        match error.kind() {
            io::ErrorKind::TimedOut => {
                failed.hint("end the other process, or raise `lock-timeout`")
            }
            _ => failed,
        }
    })
}

/// Completes or removes abandoned stages, unless a restore holds the lock of the directory. Returns
/// a sentence for each killed restore that has left half a model there.
///
/// The path was found without links.
pub fn tidy(path: &Path) -> Vec<String> {
    let Ok(place) = Beneath::open_real(path).and_then(|directory| Place::try_lock("", directory))
    else {
        return Vec::new();
    };
    sweep(&place, &[]).iter().map(|name| doubt(path, name)).collect()
}

fn doubt(path: &Path, name: &str) -> String {
    format!(
        "a killed restore left old and new files together in `{}`; restore again, and then remove \
         `{}` if it is still there",
        path.display(),
        path.join(name).display()
    )
}

/// Completes or removes abandoned stages, except for `kept`. Returns the names of the stages that
/// stay because they belong to half a model.
fn sweep(place: &Place, kept: &[String]) -> Vec<String> {
    let mut halves = Vec::new();
    for name in entries(&place.directory).unwrap_or_default() {
        let Some(text) = stage_name(&name).filter(|name| !kept.iter().any(|it| it == name)) else {
            continue;
        };
        let found = place.directory.look(text);
        if found.is_ok_and(|found| found.is_some_and(|it| it.is_dir()))
            // Another stage that stays does no harm.
            && leftover::clear(place, text).is_ok_and(|model| model == Model::Half)
        {
            halves.push(text.to_owned());
        }
    }
    halves
}

fn stage_name(name: &CStr) -> Option<&str> {
    name.to_str().ok().filter(|name| name.starts_with(PREFIX))
}

impl Destination {
    /// Checks before the transfer that no link leads away and that nothing is in the model's way.
    /// Returns what is in the place of each file, as far as its size tells.
    ///
    /// # Errors
    /// Returns an error about the first path that breaks this rule.
    pub fn check(&self, manifest: &Manifest) -> Result<Vec<InPlace>> {
        if let Some(path) = manifest.reserved() {
            return Err(Error::integrity(format!("the manifest has the reserved path `{path}`")));
        }
        let mut known = HashMap::new();
        let mut in_place = Vec::with_capacity(manifest.files.len());
        for file in &manifest.files {
            let found = self.unless_directory(&file.path, &mut known)?;
            in_place.push(InPlace::of(found, file.size));
        }
        for link in &manifest.links {
            self.unless_directory(&link.path, &mut known)?;
        }
        for path in &manifest.dirs {
            if self.found(path, &mut known)?.is_some_and(|found| !found.is_dir()) {
                return Err(self.in_the_way(path, "a directory"));
            }
        }
        Ok(in_place)
    }

    /// Returns what is in the place of a file or a link; a directory is in the way.
    fn unless_directory<'a>(
        &self,
        path: &'a str,
        known: &mut HashMap<&'a str, bool>,
    ) -> Result<Option<Found>> {
        match self.found(path, known)? {
            Some(found) if found.is_dir() => Err(self.in_the_way(path, "a file")),
            found => Ok(found),
        }
    }

    /// Returns what is at a path. `known` says of directories whether they exist, so that nothing
    /// is looked up in a missing directory.
    fn found<'a>(
        &self,
        path: &'a str,
        known: &mut HashMap<&'a str, bool>,
    ) -> Result<Option<Found>> {
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        let exists = match known.get(above) {
            Some(exists) => *exists,
            None => {
                let exists = self.exists(above, known)?;
                known.insert(above, exists);
                exists
            }
        };
        if exists { self.look(path) } else { Ok(None) }
    }

    /// Returns whether a directory exists, and all directories above it. None of them is a link.
    fn exists<'a>(&self, directory: &'a str, known: &mut HashMap<&'a str, bool>) -> Result<bool> {
        let ends = directory.match_indices('/').map(|(at, _)| at).chain([directory.len()]);
        for above in ends.map(|end| &directory[..end]) {
            let exists = match known.get(above) {
                Some(exists) => *exists,
                None => self.is_directory(above)?,
            };
            known.insert(above, exists);
            if !exists {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns whether there is a directory; anything else is in the way.
    fn is_directory(&self, path: &str) -> Result<bool> {
        match self.look(path)? {
            None => Ok(false),
            Some(found) if found.is_dir() => Ok(true),
            Some(found) if found.is_link() => Err(Error::failed(format!(
                "`{}` is a link, and a restore follows no links",
                self.path.join(path).display()
            ))
            .hint("remove the link, or give another `destination`")),
            Some(_) => Err(self.in_the_way(path, "a directory")),
        }
    }

    fn look(&self, path: &str) -> Result<Option<Found>> {
        self.directory().look(path).on("cannot look at", &self.path.join(path))
    }

    fn in_the_way(&self, path: &str, wanted: &str) -> Error {
        Error::failed(format!(
            "`{}` is in the way: the model has {wanted} there",
            self.path.join(path).display()
        ))
        .hint("remove it, or give another `destination`")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::format::manifest::Mode;

    fn open(path: &Path) -> Result<Destination> {
        Destination::open(path, LockWait { limit: Duration::ZERO, tell: |_| {} })
    }

    fn real(place: &tempfile::TempDir) -> PathBuf {
        place.path().canonicalize().unwrap()
    }

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
        let held = open(&real(&place)).unwrap();
        for (path, is_dir, needle) in [
            ("link/passwd", false, "is a link"),
            ("file/x", false, "is in the way"),
            ("dir", false, "is in the way"),
            ("file", true, "is in the way"),
            (".ml-cache-tmp-x/y", false, "reserved"),
        ] {
            let error = held.check(&manifest(path, is_dir)).unwrap_err();
            assert!(error.to_string().contains(needle), "{path}: {error}");
        }
        for (path, is_dir) in
            [("dir/new", false), ("file", false), ("link", false), ("dir", true), ("new/x", false)]
        {
            held.check(&manifest(path, is_dir)).unwrap();
        }
    }

    #[test]
    fn a_check_tells_which_files_have_their_size() {
        use crate::format::manifest::File;
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("dir/sub")).unwrap();
        fs::write(place.path().join("dir/empty"), "").unwrap();
        fs::write(place.path().join("dir/full"), "content").unwrap();
        std::os::unix::fs::symlink("empty", place.path().join("dir/link")).unwrap();
        let files = [
            ("dir/empty", InPlace::Sized),
            ("dir/full", InPlace::Other),
            ("dir/link", InPlace::Other),
            ("dir/missing", InPlace::Nothing),
            ("dir/sub/deep/er/missing", InPlace::Nothing),
            ("dir/sub/deep/missing", InPlace::Nothing),
            ("missing", InPlace::Nothing),
        ];
        let file = |path: &str| File {
            path: path.to_owned(),
            size: 0,
            mode: Mode::Regular,
            parts: vec![],
        };
        let listed = files.iter().map(|(path, _)| file(path)).collect();
        let manifest = Manifest::new(listed, vec![], vec![]).unwrap();
        let found = open(&real(&place)).unwrap().check(&manifest).unwrap();
        assert_eq!(found, files.map(|(_, in_place)| in_place));
    }

    #[test]
    fn only_a_directory_without_entries_is_vacant() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| real(&place).join(name);
        fs::create_dir_all(at("empty")).unwrap();
        fs::create_dir_all(at("killed").join(format!("{PREFIX}x/models"))).unwrap();
        fs::create_dir_all(at("full/sub")).unwrap();
        fs::create_dir_all(at("odd")).unwrap();
        fs::write(at("odd").join(format!("{PREFIX}x")), "").unwrap();
        for (name, wanted) in [
            ("new", true),
            ("new/deeper", true),
            ("empty", true),
            ("killed", true),
            ("full", false),
            ("odd", false),
        ] {
            assert_eq!(open(&at(name)).unwrap().is_vacant().unwrap(), wanted, "{name}");
        }
    }

    #[test]
    fn a_destination_is_the_directory_that_was_opened() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| real(&place).join(name);
        fs::create_dir_all(at("outside/models")).unwrap();
        fs::write(at("outside/models/a"), "").unwrap();
        let held = open(&at("out")).unwrap();
        fs::rename(at("out"), at("moved")).unwrap();
        std::os::unix::fs::symlink("outside", at("out")).unwrap();
        assert!(held.is_vacant().unwrap());
        assert!(held.directory().look("models/a").unwrap().is_none());
        held.check(&manifest("models/a", true)).unwrap();
    }

    #[test]
    fn no_link_on_the_way_to_the_destination_is_followed() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| real(&place).join(name);
        fs::create_dir_all(at("outside/full")).unwrap();
        fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink("outside", at("link")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        for (name, told) in [
            ("link", "is a link"),
            ("link/full", "is a link"),
            ("link/new", "is a link"),
            ("dangling", "is a link"),
            ("file", "is not a directory"),
            ("file/new", "is not a directory"),
        ] {
            let error = open(&at(name)).unwrap_err();
            assert!(error.to_string().contains(told), "{name}: {error}");
        }
        assert_eq!(fs::read_dir(at("outside")).unwrap().count(), 1);
    }
}
