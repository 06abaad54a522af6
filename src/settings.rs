//! Makes typed settings of the raw inputs, once, and reports all faults in one message.
//!
//! One table is the source of the flags, the action's inputs and their documentation.

mod destination;
pub mod file;
pub mod host_paths;
mod mounts;
mod names;
mod reader;
mod resolve;
pub mod table;
pub mod target;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

use crate::decide::ReadScopes;
use crate::decide::bounds::Bound;
use crate::decide::force::ForceRules;
use crate::fingerprint::patterns::trim;
use crate::fingerprint::{Patterns, Rules, Sources};
use crate::format::{Fingerprint, ModelName, Namespace, artifact};
use crate::github::oidc::Role;
use crate::store::{Location, S3Options};

pub use names::advice;
pub use resolve::{Given, resolve};
pub use table::{INPUTS, Input, Verb};
pub use target::Target;

/// Raw input values by name. An empty value counts as no value, except for `role-to-assume`.
#[derive(Clone, Debug, Default)]
pub struct RawInputs {
    values: BTreeMap<String, String>,
    /// The places of the values that come from the configuration file.
    places: BTreeMap<String, Vec<Placed>>,
    /// The only inputs that count, in another look after all faults are told.
    only: Option<&'static [&'static str]>,
}

/// A value, or a line of a value, that comes from the configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Placed {
    /// The text in the value of the input.
    text: String,
    /// The text as the file has it.
    written: String,
    /// The key.
    key: String,
    /// The file and the line.
    line: String,
    column: usize,
}

impl RawInputs {
    /// Returns the trimmed value; `None` if the value is missing or blank.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| trim(value)).filter(|value| !value.is_empty())
    }

    /// Returns whether the input is given but blank.
    pub fn is_given_empty(&self, name: &str) -> bool {
        self.values.contains_key(name) && self.get(name).is_none()
    }

    /// Sets a value. An empty value says that the user gave the input, and gave it no value.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// Returns the inputs of these names, for another look after all faults are told. From the
    /// configuration file, too, only they count, and no fault.
    #[must_use]
    pub fn only(&self, names: &'static [&'static str]) -> Self {
        let mut kept = Self { only: Some(names), ..self.clone() };
        kept.values.retain(|name, _| names.contains(&name.as_str()));
        kept
    }

    /// Sets a value of the configuration file.
    fn place(&mut self, name: &str, lines: Vec<Placed>) {
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        self.values.insert(name.to_owned(), texts.join("\n"));
        self.places.insert(name.to_owned(), lines);
    }

    /// Returns the values of the configuration file, by input.
    fn of_file(&self) -> BTreeMap<String, String> {
        let value = |name: &String| Some((name.clone(), self.values.get(name)?.clone()));
        self.places.keys().filter_map(value).collect()
    }

    /// Takes the values that an earlier step of the job had from the configuration file, and reads
    /// no file any more.
    pub fn settle(&mut self, values: BTreeMap<String, String>) {
        for (name, value) in values {
            if self.get(&name).is_none_or(|given| given == table::OMITTED) {
                self.values.insert(name, value);
            }
        }
        self.set("config", file::NONE);
    }

    /// Returns the place in the configuration file from which a value comes, or a line of it.
    fn place_of(&self, name: &str, value: &str) -> Option<&Placed> {
        let lines = self.places.get(name)?;
        let is_meant = |line: &&Placed| line.text == value;
        // The name of an extra key stands before its value.
        let starts = |line: &&Placed| line.text.starts_with(&format!("{value}="));
        lines.iter().find(is_meant).or_else(|| lines.iter().find(starts)).or(lines.first())
    }

    /// Removes the inputs that no action has, and returns their names.
    pub fn take_unknown(&mut self) -> Vec<String> {
        let unknown: Vec<String> = names::unknown(self).map(str::to_owned).collect();
        self.values.retain(|name, _| !unknown.contains(name));
        unknown
    }

    /// Returns the names of all given inputs, sorted. Some may have no value, or be unknown.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

/// The settings of a command. No command sees a raw input.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The base of all relative paths, as a real path.
    pub workspace: PathBuf,
    /// The location of the store.
    pub store: Location,
    /// The options for requests to S3.
    pub s3: S3Options,
    /// The AWS role to assume. Without a role, credentials come from the usual AWS sources.
    pub role: Option<Role>,
    /// The namespace of the models, `owner/name`.
    pub namespace: Namespace,
    /// The name of the model.
    pub model: ModelName,
    /// The sources of the fingerprint: data, training code and extra keys.
    pub sources: Sources,
    /// The longest wait for a lock that another process holds.
    pub lock_timeout: Duration,
    /// The rules of the walk over the inputs.
    pub walk: Rules,
    /// The reaction to Git LFS stand-ins in the workspace of a training or a save.
    pub lfs_stand_ins: StandIns,
    /// The files that the training writes.
    pub model_path: Patterns,
    /// The directory into which a restore puts the model; by default the workspace.
    pub destination: PathBuf,
    /// The model that `restore`, `resolve` or `verify` looks for.
    pub target: Target,
    /// The fingerprint that the model must have. For a save, this is the fingerprint of the plan.
    pub fingerprint: Option<Fingerprint>,
    /// Another repository, whose models the command reads; `None` for the run's own repository.
    pub foreign: Option<String>,
    /// The token for GitHub's API.
    pub github_token: Option<Secret>,
    /// The name that the user gives to the pointer's artifact.
    pub artifact_name: Option<String>,
    /// The days to keep the artifact, 1 to 400; `None` for the repository's setting.
    pub artifact_retention_days: Option<u32>,
    /// The rules by which a run can force a training.
    pub force: ForceRules,
    /// The age after which a model must be trained again; `None` for no limit.
    pub max_age: Option<SignedDuration>,
    /// The file of the model's metrics, relative to the workspace.
    pub metrics: Option<String>,
    /// The demands on the metrics.
    pub min_metrics: Vec<Bound>,
    /// Whether the pull request of the run gets a comment about the model.
    pub comment: bool,
    /// How long a save repeats a request that the store does not serve.
    pub save_patience: Duration,
    /// Whether a push may take over the model of a merged pull request.
    pub promote: bool,
    /// The models of its own scope that the run may read.
    pub read_scopes: ReadScopes,
    /// The reaction to a store that cannot be read.
    pub on_error: OnError,
    /// Whether a missing model is a failure.
    pub fail_on_miss: bool,
    /// Branches and full refs to trust like the default branch. A `*` at the end stands for
    /// anything.
    pub trusted_refs: Vec<String>,
    /// Doubts about the inputs, as sentences for the log.
    pub doubts: Vec<String>,
    /// Where each value comes from, for the log; `None` without a configuration file.
    pub origins: Option<String>,
    /// The values of the configuration file, by input.
    pub from_file: BTreeMap<String, String>,
    /// The directory in which `run` starts the training; by default the workspace.
    pub working_directory: PathBuf,
}

impl Settings {
    /// Returns the prefix of the names of this model's artifacts.
    pub fn artifact_prefix(&self) -> String {
        self.artifact_name.clone().unwrap_or_else(|| artifact::prefix(self.model.as_str()))
    }
}

/// A text that no output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// The reaction to a store that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Fail the step.
    Fail,
    /// Train, with the reason `store-unavailable`.
    Retrain,
}

/// The reaction to Git LFS stand-ins where a model is trained or saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIns {
    /// Refuse, because the training did not see the content that counts in the fingerprint.
    Refuse,
    /// Go on, and show their number.
    Allow,
}

#[cfg(test)]
mod tests;
