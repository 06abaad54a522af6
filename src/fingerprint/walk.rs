//! Selecting files: walk the workspace where a pattern can match, and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};

use super::Patterns;
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
    /// The sum of the sizes.
    pub bytes: u64,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Selects the files; `input` names the list in messages.
///
/// A link to a file counts as the file; a link to a directory inside the workspace is followed,
/// each directory at most once on a path, so cycles end.
///
/// # Errors
/// An include that selects nothing (see [`WhenEmpty`]), a link that is broken or leads out of the
/// workspace where a pattern would select it or what is below it, a special file, a path that is
/// not UTF-8, a directory that cannot be read.
pub fn select(workspace: &Path, patterns: &Patterns, input: &str, when_empty: WhenEmpty) -> Result<Selection> {
    let mut walker = Walker {
        root: workspace.canonicalize().on("cannot open the workspace", workspace)?,
        patterns,
        input,
        used: vec![false; patterns.iter().count()],
        selection: Selection::default(),
    };
    let root = walker.root.clone();
    if patterns.has_includes() {
        walker.directory(&root, &mut Vec::new(), &mut vec![root.clone()])?;
    }
    let Walker { used, mut selection, .. } = walker;
    let idle: Vec<String> = patterns
        .iter()
        .zip(used)
        .filter(|(pattern, used)| !pattern.negate && !used)
        .map(|(pattern, _)| format!("`{}`", pattern.text))
        .collect();
    if !idle.is_empty() {
        let message = format!("`{input}`: nothing is selected by {}", idle.join(", "));
        match when_empty {
            WhenEmpty::Fail => {
                return Err(Error::bad_input(message).hint(
                    "check the spelling and that the checkout has these files (later `!` lines and the default excludes count); \
                     set `if-no-files-found: warn` if they may be missing",
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
    used: Vec<bool>,
    selection: Selection,
}

impl Walker<'_> {
    /// Visits a directory; `chain` holds the real paths of the directories around it.
    fn directory(&mut self, real: &Path, components: &mut Vec<String>, chain: &mut Vec<PathBuf>) -> Result<()> {
        for entry in fs::read_dir(real).on("cannot read the directory", real)? {
            let entry = entry.on("cannot read the directory", real)?;
            let Ok(name) = entry.file_name().into_string() else {
                self.refuse_not_utf8(&entry.path(), components)?;
                continue;
            };
            components.push(name);
            self.entry(&entry, components, chain)?;
            components.pop();
        }
        Ok(())
    }

    fn entry(&mut self, entry: &fs::DirEntry, components: &mut Vec<String>, chain: &mut Vec<PathBuf>) -> Result<()> {
        let path: Vec<&str> = components.iter().map(String::as_str).collect();
        let selected = self.patterns.selects(&path);
        let below = self.patterns.may_select_below(&path);
        if selected.is_none() && !below {
            return Ok(());
        }
        let shown = path.join("/");
        let real = entry.path();
        let kind = entry.file_type().on("cannot look at", &real)?;
        if kind.is_dir() {
            if below {
                chain.push(real.clone());
                self.directory(&real, components, chain)?;
                chain.pop();
            }
            return Ok(());
        }
        let found = if kind.is_symlink() {
            match self.follow(&real, &shown)? {
                (target, found) if found.is_dir() => {
                    if below && !chain.contains(&target) {
                        chain.push(target.clone());
                        self.directory(&target, components, chain)?;
                        chain.pop();
                    }
                    return Ok(());
                }
                (_, found) => found,
            }
        } else {
            entry.metadata().on("cannot look at", &real)?
        };
        if selected.is_none() {
            return Ok(());
        }
        if !found.is_file() {
            return Err(Error::bad_input(format!("`{}`: `{shown}` is neither a file nor a directory", self.input))
                .hint("exclude it with a `!` line"));
        }
        self.mark_used(components);
        self.selection.bytes += found.len();
        self.selection.files.push((shown, found.len()));
        Ok(())
    }

    /// Every include that matches counts as used, not only the one that decides.
    fn mark_used(&mut self, components: &[String]) {
        let path: Vec<&str> = components.iter().map(String::as_str).collect();
        for (index, pattern) in self.patterns.iter().enumerate() {
            if !self.used[index] && !pattern.negate && pattern.matches_file(&path) {
                self.used[index] = true;
            }
        }
    }

    fn follow(&self, link: &Path, shown: &str) -> Result<(PathBuf, fs::Metadata)> {
        let target = link.canonicalize().map_err(|error| {
            Error::bad_input(format!("`{}`: the link `{shown}` is broken", self.input))
                .caused_by(error)
                .hint("mend the link or exclude it with a `!` line")
        })?;
        if !target.starts_with(&self.root) {
            return Err(Error::bad_input(format!("`{}`: the link `{shown}` leads outside the workspace", self.input))
                .hint("copy the files into the workspace, or exclude the link with a `!` line"));
        }
        let found = fs::metadata(&target).on("cannot look at", &target)?;
        Ok((target, found))
    }

    /// A name that no pattern can be matched with is an error where a pattern reaches it.
    fn refuse_not_utf8(&self, path: &Path, components: &[String]) -> Result<()> {
        let lossy = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut components: Vec<&str> = components.iter().map(String::as_str).collect();
        components.push(&lossy);
        if self.patterns.selects(&components).is_none() && !self.patterns.may_select_below(&components) {
            return Ok(());
        }
        Err(Error::bad_input(format!("`{}`: the name `{}` is not UTF-8", self.input, components.join("/")))
            .hint("rename it, or exclude it with a `!` line"))
    }
}
