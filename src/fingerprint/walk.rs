//! Selects files. The walk enters only directories in which a pattern can match.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Patterns;
use super::patterns::Usage;
use crate::error::{Error, IoContext as _, Result};
use crate::format::manifest::is_stage;
use crate::stamp::Stamp;

/// The reaction to an include that selects nothing; the input `if-no-files-found`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenEmpty {
    /// Fail, because a fingerprint of no files never changes, and the model goes stale.
    #[default]
    Fail,
    /// Warn and go on.
    Warn,
    /// Go on without a warning.
    Ignore,
}

/// The rules of a walk that the user can change.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The reaction to an include that selects nothing.
    pub when_empty: WhenEmpty,
    /// The most entries that a walk reaches through links to directories.
    pub max_linked_entries: u64,
}

/// A message names at most this many links.
const SHOWN: usize = 5;

/// The links that a walk followed. All paths are relative to the workspace, with `/`.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// Each followed link to a directory, and the directory's real path.
    pub directories: Vec<(String, String)>,
    /// Each selected file behind a link, and the file's real path.
    pub files: Vec<(String, String)>,
}

/// The selected files of a list of patterns.
#[derive(Debug, Default)]
pub struct Selection {
    /// Each file's path and its size in bytes. Paths are relative to the workspace, with `/`, in
    /// byte order.
    pub files: Vec<(String, u64)>,
    /// The followed links.
    pub links: Links,
    /// Warnings for the user, such as an include that selects nothing.
    pub warnings: Vec<String>,
    /// The directories that the walk read, each with its stamp before.
    directories: Vec<(PathBuf, Stamp)>,
    /// The latest time of a file, in nanoseconds since 1970.
    pub newest: Option<i64>,
}

impl Selection {
    /// Returns whether no directory of the walk got or lost an entry since.
    pub fn is_current(&self) -> bool {
        self.directories.iter().all(|(path, stamp)| {
            fs::symlink_metadata(path).is_ok_and(|found| Stamp::of(&found) == *stamp)
        })
    }

    /// Returns the first path that only one of two selections has.
    pub fn difference<'a>(&'a self, other: &'a Self) -> Option<&'a str> {
        let pairs = self.files.iter().zip(&other.files);
        let same = pairs.take_while(|((one, _), (other, _))| one == other).count();
        let differing = [self, other].map(|list| list.files.get(same).map(|(path, _)| path));
        differing.into_iter().flatten().min().map(String::as_str)
    }
}

/// Selects the files of a list of patterns; `input` names the list in messages.
///
/// Source: docs/formats.md, "Selecting input files". A link to a file counts as the file. The walk
/// follows a link to a directory and stops at a cycle. It ignores all that the patterns do not
/// reach.
///
/// # Errors
/// - An include selects nothing, and `when_empty` is [`WhenEmpty::Fail`].
/// - The walk reaches more entries through links to directories than the rules allow.
/// - A selected link is broken.
/// - A link that is selected or followed leads out of the workspace.
/// - A selected path is not UTF-8.
/// - A selected path is neither a file nor a directory.
/// - A directory cannot be read.
/// - A directory below the workspace's own entries is the stage of a restore.
pub fn select(
    workspace: &Path,
    patterns: &Patterns,
    input: &str,
    rules: Rules,
) -> Result<Selection> {
    let mut walker = Walker {
        root: workspace.canonicalize().on("cannot open the workspace", workspace)?,
        patterns,
        input,
        most_linked: rules.max_linked_entries,
        linked: 0,
        links: HashMap::new(),
        usage: Usage::of(patterns),
        selection: Selection::default(),
    };
    if patterns.has_includes() {
        walker.directory(walker.root.clone(), &mut Trail::default())?;
    }
    let Walker { usage, mut selection, .. } = walker;
    if let Some(idle) = usage.idle() {
        let message = format!("`{input}`: nothing is selected by {idle}");
        match rules.when_empty {
            WhenEmpty::Fail => {
                return Err(Error::bad_input(message).hint(
                    "check the spelling, the checkout, later `!` lines and the default excludes; \
                     set the input `if-no-files-found` to `warn` if the files may be missing",
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
    most_linked: u64,
    /// The number of entries that the walk has reached through links.
    linked: u64,
    /// The followed links by their real paths, each with the number of visits behind it.
    links: HashMap<PathBuf, u64>,
    usage: Usage<'a>,
    selection: Selection,
}

/// The directories between the workspace and the current entry.
#[derive(Default)]
struct Trail {
    /// The names below the workspace. For matching, U+FFFD replaces the parts that are not UTF-8.
    names: Vec<String>,
    /// The number of names with such a replacement.
    lossy: usize,
    /// The resolved paths of the directories, which show a cycle.
    real: Vec<PathBuf>,
    /// The real path of the last followed link.
    link: Option<PathBuf>,
}

impl Walker<'_> {
    /// Visits a directory, unless the walk is inside it already.
    fn directory(&mut self, real: PathBuf, trail: &mut Trail) -> Result<()> {
        // Only a link leads back. Equal paths have equal bytes here, and bytes compare faster.
        let is_real = |above: &PathBuf| above.as_os_str() == real.as_os_str();
        if trail.link.is_some() && trail.real.iter().any(is_real) {
            return Ok(());
        }
        if let Ok(found) = fs::symlink_metadata(&real) {
            self.selection.directories.push((real.clone(), Stamp::of(&found)));
        }
        let entries = fs::read_dir(&real).on("cannot read the directory", &real)?;
        trail.real.push(real.clone());
        for entry in entries {
            let entry = entry.on("cannot read the directory", &real)?;
            self.count(trail)?;
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

    /// Follows a link to a directory.
    fn follow(&mut self, link: PathBuf, target: PathBuf, trail: &mut Trail) -> Result<()> {
        let outer = trail.link.replace(link);
        self.directory(target, trail)?;
        trail.link = outer;
        Ok(())
    }

    /// Counts an entry behind a link.
    ///
    /// Links that lead to one another make many paths of few entries. The number of paths can grow
    /// exponentially with the number of links.
    fn count(&mut self, trail: &Trail) -> Result<()> {
        let Some(link) = &trail.link else { return Ok(()) };
        match self.links.get_mut(link) {
            Some(visits) => *visits += 1,
            None => _ = self.links.insert(link.clone(), 1),
        }
        self.linked += 1;
        if self.linked <= self.most_linked {
            return Ok(());
        }
        let mut links: Vec<(&Path, u64)> = self
            .links
            .iter()
            .map(|(path, visits)| (path.strip_prefix(&self.root).unwrap_or(path), *visits))
            .collect();
        links.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let told = |(path, visits): &(&Path, u64)| format!("\n  `{}`: {visits}", path.display());
        let most: String = links.iter().take(SHOWN).map(told).collect();
        Err(Error::bad_input(format!(
            "`{}`: links to directories lead to more than {} entries; these links lead to the \
             most:{most}",
            self.input, self.most_linked
        ))
        .hint(
            "exclude the links that are no inputs with `!` lines; if all are inputs, raise \
             `max-linked-entries`",
        ))
    }

    fn outside(&self, link: &str) -> Error {
        let outside = format!("`{}`: the link `{link}` leads outside the workspace", self.input);
        Error::bad_input(outside)
            .hint("copy the files into the workspace, or exclude the link with a `!` line")
    }

    /// Returns the path relative to the workspace; `None` if it is not UTF-8.
    fn relative(&self, real: &Path) -> Option<String> {
        real.strip_prefix(&self.root).ok()?.to_str().map(str::to_owned)
    }

    /// Visits a directory, unless it is the stage of a restore.
    ///
    /// A stage of the workspace itself belongs to a restore that runs, or whose remains every
    /// command names. Below it, a directory of such a name could hide inputs.
    fn enter(&mut self, real: PathBuf, trail: &mut Trail) -> Result<()> {
        match trail.names.as_slice() {
            [.., name] if !is_stage(name) => self.directory(real, trail),
            [] | [_] => Ok(()),
            names => Err(Error::bad_input(format!(
                "`{}`: a restore is at work in `{}`, or was killed there",
                self.input,
                names.join("/")
            ))
            .hint(
                "let the restore end, or restore to the same `destination` again; then, if it is \
                 still there, remove that directory",
            )),
        }
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
            return if below { self.enter(real, trail) } else { Ok(()) };
        }
        let shown = path.join("/");
        let (found, behind) = if kind.is_symlink() {
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
                return Err(self.outside(&shown));
            }
            if found.is_dir() {
                let place = self.relative(&target);
                self.selection.links.directories.extend(place.map(|place| (shown, place)));
                return self.follow(real, target, trail);
            }
            (found, Some(target))
        } else {
            let found = entry.metadata().on("cannot look at", &real)?;
            (found, trail.link.is_some().then_some(real))
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
        if let Some(place) = behind.and_then(|real| self.relative(&real)) {
            self.selection.links.files.push((shown.clone(), place));
        }
        self.usage.mark(&path);
        self.selection.newest = self.selection.newest.max(Some(Stamp::of(&found).latest()));
        self.selection.files.push((shown, found.len()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LEVELS: usize = 400;

    #[test]
    fn directories_of_one_name_are_walked_to_the_last() {
        let place = tempfile::tempdir().unwrap();
        let deepest = place.path().join("a/".repeat(LEVELS));
        fs::create_dir_all(&deepest).unwrap();
        fs::write(deepest.join("file"), "content").unwrap();
        let root = place.path().to_owned();
        let walk = thread::Builder::new().stack_size(64 << 20).spawn(move || {
            let patterns = Patterns::parse("**", &root).unwrap();
            let rules = Rules { when_empty: WhenEmpty::Fail, max_linked_entries: 0 };
            select(&root, &patterns, "data-paths", rules).unwrap()
        });
        let selection = walk.unwrap().join().unwrap();
        assert_eq!((selection.files.len(), selection.directories.len()), (1, LEVELS + 1));
    }
}
