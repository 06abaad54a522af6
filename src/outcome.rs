//! The result of a command as data. [`crate::report`] shows it in the log, in the job summary and
//! to programs.
//!
//! [`FACTS`] is the only list of the facts that users see. An entry is a row for people, an output
//! for programs, or both.

pub mod describe;
pub mod links;
pub mod metrics;

use serde_json::{Value, json};

use crate::decide::{Change, Reason};
use crate::format::inputs::InputDigests;
use crate::format::metrics::Metric;
use crate::format::{
    Fingerprint, InputEntry, InputsDocument, ModelName, Namespace, Pointer, Scope,
};
use crate::github::artifact::Uploaded;
use crate::transfer::download::Restored;
use describe::{files_and_bytes, made_by};

/// The observations and the effects of a command.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The name of the verb, such as `restore`.
    pub command: &'static str,
    /// The namespace of the model.
    pub namespace: Namespace,
    /// The name of the model.
    pub model: ModelName,
    /// How the command ended.
    pub ending: Ending,
    /// The reason as a word; `None` if the command decided nothing.
    pub reason: Option<Reason>,
    /// The reason as a sentence without a full stop.
    pub explanation: String,
    /// Digests and sizes of the inputs; `None` if the command did not read them.
    pub inputs: Option<Inputs>,
    /// The digest of all inputs, which names the model in the store.
    pub fingerprint: Option<Fingerprint>,
    /// The number of Git LFS stand-ins that `lfs-stand-ins` allows.
    pub stand_ins: usize,
    /// The scope that the run writes; `None` if the command did not plan.
    pub writes: Option<Writes>,
    /// The scopes that this run reads, if the command found no model.
    pub searched: Vec<Scope>,
    /// The inputs that differ from the inputs of the baseline.
    pub changes: Vec<Change>,
    /// The model of the comparison: the model that the ref used last.
    pub baseline: Option<Pointer>,
    /// The pointer to the model, if the store has the model.
    pub pointer: Option<Pointer>,
    /// The files and bytes that a restore fetched.
    pub restored: Option<Restored>,
    /// The blobs that a save sent.
    pub sent: Option<Sent>,
    /// The metrics of the trusted model with which a save compared; `None` if there is none.
    pub beside: Option<Vec<Metric>>,
    /// The artifact of this run that holds the pointer.
    pub artifact: Option<Uploaded>,
    /// The source of the credentials; `None` if no request needed any.
    pub credentials: Option<String>,
    /// The base URL of GitHub; empty if it is unknown.
    pub server_url: String,
}

/// The scope into which a run writes its pointers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writes {
    /// The run writes into this scope.
    To(Scope),
    /// The run may only read.
    Nowhere,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The model must be trained.
    Retrain,
    /// The store has the model, so no training is needed.
    UpToDate,
    /// `run` has trained the model.
    Trained {
        /// Whether the store keeps this model. Otherwise it keeps an earlier model, or this run may
        /// not save.
        saved: bool,
    },
    /// The model is in place.
    Restored,
    /// The model of a refused save is in place.
    Recovered,
    /// The command found the model.
    Resolved,
    /// Every byte is as a save wrote it.
    Verified,
    /// There is no complete model.
    NotFound,
    /// The save stored the model.
    Saved,
    /// The save kept a stored model of the same inputs.
    Kept,
    /// The run may not save.
    NotSaved,
    /// A check found nothing that would stop a plan or a save.
    Ready,
}

impl Ending {
    /// Returns the headline of log and summary.
    pub fn headline(self) -> &'static str {
        match self {
            Self::Retrain => "retrain",
            Self::UpToDate => "no training needed",
            Self::Trained { .. } => "trained",
            Self::Restored => "restored",
            Self::Recovered => "restored, although its save was refused",
            Self::Resolved => "resolved",
            Self::Verified => "verified",
            Self::NotFound => "not found",
            Self::Saved => "saved",
            Self::Kept => "kept",
            Self::NotSaved => "not saved",
            Self::Ready => "ready",
        }
    }

    fn retrain_needed(self) -> bool {
        // A refused model is the model of no inputs, so it never makes a training needless. A check
        // looks for no model.
        matches!(
            self,
            Self::Retrain | Self::Trained { .. } | Self::NotFound | Self::Recovered | Self::Ready
        )
    }

    fn cache_hit(self) -> bool {
        !self.retrain_needed() && self != Self::NotSaved
    }

    fn saved(self) -> bool {
        matches!(self, Self::Saved | Self::Trained { saved: true })
    }
}

/// Digests and sizes of the inputs that a command read.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// The digests of the data, of the training code, of the extra keys, and of all three.
    pub digests: InputDigests,
    /// The number of data files, and the sum of their bytes.
    pub data: (u64, u64),
    /// The number of files of training code, and the sum of their bytes.
    pub training: (u64, u64),
}

impl Inputs {
    /// Returns the digests and sizes of a document's inputs.
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

/// The blobs that a save sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The number of blobs that the store did not have.
    pub blobs: u64,
    /// The sum of these blobs' bytes.
    pub bytes: u64,
}

/// A fact about an outcome, and the places that show it.
#[derive(Debug)]
pub struct Fact {
    /// The output for programs; `None` if no program needs the fact.
    pub output: Option<Output>,
    /// The head of the row for people; `None` if no person needs the fact.
    pub row: Option<&'static str>,
    /// Returns the text of the row. Without a text, there is no row.
    pub text: fn(&Outcome) -> Option<String>,
}

/// A fact for programs.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// The name in kebab-case, for outputs and `--json`.
    pub name: &'static str,
    /// The sentence for the action files and docs/reference.md.
    pub help: &'static str,
    /// Returns the value of an outcome.
    pub value: fn(&Outcome) -> Value,
    /// The text of a step that ended before its outcome was known.
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

/// A row shows at most so many metrics.
const METRICS: usize = 8;

/// All facts that users see, in their order.
///
/// No output names a bucket, an endpoint or an account. The runner silently drops a job output that
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
    row("Data", |it| {
        Some(match it.inputs?.data {
            (0, _) => "none, so no change of the data causes a training".to_owned(),
            (files, bytes) => files_and_bytes(files, bytes),
        })
    }),
    row("Training code", |it| it.inputs.map(|it| files_and_bytes(it.training.0, it.training.1))),
    row("Git LFS stand-ins", |it| {
        (it.stand_ins > 0).then(|| format!("{}, allowed by `lfs-stand-ins`", it.stand_ins))
    }),
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
    row("Forced by", |it| describe::forced(it.pointer.as_ref()?)),
    row("Promoted", |it| it.pointer.as_ref()?.promotion.as_ref().map(describe::promotion)),
    row("Time saved", |it| {
        let is_spared = matches!(it.ending, Ending::UpToDate | Ending::Restored);
        let seconds = it.pointer.as_ref()?.train_seconds?;
        let pointer = it.pointer.as_ref()?;
        (is_spared && seconds > 0).then(|| describe::said(pointer, format!("{seconds} s")))
    }),
    output("metrics", "Metrics of the model, as a JSON object.", "", |it| {
        let metrics = it.pointer.as_ref().map(|it| &it.metrics).filter(|it| !it.is_empty());
        metrics.map_or(Value::Null, |all| {
            all.iter().map(|it| (it.name.clone(), json!(it.value.as_f64()))).collect()
        })
    })
    .shown_as("Metrics", |it| {
        let line = metrics::line(it, METRICS)?;
        Some(describe::said(it.pointer.as_ref()?, line))
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
        |it| json!(matches!(it.ending, Ending::Restored | Ending::Recovered)),
    ),
    output("saved", "`true` if this step saved a model, otherwise `false`.", "false", |it| {
        json!(it.ending.saved())
    }),
    row("Looked in", |it| {
        let names: Vec<String> = it.searched.iter().map(|scope| format!("`{scope}`")).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }),
    row("Credentials", |it| it.credentials.clone()),
];

impl Outcome {
    /// Returns an outcome that has an ending and no other facts.
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
            stand_ins: 0,
            writes: None,
            searched: Vec::new(),
            changes: Vec::new(),
            baseline: None,
            pointer: None,
            restored: None,
            sent: None,
            beside: None,
            artifact: None,
            credentials: None,
            server_url: String::new(),
        }
    }

    /// Returns the rows for people, as head and text.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        FACTS.iter().filter_map(|fact| Some((fact.row?, (fact.text)(self)?))).collect()
    }

    /// Returns the reason as a word. For a save, the ending says more than the reason.
    pub fn word(&self) -> &'static str {
        match (self.ending, self.reason) {
            (Ending::Saved | Ending::Kept | Ending::NotSaved, _) | (_, None) => {
                self.ending.headline()
            }
            (_, Some(reason)) => reason.word(),
        }
    }
}
