//! The state that the main step leaves for the post step of the same job.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::commands::handover::Handover;
use crate::environment::Environment;
use crate::error::{Error, IoContext as _, Result};
use crate::format::inputs::MAX_DOCUMENT_BYTES;
use crate::format::{Digest, InputsDocument, InputsId};
use crate::github::file_command::FileCommands;
use crate::ownership::Owner;
use crate::regular_file;
use crate::settings::{RawInputs, Settings};

/// The name under which the runner keeps the state.
const STATE: &str = "plan";
const MAX_STATE: usize = 64 << 10;
/// The name under which the runner keeps the values of the configuration file.
const FILE_VALUES: &str = "settings";

/// Leaves the values of the configuration file for the post step. The job may commit meanwhile, or
/// change the file, and must not lose a finished training by it.
///
/// Without a file, the state is empty, and hides a variable of the same name that the job may set.
///
/// # Errors
/// The runner's file cannot be written.
pub fn put_file_values(files: &FileCommands, settings: &Settings) -> Result<()> {
    let text = serde_json::to_string(&settings.from_file)
        .map_err(|error| Error::failed("cannot encode the settings").caused_by(error))?;
    files.save_state(FILE_VALUES, &text)
}

/// Fills the inputs of a post step as the main step did. A runner that passes no state leaves the
/// post step to the file.
pub fn take_file_values(environment: &Environment, raw: &mut RawInputs) {
    let text = environment.get(&format!("STATE_{FILE_VALUES}"));
    if let Some(values) = text.and_then(|text| serde_json::from_str(text).ok()) {
        raw.settle(values);
    }
}

/// The handover as JSON. The inputs document has a file of its own, because it can be large.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    handover: Handover,
    /// The path and the id of the inputs document.
    document: Option<(PathBuf, InputsId)>,
}

/// The places where the main step leaves the handover.
#[derive(Debug)]
pub struct StateFile {
    /// The directory for the inputs document, which both steps see.
    temp: Option<PathBuf>,
    /// A file for the state, under the runner act only.
    ///
    /// act passes no state to the post step of a container action. Its containers share only the
    /// directory of the file commands.
    state: Option<PathBuf>,
}

impl StateFile {
    /// Finds the places. Namespace and model choose the name of the state file, because a job may
    /// use several models.
    pub fn find(environment: &Environment, files: &FileCommands, settings: &Settings) -> Self {
        let shared = if environment.is_true("ACT") { files.directory() } else { None };
        let name = format!("{}/{}", settings.namespace, settings.model);
        let digest = Digest::of(name.as_bytes()).short();
        let state = shared.map(|place| place.join(format!("ml-cache-{digest}.json")));
        let temp = environment.get("RUNNER_TEMP").map(PathBuf::from);
        let temp = shared.map(Path::to_owned).or(temp).filter(|temp| temp.is_dir());
        Self { temp, state }
    }

    /// Removes the state file of an earlier job, because some runners keep their directories.
    pub fn clear(&self) {
        drop(self.take_text());
    }

    /// Leaves the handover for the post step.
    ///
    /// # Errors
    /// - The handover cannot be encoded.
    /// - A file cannot be written.
    pub fn put(&self, files: &FileCommands, handover: &Handover) -> Result<()> {
        let document = self.temp.as_deref().zip(handover.document.as_ref());
        let document = document.and_then(|(temp, document)| keep_document(temp, document));
        let kept = Kept { handover: handover.clone(), document };
        let text = serde_json::to_string(&kept).map_err(|error| {
            Error::failed("cannot encode the state of the plan").caused_by(error)
        })?;
        if let Some(path) = &self.state {
            // Another process may have left a link at the path. A rename replaces it.
            write_beside(path, &text).on("cannot write the state of the plan to", path)?;
        }
        files.save_state(STATE, &text)
    }

    /// Returns the handover. If its document cannot be read, returns the handover without the
    /// document.
    ///
    /// Returns `None` if there is no state, because some runners pass no state to a post step.
    pub fn take(&self, environment: &Environment) -> Option<Handover> {
        let given = environment.get(&format!("STATE_{STATE}")).map(str::to_owned);
        let kept: Kept = serde_json::from_str(&given.or_else(|| self.take_text())?).ok()?;
        let document = kept.document.and_then(|(path, digest)| {
            let stored = regular_file::read("plan's inputs", &path, MAX_DOCUMENT_BYTES).ok()?;
            InputsDocument::parse(&stored, &digest, u64::MAX).ok()
        });
        Some(Handover { document, ..kept.handover })
    }

    /// Reads the state file and removes it, so that it never counts for a later job.
    fn take_text(&self) -> Option<String> {
        let path = self.state.as_ref()?;
        if !std::fs::symlink_metadata(path).ok()?.is_file() {
            return None;
        }
        let bytes = regular_file::read("state", path, MAX_STATE).ok()?;
        std::fs::remove_file(path).ok()?;
        String::from_utf8(bytes).ok()
    }
}

fn write_beside(path: &Path, text: &str) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix("ml-cache-").tempfile_in(parent)?;
    file.write_all(text.as_bytes())?;
    Owner::of(parent).adopt_file(file.as_file())?;
    file.persist(path)?;
    Ok(())
}

/// Writes the inputs document for the post step, under a name that nobody can foresee.
///
/// A failure is no error: the post step then compares with the model that the ref used last.
fn keep_document(temp: &Path, document: &InputsDocument) -> Option<(PathBuf, InputsId)> {
    let text = document.to_text();
    let id = InputsId::of(text.as_bytes());
    let builder = &mut tempfile::Builder::new();
    let mut file = builder.prefix("ml-cache-").suffix(".zst").tempfile_in(temp).ok()?;
    file.write_all(&InputsDocument::compress(&text).ok()?).ok()?;
    Owner::of(temp).adopt_file(file.as_file()).ok()?;
    let (_, path) = file.keep().ok()?;
    Some((path, id))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_at_the_path_of_the_state_is_replaced_and_not_read() {
        let place = tempfile::tempdir().unwrap();
        let (outside, path) = (place.path().join("outside"), place.path().join("state"));
        fs::write(&outside, "precious").unwrap();
        symlink(&outside, &path).unwrap();
        let file = StateFile { temp: None, state: Some(path.clone()) };
        assert_eq!(file.take_text(), None);
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        write_beside(&path, "state").unwrap();
        assert_eq!(fs::read_to_string(&outside).unwrap(), "precious");
        assert_eq!(file.take_text().as_deref(), Some("state"));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
