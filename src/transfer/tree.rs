//! The model's files as they lie in the workspace before a save.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::error::{Error, IoContext as _, Result};
use crate::fingerprint::Patterns;
use crate::format::manifest::{Link, Mode, check_link, check_path};

/// Regular files, links and empty directories, each sorted by path bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Regular files.
    pub files: Vec<TreeFile>,
    /// Symbolic links, which are kept as links.
    pub links: Vec<Link>,
    /// Directories with nothing in them.
    pub dirs: Vec<String>,
}

/// A regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeFile {
    /// Path relative to the workspace.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// Whether it is executable.
    pub mode: Mode,
}

/// Selects the model's files; links are never followed.
///
/// # Errors
/// An include that selects nothing; files that a manifest cannot hold.
pub fn scan(workspace: &Path, patterns: &Patterns) -> Result<Tree> {
    let mut scan = Scan { patterns, tree: Tree::default(), used: vec![false; patterns.iter().count()] };
    scan.directory(workspace, &mut Vec::new())?;
    let Scan { mut tree, used, .. } = scan;
    let idle: Vec<String> = patterns
        .iter()
        .zip(used)
        .filter(|(pattern, used)| !pattern.negate && !used)
        .map(|(pattern, _)| format!("`{}`", pattern.text))
        .collect();
    if !idle.is_empty() {
        return Err(Error::bad_input(format!("`model-path`: there is nothing at {}", idle.join(", ")))
            .hint("the training must write the model there, relative to the workspace, before it is saved"));
    }
    tree.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    tree.links.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    tree.dirs.sort_unstable();
    Ok(tree)
}

struct Scan<'a> {
    patterns: &'a Patterns,
    tree: Tree,
    used: Vec<bool>,
}

impl Scan<'_> {
    /// Returns whether the directory holds anything at all.
    fn directory(&mut self, path: &Path, components: &mut Vec<String>) -> Result<bool> {
        let mut anything = false;
        for entry in fs::read_dir(path).on("cannot read the directory", path)? {
            let entry = entry.on("cannot read the directory", path)?;
            anything = true;
            let name = entry.file_name();
            components.push(name.to_string_lossy().into_owned());
            self.entry(&entry, name.to_str().is_some(), components)?;
            components.pop();
        }
        Ok(anything)
    }

    fn entry(&mut self, entry: &fs::DirEntry, is_utf8: bool, components: &mut Vec<String>) -> Result<()> {
        let parts: Vec<&str> = components.iter().map(String::as_str).collect();
        let selected = self.patterns.selects(&parts);
        let below = self.patterns.may_select_below(&parts);
        let full = entry.path();
        let kind = entry.file_type().on("cannot look at", &full)?;
        let enters = below && kind.is_dir();
        if !selected && !enters {
            return Ok(());
        }
        let path = parts.join("/");
        let refuse = |reason: &str| {
            Error::bad_input(format!("`model-path`: `{path}` cannot be saved: {reason}"))
                .hint("exclude it with a `!` line in `model-path`, or name the model's files more narrowly")
        };
        if !is_utf8 {
            return Err(refuse("its name is not UTF-8"));
        }
        if kind.is_dir() {
            let anything = self.directory(&full, components)?;
            if selected && !anything {
                check_path(&path).map_err(refuse)?;
                self.mark_used(components);
                self.tree.dirs.push(path);
            }
            return Ok(());
        }
        check_path(&path).map_err(refuse)?;
        self.mark_used(components);
        if kind.is_symlink() {
            let target = fs::read_link(&full).on("cannot read the link", &full)?;
            let target = target.to_str().ok_or_else(|| refuse("the link's target is not UTF-8"))?.to_owned();
            check_link(&path, &target).map_err(|reason| refuse(&format!("it is a link to `{target}`: {reason}")))?;
            self.tree.links.push(Link { path, target });
            return Ok(());
        }
        if !kind.is_file() {
            return Err(refuse("it is neither a file, a link nor a directory"));
        }
        let found = entry.metadata().on("cannot look at", &full)?;
        self.tree.files.push(TreeFile { path, size: found.len(), mode: Mode::of(found.mode()) });
        Ok(())
    }

    fn mark_used(&mut self, components: &[String]) {
        let path: Vec<&str> = components.iter().map(String::as_str).collect();
        for (used, pattern) in self.used.iter_mut().zip(self.patterns.iter()) {
            *used = *used || (!pattern.negate && pattern.takes(&path));
        }
    }
}
