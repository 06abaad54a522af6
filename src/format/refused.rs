//! The record of a refused model: a training ended, but its model must not be stored under a
//! fingerprint.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::pointer::{Producer, Reference};
use super::{
    Fingerprint, FormatError, ManifestId, ModelName, Namespace, Scope, from_json, strict, to_json,
};

/// The schema name of version 1.
pub const SCHEMA: &str = "ml-cache/refused/v1";
/// The name of the format in messages.
const WHAT: &str = "record of a refused model";
/// The largest size of a record, in bytes.
pub const MAX_BYTES: usize = 64 << 10;

/// A record that names the manifest of a refused model. Source: docs/formats.md, "Refused model".
///
/// It is no pointer, and no fingerprint leads to it. So no plan, no head and no promotion finds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The namespace that the model belongs to.
    pub namespace: Namespace,
    /// The name of the model.
    pub model: ModelName,
    /// The scope of the run that trained.
    pub scope: Scope,
    /// Why the save was refused.
    pub reason: Why,
    /// The fingerprint of the plan; `None` if the save knew no plan.
    pub planned: Option<Fingerprint>,
    /// The fingerprint of the inputs at the time of the save; `None` if it is unknown.
    pub found: Option<Fingerprint>,
    /// Digest and length of the manifest.
    pub manifest: Reference<ManifestId>,
    /// The number of regular files in the model.
    pub files: u64,
    /// The sum of the files' sizes, in bytes.
    pub bytes: u64,
    /// The time of the refusal, in UTC.
    pub refused_at: Timestamp,
    /// The duration of the training in whole seconds; `None` if unknown.
    pub train_seconds: Option<u64>,
    /// The run that trained the model; `None` outside of GitHub Actions.
    pub producer: Option<Producer>,
}

/// Why a save was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The inputs at the save differ from the inputs of the plan.
    InputsChanged,
    /// The inputs of the plan cannot be read any more.
    InputsUnreadable,
    /// Git LFS stand-ins lay in place of inputs, or of files of the model.
    LfsStandIns,
    /// The stored documents of the same inputs are damaged.
    StoreDamaged,
    /// The metrics of the model do not suffice, or cannot be read.
    Metrics,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InputsChanged => "its inputs changed after the plan",
            Self::InputsUnreadable => "its inputs could not be read after the training",
            Self::StoreDamaged => "the stored documents of its inputs were damaged",
            Self::Metrics => "its metrics do not suffice, or could not be read",
            Self::LfsStandIns => "Git LFS stand-ins lay in place of content",
        })
    }
}

impl Refused {
    /// Reads a record, and checks all rules of the format.
    ///
    /// # Errors
    /// - The bytes exceed [`MAX_BYTES`].
    /// - The bytes are not JSON of this schema.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let refused = from_json(WHAT, bytes, MAX_BYTES, &[SCHEMA], |it: &Self| &it.schema)?;
        strict(WHAT, bytes, &refused)?;
        Ok(refused)
    }

    /// Compares the record with the reader's four wishes.
    ///
    /// # Errors
    /// A field differs.
    pub fn expect(
        &self,
        namespace: &Namespace,
        model: &ModelName,
        scope: &Scope,
        manifest: &ManifestId,
    ) -> Result<(), FormatError> {
        let named = (&self.namespace, &self.model, &self.scope, &self.manifest.digest);
        match named == (namespace, model, scope, manifest) {
            true => Ok(()),
            false => Err(FormatError::new(WHAT, "it belongs to another model or scope")),
        }
    }

    /// Returns the bytes to store: one line of compact JSON.
    ///
    /// # Errors
    /// The record exceeds [`MAX_BYTES`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        to_json(WHAT, self, MAX_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Head, Pointer};

    const GOLDEN: &[u8] = include_bytes!("../../tests/it/golden/refused.json");

    #[test]
    fn the_golden_record_is_read_and_written_back_byte_for_byte() {
        let refused = Refused::parse(GOLDEN).unwrap();
        assert_eq!(refused.reason, Why::InputsChanged);
        assert_eq!(refused.to_bytes().unwrap(), GOLDEN);
        let least = Refused {
            reason: Why::LfsStandIns,
            planned: None,
            found: None,
            train_seconds: None,
            producer: None,
            ..refused
        };
        assert_eq!(Refused::parse(&least.to_bytes().unwrap()).unwrap(), least);
    }

    #[test]
    fn a_record_is_no_pointer_and_no_head() {
        assert!(Pointer::parse(GOLDEN).is_err() && Head::parse(GOLDEN).is_err());
        assert!(Refused::parse(include_bytes!("../../tests/it/golden/v1/pointer.json")).is_err());
        let good = String::from_utf8(GOLDEN.to_vec()).unwrap();
        for (from, to) in [
            ("refused/v1", "refused/v2"),
            ("refused/v1", "pointer/v1"),
            ("\"reason\":\"inputs-changed\"", "\"reason\":\"forced\""),
            ("\"files\":", "\"endpoint\":\"http://evil\",\"files\":"),
            ("\"train_seconds\":1260,", ""),
            ("sha256:", "sha1:"),
        ] {
            let broken = good.replacen(from, to, 1);
            assert_ne!(broken, good, "{from}");
            assert!(Refused::parse(broken.as_bytes()).is_err(), "{to}");
        }
        assert!(Refused::parse(&vec![b' '; MAX_BYTES + 1]).is_err());
    }
}
