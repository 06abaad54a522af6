//! Watches what the answers tell about the service and the way to it, before the SDK tries again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

/// Counts and times of a store's answers.
#[derive(Debug)]
pub(super) struct Watch {
    strain: AtomicU64,
    /// In microseconds; the largest number as long as there is no answer.
    quickest: AtomicU64,
}

impl Default for Watch {
    fn default() -> Self {
        Self { strain: AtomicU64::new(0), quickest: AtomicU64::new(u64::MAX) }
    }
}

impl Watch {
    /// Returns how often the service has asked for fewer requests.
    ///
    /// Source: Amazon S3 API Reference, error responses: 503 `SlowDown`; RFC 6585, section 4.
    pub(super) fn strain(&self) -> u64 {
        self.strain.load(Ordering::Relaxed)
    }

    /// Returns the shortest time from the start of a request to its answer so far.
    pub(super) fn latency(&self) -> Option<Duration> {
        let quickest = self.quickest.load(Ordering::Relaxed);
        (quickest != u64::MAX).then(|| Duration::from_micros(quickest))
    }
}

/// The start of an attempt.
#[derive(Debug)]
struct Started(Instant);

impl Storable for Started {
    type Storer = StoreReplace<Self>;
}

/// A watch that a client shares with its store.
#[derive(Debug)]
pub(super) struct Watched(pub(super) Arc<Watch>);

impl Intercept for Watched {
    fn name(&self) -> &'static str {
        "Watched"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state().store_put(Started(Instant::now()));
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(Started(at)) = bag.load::<Started>() {
            let took = u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.0.quickest.fetch_min(took, Ordering::Relaxed);
        }
        if matches!(context.response().status().as_u16(), 429 | 503) {
            self.0.strain.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
