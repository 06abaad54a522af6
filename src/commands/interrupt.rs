//! Stops the work early on SIGINT and SIGTERM.
//!
//! Process 1 of a container needs these handlers: without them, the kernel ignores both signals.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use crate::error::{Error, IoContext as _, Kind, Result};
use crate::unfinished::Unfinished;

/// The time that a training has to end by itself after a signal.
pub const GRACE: Duration = Duration::from_millis(1000);
/// The time that dropped work has to remove its files.
const CLEAN_UP: Duration = Duration::from_millis(1500);

/// Tells whether a signal has asked the process to stop. A clone is cheap and shares the state.
#[derive(Clone, Debug)]
pub struct Interrupt {
    signal: watch::Receiver<Option<i32>>,
    training: Arc<AtomicBool>,
}

impl Interrupt {
    /// Installs handlers for SIGINT and SIGTERM.
    ///
    /// # Errors
    /// The operating system refuses a handler.
    pub fn install() -> Result<Self> {
        let here = std::path::Path::new("SIGINT and SIGTERM");
        let mut terminate = signal(SignalKind::terminate()).on("cannot handle", here)?;
        let mut interrupt = signal(SignalKind::interrupt()).on("cannot handle", here)?;
        let (sender, receiver) = watch::channel(None);
        tokio::spawn(async move {
            let number = tokio::select! {
                _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
                _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            };
            let _ = sender.send(Some(number));
            // This keeps the channel open as long as a receiver exists.
            sender.closed().await;
        });
        Ok(Self { signal: receiver, training: Arc::default() })
    }

    /// Waits for a signal and returns its number.
    pub async fn wait(&mut self) -> i32 {
        loop {
            if let Some(number) = *self.signal.borrow_and_update() {
                return number;
            }
            if self.signal.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Notes whether the user's training is running. [`Interrupt::supervise`] drops other work at
    /// once, but gives a training time to end.
    pub fn set_training(&self, under_way: bool) {
        self.training.store(under_way, Ordering::Relaxed);
    }

    /// Waits for the work, and drops the work after a signal.
    ///
    /// The work runs in a task of its own, so that it cannot keep this task from seeing the signal.
    ///
    /// # Errors
    /// - Any error of the work.
    /// - A signal stopped the process.
    pub async fn supervise<T>(mut self, mut work: JoinHandle<Result<T>>) -> Result<T> {
        let number = tokio::select! {
            result = &mut work => return joined(result),
            number = self.wait() => number,
        };
        if self.training.load(Ordering::Relaxed)
            && let Ok(result) = tokio::time::timeout(GRACE + GRACE / 2, &mut work).await
        {
            return joined(result);
        }
        work.abort();
        Unfinished::stop();
        let cleaned_up = async {
            let _ = work.await;
            while Unfinished::is_any() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let _ = tokio::time::timeout(CLEAN_UP, cleaned_up).await;
        Err(interrupted(number))
    }
}

fn joined<T>(result: std::result::Result<Result<T>, JoinError>) -> Result<T> {
    result.map_err(|error| {
        Error::failed("this is a bug in ml-cache, please report it").caused_by(error)
    })?
}

/// Returns the error of a process that a signal stopped. Its exit code is 128 plus the signal's
/// number, as in a shell.
pub fn interrupted(number: i32) -> Error {
    let code = u8::try_from(128 + number).unwrap_or(1);
    let name = if number == SignalKind::interrupt().as_raw_value() { "SIGINT" } else { "SIGTERM" };
    Error::new(Kind::Exit(code), format!("stopped by {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_over_before_the_runner_kills() {
        // GitHub's runner sends SIGTERM 7.5 s after SIGINT, and SIGKILL 2.5 s later.
        assert!(GRACE + GRACE / 2 + CLEAN_UP < Duration::from_secs(7));
    }
}
