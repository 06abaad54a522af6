//! Stopping early on SIGINT and SIGTERM, also as process 1 of a container, where the kernel would
//! ignore them.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::{Error, IoContext as _, Kind, Result};

/// Tells whether the process was asked to stop; cheap to clone.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<Option<i32>>);

impl Interrupt {
    /// Installs the handlers.
    ///
    /// # Errors
    /// An operating system that refuses.
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
            // The channel stays open for as long as the process lives.
            sender.closed().await;
        });
        Ok(Self(receiver))
    }

    /// Waits until the process is asked to stop and returns the signal's number.
    pub async fn wait(&mut self) -> i32 {
        loop {
            if let Some(number) = *self.0.borrow_and_update() {
                return number;
            }
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Runs work that may be dropped at any point.
    ///
    /// # Errors
    /// What the work returns, or "interrupted".
    pub async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut this = self.clone();
        tokio::select! {
            result = work => result,
            number = this.wait() => Err(interrupted(number)),
        }
    }
}

/// Returns the error of a process that a signal ended; 128 and the number, as shells have it.
pub fn interrupted(number: i32) -> Error {
    let code = u8::try_from(128 + number).unwrap_or(1);
    let name = if number == SignalKind::interrupt().as_raw_value() { "SIGINT" } else { "SIGTERM" };
    Error::new(Kind::Exit(code), format!("stopped by {name}; nothing was left half done"))
}
