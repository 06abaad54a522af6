//! A store that waits while a service fails for a time.
//!
//! A save after a training has the only copy of hours of work. So it goes on trying where a plan
//! would give up.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{
    Condition, DynStore, Key, Meta, Object, Payload, Store, StoreError, StoreErrorKind, Version,
};
use crate::retry::{Failure, Policy};

/// The time between two lines that say what the save waits for.
const BETWEEN_WORDS: Duration = Duration::from_secs(30);

/// Tells people why the work waits.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// A store whose requests wait for a service that does not answer, throttles or fails inside.
pub struct Patient {
    inner: DynStore,
    patience: Duration,
    tell: Tell,
    told: Mutex<Option<Instant>>,
}

impl fmt::Debug for Patient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patient").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Patient {
    /// Returns a store that repeats a failed request for this long after its first failure.
    pub fn new(inner: DynStore, patience: Duration, tell: Tell) -> Self {
        Self { inner, patience, tell, told: Mutex::default() }
    }

    async fn wait<T, F>(&self, mut request: impl FnMut() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let policy = Policy {
            attempts: u32::MAX,
            pause: Duration::from_secs(1),
            growth: 2.0,
            longest: Duration::from_secs(20),
            patience: self.patience,
        };
        let attempt = || {
            let answer = request();
            async move {
                answer.await.map_err(|error| {
                    let passes = error.kind == StoreErrorKind::Unreachable;
                    if passes {
                        self.say(&error);
                    }
                    Failure::passing_if(passes, error)
                })
            }
        };
        policy.run(attempt).await
    }

    fn say(&self, error: &StoreError) {
        let Ok(mut told) = self.told.lock() else { return };
        if self.patience.is_zero() || told.is_some_and(|at| at.elapsed() < BETWEEN_WORDS) {
            return;
        }
        *told = Some(Instant::now());
        let seconds = self.patience.as_secs();
        (self.tell)(&format!("{error}; each request is tried again for up to {seconds} seconds"));
    }
}

#[async_trait]
impl Store for Patient {
    fn describe(&self) -> &str {
        self.inner.describe()
    }

    fn credentials(&self) -> Option<String> {
        self.inner.credentials()
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
        self.wait(|| self.inner.put(key, payload.clone(), condition.clone())).await
    }

    async fn check_writable(&self, key: &Key) -> Result<(), StoreError> {
        self.wait(|| self.inner.check_writable(key)).await
    }

    async fn get(&self, key: &Key) -> Result<Object, StoreError> {
        self.wait(|| self.inner.get(key)).await
    }

    async fn head(&self, key: &Key) -> Result<Option<Meta>, StoreError> {
        self.wait(|| self.inner.head(key)).await
    }
}
