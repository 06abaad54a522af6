//! The files through which a step sets outputs, state and its summary.
//!
//! Source: actions/toolkit, packages/core/src/file-command.ts; parser: actions/runner,
//! src/Runner.Worker/FileCommandManager.cs.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::command::SetOutput;
use crate::environment::Environment;
use crate::error::{Error, IoContext as _, Result};
use crate::regular_file;

/// The runner ignores a summary over this size.
const MAX_SUMMARY: usize = 1 << 20;
/// Outputs are never larger.
const MAX_OUTPUT: usize = 64 << 20;
/// The outputs that were printed, for want of a file to look them up in.
static PRINTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Where a step's commands go.
#[derive(Clone, Debug, Default)]
pub struct FileCommands {
    output: Option<PathBuf>,
    state: Option<PathBuf>,
    summary: Option<PathBuf>,
    in_actions: bool,
}

impl FileCommands {
    /// Finds the files that the runner has made.
    pub fn find(environment: &Environment) -> Self {
        let file = |name: &str| {
            let path = PathBuf::from(environment.get(name)?);
            // `act` on a host names files that only exist elsewhere inside a container.
            let elsewhere = || Some(Path::new("/var/run/act/workflow").join(path.file_name()?));
            if path.parent().is_some_and(Path::is_dir) || !environment.is_true("ACT") {
                Some(path)
            } else {
                elsewhere()
            }
        };
        Self {
            output: file("GITHUB_OUTPUT"),
            state: file("GITHUB_STATE"),
            summary: file("GITHUB_STEP_SUMMARY"),
            in_actions: environment.is_true("GITHUB_ACTIONS"),
        }
    }

    /// Sets an output of the step; by a command where the runner, such as an old one of GHES, has
    /// no file for it.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn set_output(&self, name: &str, value: &str) -> Result<()> {
        if self.output.is_none() && self.in_actions {
            writeln!(std::io::stderr().lock(), "{}", SetOutput { name, value }).map_err(
                |error| Error::failed(format!("cannot print the output `{name}`")).caused_by(error),
            )?;
            PRINTED.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
            return Ok(());
        }
        append_entry(self.output.as_deref(), name, value)
    }

    /// Returns whether the output was set.
    pub fn has_output(&self, name: &str) -> bool {
        if PRINTED.lock().unwrap_or_else(PoisonError::into_inner).contains(name) {
            return true;
        }
        let read = |path: &PathBuf| regular_file::read("step's output", path, MAX_OUTPUT).ok();
        let bytes = self.output.as_ref().and_then(read).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        text.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with("<<")))
    }

    /// Returns the directory of these files, which every step of the job sees.
    pub fn directory(&self) -> Option<&Path> {
        self.state.as_deref()?.parent().filter(|parent| parent.is_dir())
    }

    /// Keeps a value for the post step, which finds it as `STATE_<name>`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save_state(&self, name: &str, value: &str) -> Result<()> {
        append_entry(self.state.as_deref(), name, value)
    }

    /// Adds Markdown to the job summary; what is over the runner's limit is cut off with a note.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn add_summary(&self, markdown: &str) -> Result<()> {
        let Some(path) = &self.summary else { return Ok(()) };
        let present = path.metadata().map_or(0, |found| found.len() as usize);
        let note = "\n\n… the rest is in the step's log.\n";
        let room = MAX_SUMMARY.saturating_sub(present + note.len());
        if markdown.len() <= room {
            return append(path, markdown);
        }
        let mut end = room;
        while !markdown.is_char_boundary(end) {
            end -= 1;
        }
        append(path, &format!("{}{note}", &markdown[..end]))
    }
}

fn append_entry(path: Option<&Path>, name: &str, value: &str) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    append(path, &entry(name, value, rand::random())?)
}

/// Returns one entry with a random delimiter, so that a value cannot end it and begin another.
fn entry(name: &str, value: &str, random: u128) -> Result<String> {
    let delimiter = format!("ghadelimiter_{random:032x}");
    if name.contains(&delimiter) || value.contains(&delimiter) {
        return Err(Error::failed(format!("the output `{name}` contains its own delimiter")));
    }
    Ok(format!("{name}<<{delimiter}\n{value}\n{delimiter}\n"))
}

/// Appends with one write; the runner must go on owning the file, so it is never replaced.
fn append(path: &Path, text: &str) -> Result<()> {
    let mut file =
        OpenOptions::new().append(true).create(true).open(path).on("cannot write", path)?;
    file.write_all(text.as_bytes()).on("cannot write", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_leave_its_entry() {
        let text = entry("reason", "a\nEOF\nevil=1", 5).unwrap();
        let end = "ghadelimiter_00000000000000000000000000000005";
        assert_eq!(text, format!("reason<<{end}\na\nEOF\nevil=1\n{end}\n"));
        assert!(entry("x", end, 5).is_err());
    }

    #[test]
    fn a_summary_stays_under_the_limit() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("summary");
        let commands = FileCommands { summary: Some(path.clone()), ..FileCommands::default() };
        commands.add_summary("first\n").unwrap();
        commands.add_summary(&"é".repeat(MAX_SUMMARY)).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(
            text.len() <= MAX_SUMMARY && text.starts_with("first\n") && text.ends_with("log.\n")
        );
    }
}
