//! How many requests are under way: few at first, more while that makes the transfer faster.
//!
//! One connection to S3 carries some 90 MB/s, so the number of connections decides the speed; but
//! a slow or small server is only hurt by many. So the number grows by measurement.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::MEMORY_BUDGET;
use crate::error::{Error, Result};

const START: usize = 8;
const STEP: usize = 4;
const MAX: usize = 32;
/// More requests must bring at least this much more, or their number stays.
const WORTHWHILE: f64 = 1.05;

/// Bounds the number of requests under way and the memory that they hold.
#[derive(Debug)]
pub struct Throttle {
    requests: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    limit: usize,
    started: Instant,
    requests: usize,
    bytes: u64,
    best_rate: f64,
    settled: bool,
}

/// The right to run one request; give it back with [`Throttle::finished`] or by dropping it.
#[derive(Debug)]
pub struct Permit {
    _request: OwnedSemaphorePermit,
    _memory: OwnedSemaphorePermit,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            requests: Arc::new(Semaphore::new(START)),
            memory: Arc::new(Semaphore::new(kibibytes(MEMORY_BUDGET) as usize)),
            window: Mutex::new(Window {
                limit: START,
                started: Instant::now(),
                requests: 0,
                bytes: 0,
                best_rate: 0.0,
                settled: false,
            }),
        }
    }
}

impl Throttle {
    /// Waits for the right to run a request that holds `memory` bytes.
    ///
    /// # Errors
    /// Never while the throttle lives.
    pub async fn acquire(&self, memory: u64) -> Result<Permit> {
        let stopped = |_| Error::failed("the transfer was stopped");
        // A blob over the budget takes all of it, and so runs alone.
        let share = kibibytes(memory.min(MEMORY_BUDGET));
        let memory = self.memory.clone().acquire_many_owned(share).await.map_err(stopped)?;
        let request = self.requests.clone().acquire_owned().await.map_err(stopped)?;
        Ok(Permit { _request: request, _memory: memory })
    }

    /// Reports a request that moved `bytes`.
    pub fn finished(&self, permit: Permit, bytes: u64) {
        drop(permit);
        let Ok(mut window) = self.window.lock() else { return };
        window.requests += 1;
        window.bytes += bytes;
        if window.settled || window.requests < window.limit * 2 {
            return;
        }
        let seconds = window.started.elapsed().as_secs_f64().max(1e-6);
        let rate = (window.bytes as f64).max(window.requests as f64) / seconds;
        if window.limit < MAX && rate > window.best_rate * WORTHWHILE {
            window.limit += STEP;
            window.best_rate = rate;
            self.requests.add_permits(STEP);
        } else {
            window.settled = true;
        }
        window.started = Instant::now();
        window.requests = 0;
        window.bytes = 0;
    }
}

fn kibibytes(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_grow_only_while_it_pays_and_memory_is_bounded() {
        let throttle = Throttle::default();
        assert_eq!(throttle.requests.available_permits(), START);
        for _ in 0..START * 2 {
            let permit = throttle.acquire(1 << 20).await.unwrap();
            throttle.finished(permit, 1 << 20);
        }
        assert_eq!(throttle.requests.available_permits(), START + STEP);
        let all = throttle.acquire(MEMORY_BUDGET * 10).await.unwrap();
        assert_eq!(throttle.memory.available_permits(), 0);
        drop(all);
        assert_eq!(throttle.memory.available_permits(), kibibytes(MEMORY_BUDGET) as usize);
    }
}
