//! From raw inputs to typed settings, once, with every fault in one message.
//!
//! The same table feeds the command line flags, the action's inputs and the documentation test.

pub mod host_paths;
mod mounts;
mod reader;
mod resolve;
pub mod table;
pub mod target;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::SignedDuration;

use crate::decide::force::ForceRules;
use crate::fingerprint::patterns::trim;
use crate::fingerprint::{Patterns, Sources, WhenEmpty};
use crate::format::{Fingerprint, ModelName, Namespace, artifact};
use crate::github::oidc::Role;
use crate::store::{Location, S3Options};

pub use resolve::resolve;
pub use table::{INPUTS, Input, Verb};
pub use target::Target;

/// Raw input values by name; an empty value is the same as none.
#[derive(Clone, Debug, Default)]
pub struct RawInputs(BTreeMap<String, String>);

impl RawInputs {
    /// Returns the trimmed value, `None` where it is unset or blank.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| trim(value)).filter(|value| !value.is_empty())
    }

    /// Sets a value.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.insert(name.to_owned(), value.into());
    }
}

/// Everything a command needs to know; nothing after this sees a raw string.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory that all paths are relative to.
    pub workspace: PathBuf,
    /// Where models are kept.
    pub store: Location,
    /// How to reach S3.
    pub s3: S3Options,
    /// The AWS role to assume; other credentials come from the usual AWS sources.
    pub role: Option<Role>,
    /// Whose models.
    pub namespace: Namespace,
    /// Which model.
    pub model: ModelName,
    /// What the fingerprint is made of.
    pub sources: Sources,
    /// What to do about patterns that select nothing.
    pub when_empty: WhenEmpty,
    /// What the training writes.
    pub model_path: Patterns,
    /// Where a model is restored.
    pub destination: PathBuf,
    /// Which model is meant, where one is to be found.
    pub target: Target,
    /// The fingerprint that the model must have: of a save, that of the plan.
    pub fingerprint: Option<Fingerprint>,
    /// Another repository than the run's own, whose models are meant.
    pub foreign: Option<String>,
    /// The token for GitHub's API.
    pub github_token: Option<Secret>,
    /// The name that the user gave the pointer's artifact.
    pub artifact_name: Option<String>,
    /// How many days the artifact is kept.
    pub artifact_retention_days: Option<u32>,
    /// What may force a training.
    pub force: ForceRules,
    /// The age from which a model is trained again.
    pub max_age: Option<SignedDuration>,
    /// Whether to take over the models of merged pull requests.
    pub promote: bool,
    /// What to do when the store cannot be looked at.
    pub on_error: OnError,
    /// Whether a missing model is a failure.
    pub fail_on_miss: bool,
    /// Refs that are as trusted as the default branch.
    pub trusted_refs: Vec<String>,
}

impl Settings {
    /// Returns what the names of this model's artifacts begin with.
    pub fn artifact_prefix(&self) -> String {
        self.artifact_name.clone().unwrap_or_else(|| artifact::prefix(self.model.as_str()))
    }
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// What to do when the store cannot be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Fail the step.
    Fail,
    /// Train, and say that it is because of the store.
    Retrain,
}

#[cfg(test)]
mod tests;
