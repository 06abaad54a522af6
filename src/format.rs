//! The stored formats, version 1 (docs/formats.md is normative).
//!
//! Everything here is plain data with one way to write it and one strict way to read it;
//! nothing in this module does I/O.

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
