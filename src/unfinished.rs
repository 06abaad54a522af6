//! Counts the work that leaves files behind if the process ends in the middle of it.
//!
//! After a signal, [`crate::commands::interrupt`] waits a limited time until no such work is left.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Twice the number of begun pieces of work, plus 1 after [`Unfinished::stop`].
static STATE: AtomicUsize = AtomicUsize::new(0);
const STOPPING: usize = 1;
const ONE: usize = 2;

/// A begun piece of work. Its owner must drop it last, after it removed its temporary files.
#[derive(Debug)]
pub struct Unfinished(());

impl Unfinished {
    /// Counts a new piece of work.
    ///
    /// # Errors
    /// The process is about to end, so no new work may begin.
    pub fn begin() -> io::Result<Self> {
        let begun = |state: usize| (state & STOPPING == 0).then_some(state + ONE);
        match STATE.fetch_update(Ordering::AcqRel, Ordering::Acquire, begun) {
            Ok(_) => Ok(Self(())),
            Err(_) => Err(io::Error::other("the process is stopping after a signal")),
        }
    }

    /// Makes every later [`Unfinished::begin`] fail.
    pub fn stop() {
        STATE.fetch_or(STOPPING, Ordering::AcqRel);
    }

    /// Returns whether any work has begun and not ended in this process.
    pub fn is_any() -> bool {
        STATE.load(Ordering::Acquire) >= ONE
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        STATE.fetch_sub(ONE, Ordering::Release);
    }
}
