//! Waits for locks that other processes hold, and says so.

use std::fs::{File, TryLockError};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

/// A shorter wait is not worth a message.
const SILENT: Duration = Duration::from_secs(1);
/// The pause after the first attempt. Pauses double up to [`LONGEST`].
const FIRST: Duration = Duration::from_millis(1);
/// The longest pause between two attempts.
const LONGEST: Duration = Duration::from_millis(50);

/// The sort of a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Several processes can hold it at once.
    Shared,
    /// A single process can hold it.
    Alone,
}

/// Returns whether the file system has no locks. Some network file systems have none, or their
/// service for locks does not run.
pub fn are_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
        || Errno::from_io_error(error).is_some_and(|it| matches!(it, Errno::NOLCK | Errno::NOSYS))
}

/// The wait for the locks of other processes.
#[derive(Clone, Copy, Debug)]
pub struct LockWait {
    /// The longest wait for a lock.
    pub limit: Duration,
    /// Prints a message.
    pub tell: fn(&str),
}

impl LockWait {
    /// Locks a file or a directory; `what` names it in messages.
    ///
    /// # Errors
    /// - Another process holds the lock until the wait ends.
    /// - The file system refuses, or has no locks.
    pub fn lock(&self, file: &File, sort: Sort, what: &str) -> io::Result<()> {
        let began = Instant::now();
        let (mut pause, mut told) = (FIRST, false);
        loop {
            let tried = match sort {
                Sort::Shared => file.try_lock_shared(),
                Sort::Alone => file.try_lock(),
            };
            match tried {
                Ok(()) => return Ok(()),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) => {}
            }
            let waited = began.elapsed();
            let Some(left) = self.limit.checked_sub(waited).filter(|left| !left.is_zero()) else {
                let message = format!(
                    "another process has held the lock of {what} for {} s",
                    self.limit.as_secs_f32()
                );
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            };
            if waited >= SILENT && !told {
                (self.tell)(&format!("waiting for another process, which has locked {what}"));
                told = true;
            }
            thread::sleep(pause.min(left));
            pause = (pause * 2).min(LONGEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_locks_has_three_answers() {
        for (errno, wanted) in [
            (Errno::OPNOTSUPP, true),
            (Errno::NOLCK, true),
            (Errno::NOSYS, true),
            (Errno::AGAIN, false),
            (Errno::IO, false),
            (Errno::ACCESS, false),
        ] {
            assert_eq!(are_missing(&errno.into()), wanted, "{errno:?}");
        }
        assert!(!are_missing(&io::ErrorKind::TimedOut.into()));
    }
}
