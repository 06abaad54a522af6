//! Limits the number of concurrent requests: few at first, more while the transfer gets faster.
//!
//! One connection to S3 carries some 90 MB/s, so the number of connections decides the speed. Many
//! connections only hurt a slow or small server. So measurements decide the number.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};

use super::MEMORY_BUDGET;
use crate::error::{Error, Result};

const START: usize = 8;
const STEP: usize = 4;
const MAX: usize = 32;
/// The factor by which more requests must raise the rate. Otherwise their number stays.
const WORTHWHILE: f64 = 1.05;

/// Bounds the number of concurrent requests and the memory that they hold.
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

/// The right to run a request. [`Throttle::finished`] or a drop gives it back.
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

/// The result of a request, and the number of bytes that it moved.
pub type Moved<T> = (T, u64);

/// Runs a task for each item, many at a time, and passes each result to `note` as it comes.
///
/// An item's number is the bytes of memory that its task holds. When this function returns, no task
/// is running any more.
///
/// # Errors
/// Returns the first error of `note`, and stops all other tasks.
pub async fn for_each<I, T, F>(
    items: Vec<(I, u64)>,
    task: impl Fn(I) -> F,
    mut note: impl FnMut(Result<T>) -> Result<()>,
) -> Result<()>
where
    F: Future<Output = Result<Moved<T>>> + Send + 'static,
    T: Send + 'static,
{
    let throttle = Arc::new(Throttle::default());
    let mut tasks: JoinSet<Result<T>> = JoinSet::new();
    let result: Result<()> = async {
        for (item, memory) in items {
            let permit = throttle.acquire(memory).await?;
            while let Some(result) = tasks.try_join_next() {
                note(joined(result))?;
            }
            let (throttle, running) = (throttle.clone(), task(item));
            tasks.spawn(async move {
                let (brought, bytes) = running.await?;
                throttle.finished(permit, bytes);
                Ok(brought)
            });
        }
        while let Some(result) = tasks.join_next().await {
            note(joined(result))?;
        }
        Ok(())
    }
    .await;
    tasks.shutdown().await;
    result
}

fn joined<T>(result: std::result::Result<Result<T>, JoinError>) -> Result<T> {
    result.map_err(|error| Error::failed("the transfer was interrupted").caused_by(error))?
}

impl Throttle {
    /// Waits for the right to run a request that holds `memory` bytes.
    ///
    /// # Errors
    /// None in practice: nothing closes the throttle's semaphores.
    pub async fn acquire(&self, memory: u64) -> Result<Permit> {
        let stopped = |_| Error::failed("the transfer was stopped");
        // A blob over the budget takes the whole budget, so it runs alone.
        let share = kibibytes(memory.min(MEMORY_BUDGET));
        let memory = self.memory.clone().acquire_many_owned(share).await.map_err(stopped)?;
        let request = self.requests.clone().acquire_owned().await.map_err(stopped)?;
        Ok(Permit { _request: request, _memory: memory })
    }

    /// Gives the permit back, and counts `bytes` for the measured rate.
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
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts the living tasks.
    struct Alive(Arc<AtomicUsize>);

    impl Alive {
        fn new(count: &Arc<AtomicUsize>) -> Self {
            count.fetch_add(1, Ordering::SeqCst);
            Self(count.clone())
        }
    }

    impl Drop for Alive {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn every_item_has_its_task_and_its_result() {
        let mut sum = 0;
        for_each(
            (0..100_u64).map(|item| (item, 1)).collect(),
            |item| async move { Ok((item, 1)) },
            |result| {
                sum += result?;
                Ok(())
            },
        )
        .await
        .unwrap();
        assert_eq!(sum, 4950);
    }

    #[tokio::test]
    async fn the_first_error_ends_all_tasks_before_it_is_told() {
        let alive = Arc::new(AtomicUsize::new(0));
        let task = |item: u64| {
            let alive = Alive::new(&alive);
            async move {
                let _alive = alive;
                match item {
                    5 => Err(Error::failed("the fifth")),
                    _ => std::future::pending().await,
                }
            }
        };
        let result =
            for_each((0..6).map(|item| (item, 1)).collect(), task, |result: Result<()>| result)
                .await;
        assert_eq!(result.unwrap_err().to_string(), "the fifth");
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }

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
