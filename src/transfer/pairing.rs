//! Hashes blobs that arrive at the same time, two in one go: that takes little longer than one.
//!
//! A blob whose next bytes are there leaves them with its hasher, and goes on receiving. The next
//! blob with bytes hashes both. If none comes, the first takes its own back before its next bytes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

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
    bytes: Vec<u8>,
    back: oneshot::Sender<Hashed>,
}

/// A hasher of all bytes so far, and the room of the last of them.
type Hashed = (Hasher, Vec<u8>);

/// The hash of a blob that arrives.
pub(super) struct Arriving {
    pairing: Arc<Pairing>,
    blob: u64,
    state: State,
}

enum State {
    Here(Hashed),
    Left(oneshot::Receiver<Hashed>),
}

impl Pairing {
    /// Begins another blob.
    pub(super) fn begin(self: &Arc<Self>) -> Arriving {
        let blob = self.blobs.fetch_add(1, Ordering::Relaxed);
        Arriving { pairing: self.clone(), blob, state: State::Here(Hashed::default()) }
    }

    fn has(&self, blob: u64) -> bool {
        self.left.lock().is_ok_and(|left| left.as_ref().is_some_and(|left| left.blob == blob))
    }

    fn take_if(&self, matches: impl FnOnce(&mut Left) -> bool) -> Option<Left> {
        self.left.lock().ok()?.take_if(matches)
    }
}

impl Arriving {
    /// Appends bytes. Returns empty room for the next bytes.
    ///
    /// # Errors
    /// The transfer was stopped.
    pub(super) async fn update(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let (mut hasher, room) = self.settle().await?;
        let other = self.pairing.take_if(|_| true);
        let Some(mut other) = other else {
            self.state = self.leave(hasher, bytes);
            return Ok(room);
        };
        Hasher::update_both((&mut hasher, &bytes), (&mut other.hasher, &other.bytes));
        // The other blob may have been given up.
        let _ = other.back.send((other.hasher, emptied(other.bytes)));
        self.state = State::Here((hasher, room));
        Ok(emptied(bytes))
    }

    /// Returns the digest of all bytes.
    ///
    /// # Errors
    /// The transfer was stopped.
    pub(super) async fn finish(mut self) -> Result<Digest> {
        Ok(self.settle().await?.0.finish())
    }

    fn leave(&self, mut hasher: Hasher, bytes: Vec<u8>) -> State {
        match self.pairing.left.lock() {
            Ok(mut left) if left.is_none() => {
                let (back, receiver) = oneshot::channel();
                *left = Some(Left { blob: self.blob, hasher, bytes, back });
                State::Left(receiver)
            }
            // Another blob has left something since this one looked.
            _ => {
                hasher.update(&bytes);
                State::Here((hasher, emptied(bytes)))
            }
        }
    }

    /// Returns the hasher of all bytes so far.
    async fn settle(&mut self) -> Result<Hashed> {
        match std::mem::replace(&mut self.state, State::Here(Hashed::default())) {
            State::Here(hashed) => Ok(hashed),
            State::Left(receiver) => {
                // First, blobs whose bytes are there already take a turn: this one would go on
                // until its connection is empty, and hash its bytes alone.
                if self.pairing.has(self.blob) {
                    tokio::task::yield_now().await;
                }
                if let Some(mut own) = self.pairing.take_if(|left| left.blob == self.blob) {
                    own.hasher.update(&own.bytes);
                    return Ok((own.hasher, emptied(own.bytes)));
                }
                let stopped = |_| Error::failed("the transfer was interrupted");
                receiver.await.map_err(stopped)
            }
        }
    }
}

fn emptied(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.clear();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pieces_of_two_blobs_meet_though_each_has_all_its_bytes() {
        let pairing = Arc::new(Pairing::default());
        let (mut one, mut other) = (pairing.begin(), pairing.begin());
        let order = Mutex::new(Vec::new());
        let note = |what| order.lock().unwrap().push(what);
        let first = async {
            for (piece, name) in [(vec![1; 100], "one 1"), (vec![2; 100], "one 2")] {
                one.update(piece).await.unwrap();
                note(name);
            }
            one.finish().await.unwrap()
        };
        let second = async {
            other.update(vec![3; 100]).await.unwrap();
            note("other 1");
            other.finish().await.unwrap()
        };
        let (found, beside) = tokio::join!(first, second);
        assert_eq!(*order.lock().unwrap(), ["one 1", "other 1", "one 2"]);
        assert_eq!(found, Digest::of(&[[1; 100], [2; 100]].concat()));
        assert_eq!(beside, Digest::of(&[3; 100]));
    }
}
