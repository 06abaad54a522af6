//! What a command found and did, as data; [`crate::report`] shows it in the log, in the job summary
//! and to programs.
//!
//! [`FACTS`] is the one list of what is shown: an entry there is a row for people, an output for
//! programs, or both.

pub mod describe;

use serde_json::{Value, json};

use crate::decide::{Change, Reason};
use crate::format::inputs::InputDigests;
use crate::format::{
    Fingerprint, InputEntry, InputsDocument, ModelName, Namespace, Pointer, Scope,
};
use crate::github::artifact::Uploaded;
use crate::transfer::download::Restored;
use describe::{files_and_bytes, made_by};

/// What a command found and did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The command, such as `restore`.
    pub command: &'static str,
    /// Whose model.
    pub namespace: Namespace,
    /// Which model.
    pub model: ModelName,
    /// How it ended.
    pub ending: Ending,
    /// Why, in a word; absent where nothing was decided.
    pub reason: Option<Reason>,
    /// Why, in a sentence without a full stop.
    pub explanation: String,
    /// The inputs, where they were read.
    pub inputs: Option<Inputs>,
    /// The digest that decides.
    pub fingerprint: Option<Fingerprint>,
    /// Where the run's pointers go, where that matters.
    pub writes: Option<Writes>,
    /// The scopes that were searched in vain.
    pub searched: Vec<Scope>,
    /// What differs from the ref's last model.
    pub changes: Vec<Change>,
    /// The model that the changes are relative to.
    pub baseline: Option<Pointer>,
    /// The model.
    pub pointer: Option<Pointer>,
    /// What was fetched for it.
    pub restored: Option<Restored>,
    /// What was sent of it.
    pub sent: Option<Sent>,
    /// The artifact that holds the pointer.
    pub artifact: Option<Uploaded>,
}

/// Where a run's pointers go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writes {
    /// Into this scope.
    To(Scope),
    /// Into none: the run may only read.
    Nowhere,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A training is needed.
    Retrain,
    /// None is: the model is stored.
    UpToDate,
    /// The model was trained; whether it was this training's that is stored now.
    Trained {
        /// Otherwise another one was kept.
        saved: bool,
    },
    /// The model was put in place.
    Restored,
    /// It is known which model is meant.
    Resolved,
    /// Every byte is as it was saved.
    Verified,
    /// There is no such model.
    NotFound,
    /// The model was stored.
    Saved,
    /// A stored model of the same inputs was kept instead.
    Kept,
    /// The run may not save.
    NotSaved,
}

impl Ending {
    /// Returns the headline of log and summary.
    pub fn headline(self) -> &'static str {
        match self {
            Self::Retrain => "retrain",
            Self::UpToDate => "no training needed",
            Self::Trained { .. } => "trained",
            Self::Restored => "restored",
            Self::Resolved => "resolved",
            Self::Verified => "verified",
            Self::NotFound => "not found",
            Self::Saved => "saved",
            Self::Kept => "kept",
            Self::NotSaved => "not saved",
        }
    }

    fn retrain_needed(self) -> bool {
        matches!(self, Self::Retrain | Self::Trained { .. } | Self::NotFound)
    }

    fn cache_hit(self) -> bool {
        !self.retrain_needed() && self != Self::NotSaved
    }

    fn saved(self) -> bool {
        matches!(self, Self::Saved | Self::Trained { saved: true })
    }
}

/// Inputs that were read: their digests, and how much they are.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// Their digests.
    pub digests: InputDigests,
    /// Number and bytes of the data files.
    pub data: (u64, u64),
    /// Number and bytes of the files of training code.
    pub training: (u64, u64),
}

impl Inputs {
    /// Measures a document.
    pub fn of(document: &InputsDocument) -> Self {
        let size = |entries: &[InputEntry]| {
            let bytes = entries.iter().fold(0, |sum: u64, entry| sum.saturating_add(entry.size));
            (entries.len() as u64, bytes)
        };
        Self {
            digests: document.digests(),
            data: size(&document.data),
            training: size(&document.training),
        }
    }
}

/// What a save sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Blobs that were not in the store.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A fact about an outcome and where it is shown.
#[derive(Debug)]
pub struct Fact {
    /// What programs get; `None` where none needs it.
    pub output: Option<Output>,
    /// The head of its row; `None` where no person needs it.
    pub row: Option<&'static str>,
    /// What stands in the row; no text, no row.
    pub text: fn(&Outcome) -> Option<String>,
}

/// A fact for programs.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Its value.
    pub value: fn(&Outcome) -> Value,
    /// Its text where a step ended before anything was known.
    pub unknown: &'static str,
}

const fn output(
    name: &'static str,
    help: &'static str,
    unknown: &'static str,
    value: fn(&Outcome) -> Value,
) -> Fact {
    Fact { output: Some(Output { name, help, value, unknown }), row: None, text: |_| None }
}

const fn row(name: &'static str, text: fn(&Outcome) -> Option<String>) -> Fact {
    Fact { output: None, row: Some(name), text }
}

impl Fact {
    /// Adds a row to an output.
    const fn shown_as(self, name: &'static str, text: fn(&Outcome) -> Option<String>) -> Self {
        Self { row: Some(name), text, ..self }
    }
}

/// Everything that is shown of an outcome, in order.
///
/// No output names a bucket, an endpoint or an account: the runner silently drops a job output that
/// contains a masked value.
pub const FACTS: &[Fact] = &[
    output(
        "retrain-needed",
        "`true` if the model must be trained again, otherwise `false`.",
        "true",
        |it| json!(it.ending.retrain_needed()),
    ),
    output(
        "cache-hit",
        "`true` if a complete model of exactly these inputs is stored, otherwise `false`.",
        "false",
        |it| json!(it.ending.cache_hit()),
    ),
    output(
        "reason",
        "Reason for the outcome: `hit`, `no-model`, `data-changed`, `training-changed`, \
         `extra-key-changed`, `inputs-changed`, `forced`, `expired`, `incomplete` or \
         `store-unavailable`.",
        "",
        |it| json!(it.reason),
    ),
    row("Data", |it| it.inputs.map(|it| files_and_bytes(it.data.0, it.data.1))),
    row("Training code", |it| it.inputs.map(|it| files_and_bytes(it.training.0, it.training.1))),
    output(
        "fingerprint",
        "Digest of everything that the model depends on: data, training code and extra keys.",
        "",
        |it| json!(it.fingerprint),
    )
    .shown_as("Fingerprint", |it| Some(it.fingerprint?.to_string())),
    output("data-hash", "Digest of the data files.", "", |it| {
        json!(it.inputs.map(|it| it.digests.data))
    }),
    output("training-hash", "Digest of the training code.", "", |it| {
        json!(it.inputs.map(|it| it.digests.training))
    }),
    row("Scope", |it| {
        Some(match it.writes.as_ref()? {
            Writes::To(scope) => scope.to_string(),
            Writes::Nowhere => "none: this run may only read".to_owned(),
        })
    }),
    output(
        "changed-count",
        "Number of inputs that changed since the model that this ref used last.",
        "0",
        |it| json!(it.changes.len()),
    ),
    row("Model", |it| it.pointer.as_ref().map(|it| files_and_bytes(it.files, it.bytes))),
    output(
        "manifest-digest",
        "Digest of the model's list of files; equal digests mean equal models.",
        "",
        |it| json!(it.pointer.as_ref().map(|it| it.manifest.digest)),
    )
    .shown_as("Manifest", |it| Some(it.pointer.as_ref()?.manifest.digest.to_string())),
    row("Generation", |it| Some(it.pointer.as_ref()?.generation.to_string())),
    row("Made by", |it| it.pointer.as_ref().map(made_by)),
    row("Forced by", |it| Some(it.pointer.as_ref()?.forced.as_ref()?.to_string())),
    row("Promoted", |it| it.pointer.as_ref()?.promotion.as_ref().map(describe::promotion)),
    row("Time saved", |it| {
        let is_spared = matches!(it.ending, Ending::UpToDate | Ending::Restored);
        let seconds = it.pointer.as_ref()?.train_seconds?;
        (is_spared && seconds > 0).then(|| format!("{seconds} s"))
    }),
    row("Compared with", |it| it.baseline.as_ref().map(made_by)),
    output(
        "pointer",
        "Pointer to the model, as JSON; it names the model, its inputs and the run that made it.",
        "",
        |it| json!(it.pointer),
    ),
    row("Fetched", |it| it.restored.map(|it| files_and_bytes(it.fetched_files, it.fetched_bytes))),
    row("Uploaded", |it| it.sent.map(describe::sent)),
    output(
        "artifact-name",
        "Name of this run's artifact that holds the pointer; empty if there is none.",
        "",
        |it| json!(it.artifact.as_ref().map(|it| &it.name)),
    )
    .shown_as("Artifact", |it| {
        it.artifact.as_ref().map(|it| format!("{} ({})", it.name, it.digest))
    }),
    output(
        "artifact-id",
        "Number of the artifact that holds the pointer; empty if there is none.",
        "",
        |it| json!(it.artifact.as_ref().map(|it| &it.id)),
    ),
    output("model-files", "Number of files in the model.", "0", |it| {
        json!(it.pointer.as_ref().map_or(0, |it| it.files))
    }),
    output("model-bytes", "Size of the model in bytes.", "0", |it| {
        json!(it.pointer.as_ref().map_or(0, |it| it.bytes))
    }),
    output(
        "restored",
        "`true` if this step put the model in place, otherwise `false`.",
        "false",
        |it| json!(it.ending == Ending::Restored),
    ),
    output("saved", "`true` if this step saved a model, otherwise `false`.", "false", |it| {
        json!(it.ending.saved())
    }),
    row("Looked in", |it| {
        let names: Vec<String> = it.searched.iter().map(|scope| format!("`{scope}`")).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }),
];

impl Outcome {
    /// Returns an outcome of which nothing else is known.
    pub fn new(
        command: &'static str,
        namespace: &Namespace,
        model: &ModelName,
        ending: Ending,
    ) -> Self {
        Self {
            command,
            namespace: namespace.clone(),
            model: model.clone(),
            ending,
            reason: None,
            explanation: String::new(),
            inputs: None,
            fingerprint: None,
            writes: None,
            searched: Vec::new(),
            changes: Vec::new(),
            baseline: None,
            pointer: None,
            restored: None,
            sent: None,
            artifact: None,
        }
    }

    /// Returns the rows for a person, as head and text.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        FACTS.iter().filter_map(|fact| Some((fact.row?, (fact.text)(self)?))).collect()
    }

    /// Returns why, in a word: of a save its ending says more than the reason.
    pub fn word(&self) -> &'static str {
        match (self.ending, self.reason) {
            (Ending::Saved | Ending::Kept | Ending::NotSaved, _) | (_, None) => {
                self.ending.headline()
            }
            (_, Some(reason)) => reason.word(),
        }
    }
}
