//! Work that leaves something behind if the process ends in the middle of it, such as temporary
//! files; whoever ends the process early waits for it as long as there is time.

use std::sync::atomic::{AtomicUsize, Ordering};

static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// Stands for a piece of such work; dropped last, when everything is put away.
#[derive(Debug)]
pub struct Unfinished(());

impl Unfinished {
    /// Notes that a piece of work has begun.
    pub fn begin() -> Self {
        UNDER_WAY.fetch_add(1, Ordering::Release);
        Self(())
    }

    /// Returns whether any is under way in this process.
    pub fn is_any() -> bool {
        UNDER_WAY.load(Ordering::Acquire) > 0
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Release);
    }
}
