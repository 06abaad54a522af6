//! Lists the model's files in the workspace, for a save. Source: docs/formats.md, "Model tree".

pub mod credentials;
mod links;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;

use super::stage;
use crate::beneath::Beneath;
use crate::error::{Error, IoContext as _, Result};
use crate::fingerprint::patterns::Usage;
use crate::fingerprint::{Patterns, lfs};
use crate::format::manifest::{Link, Mode, RESERVED, check_link, check_path};
use crate::stamp::Stamp;

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
    /// The entries that never belong to a model, in byte order: `.git`, and remains of a restore.
    pub left_out: Vec<String>,
    /// The directories that the walk read, each with its stamp before.
    directories: Vec<(String, Stamp)>,
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
    /// The file's identity and times when it was listed.
    pub stamp: Stamp,
}

impl Tree {
    /// Returns whether no file, link or directory changed since it was listed.
    pub fn is_unchanged(&self, workspace: &Path) -> bool {
        let all = |parts: &[(&str, &Stamp)]| {
            let Ok(base) = Beneath::open(workspace) else { return false };
            let is = |(path, stamp): &(&str, &Stamp)| {
                let found = base.look(path).ok().flatten();
                found.is_some_and(|found| found.stamp() == **stamp)
            };
            parts.iter().all(is)
        };
        // A link never changes: a program replaces it, and so changes its directory.
        let directories = self.directories.iter().map(|(path, stamp)| (path.as_str(), stamp));
        let files = self.files.iter().map(|file| (file.path.as_str(), &file.stamp));
        let entries: Vec<_> = directories.chain(files).collect();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = entries.len().div_ceil(threads).max(1);
        thread::scope(|scope| {
            let looks: Vec<_> =
                entries.chunks(share).map(|part| scope.spawn(move || all(part))).collect();
            looks.into_iter().all(|look| look.join().unwrap_or(false))
        })
    }

    /// Returns the first path that differs in another list of the same model.
    pub fn difference<'a>(&'a self, other: &'a Self) -> Option<&'a str> {
        first_difference(&self.files, &other.files, |file| &file.path)
            .or_else(|| first_difference(&self.links, &other.links, |link| &link.path))
            .or_else(|| first_difference(&self.dirs, &other.dirs, |dir| dir))
    }

    /// Returns the latest time of a file, in nanoseconds since 1970; `None` if there is no file.
    pub fn newest(&self) -> Option<i64> {
        self.files.iter().map(|file| file.stamp.latest()).max()
    }

    fn sort(&mut self) {
        self.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        self.links.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        self.dirs.sort_unstable();
        self.stand_ins.sort_unstable();
        self.left_out.sort_unstable();
        self.directories.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    }
}

/// Returns the first path at which two sorted lists differ.
fn first_difference<'a, T: PartialEq>(
    one: &'a [T],
    other: &'a [T],
    path: impl Fn(&'a T) -> &'a str,
) -> Option<&'a str> {
    let same = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    [one.get(same), other.get(same)].into_iter().flatten().map(path).min()
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
    // A directory alone is no model.
    if !scan.tree.files.is_empty() {
        let usage = &mut scan.usage;
        scan.tree.dirs.iter().for_each(|dir| usage.mark_directory(&split(dir)));
    }
    match scan.usage.idle() {
        Some(idle) => Err(scan.nothing_at(&idle)),
        None => Ok(scan.tree),
    }
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
    let refusal = scan.refusal().map(|error| (error, scan.will_last));
    // No training writes its model through a link so that a save finds it.
    let idle = if scan.crossed.is_empty() { None } else { scan.usage.idle() };
    Ok(refusal.or_else(|| Some((scan.nothing_at(&idle?), false))))
}

struct Scan<'a> {
    patterns: &'a Patterns,
    tree: Tree,
    usage: Usage<'a>,
    /// The entries that cannot be saved: each path, and the reason.
    refused: Vec<(String, String)>,
    /// The stages of killed restores that have left half a model.
    halves: Vec<String>,
    /// Whether a credential file is among them.
    has_credentials: bool,
    /// Whether a link is among them.
    has_links: bool,
    /// The links that the includes lead through: each path, and the target.
    crossed: Vec<(String, String)>,
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
            halves: Vec::new(),
            has_credentials: false,
            has_links: false,
            crossed: Vec::new(),
            will_last: false,
        };
        scan.directory(workspace, &mut Vec::new(), true)?;
        scan.tree.sort();
        for (link, reason) in links::leaving(workspace, &scan.tree, patterns) {
            scan.has_links = true;
            scan.refuse(link.path.clone(), &links::told(&link.target, reason));
        }
        Ok(scan)
    }

    /// Returns an error that names all entries that cannot be saved.
    fn refusal(&mut self) -> Option<Error> {
        if let Some(stage) = self.halves.first() {
            return Some(
                Error::bad_input(format!(
                    "`model-path`: a killed restore left old and new files together beside \
                     `{stage}`"
                ))
                .hint("restore to the same `destination` again, or train again")
                .hint(format!("if it is still there, remove `{stage}`")),
            );
        }
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
        let error = match self.has_links {
            true => error.hint(
                "to save the content that a link leads to, copy it into the model in place of the \
                 link",
            ),
            false => error,
        };
        Some(match self.has_credentials {
            true => error.hint("to save a credential file, give its whole path in `model-path`"),
            false => error,
        })
    }

    /// Returns the error about includes that select nothing.
    fn nothing_at(&self, idle: &str) -> Error {
        let error = Error::bad_input(match self.crossed.as_slice() {
            [] => format!("`model-path`: there is nothing at {idle}"),
            [(path, target), ..] => format!(
                "`model-path`: there is nothing at {idle}: `{path}` is a link to `{target}`, and a \
                 save follows no links"
            ),
        });
        match self.crossed.is_empty() {
            true => error.hint(
                "check that the training writes the model there, relative to the workspace, before \
                 the save",
            ),
            false => error.hint(
                "let the training write into a real directory, or copy the files there before the \
                 save; to keep them on another disk, mount that disk there",
            ),
        }
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
        let found = fs::symlink_metadata(path).on("cannot look at", path)?;
        self.tree.directories.push((components.join("/"), Stamp::of(&found)));
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
        if let Some(name) = parts.last().filter(|name| is_left_out(name)) {
            if name.starts_with(RESERVED) && stage::has_begun(&full) {
                self.halves.push(path);
            } else {
                self.tree.left_out.extend(selected.then_some(path));
            }
            return Ok(());
        }
        let kind = entry.file_type().on("cannot look at", &full)?;
        if kind.is_dir() {
            // Patterns that end with `/` take directories only.
            let selected = self.patterns.selects_directory(&parts);
            let refused = self.refused.len();
            if (below && self.directory(&full, components, is_utf8)?) || !selected {
                if check_path(&path).is_err() {
                    // An entry of `.github` stands for all its entries.
                    self.refused.truncate(refused + 1);
                }
                return Ok(());
            }
        } else if !selected {
            if kind.is_symlink() && self.patterns.leads_through(&parts) {
                let target = fs::read_link(&full).on("cannot read the link", &full)?;
                self.crossed.push((path, target.to_string_lossy().into_owned()));
            }
            return Ok(());
        }
        // From here on, the entry is a file, a link, or an empty directory.
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
        let parts = split(&path);
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
        if kind.is_symlink() {
            return self.take_link(&full, path);
        }
        let found = entry.metadata().on("cannot look at", &full)?;
        if lfs::may_be_stand_in(found.len()) && lfs::holds_stand_in(&full)? {
            self.tree.stand_ins.push(path.clone());
        }
        let (size, mode, stamp) = (found.len(), Mode::of(found.mode()), Stamp::of(&found));
        self.tree.files.push(TreeFile { path, size, mode, stamp });
        Ok(())
    }

    fn take_link(&mut self, full: &Path, path: String) -> Result<()> {
        if lfs::is_stand_in(full)? {
            self.tree.stand_ins.push(path.clone());
        }
        let target = fs::read_link(full).on("cannot read the link", full)?;
        let Some(target) = target.to_str() else {
            self.refuse(path, "the link's target is not UTF-8");
            return Ok(());
        };
        match check_link(&path, target) {
            Ok(()) => self.tree.links.push(Link { path, target: target.to_owned() }),
            Err(reason) => {
                self.has_links = true;
                self.refuse(path, &links::told(target, reason));
            }
        }
        Ok(())
    }
}

fn split(path: &str) -> Vec<&str> {
    path.split('/').collect()
}

/// Returns whether entries of this name, and all below them, never belong to a model.
fn is_left_out(name: &str) -> bool {
    name.eq_ignore_ascii_case(".git") || name.starts_with(RESERVED)
}

#[cfg(test)]
mod tests;
