//! Work that leaves something behind if the process ends in the middle of it, such as temporary
//! files; whoever ends the process early waits for it as long as there is time.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Twice the pieces of work that are under way, and 1 if no more may begin.
static STATE: AtomicUsize = AtomicUsize::new(0);
const STOPPING: usize = 1;
const ONE: usize = 2;

/// Stands for a piece of such work; dropped last, when everything is put away.
#[derive(Debug)]
pub struct Unfinished(());

impl Unfinished {
    /// Notes that a piece of work has begun.
    ///
    /// # Errors
    /// A process that is about to end: nothing more may begin.
    pub fn begin() -> io::Result<Self> {
        let begun = |state: usize| (state & STOPPING == 0).then_some(state + ONE);
        match STATE.fetch_update(Ordering::AcqRel, Ordering::Acquire, begun) {
            Ok(_) => Ok(Self(())),
            Err(_) => Err(io::Error::other("the process is stopping after a signal")),
        }
    }

    /// Lets no more work begin.
    pub fn stop() {
        STATE.fetch_or(STOPPING, Ordering::AcqRel);
    }

    /// Returns whether any is under way in this process.
    pub fn is_any() -> bool {
        STATE.load(Ordering::Acquire) >= ONE
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        STATE.fetch_sub(ONE, Ordering::Release);
    }
}
