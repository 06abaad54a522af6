//! Hashes the blobs of a save on all processors, and on each of them two at a time: that takes
//! little longer than one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::oneshot;

use super::source::Blob;
use super::throttle;
use crate::error::{Error, Result};
use crate::format::Hasher;
use crate::store::{Payload, Pieces, Source as _};

/// The blobs that wait, and the threads that hash.
#[derive(Default)]
pub(super) struct Hashing(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    threads: usize,
}

struct Job {
    source: Arc<Blob>,
    /// Whether the payload holds the bytes.
    keeps: bool,
    done: oneshot::Sender<Result<Payload>>,
}

impl Hashing {
    /// The number of blobs that keeps every processor busy: two of them in work, and the next.
    pub(super) fn at_once() -> usize {
        3 * throttle::cores()
    }

    /// Hashes a blob; with `keeps`, the payload holds its bytes.
    ///
    /// # Errors
    /// A file of the blob cannot be read, or has changed.
    pub(super) async fn hash(self: &Arc<Self>, source: Arc<Blob>, keeps: bool) -> Result<Payload> {
        let interrupted = || Error::failed("the upload was interrupted");
        let (done, result) = oneshot::channel();
        {
            let mut queue = self.0.lock().map_err(|_| interrupted())?;
            queue.waiting.push_back(Job { source, keeps, done });
            if queue.threads < throttle::cores() {
                queue.threads += 1;
                let shared = self.clone();
                tokio::task::spawn_blocking(move || shared.work());
            }
        }
        result.await.map_err(|_| interrupted())?
    }

    /// Hashes what waits, until nothing does.
    fn work(&self) {
        let mut lanes = [None, None];
        while self.fill(&mut lanes) {
            Lane::advance(&mut lanes);
        }
    }

    /// Takes what waits into the empty lanes. Returns `false` if all stay empty: then the thread
    /// is no longer counted.
    fn fill(&self, lanes: &mut [Option<Lane>; 2]) -> bool {
        if lanes.iter().all(Option::is_some) {
            return true;
        }
        let Ok(mut queue) = self.0.lock() else { return false };
        for lane in lanes.iter_mut().filter(|lane| lane.is_none()) {
            *lane = queue.waiting.pop_front().map(Lane::new);
        }
        let works = lanes.iter().any(Option::is_some);
        queue.threads -= usize::from(!works);
        works
    }
}

/// A blob that is being hashed.
struct Lane {
    job: Job,
    pieces: Pieces,
    /// What is not hashed yet of the last piece.
    piece: Bytes,
    hasher: Hasher,
    kept: BytesMut,
}

impl Lane {
    fn new(job: Job) -> Self {
        let kept = BytesMut::with_capacity(if job.keeps { job.source.size() as usize } else { 0 });
        let (pieces, piece, hasher) = (job.source.pieces(), Bytes::new(), Hasher::default());
        Self { job, pieces, piece, hasher, kept }
    }

    /// Hashes as many bytes of each blob as both have at hand, and takes away what has ended.
    fn advance(lanes: &mut [Option<Self>; 2]) {
        for lane in lanes.iter_mut() {
            *lane = lane.take().and_then(Self::read);
        }
        match lanes {
            [Some(left), Some(right)] => {
                let both = left.piece.len().min(right.piece.len());
                let (one, two) = (&left.piece[..both], &right.piece[..both]);
                Hasher::update_both((&mut left.hasher, one), (&mut right.hasher, two));
                left.piece.advance(both);
                right.piece.advance(both);
            }
            [Some(lane), None] | [None, Some(lane)] => {
                lane.hasher.update(&std::mem::take(&mut lane.piece));
            }
            [None, None] => {}
        }
    }

    /// Reads the next piece if there is none. At the end, it sends the result and returns nothing.
    fn read(mut self) -> Option<Self> {
        while self.piece.is_empty() {
            match self.pieces.next() {
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(error)) => {
                    // Whoever waited may have been stopped.
                    let _ = self.job.done.send(Err(error));
                    return None;
                }
                None => {
                    self.end();
                    return None;
                }
            }
            if self.job.keeps {
                self.kept.extend_from_slice(&self.piece);
            }
        }
        Some(self)
    }

    fn end(self) {
        let digest = self.hasher.finish();
        let payload = match self.job.keeps {
            true => Payload::with_digest(digest, self.kept.freeze()),
            false => Payload::of_source(digest, self.job.source),
        };
        let _ = self.job.done.send(Ok(payload));
    }
}
