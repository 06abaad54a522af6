//! The stored formats (docs/formats.md is normative).
//!
//! Everything here is plain data with one way to write it and one strict way to read it;
//! nothing in this module does I/O.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub mod artifact;
pub mod digest;
pub mod head;
pub mod ids;
pub mod inputs;
pub mod manifest;
pub mod name;
pub mod pointer;

pub use digest::{Digest, Hasher};
pub use head::Head;
pub use ids::{BlobId, Fingerprint, InputsId, ManifestId, Nonce, ZipId};
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
        return Err(FormatError::new(
            what,
            format!("it has {} bytes, the limit is {max_bytes}", bytes.len()),
        ));
    }
    let document: T =
        serde_json::from_slice(bytes).map_err(|error| FormatError::new(what, error.to_string()))?;
    if !schemas.contains(&schema_of(&document)) {
        let known = schemas.join("` or `");
        return Err(FormatError::new(
            what,
            format!("its schema is `{}`, not `{known}`", schema_of(&document)),
        ));
    }
    Ok(document)
}

/// Refuses what serde takes for the document although the format does not: arrays in place of
/// objects, and fields left out.
fn strict<T: Serialize>(what: &'static str, bytes: &[u8], document: &T) -> Result<(), FormatError> {
    let error = |error: serde_json::Error| FormatError::new(what, error.to_string());
    let read: Value = serde_json::from_slice(bytes).map_err(error)?;
    match has_shape_of(&read, &serde_json::to_value(document).map_err(error)?) {
        true => Ok(()),
        false => Err(FormatError::new(
            what,
            "a field is missing, or an array stands in place of an object",
        )),
    }
}

/// Whether both have the same objects, fields and arrays, whatever the values.
fn has_shape_of(read: &Value, written: &Value) -> bool {
    match (read, written) {
        (Value::Object(read), Value::Object(written)) => {
            let has =
                |(name, value)| read.get(name).is_some_and(|found| has_shape_of(found, value));
            read.len() == written.len() && written.iter().all(has)
        }
        (Value::Array(read), Value::Array(written)) => {
            read.len() == written.len()
                && read.iter().zip(written).all(|(read, written)| has_shape_of(read, written))
        }
        (Value::Object(_) | Value::Array(_), _) | (_, Value::Object(_) | Value::Array(_)) => false,
        _ => true,
    }
}

/// Returns the bytes that are stored: one line of compact JSON with the fields in order.
fn to_json<T: Serialize>(
    what: &'static str,
    document: &T,
    max_bytes: usize,
) -> Result<Vec<u8>, FormatError> {
    let bytes =
        serde_json::to_vec(document).map_err(|error| FormatError::new(what, error.to_string()))?;
    if bytes.len() > max_bytes {
        return Err(FormatError::new(
            what,
            format!("it would have {} bytes, the limit is {max_bytes}", bytes.len()),
        ));
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
