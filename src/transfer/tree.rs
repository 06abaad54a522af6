//! Lists the model's files in the workspace, for a save. Source: docs/formats.md, "Model tree".

pub mod credentials;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use crate::error::{Error, IoContext as _, Result};
use crate::fingerprint::patterns::Usage;
use crate::fingerprint::{Patterns, lfs};
use crate::format::manifest::{Link, Mode, check_link, check_path};

/// A model's files, links and empty directories, each list in byte order of its paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The regular files.
    pub files: Vec<TreeFile>,
    /// The symbolic links themselves; nothing below a link belongs to the tree.
    pub links: Vec<Link>,
    /// The selected directories without any entry on disk.
    pub dirs: Vec<String>,
    /// The paths of the files and links that lead to a Git LFS stand-in, in byte order.
    pub stand_ins: Vec<String>,
    /// The latest modification time among the files; `None` if there is no file.
    pub newest: Option<SystemTime>,
}

/// A regular file of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeFile {
    /// The path relative to the workspace, with `/`.
    pub path: String,
    /// The length in bytes.
    pub size: u64,
    /// Whether the owner may execute the file.
    pub mode: Mode,
}

/// Selects the model's files, without following any link.
///
/// # Errors
/// - An include selects nothing.
/// - Selected entries break a rule of the manifest.
/// - A directory or a wildcard selects known credential files.
/// - The file system refuses.
pub fn scan(workspace: &Path, patterns: &Patterns) -> Result<Tree> {
    let mut scan = Scan::of(workspace, patterns)?;
    if let Some(error) = scan.refusal() {
        return Err(error);
    }
    let Scan { mut tree, usage, .. } = scan;
    if let Some(idle) = usage.idle() {
        return Err(Error::bad_input(format!("`model-path`: there is nothing at {idle}")).hint(
            "check that the training writes the model there, relative to the workspace, before the \
             save",
        ));
    }
    tree.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    tree.links.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    tree.dirs.sort_unstable();
    tree.stand_ins.sort_unstable();
    Ok(tree)
}

/// Returns the error of a save of the current files, and whether a later save will have it too. The
/// second is a guess: no training removes a credential file or `.git`.
///
/// A model that does not exist yet is no error.
///
/// # Errors
/// The file system refuses.
pub fn refusal(workspace: &Path, patterns: &Patterns) -> Result<Option<(Error, bool)>> {
    let mut scan = Scan::of(workspace, patterns)?;
    Ok(scan.refusal().map(|error| (error, scan.will_last)))
}

struct Scan<'a> {
    patterns: &'a Patterns,
    tree: Tree,
    usage: Usage<'a>,
    /// The entries that cannot be saved: each path, and the reason.
    refused: Vec<(String, String)>,
    /// Whether a credential file is among them.
    has_credentials: bool,
    /// Whether an entry is among them that no training removes.
    will_last: bool,
}

impl<'a> Scan<'a> {
    fn of(workspace: &Path, patterns: &'a Patterns) -> Result<Self> {
        let mut scan = Self {
            patterns,
            tree: Tree::default(),
            usage: Usage::of(patterns),
            refused: Vec::new(),
            has_credentials: false,
            will_last: false,
        };
        scan.directory(workspace, &mut Vec::new(), true)?;
        Ok(scan)
    }

    /// Returns an error that names all entries that cannot be saved.
    fn refusal(&mut self) -> Option<Error> {
        self.refused.sort_unstable();
        let told = |(path, reason): &(String, String)| {
            format!("`{path}` cannot be saved: {reason}").replace('\n', "\\n")
        };
        let told: Vec<String> = self.refused.iter().map(told).collect();
        let message = match told.as_slice() {
            [] => return None,
            [entry] => format!("`model-path`: {entry}"),
            _ => format!("`model-path`: {} entries:\n  {}", told.len(), told.join("\n  ")),
        };
        let error = Error::bad_input(message).hint(
            "exclude it with a `!` line in `model-path`, or name the model's files more narrowly",
        );
        Some(match self.has_credentials {
            true => error.hint("to save a credential file, give its whole path in `model-path`"),
            false => error,
        })
    }

    fn refuse(&mut self, path: String, reason: &str) {
        self.refused.push((path, reason.to_owned()));
    }

    /// Returns whether the directory has any entry. `is_utf8` says whether its path is UTF-8.
    fn directory(
        &mut self,
        path: &Path,
        components: &mut Vec<String>,
        is_utf8: bool,
    ) -> Result<bool> {
        let mut anything = false;
        for entry in fs::read_dir(path).on("cannot read the directory", path)? {
            let entry = entry.on("cannot read the directory", path)?;
            anything = true;
            let name = entry.file_name();
            components.push(name.to_string_lossy().into_owned());
            self.entry(&entry, components, is_utf8 && name.to_str().is_some())?;
            components.pop();
        }
        Ok(anything)
    }

    fn entry(
        &mut self,
        entry: &fs::DirEntry,
        components: &mut Vec<String>,
        is_utf8: bool,
    ) -> Result<()> {
        let parts: Vec<&str> = components.iter().map(String::as_str).collect();
        let selected = self.patterns.selects(&parts);
        let below = self.patterns.may_select_below(&parts);
        if !selected && !below {
            return Ok(());
        }
        let path = parts.join("/");
        let full = entry.path();
        let kind = entry.file_type().on("cannot look at", &full)?;
        if kind.is_dir() {
            let refused = self.refused.len();
            if !below || self.directory(&full, components, is_utf8)? {
                if check_path(&path).is_err() {
                    // An entry of `.git` stands for all its entries.
                    self.refused.truncate(refused + 1);
                }
                return Ok(());
            }
        }
        // From here on, the entry is a file, a link, or an empty directory.
        if !selected {
            return Ok(());
        }
        let checked = if is_utf8 { check_path(&path) } else { Err("its path is not UTF-8") };
        match checked {
            Ok(()) => self.take(entry, kind, path),
            Err(reason) => {
                self.will_last = true;
                self.refuse(path, reason);
                Ok(())
            }
        }
    }

    /// Adds a selected file, link or empty directory to the tree.
    fn take(&mut self, entry: &fs::DirEntry, kind: fs::FileType, path: String) -> Result<()> {
        let parts: Vec<&str> = path.split('/').collect();
        let full = entry.path();
        self.usage.mark(&parts);
        if kind.is_dir() {
            self.tree.dirs.push(path);
            return Ok(());
        }
        if !kind.is_file() && !kind.is_symlink() {
            self.refuse(path, "it is neither a file, a link nor a directory");
            return Ok(());
        }
        if kind.is_file() && credentials::is_known(&path) && !self.patterns.names(&parts) {
            (self.has_credentials, self.will_last) = (true, true);
            self.refuse(path, "it is a known credential file");
            return Ok(());
        }
        if lfs::is_stand_in(&full)? {
            self.tree.stand_ins.push(path.clone());
        }
        if kind.is_symlink() {
            let target = fs::read_link(&full).on("cannot read the link", &full)?;
            let Some(target) = target.to_str() else {
                self.refuse(path, "the link's target is not UTF-8");
                return Ok(());
            };
            match check_link(&path, target) {
                Ok(()) => self.tree.links.push(Link { path, target: target.to_owned() }),
                Err(reason) => self.refuse(path, &format!("it is a link to `{target}`: {reason}")),
            }
            return Ok(());
        }
        let found = entry.metadata().on("cannot look at", &full)?;
        self.tree.newest = self.tree.newest.max(found.modified().ok());
        self.tree.files.push(TreeFile { path, size: found.len(), mode: Mode::of(found.mode()) });
        Ok(())
    }
}
