//! Recognises files that have the manifest's bytes already, so that a restore need not fetch them.

use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::fs::OFlags;

use crate::beneath::{Beneath, Found};
use crate::format::Hasher;
use crate::format::manifest::{Blob, Manifest, Use};
use crate::progress::Progress;

const BUFFER: usize = 128 << 10;

/// What is in the place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InPlace {
    /// Nothing, as far as this process can see.
    Nothing,
    /// Anything but a regular file of the right size.
    Other,
    /// A regular file of the right size, whose bytes are not known to be right.
    Sized,
    /// The right bytes.
    Same,
}

impl InPlace {
    /// Judges by a look at the place of a file of this size.
    pub fn of(found: Option<Found>, size: u64) -> Self {
        match found {
            Some(found) if found.is_file() && found.size == size => Self::Sized,
            Some(_) => Self::Other,
            None => Self::Nothing,
        }
    }
}

/// Returns what is in the place of each file of the manifest, after a first look at the sizes.
///
/// The manifest has no digest of a single file in a pack. So such a file is recognised only
/// together with the rest of its pack. A file that cannot be read counts as changed.
pub fn files(
    manifest: &Manifest,
    blobs: &[Blob],
    candidates: Vec<InPlace>,
    destination: &Beneath,
    progress: &Progress,
) -> Vec<InPlace> {
    let is_candidate = |used: &Use| candidates[used.file] == InPlace::Sized;
    let concerned: Vec<&Blob> =
        blobs.iter().filter(|blob| blob.uses.iter().any(is_candidate)).collect();
    progress.begin("comparing", Blob::total(concerned.iter().copied()));
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(concerned.len());
    let found: Vec<Use> = thread::scope(|scope| {
        let work = || {
            let mut buffer = vec![0; BUFFER];
            let mut same = Vec::new();
            while let Some(blob) = concerned.get(next.fetch_add(1, Ordering::Relaxed)) {
                same.extend(matching_uses(manifest, blob, &candidates, destination, &mut buffer));
                progress.advance(blob.size);
            }
            same
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    progress.end();
    let mut covered = vec![0; manifest.files.len()];
    for used in found {
        covered[used.file] += used.length;
    }
    candidates
        .into_iter()
        .zip(manifest.files.iter().zip(covered))
        .map(|(candidate, (file, covered))| match candidate {
            InPlace::Sized if covered == file.size => InPlace::Same,
            other => other,
        })
        .collect()
}

/// Returns the uses of the blob whose local bytes have the blob's digest.
fn matching_uses(
    manifest: &Manifest,
    blob: &Blob,
    candidates: &[InPlace],
    destination: &Beneath,
    buffer: &mut [u8],
) -> Vec<Use> {
    let is_candidate = |used: &Use| candidates[used.file] == InPlace::Sized;
    let mut uses: Vec<Use> = blob.uses.iter().copied().filter(is_candidate).collect();
    uses.sort_by_key(|used| used.blob_offset);
    // A use of the whole blob needs no other file, so each is compared by itself.
    let (whole, slices): (Vec<Use>, Vec<Use>) =
        uses.into_iter().partition(|used| used.length == blob.size);
    let mut same: Vec<Use> = whole
        .into_iter()
        .filter(|used| is_blob(manifest, blob, &[*used], destination, buffer))
        .collect();
    let mut cover: Vec<Use> = Vec::new();
    let mut end = 0;
    for used in slices {
        if used.blob_offset == end {
            end += used.length;
            cover.push(used);
        }
    }
    if end == blob.size && !cover.is_empty() && is_blob(manifest, blob, &cover, destination, buffer)
    {
        same.extend(cover);
    }
    same
}

fn is_blob(
    manifest: &Manifest,
    blob: &Blob,
    slices: &[Use],
    destination: &Beneath,
    buffer: &mut [u8],
) -> bool {
    let mut hasher = Hasher::default();
    for used in slices {
        let path = &manifest.files[used.file].path;
        let Ok(file) = destination.file(path, OFlags::RDONLY) else {
            return false;
        };
        let mut at = used.file_offset;
        let mut left = used.length;
        while left > 0 {
            let piece = buffer.len().min(left as usize);
            if file.read_exact_at(&mut buffer[..piece], at).is_err() {
                return false;
            }
            hasher.update(&buffer[..piece]);
            at += piece as u64;
            left -= piece as u64;
        }
    }
    hasher.finish() == *blob.id.digest()
}
