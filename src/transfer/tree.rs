//! Lists the model's files in the workspace, for a save. Source: docs/formats.md, "Model tree".

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
/// - A selected entry breaks a rule of the manifest.
/// - The file system refuses.
pub fn scan(workspace: &Path, patterns: &Patterns) -> Result<Tree> {
    let mut scan = Scan { patterns, tree: Tree::default(), usage: Usage::of(patterns) };
    scan.directory(workspace, &mut Vec::new(), true)?;
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

struct Scan<'a> {
    patterns: &'a Patterns,
    tree: Tree,
    usage: Usage<'a>,
}

impl Scan<'_> {
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
        if kind.is_dir() && (!below || self.directory(&full, components, is_utf8)?) {
            return Ok(());
        }
        // From here on, the entry is a file, a link, or an empty directory.
        if !selected {
            return Ok(());
        }
        let refuse = |reason: &str| {
            Error::bad_input(format!("`model-path`: `{path}` cannot be saved: {reason}")).hint(
                "exclude it with a `!` line in `model-path`, or name the model's files more \
                 narrowly",
            )
        };
        if !is_utf8 {
            return Err(refuse("its path is not UTF-8"));
        }
        check_path(&path).map_err(refuse)?;
        self.usage.mark(&path.split('/').collect::<Vec<_>>());
        if kind.is_dir() {
            self.tree.dirs.push(path);
            return Ok(());
        }
        if (kind.is_file() || kind.is_symlink()) && lfs::is_stand_in(&full)? {
            self.tree.stand_ins.push(path.clone());
        }
        if kind.is_symlink() {
            let target = fs::read_link(&full).on("cannot read the link", &full)?;
            let target =
                target.to_str().ok_or_else(|| refuse("the link's target is not UTF-8"))?.to_owned();
            check_link(&path, &target)
                .map_err(|reason| refuse(&format!("it is a link to `{target}`: {reason}")))?;
            self.tree.links.push(Link { path, target });
            return Ok(());
        }
        if !kind.is_file() {
            return Err(refuse("it is neither a file, a link nor a directory"));
        }
        let found = entry.metadata().on("cannot look at", &full)?;
        self.tree.newest = self.tree.newest.max(found.modified().ok());
        self.tree.files.push(TreeFile { path, size: found.len(), mode: Mode::of(found.mode()) });
        Ok(())
    }
}
