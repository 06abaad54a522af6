//! The outputs: the same names for later steps, other jobs and `--json`.
//!
//! None of them names a bucket, an endpoint or an account: the runner silently drops a job output
//! that contains a masked value.

use serde_json::{Map, Value, json};

use crate::decide::{Change, Reason};
use crate::format::inputs::Fingerprint;
use crate::format::{Digest, Pointer};
use crate::github::artifact::Uploaded;

/// Every output and what it says, in the order of the documentation.
pub const OUTPUTS: &[(&str, &str)] = &[
    ("retrain-needed", "`true` if the model must be trained again, otherwise `false`."),
    (
        "cache-hit",
        "`true` if a complete model of exactly these inputs is stored, otherwise `false`.",
    ),
    (
        "reason",
        "Why, in one word: `hit`, `no-model`, `data-changed`, `training-changed`, \
         `extra-key-changed`, `inputs-changed`, `forced`, `expired`, `incomplete` or \
         `store-unavailable`.",
    ),
    ("fingerprint", "Digest of everything the model depends on."),
    ("data-hash", "Digest of the data files."),
    ("training-hash", "Digest of the training code."),
    ("changed-count", "Number of inputs that differ from the model that this ref used last."),
    ("manifest-digest", "Digest of the model's list of files; equal digests mean equal models."),
    ("pointer", "The pointer as JSON: which model, from which inputs, made by which run."),
    (
        "artifact-name",
        "Name of the artifact of this run that holds the pointer; empty where there is none.",
    ),
    ("artifact-id", "Number of that artifact."),
    ("model-files", "Number of files in the model."),
    ("model-bytes", "Size of the model in bytes."),
    ("restored", "`true` if this step put the model in place, otherwise `false`."),
    ("saved", "`true` if this step saved a model, otherwise `false`."),
];

/// What a command found and did.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// Whether to train.
    pub retrain_needed: bool,
    /// Whether the model is stored.
    pub cache_hit: bool,
    /// Why; absent where nothing was decided.
    pub reason: Option<Reason>,
    /// The digest that decides.
    pub fingerprint: Option<Digest>,
    /// Its parts, where the inputs were read.
    pub inputs: Option<Fingerprint>,
    /// What differs from the ref's last model.
    pub changes: Vec<Change>,
    /// The model.
    pub pointer: Option<Pointer>,
    /// The artifact that holds the pointer.
    pub artifact: Option<Uploaded>,
    /// Whether it was put in place.
    pub restored: bool,
    /// Whether it was saved.
    pub saved: bool,
}

impl Outputs {
    /// Returns the pointer exactly as it is stored, so that its digest can be compared.
    pub fn pointer_text(&self) -> Option<String> {
        String::from_utf8(self.pointer.as_ref()?.to_bytes().ok()?).ok()
    }

    /// Returns every output as text; those without a value are empty or `0`.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let values = self.values();
        let text = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let pointer = self.pointer_text();
        let value = |name: &str| match name {
            "pointer" => pointer.clone().unwrap_or_default(),
            name => values.get(name).map(text).unwrap_or_default(),
        };
        OUTPUTS.iter().map(|(name, _)| (*name, value(name))).collect()
    }

    /// Returns one object with the outputs and the list of changes.
    pub fn json(&self) -> Value {
        let mut values = self.values();
        values.insert("changes".to_owned(), json!(self.changes));
        Value::Object(values)
    }

    fn values(&self) -> Map<String, Value> {
        let pointer = self.pointer.as_ref();
        let values = [
            ("retrain-needed", json!(self.retrain_needed)),
            ("cache-hit", json!(self.cache_hit)),
            ("reason", json!(self.reason)),
            ("fingerprint", json!(self.fingerprint)),
            ("data-hash", json!(self.inputs.map(|inputs| inputs.data))),
            ("training-hash", json!(self.inputs.map(|inputs| inputs.training))),
            ("changed-count", json!(self.changes.len())),
            ("manifest-digest", json!(pointer.map(|pointer| pointer.manifest.digest))),
            ("pointer", json!(pointer)),
            ("artifact-name", json!(self.artifact.as_ref().map(|artifact| &artifact.name))),
            ("artifact-id", json!(self.artifact.as_ref().map(|artifact| &artifact.id))),
            ("model-files", json!(pointer.map_or(0, |pointer| pointer.files))),
            ("model-bytes", json!(pointer.map_or(0, |pointer| pointer.bytes))),
            ("restored", json!(self.restored)),
            ("saved", json!(self.saved)),
        ];
        values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_output_is_always_set_and_booleans_are_literal() {
        let pairs = Outputs::default().pairs();
        assert_eq!(pairs.len(), OUTPUTS.len());
        for (name, value) in &pairs {
            if ["retrain-needed", "cache-hit", "restored", "saved"].contains(name) {
                assert_eq!(value, "false", "{name}");
            }
        }
        let pointer = Pointer::parse(include_bytes!("../tests/it/golden/v1/pointer.json")).unwrap();
        let outputs = Outputs {
            pointer: Some(pointer.clone()),
            reason: Some(Reason::Hit),
            ..Outputs::default()
        };
        let pairs: std::collections::BTreeMap<_, _> = outputs.pairs().into_iter().collect();
        assert_eq!(pairs["pointer"].as_bytes(), pointer.to_bytes().unwrap());
        assert_eq!(pairs["reason"], "hit");
        assert_eq!(pairs["model-bytes"], "123456");
    }

    #[test]
    fn the_documented_reasons_are_all_reasons() {
        let help = OUTPUTS.iter().find(|(name, _)| *name == "reason").unwrap().1;
        for reason in Reason::ALL {
            assert!(help.contains(&format!("`{}`", reason.word())), "{reason:?}");
        }
    }
}
