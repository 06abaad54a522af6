//! Checks that a model's blobs are all in the store, because a pointer to missing bytes is not a
//! hit.

use super::AHEAD;
use super::addressed::{Content, Shelf};
use super::throttle::{self, Turn, Width};
use crate::error::Result as MainResult;
use crate::format::BlobId;
use crate::format::manifest::Blob;
use crate::store::{Key, StoreError, StoreErrorKind, layout};

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
pub async fn gaps(shelf: &Shelf, blobs: &[Blob]) -> MainResult<Gaps> {
    let task = |(blob, size): (BlobId, u64), turn: Turn| {
        let shelf = shelf.clone();
        async move {
            let request = turn.begin().await?;
            let found = gap(&shelf, &blob, size).await?;
            request.moved(0);
            Ok(found)
        }
    };
    let mut gaps = Gaps::default();
    let note = |found: MainResult<Gaps>| {
        let found = found?;
        gaps = Gaps { absent: gaps.absent + found.absent, wrong: gaps.wrong + found.wrong };
        Ok(())
    };
    throttle::for_each(shelf.store(), Width::LOOKS, AHEAD, sizes(blobs), task, note).await?;
    Ok(gaps)
}

/// Returns whether every blob is certainly in the store. It reads the blobs of which the store
/// keeps no SHA-256.
///
/// # Errors
/// The store cannot be read.
pub async fn is_proven(shelf: &Shelf, blobs: &[Blob]) -> MainResult<bool> {
    let task = |(blob, size): (BlobId, u64), turn: Turn| {
        let shelf = shelf.clone();
        async move {
            let request = turn.begin().await?;
            let content = Content::Bytes(*blob.digest(), size);
            let has = shelf.has(&layout::blob(&blob), content).await?;
            request.moved(size);
            Ok(has)
        }
    };
    let mut all = true;
    let note = |found: MainResult<bool>| {
        all &= found?;
        Ok(())
    };
    throttle::for_each(shelf.store(), Width::BLOBS, AHEAD, sizes(blobs), task, note).await?;
    Ok(all)
}

fn sizes(blobs: &[Blob]) -> Vec<(BlobId, u64)> {
    blobs.iter().map(|blob| (blob.id, blob.size)).collect()
}

/// Looks at the shared name of a blob, and where that object cannot be it, at the second name.
async fn gap(shelf: &Shelf, blob: &BlobId, size: u64) -> MainResult<Gaps> {
    let [shared, second] = shelf.names(&layout::blob(blob));
    let look = async |name: &Key| match shelf.store().head(name).await {
        Ok(None) => Ok(Some(Gaps::ABSENT)),
        Ok(Some(meta)) if meta.is(blob.digest(), size) => Ok(None),
        Ok(Some(_)) => Ok(Some(Gaps::WRONG)),
        Err(error) if error.kind == StoreErrorKind::Unusable => Ok(Some(Gaps::WRONG)),
        Err(error) if error.kind == StoreErrorKind::Denied => look_again(shelf, name, size).await,
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

/// Asks for an object whose look-up was denied. The answer to a look-up has no words. Only a read
/// tells whether the credentials may not read, or whether a key of KMS is missing for this object.
async fn look_again(shelf: &Shelf, name: &Key, size: u64) -> Result<Option<Gaps>, StoreError> {
    match shelf.store().get(name).await {
        Ok(object) if object.meta.size.is_none_or(|found| found == size) => Ok(None),
        Ok(_) => Ok(Some(Gaps::WRONG)),
        Err(error) => match error.kind {
            StoreErrorKind::NotFound => Ok(Some(Gaps::ABSENT)),
            StoreErrorKind::Unusable => Ok(Some(Gaps::WRONG)),
            _ => Err(error),
        },
    }
}
