//! The head: it says which model a ref uses now.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Fingerprint, FormatError, ManifestId, Nonce, from_json, strict, to_json};

/// The schema name of version 1.
pub const SCHEMA: &str = "ml-cache/head/v1";
/// The largest size of a head, in bytes.
pub const MAX_BYTES: usize = 64 << 10;

/// Which head of a scope is meant. The key of the head follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadName {
    /// The head of the default branch, whatever the name of that branch.
    Default,
    /// The head of this ref, by its short name.
    Ref(String),
}

/// A register that names the latest model of a ref. Source: docs/formats.md, "Head".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The short name of the ref: a branch such as `main`, or `tags/<tag>`. For a pull request it
    /// is the branch that would be merged.
    #[serde(rename = "ref")]
    pub git_ref: String,
    /// The fingerprint of the model's inputs, under which its pointer lies.
    pub fingerprint: Fingerprint,
    /// The generation of the model's pointer, from 1.
    pub generation: u64,
    /// The manifest of the model.
    pub manifest: ManifestId,
    /// The run that moved the head; 0 outside of GitHub Actions.
    pub run_id: u64,
    /// The commit of that run; empty outside of GitHub Actions.
    pub sha: String,
    /// The time of the move, in UTC.
    pub updated_at: Timestamp,
    /// New for every write, so two heads never have the same bytes. A store may compare versions by
    /// bytes.
    pub nonce: Nonce,
}

impl Head {
    /// Reads a head, and checks all rules of the format.
    ///
    /// # Errors
    /// - The bytes exceed [`MAX_BYTES`].
    /// - The bytes are not JSON of this schema.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let head = from_json("head", bytes, MAX_BYTES, &[SCHEMA], |head: &Self| &head.schema)?;
        strict("head", bytes, &head)?;
        Ok(head)
    }

    /// Returns the bytes to store: one line of compact JSON.
    ///
    /// # Errors
    /// The head exceeds [`MAX_BYTES`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        to_json("head", self, MAX_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_golden_head_is_read_and_written_back_byte_for_byte() {
        let golden = include_bytes!("../../tests/it/golden/v1/head.json");
        assert_eq!(Head::parse(golden).unwrap().to_bytes().unwrap(), golden);
        assert!(Head::parse(b"{}").is_err());
        let mut padded = golden.to_vec();
        padded.resize(MAX_BYTES, b' ');
        assert!(Head::parse(&padded).is_ok(), "the limit itself is within the limit");
        assert!(Head::parse(&vec![b' '; MAX_BYTES + 1]).is_err());
    }
}
