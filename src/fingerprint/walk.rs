//! Selecting files: walk the workspace where a pattern can match, and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};

use super::Patterns;
use super::patterns::Usage;
use crate::error::{Error, IoContext as _, Result};

/// What to do about an include that selects nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenEmpty {
    /// Fail: silently hashing nothing is how models go stale.
    #[default]
    Fail,
    /// Warn and go on.
    Warn,
    /// Go on.
    Ignore,
}

/// The files that patterns select.
#[derive(Debug, Default)]
pub struct Selection {
    /// Paths relative to the workspace with `/`, sorted by bytes, each with its size.
    pub files: Vec<(String, u64)>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Selects the files; `input` names the list in messages.
///
/// docs/formats.md, "Selecting input files": a link to a file counts as the file, a link to a
/// directory is followed, cycles end, and nothing is looked at that the patterns do not reach.
///
/// # Errors
/// An include that selects nothing (see [`WhenEmpty`]); a selected link that is broken; a link
/// that leads out of the workspace where it matters; a selected special file or path that is not
/// UTF-8; a directory that cannot be read.
pub fn select(
    workspace: &Path,
    patterns: &Patterns,
    input: &str,
    when_empty: WhenEmpty,
) -> Result<Selection> {
    let mut walker = Walker {
        root: workspace.canonicalize().on("cannot open the workspace", workspace)?,
        patterns,
        input,
        usage: Usage::of(patterns),
        selection: Selection::default(),
    };
    if patterns.has_includes() {
        walker.directory(walker.root.clone(), &mut Trail::default())?;
    }
    let Walker { usage, mut selection, .. } = walker;
    if let Some(idle) = usage.idle() {
        let message = format!("`{input}`: nothing is selected by {idle}");
        match when_empty {
            WhenEmpty::Fail => {
                return Err(Error::bad_input(message).hint(
                    "check the spelling, the checkout, later `!` lines and the default excludes; \
                     set `if-no-files-found: warn` if the files may be missing",
                ));
            }
            WhenEmpty::Warn => selection.warnings.push(message),
            WhenEmpty::Ignore => {}
        }
    }
    selection.files.sort_unstable();
    Ok(selection)
}

struct Walker<'a> {
    root: PathBuf,
    patterns: &'a Patterns,
    input: &'a str,
    usage: Usage<'a>,
    selection: Selection,
}

/// A directory on the way from the workspace to an entry.
#[derive(Default)]
struct Trail {
    /// Names below the workspace; those that are not UTF-8 are approximated for matching.
    names: Vec<String>,
    /// How many of the names are approximations.
    lossy: usize,
    /// Real paths of the directories, to notice cycles.
    real: Vec<PathBuf>,
}

impl Walker<'_> {
    /// Visits a directory unless the walk is in it already.
    fn directory(&mut self, real: PathBuf, trail: &mut Trail) -> Result<()> {
        if trail.real.contains(&real) {
            return Ok(());
        }
        let entries = fs::read_dir(&real).on("cannot read the directory", &real)?;
        trail.real.push(real.clone());
        for entry in entries {
            let entry = entry.on("cannot read the directory", &real)?;
            let name = entry.file_name();
            let lossy = usize::from(name.to_str().is_none());
            trail.lossy += lossy;
            trail.names.push(name.to_string_lossy().into_owned());
            self.entry(&entry, trail)?;
            trail.names.pop();
            trail.lossy -= lossy;
        }
        trail.real.pop();
        Ok(())
    }

    fn entry(&mut self, entry: &fs::DirEntry, trail: &mut Trail) -> Result<()> {
        let path: Vec<&str> = trail.names.iter().map(String::as_str).collect();
        let selected = self.patterns.selects(&path);
        let below = self.patterns.may_select_below(&path);
        if !selected && !below {
            return Ok(());
        }
        let real = entry.path();
        let kind = entry.file_type().on("cannot look at", &real)?;
        if kind.is_dir() {
            return if below { self.directory(real, trail) } else { Ok(()) };
        }
        let shown = path.join("/");
        let found = if kind.is_symlink() {
            let target = match real.canonicalize() {
                Ok(target) => target,
                Err(_) if !selected => return Ok(()),
                Err(error) => {
                    return Err(Error::bad_input(format!(
                        "`{}`: the link `{shown}` is broken",
                        self.input
                    ))
                    .caused_by(error)
                    .hint("repair the link, or exclude it with a `!` line"));
                }
            };
            let found = fs::metadata(&target).on("cannot look at", &target)?;
            let matters = if found.is_dir() { below } else { selected };
            if !matters {
                return Ok(());
            }
            if !target.starts_with(&self.root) {
                return Err(Error::bad_input(format!(
                    "`{}`: the link `{shown}` leads outside the workspace",
                    self.input
                ))
                .hint("copy the files into the workspace, or exclude the link with a `!` line"));
            }
            if found.is_dir() {
                return self.directory(target, trail);
            }
            found
        } else {
            entry.metadata().on("cannot look at", &real)?
        };
        if !selected {
            return Ok(());
        }
        if !found.is_file() {
            return Err(Error::bad_input(format!(
                "`{}`: `{shown}` is neither a file nor a directory",
                self.input
            ))
            .hint("exclude it with a `!` line"));
        }
        if trail.lossy > 0 {
            return Err(Error::bad_input(format!(
                "`{}`: the path `{shown}` is not UTF-8",
                self.input
            ))
            .hint("rename it, or exclude it with a `!` line"));
        }
        self.usage.mark(&path);
        self.selection.files.push((shown, found.len()));
        Ok(())
    }
}
