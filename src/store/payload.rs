//! The bytes of an object to be written.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::{Key, StoreError, StoreErrorKind};
use crate::error::{Error, Result};
use crate::format::{Digest, Hasher};

/// Bytes with their SHA-256, so that the bytes are hashed once. The digest serves as content
/// address, upload checksum and signed payload hash.
#[derive(Clone, Debug)]
pub struct Payload {
    digest: Digest,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Memory(Bytes),
    Elsewhere(Arc<dyn Source>),
}

/// Bytes that are not in memory, and that each attempt reads from their beginning.
///
/// They may have changed since they were hashed. A store refuses bytes with another digest, so no
/// reader ever sees them.
pub trait Source: Send + Sync + fmt::Debug {
    /// Returns the number of bytes.
    fn size(&self) -> u64;

    /// Returns the bytes in pieces, in order. The pieces have the size altogether, unless an error
    /// ends them.
    fn pieces(&self) -> Pieces;
}

/// The pieces of a payload.
pub type Pieces = Box<dyn Iterator<Item = Result<Bytes>> + Send + Sync>;

impl Payload {
    /// Hashes the bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::with_digest(Digest::of(&bytes), bytes)
    }

    /// Returns a payload of bytes that are hashed already.
    pub fn with_digest(digest: Digest, bytes: impl Into<Bytes>) -> Self {
        Self { digest, content: Content::Memory(bytes.into()) }
    }

    /// Returns a payload of bytes elsewhere that are hashed already.
    pub fn of_source(digest: Digest, source: Arc<dyn Source>) -> Self {
        Self { digest, content: Content::Elsewhere(source) }
    }

    /// Returns the SHA-256 of the bytes. A store refuses bytes with another digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the number of bytes.
    pub fn size(&self) -> u64 {
        match &self.content {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::Elsewhere(source) => source.size(),
        }
    }

    /// Returns the bytes, if they are in memory.
    pub fn in_memory(&self) -> Option<&Bytes> {
        match &self.content {
            Content::Memory(bytes) => Some(bytes),
            Content::Elsewhere(_) => None,
        }
    }

    /// Returns the bytes in pieces, in order.
    pub fn pieces(&self) -> Pieces {
        match &self.content {
            Content::Memory(bytes) => Box::new(std::iter::once(Ok(bytes.clone()))),
            Content::Elsewhere(source) => source.pieces(),
        }
    }

    /// Reads all bytes into memory.
    ///
    /// # Errors
    /// The bytes cannot be read.
    pub fn collect(&self) -> Result<Bytes> {
        if let Some(bytes) = self.in_memory() {
            return Ok(bytes.clone());
        }
        let mut all = BytesMut::with_capacity(self.size() as usize);
        for piece in self.pieces() {
            all.extend_from_slice(&piece?);
        }
        Ok(all.freeze())
    }

    /// Returns whether the bytes still have the digest. It reads bytes that are not in memory.
    pub fn is_intact(&self) -> bool {
        let mut hasher = Hasher::default();
        for piece in self.pieces() {
            let Ok(piece) = piece else { return false };
            hasher.update(&piece);
        }
        hasher.finish() == self.digest
    }
}

/// Returns the error of a write whose own bytes cannot be read.
pub(super) fn unreadable(key: &Key, error: &Error) -> StoreError {
    StoreError::new(StoreErrorKind::Other, "write", key, error.explanation())
}
