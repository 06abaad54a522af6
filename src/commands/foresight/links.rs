//! Inputs behind links. The walk follows links, so such an input has another path, too.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

/// The links in the directories of the inputs and above them.
#[derive(Debug, Default)]
pub(super) struct Links<'a> {
    /// The inputs behind links: each path, and the real path relative to the workspace.
    pub(super) files: Vec<(&'a str, String)>,
    /// The links to directories of the workspace: each path, and the real path.
    pub(super) directories: Vec<(String, String)>,
}

impl<'a> Links<'a> {
    /// Reads the directories of the inputs. It looks at no input by itself, because there may be a
    /// million of them.
    ///
    /// A directory that cannot be read counts as a directory without links: the walk has reported
    /// it.
    pub(super) fn of(workspace: &Path, inputs: impl Iterator<Item = &'a str>) -> Self {
        let mut found = Self::default();
        let mut directories: HashMap<&str, Directory> = HashMap::new();
        for path in inputs {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            let above = parent.match_indices('/').map(|(end, _)| &parent[..end]);
            if !directories.contains_key(parent) {
                for directory in ["", parent].into_iter().chain(above) {
                    directories.entry(directory).or_insert_with(|| {
                        let read = Directory::read(workspace, directory);
                        found.directories.extend(read.to_directories(workspace, directory));
                        read
                    });
                }
            }
            let Some(directory) = directories.get(parent) else { continue };
            let real = match (directory.links.contains(OsStr::new(name)), &directory.real) {
                (true, _) => real(workspace, path),
                (false, Some(parent)) => Some(join(parent, name)),
                (false, None) => None,
            };
            found.files.extend(real.map(|real| (path, real)));
        }
        found
    }
}

struct Directory {
    /// The real path, if it differs from the path by which the walk came.
    real: Option<String>,
    links: HashSet<OsString>,
}

impl Directory {
    fn read(workspace: &Path, path: &str) -> Self {
        let entries = fs::read_dir(workspace.join(path)).into_iter().flatten().flatten();
        let is_link = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_symlink());
        Self {
            real: real(workspace, path).filter(|real| real != path),
            links: entries.filter(is_link).map(|entry| entry.file_name()).collect(),
        }
    }

    fn to_directories(&self, workspace: &Path, path: &str) -> Vec<(String, String)> {
        let names = self.links.iter().filter_map(|name| name.to_str());
        let lead = |link: String| match workspace.join(&link).is_dir() {
            true => real(workspace, &link).map(|real| (link, real)),
            false => None,
        };
        names.map(|name| join(path, name)).filter_map(lead).collect()
    }
}

/// Returns the real path relative to the workspace; `None` if it lies elsewhere.
fn real(workspace: &Path, path: &str) -> Option<String> {
    let real = workspace.join(path).canonicalize().ok()?;
    real.strip_prefix(workspace).ok()?.to_str().map(str::to_owned)
}

fn join(parent: &str, name: &str) -> String {
    match parent {
        "" => name.to_owned(),
        _ => format!("{parent}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn inputs_behind_links_have_a_real_path() {
        let place = tempfile::tempdir().unwrap();
        let workspace = place.path().canonicalize().unwrap();
        let at = |name: &str| workspace.join(name);
        fs::create_dir_all(at("models/sub")).unwrap();
        fs::create_dir_all(at("data/raw")).unwrap();
        for file in ["models/a", "models/sub/b", "data/raw/c", "top"] {
            fs::write(at(file), "").unwrap();
        }
        symlink("../models", at("data/out")).unwrap();
        symlink("../../models/a", at("data/raw/a")).unwrap();
        symlink("/etc", at("data/etc")).unwrap();
        symlink("nowhere", at("data/broken")).unwrap();
        symlink(".", at("here")).unwrap();
        let inputs =
            ["data/out/a", "data/out/sub/b", "data/raw/a", "data/raw/c", "here/top", "top"];
        let mut links = Links::of(&workspace, inputs.into_iter());
        let wanted = [
            ("data/out/a", "models/a"),
            ("data/out/sub/b", "models/sub/b"),
            ("data/raw/a", "models/a"),
            ("here/top", "top"),
        ];
        assert_eq!(links.files, wanted.map(|(path, real)| (path, real.to_owned())));
        links.directories.sort();
        let wanted = [("data/out", "models"), ("here", "")];
        assert!(wanted.iter().all(|(path, real)| {
            links.directories.contains(&((*path).to_owned(), (*real).to_owned()))
        }));
        assert!(!links.directories.iter().any(|(path, _)| path.contains("etc")));
    }
}
