//! The files through which a step sets outputs, state and its summary.
//!
//! Source: actions/toolkit, packages/core/src/file-command.ts. Parser: actions/runner,
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

/// The runner's limit for a summary, in bytes. The runner ignores a larger summary.
const MAX_SUMMARY: usize = 1 << 20;
/// The largest file of outputs that [`FileCommands::has_output`] reads, in bytes.
const MAX_OUTPUT: usize = 64 << 20;
/// The names of the outputs that this process printed. A printed output is in no file.
static PRINTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The files for the commands of a step.
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
            // act may name a directory that exists only on its host. In a container, the files are
            // in this directory.
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

    /// Sets an output of the step. A runner without a file for outputs, such as an old GitHub
    /// Enterprise Server, gets a command.
    ///
    /// # Errors
    /// The output cannot be written.
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

    /// Returns whether this step has set the output.
    pub fn has_output(&self, name: &str) -> bool {
        if PRINTED.lock().unwrap_or_else(PoisonError::into_inner).contains(name) {
            return true;
        }
        let read = |path: &PathBuf| regular_file::read("step's output", path, MAX_OUTPUT).ok();
        let bytes = self.output.as_ref().and_then(read).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        text.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with("<<")))
    }

    /// Returns the directory of the files, which every step of the job sees.
    pub fn directory(&self) -> Option<&Path> {
        self.state.as_deref()?.parent().filter(|parent| parent.is_dir())
    }

    /// Keeps a value for the post step, as the variable `STATE_<name>`.
    ///
    /// # Errors
    /// The runner's file cannot be written.
    pub fn save_state(&self, name: &str, value: &str) -> Result<()> {
        append_entry(self.state.as_deref(), name, value)
    }

    /// Adds Markdown to the job summary. A note replaces the text beyond the runner's limit.
    ///
    /// # Errors
    /// The runner's file cannot be written.
    pub fn add_summary(&self, markdown: &str) -> Result<()> {
        let Some(path) = &self.summary else { return Ok(()) };
        let present = path.metadata().map_or(0, |found| found.len() as usize);
        let note = "\n\n… the rest is in the step's log.\n";
        // Another summary of this step may have filled the file.
        let Some(room) = MAX_SUMMARY.checked_sub(present + note.len()) else { return Ok(()) };
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

/// Returns an entry with a random delimiter, so that its value cannot begin another entry.
fn entry(name: &str, value: &str, random: u128) -> Result<String> {
    let delimiter = format!("ghadelimiter_{random:032x}");
    if name.contains(&delimiter) || value.contains(&delimiter) {
        return Err(Error::failed(format!("the output `{name}` contains its own delimiter")));
    }
    Ok(format!("{name}<<{delimiter}\n{value}\n{delimiter}\n"))
}

/// Appends a text with one write. The runner must keep owning the file, so this never replaces it.
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
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.len() <= MAX_SUMMARY && text.starts_with("first\n") && text.ends_with("log.\n")
        );
        commands.add_summary("no room\n").unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), text);
    }
}
