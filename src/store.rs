//! The store port: what `ml-cache` needs from a place that keeps objects.
//!
//! Two adapters implement it: a directory ([`local`]) and S3 ([`s3`]). [`conformance`] holds the
//! contract as executable checks, which every adapter passes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::BoxStream;

use crate::error::{Error, Kind};
use crate::format::Digest;
use crate::retry::{Failure, Policy};

pub mod conformance;
pub mod layout;
pub mod local;
pub mod location;
pub mod s3;

pub use layout::Key;
pub use location::{Location, S3Options};
pub use s3::{CredentialsSource, http_client};

/// A place that keeps objects under keys.
///
/// Contract, beyond the method comments: a `put` is atomic (no reader sees a part of it), a
/// finished `put` is seen by every later `get` and `head`, and of concurrent conditional puts on
/// one key exactly one succeeds.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Returns the store as a person knows it, such as `s3://bucket/prefix`.
    fn describe(&self) -> &str;

    /// Writes an object whole.
    ///
    /// # Errors
    /// [`StoreErrorKind::Exists`] or [`StoreErrorKind::Changed`] where the condition does not
    /// hold, [`StoreErrorKind::Conflict`] where the store could not tell (try again),
    /// [`StoreErrorKind::Damaged`] where the bytes did not arrive as their digest says.
    async fn put(
        &self,
        key: &Key,
        payload: Payload,
        condition: Condition,
    ) -> Result<Version, StoreError>;

    /// Finds out whether an object could be written there, and writes nothing; the key must be one
    /// that nobody reads, because a store that does not heed conditions writes an empty object.
    ///
    /// # Errors
    /// As a `put` without a condition.
    async fn check_writable(&self, key: &Key) -> Result<(), StoreError>;

    /// Opens an object for reading.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] where there is none.
    async fn get(&self, key: &Key) -> Result<Object, StoreError>;

    /// Returns size and version of an object, `None` where there is none.
    ///
    /// # Errors
    /// Only where the store could not look.
    async fn head(&self, key: &Key) -> Result<Option<Meta>, StoreError>;
}

/// Any store.
pub type DynStore = Arc<dyn Store>;

/// Bytes with their SHA-256, computed once by the caller: the same digest is the content
/// address, the upload checksum and the signed payload hash.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The object's bytes.
    pub bytes: Bytes,
    /// Their SHA-256.
    pub digest: Digest,
}

impl Payload {
    /// Returns the bytes with their digest.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { digest: Digest::of(&bytes), bytes }
    }
}

/// When a `put` may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    None,
    /// Only if there is no object (`If-None-Match: *`).
    Absent,
    /// Only if the object is still this version (`If-Match`).
    Unchanged(Version),
}

/// An opaque tag that changes whenever the object does (the entity tag in S3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub(crate) String);

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Length in bytes.
    pub size: u64,
    /// For [`Condition::Unchanged`].
    pub version: Version,
    /// SHA-256 of the bytes, where the store itself has computed it.
    pub digest: Option<Digest>,
}

impl Meta {
    /// Returns whether this can be the object of that content address: somebody may have put
    /// other bytes under it, which a store that keeps checksums gives away.
    pub fn is(&self, digest: &Digest, size: u64) -> bool {
        self.size == size && self.digest.is_none_or(|found| found == *digest)
    }
}

/// An object that is being read.
pub struct Object {
    /// Size and version.
    pub meta: Meta,
    /// The bytes in pieces; ends early or with an error where the transfer broke.
    pub body: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl Object {
    /// Reads the whole object into memory.
    ///
    /// # Errors
    /// An object over `limit` bytes, or one that breaks off.
    pub async fn collect(mut self, key: &Key, limit: usize) -> Result<Bytes, StoreError> {
        let too_large = || {
            StoreError::new(
                StoreErrorKind::Other,
                "read",
                key,
                format!("it has more than {limit} bytes"),
            )
        };
        if self.meta.size > limit as u64 {
            return Err(too_large());
        }
        let mut bytes = BytesMut::with_capacity(self.meta.size as usize);
        while let Some(piece) = self.body.next().await {
            let piece = piece?;
            if bytes.len() + piece.len() > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&piece);
        }
        if bytes.len() as u64 != self.meta.size {
            let reason =
                format!("the transfer broke off after {} of {} bytes", bytes.len(), self.meta.size);
            return Err(StoreError::new(StoreErrorKind::Unreachable, "read", key, reason));
        }
        Ok(bytes.freeze())
    }
}

/// For what the adapters do not try again themselves.
pub const RETRY: Policy =
    Policy { attempts: 5, pause: Duration::from_millis(50), growth: 4.0, patience: Duration::MAX };

/// Reads a small object whole, `None` where there is none.
///
/// # Errors
/// An object over `limit` bytes, or a store that could not be read.
pub async fn read(
    store: &dyn Store,
    key: &Key,
    limit: usize,
) -> Result<Option<(Bytes, Version)>, StoreError> {
    let attempt = || async {
        // The adapter itself tries requests again, and bodies that break off are ours.
        let object = match store.get(key).await {
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
            got => got?,
        };
        let version = object.meta.version.clone();
        match object.collect(key, limit).await {
            Ok(bytes) => Ok(Some((bytes, version))),
            Err(error) => {
                Err(Failure::passing_if(error.kind == StoreErrorKind::Unreachable, error))
            }
        }
    };
    RETRY.run(attempt).await
}

/// A failed store operation.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{key}`: {reason}")]
pub struct StoreError {
    /// What callers branch on.
    pub kind: StoreErrorKind,
    /// `read`, `write` or `look up`.
    pub action: &'static str,
    /// The object.
    pub key: String,
    /// What the store, the network or the file system said.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The sorts of failure that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// There is no such object.
    NotFound,
    /// [`Condition::Absent`] did not hold.
    Exists,
    /// [`Condition::Unchanged`] did not hold.
    Changed,
    /// The store could not decide between concurrent writers; nothing was written.
    Conflict,
    /// The bytes that arrived do not have the digest that was announced.
    Damaged,
    /// The credentials do not allow it.
    Denied,
    /// There are no credentials, or the store does not accept them.
    Unauthenticated,
    /// The bucket or directory itself does not exist.
    NoStore,
    /// No answer, or one that broke off.
    Unreachable,
    /// Anything else.
    Other,
}

impl StoreErrorKind {
    /// Returns whether another writer was faster, so that a conditional write has to look again.
    pub fn lost_race(self) -> bool {
        matches!(self, Self::Exists | Self::Changed | Self::Conflict)
    }
}

impl StoreError {
    /// Returns an error about the key.
    pub fn new(
        kind: StoreErrorKind,
        action: &'static str,
        key: &Key,
        reason: impl Into<String>,
    ) -> Self {
        Self { kind, action, key: key.to_string(), reason: reason.into(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind =
            if error.kind == StoreErrorKind::Damaged { Kind::Integrity } else { Kind::Failed };
        let mut result = Self::new(kind, error.to_string());
        if let Some(hint) = error.hint {
            result = result.hint(hint);
        }
        result
    }
}

/// Opens the store at a location; without a source of credentials, the usual AWS ones are used.
///
/// # Errors
/// A directory that cannot be used, or credentials and region that cannot be found.
pub async fn open(
    location: &Location,
    options: &S3Options,
    credentials: Option<CredentialsSource>,
) -> Result<DynStore, Error> {
    Ok(match location {
        Location::Directory(path) => Arc::new(local::LocalStore::open(path)?),
        Location::S3 { bucket, prefix } => {
            Arc::new(s3::S3Store::open(bucket, prefix, options, credentials).await?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::BlobId;

    fn meta(size: u64, digest: Option<Digest>) -> Meta {
        Meta { size, version: Version("1".to_owned()), digest }
    }

    #[test]
    fn length_and_checksum_must_both_be_those_of_the_content_address() {
        let (good, other) = (Digest::of(b"good"), Digest::of(b"other"));
        for (size, digest, holds) in [
            (4, None, true),
            (4, Some(good), true),
            (4, Some(other), false),
            (5, None, false),
            (5, Some(good), false),
        ] {
            assert_eq!(meta(size, digest).is(&good, 4), holds, "{size} {digest:?}");
        }
    }

    #[tokio::test]
    async fn an_object_is_read_whole_and_up_to_the_limit() {
        let key = layout::blob(&BlobId::of(b""));
        for (announced, sent, limit, kind) in [
            (4, 4, 4, None),
            (0, 0, 0, None),
            (5, 5, 4, Some(StoreErrorKind::Other)),
            (4, 5, 4, Some(StoreErrorKind::Other)),
            (4, 3, 4, Some(StoreErrorKind::Unreachable)),
            (3, 4, 4, Some(StoreErrorKind::Unreachable)),
        ] {
            let pieces = (0..sent).map(|_| Ok(Bytes::from_static(b"x")));
            let body = futures::stream::iter(pieces.collect::<Vec<_>>()).boxed();
            let read = Object { meta: meta(announced, None), body }.collect(&key, limit).await;
            let found = read.as_ref().err().map(|error| error.kind);
            assert_eq!(found, kind, "{announced} {sent} {limit}");
            assert!(kind.is_some() || read.unwrap().len() == sent);
        }
    }
}
