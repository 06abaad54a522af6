//! The pointer: model and fingerprint → manifest, and who made it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Digest, Fingerprint, FormatError, InputsId, ManifestId, ModelName, Namespace, Nonce, Scope,
    from_json, strict, to_json,
};

/// The schema name of version 1.
pub const SCHEMA_V1: &str = "ml-cache/pointer/v1";
/// The schema name of version 2, which adds [`Pointer::forced`] and [`Pointer::promotion`].
pub const SCHEMA_V2: &str = "ml-cache/pointer/v2";
/// A pointer has at most this many bytes.
pub const MAX_BYTES: usize = 64 << 10;
/// A pointer remembers at most this many earlier generations.
pub const MAX_PREVIOUS: usize = 32;

/// Which manifest a fingerprint stands for. It never names a bucket, an endpoint or a URL:
/// the reader's own `store` input does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointer {
    /// See [`schema_for`].
    pub schema: String,
    /// Whose model it is.
    pub namespace: Namespace,
    /// Which model.
    pub model: ModelName,
    /// Where the pointer lives.
    pub scope: Scope,
    /// The inputs that the model was trained from.
    pub fingerprint: Fingerprint,
    /// 1 for the first model of a fingerprint, one more for each deliberate replacement.
    pub generation: u64,
    /// The manifest.
    pub manifest: Reference<ManifestId>,
    /// The inputs document, for explanations.
    pub inputs: Reference<InputsId>,
    /// Number of regular files in the model.
    pub files: u64,
    /// Sum of their sizes, in bytes.
    pub bytes: u64,
    /// When the pointer was written, in UTC.
    pub created_at: Timestamp,
    /// How long the training took, in seconds, where it is known.
    pub train_seconds: Option<u64>,
    /// The run that made it; absent outside of GitHub Actions.
    pub producer: Option<Producer>,
    /// Who forced the training, where it was forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<Forced>,
    /// How the model came here from a pull request, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
    /// Manifests of earlier generations, newest first.
    pub previous: Vec<Previous>,
    /// So that a writer recognises its own write after a lost reply.
    pub nonce: Nonce,
}

/// A stored document by digest and size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference<Id> {
    /// SHA-256 of its bytes.
    pub digest: Id,
    /// Number of bytes that the digest covers.
    pub size: u64,
}

/// The workflow run that wrote a pointer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Producer {
    /// `owner/repo`.
    pub repository: String,
    /// The repository's number, which survives renames.
    pub repository_id: u64,
    /// The full ref, such as `refs/heads/main`.
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// The commit.
    pub sha: String,
    /// The event that started the run.
    pub event: String,
    /// The workflow file and its ref.
    pub workflow_ref: String,
    /// The run's number.
    pub run_id: u64,
    /// Which attempt of the run, from 1.
    pub run_attempt: u64,
    /// The job's id in the workflow file.
    pub job: String,
}

/// Who asked for a training although none was due, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forced {
    /// The account that started the run, `None` outside of GitHub Actions.
    pub by: Option<String>,
    /// Where it was asked for.
    pub source: ForceSource,
    /// The name of the input, the token in the commit's message, or the label.
    pub detail: String,
}

/// Where a training was asked for.
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

/// The lineage of a model that a pull request trained and the default branch took over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    /// The number of the pull request.
    pub pull_request: u64,
    /// The commit that was merged, for which the training ran.
    pub head_sha: String,
    /// The commit of the default branch that merged it.
    pub merge_sha: String,
    /// The run that trained.
    pub run_id: u64,
    /// That run's artifact, which holds the pull request's pointer.
    pub artifact_id: u64,
    /// SHA-256 of the pull request's pointer.
    pub pointer: Digest,
    /// When it was taken over, in UTC.
    pub at: Timestamp,
    /// The run that took it over.
    pub by: Producer,
}

/// An earlier generation of the same fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Previous {
    /// Its generation.
    pub generation: u64,
    /// Its manifest.
    pub manifest: ManifestId,
}

/// Returns the oldest schema that can say what a pointer has to say, so that older readers keep
/// reading whatever they can understand.
pub fn schema_for(forced: Option<&Forced>, promotion: Option<&Promotion>) -> String {
    if forced.is_none() && promotion.is_none() {
        SCHEMA_V1.to_owned()
    } else {
        SCHEMA_V2.to_owned()
    }
}

impl Pointer {
    /// Reads a pointer, trusting nothing.
    ///
    /// # Errors
    /// Bytes that are too many, not JSON of this schema, or break a rule of the format.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let pointer: Self =
            from_json("pointer", bytes, MAX_BYTES, &[SCHEMA_V1, SCHEMA_V2], |pointer: &Self| {
                &pointer.schema
            })?;
        strict("pointer", bytes, &pointer)?;
        if pointer.schema == SCHEMA_V1 && (pointer.forced.is_some() || pointer.promotion.is_some())
        {
            return Err(bad("its schema is version 1, but it has fields of version 2"));
        }
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

    /// Returns the bytes that are stored: one line of compact JSON.
    ///
    /// # Errors
    /// A pointer over the size limit.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        to_json("pointer", self, MAX_BYTES)
    }

    /// Checks that this is the pointer that the reader asked for, whatever key it came from.
    ///
    /// # Errors
    /// The first field that differs, with both values.
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
        assert_eq!(schema_for(pointer.forced.as_ref(), None), SCHEMA_V2);
        assert_eq!(schema_for(None, pointer.promotion.as_ref()), SCHEMA_V2);
        assert_eq!(schema_for(None, None), SCHEMA_V1);
        // The new fields under the old name are nobody's format.
        let mixed = String::from_utf8(GOLDEN_V2.to_vec()).unwrap().replace(SCHEMA_V2, SCHEMA_V1);
        assert!(Pointer::parse(mixed.as_bytes()).is_err());
    }

    #[test]
    fn only_objects_with_all_their_fields_are_pointers() {
        let edited = |edit: fn(&mut serde_json::Value)| {
            let mut pointer = serde_json::from_slice(GOLDEN).unwrap();
            edit(&mut pointer);
            Pointer::parse(pointer.to_string().as_bytes()).map(|_| ()).map_err(|error| error.reason)
        };
        assert_eq!(edited(|_| ()), Ok(()), "the order of fields does not matter");
        // The format allows more digits than are written.
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
