//! A store that waits while a service fails for a time.
//!
//! A save after a training has the only copy of hours of work. So it goes on trying where a plan
//! would give up.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{
    Condition, DynStore, Key, Meta, Object, Payload, RETRY, Store, StoreError, StoreErrorKind,
    Version,
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
        self.policy().run(attempt).await
    }

    fn policy(&self) -> Policy {
        Policy {
            attempts: u32::MAX,
            pause: Duration::from_secs(1),
            growth: 2.0,
            longest: Duration::from_secs(20),
            patience: self.patience,
        }
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

    fn retry(&self) -> Policy {
        // The usual policy covers about four seconds.
        match self.patience < Duration::from_secs(5) {
            true => RETRY,
            false => Policy { pause: RETRY.pause, ..self.policy() },
        }
    }

    fn note(&self, failure: &StoreError) {
        self.say(failure);
    }

    fn strain(&self) -> u64 {
        self.inner.strain()
    }

    fn latency(&self) -> Option<Duration> {
        self.inner.latency()
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

#[cfg(test)]
mod tests {
    use super::super::local::LocalStore;
    use super::*;
    use crate::lock::LockWait;

    #[test]
    fn callers_of_a_patient_store_are_as_patient() {
        let place = tempfile::tempdir().unwrap();
        let wait = LockWait { limit: Duration::ZERO, tell: |_| {} };
        let inner: DynStore = Arc::new(LocalStore::open(place.path(), wait).unwrap());
        assert_eq!(inner.retry().attempts, RETRY.attempts);
        for (seconds, attempts) in [(0, RETRY.attempts), (4, RETRY.attempts), (600, u32::MAX)] {
            let patience = Duration::from_secs(seconds);
            let policy = Patient::new(inner.clone(), patience, Arc::new(|_| {})).retry();
            assert_eq!((policy.attempts, policy.pause), (attempts, RETRY.pause), "{seconds}");
        }
    }
}
