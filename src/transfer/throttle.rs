//! Runs many requests at a time: as many as make the transfer faster, and fewer if the store asks
//! for fewer.
//!
//! One connection to S3 carries some 90 MB/s, so the number of connections decides the speed. Many
//! connections only hurt a slow or small server. So measurements decide the number.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};

use super::pace::Pace;
pub use super::pace::Width;
use crate::error::{Error, Result};
use crate::store::DynStore;

/// The bytes that a request counts in addition to those that it moves: its time passes without any
/// byte at first.
const REQUEST: u64 = 1 << 20;

/// The requests of a transfer.
struct Throttle {
    /// Returns how often the store has asked for fewer requests.
    strain: Box<dyn Fn() -> u64 + Send + Sync>,
    requests: Arc<Semaphore>,
    wave: Mutex<Wave>,
}

/// The requests since the last decision.
#[derive(Debug)]
struct Wave {
    pace: Pace,
    /// Permits that are to vanish when their requests end.
    surplus: usize,
    started: Instant,
    /// The time that this process had used the processors until then.
    used: Duration,
    requests: usize,
    moved: u64,
    /// What the store said at the last decision.
    strain: u64,
    /// Whether this wave has halved the number of requests.
    halved: bool,
}

/// The turn of an item. Until its request begins, only a few later items have their turns.
pub struct Turn {
    _turn: OwnedSemaphorePermit,
    throttle: Arc<Throttle>,
}

/// The right to send requests. A drop gives it back.
pub struct Permit {
    permit: Option<OwnedSemaphorePermit>,
    throttle: Arc<Throttle>,
}

impl Turn {
    /// Waits until another request may run.
    ///
    /// # Errors
    /// None in practice: nothing closes the throttle's semaphores.
    pub async fn begin(self) -> Result<Permit> {
        let permit = self.throttle.requests.clone().acquire_owned().await.map_err(stopped)?;
        Ok(Permit { permit: Some(permit), throttle: self.throttle })
    }
}

impl Permit {
    /// Counts the finished request and the bytes that it moved.
    pub fn moved(self, bytes: u64) {
        self.throttle.finished(bytes);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let Ok(mut wave) = self.throttle.wave.lock() else { return };
        if wave.surplus > 0 {
            wave.surplus -= 1;
            permit.forget();
        }
    }
}

/// Returns the time that all threads of this process have used the processors.
fn used() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap_or_default()
}

/// Returns the number of processors that this process may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn stopped<E>(_: E) -> Error {
    Error::failed("the transfer was stopped")
}

/// Runs a task for each item, many at a time, and passes each result to `note` as it comes.
///
/// A task begins with its [`Turn`]; `ahead` tasks have turns whose requests have not begun. When
/// this function returns, no task is running any more.
///
/// # Errors
/// Returns the first error of `note`, and stops all other tasks.
pub async fn for_each<I, T, F>(
    store: &DynStore,
    width: Width,
    ahead: usize,
    items: Vec<I>,
    task: impl Fn(I, Turn) -> F,
    mut note: impl FnMut(Result<T>) -> Result<()>,
) -> Result<()>
where
    F: Future<Output = Result<T>> + Send + 'static,
    T: Send + 'static,
{
    let store = store.clone();
    let pace = Pace::new(width, store.latency());
    let throttle = Arc::new(Throttle::new(pace, move || store.strain()));
    let turns = Arc::new(Semaphore::new(ahead));
    let mut tasks: JoinSet<Result<T>> = JoinSet::new();
    let result: Result<()> = async {
        for item in items {
            let turn = turns.clone().acquire_owned().await.map_err(stopped)?;
            while let Some(result) = tasks.try_join_next() {
                note(joined(result))?;
            }
            tasks.spawn(task(item, Turn { _turn: turn, throttle: throttle.clone() }));
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
    fn new(pace: Pace, strain: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(pace.limit())),
            wave: Mutex::new(Wave {
                pace,
                surplus: 0,
                started: Instant::now(),
                used: used(),
                requests: 0,
                moved: 0,
                strain: strain(),
                halved: false,
            }),
            strain: Box::new(strain),
        }
    }

    fn finished(&self, bytes: u64) {
        let Ok(mut wave) = self.wave.lock() else { return };
        wave.requests += 1;
        wave.moved += bytes + REQUEST;
        let before = wave.pace.limit();
        let is_over = wave.requests >= before;
        let strain = (self.strain)();
        if strain > wave.strain && (is_over || !wave.halved) {
            wave.pace.strain();
            wave.halved = true;
        } else if is_over {
            let seconds = wave.started.elapsed().as_secs_f64().max(1e-6);
            let busy = used().saturating_sub(wave.used).as_secs_f64() / seconds / cores() as f64;
            let rate = wave.moved as f64 / seconds;
            wave.pace.finish_wave(rate, busy);
            wave.halved = false;
        } else {
            return;
        }
        (wave.started, wave.used) = (Instant::now(), used());
        (wave.requests, wave.moved) = (0, 0);
        wave.strain = strain;
        let limit = wave.pace.limit();
        if limit < before {
            let idle = self.requests.forget_permits(before - limit);
            wave.surplus += before - limit - idle;
        } else {
            let kept = wave.surplus.min(limit - before);
            wave.surplus -= kept;
            self.requests.add_permits(limit - before - kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::*;
    use crate::lock::LockWait;
    use crate::store::local::LocalStore;

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

    fn store() -> (tempfile::TempDir, DynStore) {
        let place = tempfile::tempdir().unwrap();
        let lock_wait = LockWait { limit: Duration::from_secs(60), tell: |_| () };
        let store = Arc::new(LocalStore::open(place.path(), lock_wait).unwrap());
        (place, store)
    }

    #[tokio::test]
    async fn every_item_has_its_task_and_its_result() {
        let (_place, store) = store();
        let mut sum = 0;
        let task = |item, turn: Turn| async move {
            turn.begin().await?.moved(1);
            Ok(item)
        };
        let note = |result: Result<u64>| {
            sum += result?;
            Ok(())
        };
        for_each(&store, Width::BLOBS, 1, (0..1000).collect(), task, note).await.unwrap();
        assert_eq!(sum, 499_500);
    }

    #[tokio::test]
    async fn the_first_error_ends_all_tasks_before_it_is_told() {
        let (_place, store) = store();
        let alive = Arc::new(AtomicUsize::new(0));
        let task = |item: u64, turn: Turn| {
            let alive = Alive::new(&alive);
            async move {
                let _alive = alive;
                let _permit = turn.begin().await?;
                match item {
                    5 => Err(Error::failed("the fifth")),
                    _ => std::future::pending().await,
                }
            }
        };
        let items = (0..6).collect();
        let result = for_each(&store, Width::BLOBS, 2, items, task, |it: Result<()>| it).await;
        assert_eq!(result.unwrap_err().to_string(), "the fifth");
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }

    /// A task prepares its request before it begins, and tasks must not do so without bound.
    #[tokio::test]
    async fn only_a_few_tasks_wait_for_their_requests() {
        let (_place, store) = store();
        let begun = Arc::new(AtomicUsize::new(0));
        let task = |_: u64, turn: Turn| {
            let begun = begun.clone();
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                let _permit = turn.begin().await?;
                std::future::pending().await
            }
        };
        let items = (0..1000).collect();
        let all = for_each(&store, Width::BLOBS, 3, items, task, |it: Result<()>| it);
        assert!(tokio::time::timeout(Duration::from_millis(200), all).await.is_err());
        assert_eq!(begun.load(Ordering::SeqCst), Pace::new(Width::BLOBS, None).limit() + 3);
    }

    #[tokio::test]
    async fn strain_takes_permits_back_from_running_requests() {
        let asked = Arc::new(AtomicU64::new(0));
        let says = asked.clone();
        let throttle = Arc::new(Throttle::new(Pace::new(Width::BLOBS, None), move || {
            says.load(Ordering::SeqCst)
        }));
        let turns = Arc::new(Semaphore::new(1));
        let begin = async || {
            let turn = turns.clone().acquire_owned().await.unwrap();
            Turn { _turn: turn, throttle: throttle.clone() }.begin().await.unwrap()
        };
        let start = throttle.requests.available_permits();
        let mut running = Vec::new();
        for _ in 0..start {
            running.push(begin().await);
        }
        asked.store(1, Ordering::SeqCst);
        for permit in running.drain(..) {
            permit.moved(1);
        }
        assert_eq!(throttle.requests.available_permits(), start / 2);
        // Each wave that the store complains about halves the number once.
        for wave in 2..6 {
            asked.store(wave, Ordering::SeqCst);
            let limit = throttle.requests.available_permits();
            for _ in 0..limit {
                running.push(begin().await);
            }
            running.drain(..).for_each(|permit| permit.moved(1));
            assert_eq!(throttle.requests.available_permits(), (limit / 2).max(1), "{wave}");
        }
    }
}
