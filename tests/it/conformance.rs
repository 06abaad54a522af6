//! The contract of the store, on every adapter and server. Stores that break it must fail.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use hyper::Method;
use ml_cache::format::BlobId;
use ml_cache::lock::LockWait;
use ml_cache::store::{
    self, Condition, DynStore, Key, Location, Meta, Object, Payload, S3Options, Store, StoreError,
    Version, conformance,
};

use crate::support::s3::{Endpoint, Fault, Server};

/// The wait of a test for a lock.
const PATIENCE: LockWait = LockWait { limit: Duration::from_secs(60), tell: |_| {} };

/// Runs every check, and returns a line for each failure.
async fn failures(store: &DynStore) -> Vec<String> {
    let mut failures = Vec::new();
    for check in conformance::checks() {
        if let Err(reason) = check.run(store.clone()).await {
            failures.push(format!("{}: {reason}", check.name));
        }
    }
    failures
}

#[track_caller]
fn none(failures: &[String]) {
    assert!(failures.is_empty(), "{} checks fail:\n  {}", failures.len(), failures.join("\n  "));
}

async fn directory() -> (tempfile::TempDir, DynStore) {
    let place = tempfile::tempdir().unwrap();
    let location = Location::Directory(place.path().join("store"));
    let store = store::open(&location, &S3Options::default(), None, PATIENCE).await.unwrap();
    (place, store)
}

/// Opens a store in a bucket. The library reads the keys from the environment.
async fn bucket(endpoint: &Endpoint, location: &str) -> DynStore {
    Endpoint::seaweedfs();
    let options = S3Options {
        region: Some(endpoint.region.clone()),
        endpoint_url: Some(endpoint.url.clone()),
        force_path_style: Some(true),
        ..S3Options::default()
    };
    store::open(&location.parse().unwrap(), &options, None, PATIENCE).await.unwrap()
}

#[test]
fn the_contract_has_at_least_20_checks_of_different_names() {
    let mut names: Vec<_> = conformance::checks().iter().map(|check| check.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), conformance::checks().len());
    assert!(names.len() >= 20, "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_keeps_the_contract() {
    let (_place, store) = directory().await;
    none(&failures(&store).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract_on_s3s() {
    let server = Server::start();
    let store = bucket(&server.endpoint, "s3://models/some/prefix").await;
    none(&failures(&store).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_the_contract_on_seaweedfs() {
    let endpoint = Endpoint::seaweedfs();
    let store = bucket(&endpoint, &format!("s3://{}/some/prefix", endpoint.fresh_bucket())).await;
    none(&failures(&store).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_ask_for_fewer_requests_are_counted() {
    let server = Server::start();
    let store = bucket(&server.endpoint, "s3://models").await;
    let key = ml_cache::store::layout::blob(&BlobId::of(b"x"));
    server.fault(Method::PUT, "", 1..=1, Fault::Answer(503, "SlowDown"));
    server.fault(Method::HEAD, "", 1..=1, Fault::Busy(429, 0));
    server.fault(Method::GET, "", 1..=1, Fault::Answer(500, "InternalError"));
    assert_eq!(store.strain(), 0);
    store.put(&key, Payload::new("x"), Condition::None).await.unwrap();
    assert_eq!(store.strain(), 1);
    store.head(&key).await.unwrap();
    assert_eq!(store.strain(), 2);
    store.get(&key).await.unwrap();
    assert_eq!(store.strain(), 2, "a fault inside asks for nothing");
}

/// A store that breaks one promise of the contract.
#[derive(Debug)]
struct Flawed {
    inner: DynStore,
    flaw: Flaw,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    IgnoresConditions,
    IgnoresDigests,
    TearsWrites,
    ChecksBeforeItWrites,
    LosesTheLastByte,
    ForgetsTheVersion,
    SaysExistsWhereNothingIs,
}

#[async_trait]
impl Store for Flawed {
    fn describe(&self) -> &str {
        "a flawed store"
    }

    fn removal(&self, key: &Key) -> String {
        self.inner.removal(key)
    }

    async fn put(
        &self,
        key: &Key,
        payload: Payload,
        condition: Condition,
    ) -> Result<Version, StoreError> {
        match self.flaw {
            Flaw::IgnoresConditions => self.inner.put(key, payload, Condition::None).await,
            Flaw::IgnoresDigests => {
                let bytes = payload.collect().unwrap();
                self.inner.put(key, Payload::new(bytes), condition).await
            }
            Flaw::TearsWrites if condition == Condition::None => {
                let bytes = payload.collect().unwrap();
                let half = bytes.slice(..bytes.len() / 2);
                self.inner.put(key, Payload::new(half), Condition::None).await?;
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                self.inner.put(key, payload, Condition::None).await
            }
            Flaw::ChecksBeforeItWrites => {
                let found = self.inner.head(key).await?.map(|meta| meta.version);
                let holds = match &condition {
                    Condition::None => true,
                    Condition::Absent => found.is_none(),
                    Condition::Unchanged(version) => found.as_ref() == Some(version),
                };
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                self.inner.put(key, payload, if holds { Condition::None } else { condition }).await
            }
            _ => self.inner.put(key, payload, condition).await,
        }
    }

    async fn check_writable(&self, key: &Key) -> Result<(), StoreError> {
        self.inner.check_writable(key).await
    }

    async fn get(&self, key: &Key) -> Result<Object, StoreError> {
        if self.flaw == Flaw::TearsWrites {
            // A fast reader could finish before the writer begins, and then see nothing torn.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let mut object = self.inner.get(key).await?;
        let size = object.meta.size.unwrap_or_default();
        if self.flaw == Flaw::LosesTheLastByte && size > 0 {
            object.meta.size = Some(size - 1);
            let mut left = size as usize - 1;
            let shorten = move |piece: Result<bytes::Bytes, StoreError>| {
                let piece = piece.map(|piece| piece.slice(..piece.len().min(left)));
                left -= piece.as_ref().map_or(0, bytes::Bytes::len);
                piece
            };
            object.body = object.body.map(shorten).boxed();
        }
        Ok(object)
    }

    async fn head(&self, key: &Key) -> Result<Option<Meta>, StoreError> {
        let found = self.inner.head(key).await?;
        let other = match (self.flaw, &found) {
            (Flaw::SaysExistsWhereNothingIs, None) | (Flaw::ForgetsTheVersion, Some(_)) => {
                self.another().await?
            }
            _ => return Ok(found),
        };
        Ok(other.map(|other| {
            found.map_or(other.clone(), |found| Meta { version: other.version, ..found })
        }))
    }
}

impl Flawed {
    /// Returns the properties of some other object.
    async fn another(&self) -> Result<Option<Meta>, StoreError> {
        let payload = Payload::new(b"another object".to_vec());
        let key = ml_cache::store::layout::blob(&BlobId::new(payload.digest()));
        self.inner.put(&key, payload, Condition::None).await?;
        self.inner.head(&key).await
    }
}

/// Demands that this check, perhaps with others, finds the flaw. A race may end well by luck, so
/// the suite runs up to five times.
async fn is_found(flaw: Flaw, check: &str) {
    let mut found = Vec::new();
    for _ in 0..5 {
        let (_place, inner) = directory().await;
        let store: DynStore = Arc::new(Flawed { inner, flaw });
        found = failures(&store).await;
        if found.iter().any(|failure| failure.starts_with(check)) {
            return;
        }
    }
    panic!("{flaw:?} was not found: {found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_conditions_is_found() {
    is_found(Flaw::IgnoresConditions, "create-only refuses an existing object").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_digests_is_found() {
    is_found(Flaw::IgnoresDigests, "bytes that do not have their digest are refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_tears_writes_is_found() {
    is_found(Flaw::TearsWrites, "a reader never sees a mixture of two objects").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_conditions_are_not_atomic_is_found() {
    is_found(Flaw::ChecksBeforeItWrites, "of 16 concurrent creators exactly one wins").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_loses_bytes_is_found() {
    is_found(Flaw::LosesTheLastByte, "what is put is got").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_versions_disagree_is_found() {
    is_found(Flaw::ForgetsTheVersion, "put, get and head agree on the version").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_sees_what_is_not_there_is_found() {
    is_found(Flaw::SaysExistsWhereNothingIs, "a missing object has no meta").await;
}
