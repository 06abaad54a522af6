//! The pointer: it leads from a model and a fingerprint to a manifest, and says who made the model.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::metrics::{self, Metric};
use super::{
    Digest, Fingerprint, FormatError, InputsId, Manifest, ManifestId, ModelName, Namespace, Nonce,
    Scope, from_json, strict, to_json,
};

/// The schema name of version 1.
pub const SCHEMA_V1: &str = "ml-cache/pointer/v1";
/// The schema name of version 2, which adds [`Pointer::forced`] and [`Pointer::promotion`].
pub const SCHEMA_V2: &str = "ml-cache/pointer/v2";
/// The schema name of version 3, which adds [`Pointer::metrics`].
pub const SCHEMA_V3: &str = "ml-cache/pointer/v3";
/// All versions, the oldest first.
const SCHEMAS: [&str; 3] = [SCHEMA_V1, SCHEMA_V2, SCHEMA_V3];
/// The largest size of a pointer, in bytes.
pub const MAX_BYTES: usize = 64 << 10;
/// The largest number of earlier generations in a pointer.
pub const MAX_PREVIOUS: usize = 32;

/// A register that names the manifest of a fingerprint. Source: docs/formats.md, "Pointer".
///
/// It never names a bucket, an endpoint or a URL: only the reader's own input `store` does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointer {
    /// [`SCHEMA_V1`], [`SCHEMA_V2`] or [`SCHEMA_V3`], as [`Pointer::with_schema`] chooses.
    pub schema: String,
    /// The namespace that the model belongs to.
    pub namespace: Namespace,
    /// The name of the model.
    pub model: ModelName,
    /// The scope whose runs may write this pointer.
    pub scope: Scope,
    /// The fingerprint of the inputs that the model was trained from.
    pub fingerprint: Fingerprint,
    /// 1 for the first model of a fingerprint in a scope, and 1 more for each replacement.
    pub generation: u64,
    /// Digest and length of the manifest.
    pub manifest: Reference<ManifestId>,
    /// Digest and length of the inputs document's text, which explains later changes.
    pub inputs: Reference<InputsId>,
    /// The number of regular files in the model.
    pub files: u64,
    /// The sum of the files' sizes, in bytes.
    pub bytes: u64,
    /// When the run that trained wrote its pointer, in UTC. A promotion keeps this time.
    pub created_at: Timestamp,
    /// The duration of the training in whole seconds; `None` if unknown.
    pub train_seconds: Option<u64>,
    /// The run that trained the model; `None` outside of GitHub Actions. A promotion keeps it.
    pub producer: Option<Producer>,
    /// Who forced the training, and how; `None` if nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<Forced>,
    /// The proof by which the default branch took the model over; `None` if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
    /// The figures of the model, in ascending order of their names, at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Metric>,
    /// Earlier generations, newest first, at most [`MAX_PREVIOUS`].
    pub previous: Vec<Previous>,
    /// New for every write. After a lost answer, a writer recognises its own write by it.
    pub nonce: Nonce,
}

/// A stored document by digest and size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference<Id> {
    /// The SHA-256 of the document's bytes; for an inputs document, of its uncompressed text.
    pub digest: Id,
    /// The number of bytes that the digest covers.
    pub size: u64,
}

/// A workflow run, in the words of its runner's variables (`GITHUB_REPOSITORY` and so on).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Producer {
    /// The repository, `owner/repo`.
    pub repository: String,
    /// The repository's number, which a rename does not change.
    pub repository_id: u64,
    /// The full ref, such as `refs/heads/main`.
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// The commit of the run (`GITHUB_SHA`).
    pub sha: String,
    /// The name of the event that started the run, such as `push`.
    pub event: String,
    /// The workflow file and its ref: `owner/repo/path@ref`.
    pub workflow_ref: String,
    /// The run's number, the same for all attempts.
    pub run_id: u64,
    /// The attempt of the run, from 1.
    pub run_attempt: u64,
    /// The job's id in the workflow file.
    pub job: String,
}

/// A training that the user forced: who, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forced {
    /// The account that started the run; `None` outside of GitHub Actions.
    pub by: Option<String>,
    /// The place where the user forced the training.
    pub source: ForceSource,
    /// The name of the input, the token in the commit's message, or the label.
    pub detail: String,
}

/// The places where a user can force a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForceSource {
    /// An input of the action, or a flag.
    Input,
    /// The message of the commit.
    CommitMessage,
    /// A label of the pull request.
    Label,
}

impl std::fmt::Display for Forced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.source {
            ForceSource::Input => write!(f, "the input `{}`", self.detail)?,
            ForceSource::CommitMessage => write!(f, "`{}` in the commit's message", self.detail)?,
            ForceSource::Label => write!(f, "the label `{}`", self.detail)?,
        }
        match &self.by {
            Some(by) => write!(f, " (run started by {by})"),
            None => Ok(()),
        }
    }
}

/// The proof for a model that a pull request trained and the default branch took over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    /// The number of the pull request.
    pub pull_request: u64,
    /// The last commit of the pull request's branch, for which the training ran.
    pub head_sha: String,
    /// The commit of the default branch that merged the pull request.
    pub merge_sha: String,
    /// The number of the run that trained.
    pub run_id: u64,
    /// The number of that run's artifact with the pull request's pointer.
    pub artifact_id: u64,
    /// The SHA-256 of the pull request's pointer.
    pub pointer: Digest,
    /// The time of the takeover, in UTC.
    pub at: Timestamp,
    /// The run that took the model over.
    pub by: Producer,
}

/// An earlier generation of the same fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Previous {
    /// The generation's number, below the pointer's own.
    pub generation: u64,
    /// The manifest of that generation.
    pub manifest: ManifestId,
}

impl Pointer {
    /// Returns the pointer with the oldest schema that has the needed fields, because readers
    /// refuse a version that they do not know.
    #[must_use]
    pub fn with_schema(self) -> Self {
        Self { schema: self.needed().to_owned(), ..self }
    }

    fn needed(&self) -> &'static str {
        if !self.metrics.is_empty() {
            SCHEMA_V3
        } else if self.forced.is_some() || self.promotion.is_some() {
            SCHEMA_V2
        } else {
            SCHEMA_V1
        }
    }

    /// Returns the pointer with the number of files and bytes that its manifest has.
    #[must_use]
    pub fn with_numbers_of(self, manifest: &Manifest) -> Self {
        Self { files: manifest.files.len() as u64, bytes: manifest.total_bytes(), ..self }
    }

    /// Reads a pointer, and checks all rules of the format.
    ///
    /// # Errors
    /// - The bytes exceed [`MAX_BYTES`].
    /// - The bytes are not JSON of a known schema.
    /// - The fields break a rule of the format.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let pointer: Self =
            from_json("pointer", bytes, MAX_BYTES, &SCHEMAS, |pointer: &Self| &pointer.schema)?;
        strict("pointer", bytes, &pointer)?;
        let version = |schema: &str| SCHEMAS.iter().position(|known| *known == schema);
        if version(pointer.needed()) > version(&pointer.schema) {
            return Err(bad("it has fields of a later version than its schema"));
        }
        metrics::check("pointer", &pointer.metrics)?;
        if pointer.generation == 0 {
            return Err(bad("its generation is 0, but the first generation is 1"));
        }
        if pointer.previous.len() > MAX_PREVIOUS {
            return Err(bad(format!("it names more than {MAX_PREVIOUS} previous generations")));
        }
        let mut last = pointer.generation;
        for previous in &pointer.previous {
            if previous.generation >= last {
                return Err(bad("its previous generations are not in descending order"));
            }
            last = previous.generation;
        }
        Ok(pointer)
    }

    /// Returns the bytes to store: one line of compact JSON.
    ///
    /// # Errors
    /// The pointer exceeds [`MAX_BYTES`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        to_json("pointer", self, MAX_BYTES)
    }

    /// Compares the pointer with the reader's four wishes, because the bytes may come from
    /// anywhere.
    ///
    /// # Errors
    /// Returns the first field that differs, with both values.
    pub fn expect(
        &self,
        namespace: &Namespace,
        model: &ModelName,
        scope: &Scope,
        fingerprint: &Fingerprint,
    ) -> Result<(), FormatError> {
        let differs = |field: &str, got: &dyn std::fmt::Display, wanted: &dyn std::fmt::Display| {
            Err(bad(format!("its {field} is `{got}`, not `{wanted}`")))
        };
        if self.namespace != *namespace {
            return differs("namespace", &self.namespace, namespace);
        }
        if self.model != *model {
            return differs("model", &self.model, model);
        }
        if self.scope != *scope {
            return differs("scope", &self.scope, scope);
        }
        if self.fingerprint != *fingerprint {
            return differs("fingerprint", &self.fingerprint, fingerprint);
        }
        Ok(())
    }
}

fn bad(reason: impl Into<String>) -> FormatError {
    FormatError::new("pointer", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../tests/it/golden/v1/pointer.json");
    const GOLDEN_V2: &[u8] = include_bytes!("../../tests/it/golden/v2/pointer.json");
    const GOLDEN_V3: &[u8] = include_bytes!("../../tests/it/golden/v3/pointer.json");

    #[test]
    fn the_golden_pointer_is_read_and_written_back_byte_for_byte() {
        let pointer = Pointer::parse(GOLDEN).unwrap();
        assert_eq!(pointer.generation, 2);
        assert_eq!(pointer.to_bytes().unwrap(), GOLDEN);
    }

    #[test]
    fn version_2_says_who_forced_and_what_was_promoted() {
        let pointer = Pointer::parse(GOLDEN_V2).unwrap();
        assert_eq!(pointer.to_bytes().unwrap(), GOLDEN_V2);
        assert_eq!(
            pointer.forced.as_ref().unwrap().to_string(),
            "the label `retrain` (run started by octocat)"
        );
        assert_eq!(pointer.promotion.as_ref().unwrap().pull_request, 7);
        let forced = Pointer { promotion: None, ..pointer.clone() };
        let promoted = Pointer { forced: None, ..pointer.clone() };
        let neither = Pointer { forced: None, promotion: None, ..pointer };
        let schemas = [forced, promoted, neither].map(|pointer| pointer.with_schema().schema);
        assert_eq!(schemas, [SCHEMA_V2, SCHEMA_V2, SCHEMA_V1]);
        // No format has the fields of version 2 under the name of version 1.
        let mixed = String::from_utf8(GOLDEN_V2.to_vec()).unwrap().replace(SCHEMA_V2, SCHEMA_V1);
        assert!(Pointer::parse(mixed.as_bytes()).is_err());
    }

    #[test]
    fn version_3_has_the_metrics_of_the_model() {
        let pointer = Pointer::parse(GOLDEN_V3).unwrap();
        assert_eq!(pointer.to_bytes().unwrap(), GOLDEN_V3);
        let told: Vec<String> =
            pointer.metrics.iter().map(|it| format!("{} {}", it.name, it.value)).collect();
        assert_eq!(told, ["auc 0.9312", "test.log loss 1e-7"]);
        assert_eq!(pointer.clone().with_schema().schema, SCHEMA_V3);
        let good = String::from_utf8(GOLDEN_V3.to_vec()).unwrap();
        for (from, to) in [
            ("pointer/v3", "pointer/v2"),
            ("pointer/v3", "pointer/v1"),
            ("\"0.9312\"", "0.9312"),
            ("\"0.9312\"", "\"NaN\""),
            ("\"auc\"", "\"zzz\""),
        ] {
            assert!(Pointer::parse(good.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
        }
    }

    #[test]
    fn only_objects_with_all_their_fields_are_pointers() {
        let edited = |edit: fn(&mut serde_json::Value)| {
            let mut pointer = serde_json::from_slice(GOLDEN).unwrap();
            edit(&mut pointer);
            Pointer::parse(pointer.to_string().as_bytes()).map(|_| ()).map_err(|error| error.reason)
        };
        assert_eq!(edited(|_| ()), Ok(()), "the order of fields does not matter");
        // The format allows a fraction of a second, though we write none.
        assert_eq!(
            edited(|pointer| pointer["created_at"] = "2026-11-23T06:21:48.500000Z".into()),
            Ok(())
        );
        for edit in [
            (|pointer| drop(pointer.as_object_mut().unwrap().remove("train_seconds")))
                as fn(&mut serde_json::Value),
            |pointer| drop(pointer.as_object_mut().unwrap().remove("producer")),
            |pointer| {
                pointer["inputs"] =
                    serde_json::json!([pointer["inputs"]["digest"], pointer["inputs"]["size"]])
            },
        ] {
            assert!(edited(edit).is_err());
        }
    }

    #[test]
    fn broken_pointers_are_refused() {
        let good = String::from_utf8(GOLDEN.to_vec()).unwrap();
        for (from, to) in [
            ("pointer/v1", "pointer/v9"),
            ("\"generation\":2,\"manifest\":{", "\"generation\":0,\"manifest\":{"),
            ("\"generation\":1", "\"generation\":2"),
            ("\"generation\":2,\"manifest\":{", "\"generation\":9007199254740992,\"manifest\":{"),
            (
                "\"generation\":2,\"manifest\":{",
                "\"generation\":18446744073709551615,\"manifest\":{",
            ),
            ("\"nonce\":\"", "\"nonce\":\"zz"),
            ("\"files\":", "\"endpoint\":\"http://evil\",\"files\":"),
            ("sha256:", "sha1:"),
            ("\"namespace\":\"org/repo\"", "\"namespace\":\"../repo\""),
        ] {
            let broken = good.replacen(from, to, 1);
            assert_ne!(broken, good, "{from}");
            assert!(Pointer::parse(broken.as_bytes()).is_err(), "{to}");
        }
        assert!(Pointer::parse(&vec![b' '; MAX_BYTES + 1]).is_err());
    }

    #[test]
    fn a_pointer_for_something_else_is_noticed() {
        let pointer = Pointer::parse(GOLDEN).unwrap();
        let (namespace, model) = (pointer.namespace.clone(), pointer.model.clone());
        pointer.expect(&namespace, &model, &Scope::Trusted, &pointer.fingerprint).unwrap();
        let error = pointer
            .expect(&namespace, &model, &Scope::PullRequest(1), &pointer.fingerprint)
            .unwrap_err();
        assert_eq!(error.to_string(), "not a valid pointer: its scope is `trusted`, not `pr/1`");
        assert!(
            pointer.expect(&namespace, &model, &Scope::Trusted, &Fingerprint::of(b"")).is_err()
        );
    }
}
