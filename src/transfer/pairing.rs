//! Hashes blobs that arrive at the same time, two in one go: that takes little longer than one.
//!
//! A blob whose next bytes are there leaves them with its hasher, and goes on receiving. The next
//! blob with bytes hashes both. If none comes, the first takes its own back before its next bytes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::format::{Digest, Hasher};

/// The place where the blobs of a transfer meet.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    left: Mutex<Option<Left>>,
    blobs: AtomicU64,
}

/// Bytes that a blob has left for another blob to hash.
#[derive(Debug)]
struct Left {
    /// The number of the blob.
    blob: u64,
    hasher: Hasher,
    bytes: Bytes,
    back: oneshot::Sender<Hasher>,
}

/// The hash of a blob that arrives.
pub(super) struct Arriving {
    pairing: Arc<Pairing>,
    blob: u64,
    state: State,
}

enum State {
    Here(Hasher),
    Left(oneshot::Receiver<Hasher>),
}

impl Pairing {
    /// Begins another blob.
    pub(super) fn begin(self: &Arc<Self>) -> Arriving {
        let blob = self.blobs.fetch_add(1, Ordering::Relaxed);
        Arriving { pairing: self.clone(), blob, state: State::Here(Hasher::default()) }
    }

    fn take_if(&self, matches: impl FnOnce(&mut Left) -> bool) -> Option<Left> {
        self.left.lock().ok()?.take_if(matches)
    }
}

impl Arriving {
    /// Appends bytes.
    ///
    /// # Errors
    /// The transfer was stopped.
    pub(super) async fn update(&mut self, bytes: Bytes) -> Result<()> {
        let mut hasher = self.settle().await?;
        let other = self.pairing.left.lock().map_or(None, |mut left| left.take());
        self.state = match other {
            Some(mut other) => {
                Hasher::update_both((&mut hasher, &bytes), (&mut other.hasher, &other.bytes));
                // The other blob may have been given up.
                let _ = other.back.send(other.hasher);
                State::Here(hasher)
            }
            None => self.leave(hasher, bytes),
        };
        if let State::Left(_) = self.state {
            // Other blobs may have bytes, too.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Returns the digest of all bytes.
    ///
    /// # Errors
    /// The transfer was stopped.
    pub(super) async fn finish(mut self) -> Result<Digest> {
        Ok(self.settle().await?.finish())
    }

    fn leave(&self, mut hasher: Hasher, bytes: Bytes) -> State {
        let (back, receiver) = oneshot::channel();
        let Ok(mut left) = self.pairing.left.lock() else {
            hasher.update(&bytes);
            return State::Here(hasher);
        };
        // Another blob may have left something since this one looked.
        if left.is_some() {
            drop(left);
            hasher.update(&bytes);
            return State::Here(hasher);
        }
        *left = Some(Left { blob: self.blob, hasher, bytes, back });
        State::Left(receiver)
    }

    /// Returns the hasher of all bytes so far.
    async fn settle(&mut self) -> Result<Hasher> {
        match std::mem::replace(&mut self.state, State::Here(Hasher::default())) {
            State::Here(hasher) => Ok(hasher),
            State::Left(receiver) => {
                if let Some(mut own) = self.pairing.take_if(|left| left.blob == self.blob) {
                    own.hasher.update(&own.bytes);
                    return Ok(own.hasher);
                }
                let stopped = |_| Error::failed("the transfer was interrupted");
                receiver.await.map_err(stopped)
            }
        }
    }
}
