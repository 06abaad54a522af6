//! The store port: the operations that `ml-cache` needs from an object store.
//!
//! Two adapters implement it: a directory ([`local`]) and S3 ([`s3`]). [`conformance`] holds the
//! contract as executable checks, and every adapter passes them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::BoxStream;

use crate::error::{Error, Kind};
use crate::format::Digest;
use crate::lock::LockWait;
use crate::retry::{Failure, Policy};

pub mod conformance;
pub mod layout;
pub mod local;
pub mod location;
pub mod patient;
pub mod payload;
pub mod s3;

pub use layout::{Home, Key};
pub use location::{Credentials, Encryption, Lack, Location, S3Options};
pub use payload::{Payload, Pieces, Source};
pub use s3::{CredentialsSource, Network, retry_by_status};

/// A place that keeps objects under keys.
///
/// Beyond the methods, the contract is:
/// - A `put` is atomic: no reader sees a part of an object.
/// - Every `get` and `head` after a finished `put` sees its object.
/// - Of concurrent `put`s with the same condition on one key, exactly one succeeds.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Returns the store's address for messages, such as `s3://bucket/prefix`.
    fn describe(&self) -> &str;

    /// Returns the name of the source of the credentials for people; `None` if the store needs no
    /// credentials, or before the first request.
    fn credentials(&self) -> Option<String> {
        None
    }

    /// Returns the pauses of a caller that repeats a request whose answer broke off, or that the
    /// store could not decide.
    fn retry(&self) -> Policy {
        RETRY
    }

    /// Hears of a failure before such a caller pauses.
    fn note(&self, _failure: &StoreError) {}

    /// Returns the command by which a person removes the object under the key, ready for a shell.
    fn removal(&self, key: &Key) -> String;

    /// Writes a whole object.
    ///
    /// # Errors
    /// - [`StoreErrorKind::Exists`] or [`StoreErrorKind::Changed`]: the condition does not hold.
    /// - [`StoreErrorKind::Conflict`]: the store could not decide; the caller should try again.
    /// - [`StoreErrorKind::Damaged`]: the bytes that arrived do not have the payload's digest.
    /// - Other kinds: the store refuses or fails.
    async fn put(
        &self,
        key: &Key,
        payload: Payload,
        condition: Condition,
    ) -> Result<Version, StoreError>;

    /// Finds out whether this process may write an object under the key, without writing it.
    ///
    /// No reader may use the key: a store that ignores conditions writes an empty object there.
    ///
    /// # Errors
    /// As a `put` without a condition.
    async fn check_writable(&self, key: &Key) -> Result<(), StoreError>;

    /// Opens an object for reading.
    ///
    /// # Errors
    /// - [`StoreErrorKind::NotFound`]: the store has no such object.
    /// - Other kinds: the store refuses or fails.
    async fn get(&self, key: &Key) -> Result<Object, StoreError>;

    /// Returns size and version of an object; `None` if the store has no such object.
    ///
    /// # Errors
    /// The store could not answer. A missing object is not an error.
    async fn head(&self, key: &Key) -> Result<Option<Meta>, StoreError>;

    /// Returns how often the service has asked for fewer requests so far.
    fn strain(&self) -> u64 {
        0
    }

    /// Returns the shortest time in which the service has answered so far; `None` if there is no
    /// line to a service, or no answer yet.
    fn latency(&self) -> Option<Duration> {
        None
    }
}

/// A store behind either adapter.
pub type DynStore = Arc<dyn Store>;

/// The condition of a `put`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Write in any case.
    None,
    /// Write only if there is no object (`If-None-Match: *`).
    Absent,
    /// Write only if the object still has this version (`If-Match`).
    Unchanged(Version),
}

/// An opaque tag that changes with the object. In S3 it is the entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(pub(crate) String);

/// The properties of an object that a `head` returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The length in bytes; `None` if the store does not say it.
    pub size: Option<u64>,
    /// The version, for [`Condition::Unchanged`].
    pub version: Version,
    /// The SHA-256 that the store has computed itself; `None` if it keeps none.
    pub digest: Option<Digest>,
    /// Whether the bytes are in an archive, so that no request can read them now.
    pub archived: bool,
    /// Whether the object belongs to this user, and nobody else can have written it. Only a
    /// directory tells.
    pub ours: bool,
}

impl Meta {
    /// Returns whether this can be the object with this content address, and can be read.
    ///
    /// Somebody may have stored other bytes under the address. Their length shows it, or their
    /// checksum in a store that keeps checksums.
    pub fn is(&self, digest: &Digest, size: u64) -> bool {
        self.size.is_none_or(|found| found == size)
            && self.digest.is_none_or(|found| found == *digest)
            && !self.archived
    }

    /// Returns whether this is certainly the object with this content address, without a look at
    /// its bytes.
    ///
    /// A length proves nothing: anybody could know it before.
    pub fn proves(&self, digest: &Digest, size: u64) -> bool {
        self.is(digest, size) && (self.digest.is_some() || self.ours)
    }
}

/// An open object.
pub struct Object {
    /// Size and version.
    pub meta: Meta,
    /// The bytes in pieces. If the transfer breaks off, the stream ends early or with an error.
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
    /// - The object has more than `limit` bytes.
    /// - The transfer breaks off.
    pub async fn collect(mut self, key: &Key, limit: usize) -> Result<Bytes, StoreError> {
        let too_large = || {
            StoreError::new(
                StoreErrorKind::Unusable,
                "read",
                key,
                format!("it has more than {limit} bytes"),
            )
        };
        let announced = self.meta.size;
        if announced.is_some_and(|size| size > limit as u64) {
            return Err(too_large());
        }
        let mut bytes = BytesMut::with_capacity(announced.unwrap_or_default() as usize);
        while let Some(piece) = self.body.next().await {
            let piece = piece?;
            if bytes.len() + piece.len() > limit {
                return Err(too_large());
            }
            bytes.extend_from_slice(&piece);
        }
        if let Some(size) = announced.filter(|size| bytes.len() as u64 != *size) {
            let reason = format!("the transfer broke off after {} of {size} bytes", bytes.len());
            return Err(StoreError::new(StoreErrorKind::Unreachable, "read", key, reason));
        }
        Ok(bytes.freeze())
    }
}

/// For failures that no adapter retries itself, such as a body that breaks off.
pub const RETRY: Policy =
    Policy { attempts: 5, pause: Duration::from_millis(50), growth: 4.0, ..Policy::ONCE };

/// Writes an object. Sends bytes again that were damaged on their way.
///
/// # Errors
/// As [`Store::put`].
pub async fn write(
    store: &dyn Store,
    key: &Key,
    payload: &Payload,
    condition: &Condition,
) -> Result<Version, StoreError> {
    let attempt = || async {
        store.put(key, payload.clone(), condition.clone()).await.map_err(|error| {
            // The bytes were damaged on the way, unless they changed where they lie.
            let passes = error.kind == StoreErrorKind::Damaged && payload.is_intact();
            Failure::passing_if(passes, error)
        })
    };
    RETRY.run(attempt).await
}

/// The beginnings of our documents: of JSON, and of a compressed text (RFC 8878, section 3.1.1).
const DOCUMENTS: [&[u8]; 2] = [b"{\"schema\":\"ml-cache/", &[0x28, 0xB5, 0x2F, 0xFD]];

/// Reads a document whole; `None` if the store has no such object.
///
/// # Errors
/// - The object has more than `limit` bytes.
/// - The store cannot be read, or the answer is none of a store.
pub async fn read(
    store: &dyn Store,
    key: &Key,
    limit: usize,
) -> Result<Option<(Bytes, Version)>, StoreError> {
    let attempt = || async {
        // The adapter retries the request itself. Only a body that breaks off needs another attempt
        // here.
        let object = match store.get(key).await {
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
            got => got?,
        };
        let version = object.meta.version.clone();
        match object.collect(key, limit).await {
            // No writer of an object can remove its entity tag. So this is no object.
            Ok(bytes)
                if version.0.is_empty() && !DOCUMENTS.iter().any(|it| bytes.starts_with(it)) =>
            {
                let why = "the answer has no entity tag (`ETag`) and is no document of this \
                           program, so the server is no store";
                Err(StoreError::new(StoreErrorKind::Other, "read", key, why)
                    .hint("check `endpoint-url`, and that no proxy or login page answers instead")
                    .into())
            }
            Ok(bytes) => Ok(Some((bytes, version))),
            Err(error) if error.kind == StoreErrorKind::Unreachable => {
                store.note(&error);
                Err(Failure::passing(error))
            }
            Err(error) => Err(error.into()),
        }
    };
    store.retry().run(attempt).await
}

/// A failed operation of a store.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{key}`: {reason}")]
pub struct StoreError {
    /// The kind of failure, for callers that branch.
    pub kind: StoreErrorKind,
    /// The operation in words: `read`, `write` or `look up`.
    pub action: &'static str,
    /// The key of the object.
    pub key: String,
    /// The words of the store, the network or the file system.
    pub reason: String,
    /// The remedy, as an imperative.
    pub hint: Option<String>,
}

/// The kinds of failure that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// The store has no such object.
    NotFound,
    /// [`Condition::Absent`] did not hold.
    Exists,
    /// [`Condition::Unchanged`] did not hold.
    Changed,
    /// The store could not decide between concurrent writers, and wrote nothing.
    Conflict,
    /// The bytes that arrived do not have the payload's digest.
    Damaged,
    /// The credentials, or this user, may not do that.
    Denied,
    /// There are no credentials, or the store does not accept them.
    Unauthenticated,
    /// The bucket does not exist. A missing directory is no error: the first `put` makes it.
    NoStore,
    /// The store did not answer, broke off, throttled the request or failed inside.
    Unreachable,
    /// The directory is no store, and has other files in it.
    NotAStore,
    /// The object is there, but its bytes cannot be used: they are in an archive, encrypted with a
    /// key that this process lacks, too many, or no bytes of a file.
    Unusable,
    /// Any other failure.
    Other,
}

impl StoreErrorKind {
    /// Returns whether another writer may have been faster. The caller must then read the object
    /// again.
    pub fn lost_race(self) -> bool {
        matches!(self, Self::Exists | Self::Changed | Self::Conflict)
    }

    /// Returns whether the failure may concern this object alone, so that another name may hold the
    /// same content.
    pub fn may_spare_others(self) -> bool {
        matches!(self, Self::NotFound | Self::Denied | Self::Unusable)
    }
}

impl StoreError {
    /// Returns an error about the object under the key. Another hint can replace its hint.
    pub fn new(
        kind: StoreErrorKind,
        action: &'static str,
        key: &Key,
        reason: impl Into<String>,
    ) -> Self {
        let hint = (kind == StoreErrorKind::Unusable)
            .then(|| "remove that object from the store, and train again".to_owned());
        Self { kind, action, key: key.to_string(), reason: reason.into(), hint }
    }

    /// Adds the remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind {
            StoreErrorKind::Damaged => Kind::Integrity,
            StoreErrorKind::NotAStore => Kind::BadInput,
            _ => Kind::Failed,
        };
        let mut result = Self::new(kind, error.to_string());
        if let Some(hint) = error.hint {
            result = result.hint(hint);
        }
        result
    }
}

/// Opens the store at a location. Without a `role`, the SDK looks for credentials in the usual AWS
/// places. A directory's locks need `lock_wait`.
///
/// # Errors
/// - The location is a path that is not a directory.
/// - The region of the bucket is unknown.
pub async fn open(
    location: &Location,
    options: &S3Options,
    role: Option<(String, CredentialsSource)>,
    lock_wait: LockWait,
) -> Result<DynStore, Error> {
    Ok(match location {
        Location::Directory(path) => Arc::new(local::LocalStore::open(path, lock_wait)?),
        Location::S3 { bucket, prefix } => {
            Arc::new(s3::S3Store::open(bucket, prefix, options, role).await?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::BlobId;

    fn meta(size: Option<u64>, digest: Option<Digest>) -> Meta {
        Meta { size, version: Version("1".to_owned()), digest, archived: false, ours: false }
    }

    #[test]
    fn an_object_must_have_the_right_length_and_checksum() {
        let (good, other) = (Digest::of(b"good"), Digest::of(b"other"));
        for (size, digest, holds) in [
            (Some(4), None, true),
            (Some(4), Some(good), true),
            (Some(4), Some(other), false),
            (Some(5), None, false),
            (Some(5), Some(good), false),
            // A length that nobody says proves nothing.
            (None, None, true),
            (None, Some(good), true),
            (None, Some(other), false),
        ] {
            let meta = meta(size, digest);
            assert_eq!(meta.is(&good, 4), holds, "{size:?} {digest:?}");
            assert_eq!(meta.proves(&good, 4), holds && digest.is_some(), "{size:?} {digest:?}");
            assert_eq!(Meta { ours: true, ..meta.clone() }.proves(&good, 4), holds, "{size:?}");
            assert!(!Meta { archived: true, ..meta }.is(&good, 4));
        }
    }

    #[tokio::test]
    async fn an_object_is_read_whole_and_up_to_the_limit() {
        let key = layout::blob(&BlobId::of(b""));
        for (announced, sent, limit, kind) in [
            (Some(4), 4, 4, None),
            (Some(0), 0, 0, None),
            (Some(5), 5, 4, Some(StoreErrorKind::Unusable)),
            (Some(4), 5, 4, Some(StoreErrorKind::Unusable)),
            (Some(4), 3, 4, Some(StoreErrorKind::Unreachable)),
            (Some(3), 4, 4, Some(StoreErrorKind::Unreachable)),
            (None, 4, 4, None),
            (None, 5, 4, Some(StoreErrorKind::Unusable)),
        ] {
            let pieces = (0..sent).map(|_| Ok(Bytes::from_static(b"x")));
            let body = futures::stream::iter(pieces.collect::<Vec<_>>()).boxed();
            let read = Object { meta: meta(announced, None), body }.collect(&key, limit).await;
            let found = read.as_ref().err().map(|error| error.kind);
            assert_eq!(found, kind, "{announced:?} {sent} {limit}");
            assert!(kind.is_some() || read.unwrap().len() == sent);
        }
    }
}
