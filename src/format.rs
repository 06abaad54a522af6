//! The stored formats (docs/formats.md is normative).
//!
//! Everything here is plain data with one way to write it and one strict way to read it;
//! nothing in this module does I/O.

use serde::Serialize;
use serde::de::DeserializeOwned;

pub mod digest;
pub mod head;
pub mod inputs;
pub mod manifest;
pub mod name;
pub mod pointer;

pub use digest::{Digest, Hasher};
pub use head::Head;
pub use inputs::{InputEntry, InputsDocument};
pub use manifest::Manifest;
pub use name::{ModelName, Namespace, Scope};
pub use pointer::Pointer;

/// Reads a JSON document of one of the schemas, trusting nothing.
fn from_json<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    max_bytes: usize,
    schemas: &[&str],
    schema_of: fn(&T) -> &str,
) -> Result<T, FormatError> {
    if bytes.len() > max_bytes {
        return Err(FormatError::new(what, format!("it has {} bytes, the limit is {max_bytes}", bytes.len())));
    }
    let document: T = serde_json::from_slice(bytes).map_err(|error| FormatError::new(what, error.to_string()))?;
    if !schemas.contains(&schema_of(&document)) {
        let known = schemas.join("` or `");
        return Err(FormatError::new(what, format!("its schema is `{}`, not `{known}`", schema_of(&document))));
    }
    Ok(document)
}

/// Returns the bytes that are stored: one line of compact JSON with the fields in order.
fn to_json<T: Serialize>(what: &'static str, document: &T, max_bytes: usize) -> Result<Vec<u8>, FormatError> {
    let bytes = serde_json::to_vec(document).map_err(|error| FormatError::new(what, error.to_string()))?;
    if bytes.len() > max_bytes {
        return Err(FormatError::new(what, format!("it would have {} bytes, the limit is {max_bytes}", bytes.len())));
    }
    Ok(bytes)
}

/// Why stored or foreign text is not what its format demands.
#[derive(Debug, thiserror::Error)]
#[error("not a valid {what}: {reason}")]
pub struct FormatError {
    /// The format that was expected, such as `manifest`.
    pub what: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl FormatError {
    /// Returns an error about the named format.
    pub fn new(what: &'static str, reason: impl Into<String>) -> Self {
        Self { what, reason: reason.into() }
    }
}
