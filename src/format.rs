//! The stored formats. docs/formats.md is normative.
//!
//! Each format is plain data with one way to write it and one strict way to read it. Nothing here
//! does I/O.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub mod artifact;
pub mod digest;
pub mod head;
pub mod ids;
pub mod inputs;
pub mod manifest;
pub mod metrics;
pub mod name;
pub mod pointer;
pub mod refused;
mod strictly;

pub use digest::{Digest, Hasher};
pub use head::{Head, HeadName};
pub use ids::{BlobId, Fingerprint, InputsId, ManifestId, Nonce, ZipId};
pub use inputs::{InputEntry, InputsDocument};
pub use manifest::Manifest;
pub use name::{ModelName, Namespace, Scope};
pub use pointer::Pointer;
pub use refused::Refused;

/// Reads a JSON document, and checks its size, its fields and its schema.
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

/// The largest number in a stored document: every JSON reader keeps integers up to this exactly.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;

/// Refuses documents that serde accepts but the format does not: arrays in place of objects,
/// missing fields, and numbers above [`MAX_NUMBER`].
fn strict<T: Serialize>(what: &'static str, bytes: &[u8], document: &T) -> Result<(), FormatError> {
    let error = |error: serde_json::Error| FormatError::new(what, error.to_string());
    let read: Value = serde_json::from_slice(bytes).map_err(error)?;
    if let Some(number) = too_large(&read) {
        return Err(FormatError::new(
            what,
            format!("it has the number {number}, but the largest is {MAX_NUMBER}"),
        ));
    }
    match has_shape_of(&read, &serde_json::to_value(document).map_err(error)?) {
        true => Ok(()),
        false => Err(FormatError::new(
            what,
            "a field is missing, or an array stands in place of an object",
        )),
    }
}

/// Returns the first number above [`MAX_NUMBER`].
fn too_large(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().filter(|number| *number > MAX_NUMBER),
        Value::Array(items) => items.iter().find_map(too_large),
        Value::Object(fields) => fields.values().find_map(too_large),
        _ => None,
    }
}

/// Returns whether both values have the same objects, fields and arrays. It ignores their texts and
/// numbers.
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

/// Returns the bytes to store: one line of compact JSON, with the fields in the format's order.
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

/// A text from the store or from outside that breaks the rules of its format.
#[derive(Debug, thiserror::Error)]
#[error("not a valid {what}: {reason}")]
pub struct FormatError {
    /// The name of the expected format, such as `manifest`.
    pub what: &'static str,
    /// The broken rule, for a message.
    pub reason: String,
}

impl FormatError {
    /// Returns an error for the format of this name.
    pub fn new(what: &'static str, reason: impl Into<String>) -> Self {
        Self { what, reason: reason.into() }
    }
}
