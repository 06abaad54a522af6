//! Checks that a model's blobs are all in the store, because a pointer to missing bytes is not a
//! hit.

use super::addressed::{Content, Shelf};
use super::throttle;
use crate::error::Result;
use crate::format::BlobId;
use crate::format::manifest::Blob;
use crate::store::{Key, StoreErrorKind, layout};

/// The numbers of a model's unusable blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Blobs that the store does not have.
    pub absent: usize,
    /// Blobs whose object has another length or checksum, or cannot be read.
    pub wrong: usize,
}

impl Gaps {
    /// One missing object.
    pub const ABSENT: Self = Self { absent: 1, wrong: 0 };
    /// One wrong object.
    pub const WRONG: Self = Self { absent: 0, wrong: 1 };
}

/// Looks at every blob without reading it.
///
/// # Errors
/// The store cannot be read.
pub async fn gaps(shelf: &Shelf, blobs: &[Blob]) -> Result<Gaps> {
    let task = |(blob, size): (BlobId, u64)| {
        let shelf = shelf.clone();
        async move { Ok((gap(&shelf, &blob, size).await?, 0)) }
    };
    let mut gaps = Gaps::default();
    let note = |found: Result<Gaps>| {
        let found = found?;
        gaps = Gaps { absent: gaps.absent + found.absent, wrong: gaps.wrong + found.wrong };
        Ok(())
    };
    throttle::for_each(sizes(blobs), task, note).await?;
    Ok(gaps)
}

/// Returns whether every blob is certainly in the store. It reads the blobs of which the store
/// keeps no SHA-256.
///
/// # Errors
/// The store cannot be read.
pub async fn is_proven(shelf: &Shelf, blobs: &[Blob]) -> Result<bool> {
    let task = |(blob, size): (BlobId, u64)| {
        let shelf = shelf.clone();
        async move {
            let content = Content::Bytes(*blob.digest(), size);
            Ok((shelf.has(&layout::blob(&blob), content).await?, 0))
        }
    };
    let mut all = true;
    let note = |found: Result<bool>| {
        all &= found?;
        Ok(())
    };
    throttle::for_each(sizes(blobs), task, note).await?;
    Ok(all)
}

fn sizes(blobs: &[Blob]) -> Vec<((BlobId, u64), u64)> {
    blobs.iter().map(|blob| ((blob.id, blob.size), 0)).collect()
}

/// Looks at the shared name of a blob, and where that object cannot be it, at the second name.
async fn gap(shelf: &Shelf, blob: &BlobId, size: u64) -> Result<Gaps> {
    let [shared, second] = shelf.names(&layout::blob(blob));
    let look = async |name: &Key| match shelf.store().head(name).await {
        Ok(None) => Ok(Some(Gaps::ABSENT)),
        Ok(Some(meta)) if meta.is(blob.digest(), size) => Ok(None),
        Ok(Some(_)) => Ok(Some(Gaps::WRONG)),
        Err(error) if error.kind == StoreErrorKind::Unusable => Ok(Some(Gaps::WRONG)),
        Err(error) => Err(error),
    };
    let first = match look(&shared).await {
        Ok(None) => return Ok(Gaps::default()),
        Err(error) if !error.kind.may_spare_others() => return Err(error.into()),
        first => first,
    };
    match (look(&second).await, first) {
        (Ok(None), _) => Ok(Gaps::default()),
        (Err(error), _) if !error.kind.may_spare_others() => Err(error.into()),
        (Ok(Some(Gaps::WRONG)), Ok(_)) => Ok(Gaps::WRONG),
        // A role without a right to the second names changes nothing.
        (_, first) => Ok(first?.unwrap_or_default()),
    }
}
