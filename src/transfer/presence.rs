//! Checks that a model's blobs are all in the store, because a pointer to missing bytes is not a
//! hit.

use super::throttle;
use crate::error::Result;
use crate::format::BlobId;
use crate::format::manifest::Blob;
use crate::store::{DynStore, layout};

/// The numbers of a model's unusable blobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Blobs that the store does not have.
    pub absent: usize,
    /// Blobs whose object has another length or checksum.
    pub wrong: usize,
}

/// Looks at every blob without reading it.
///
/// # Errors
/// The store cannot be read.
pub async fn gaps(store: &DynStore, blobs: &[Blob]) -> Result<Gaps> {
    let task = |(blob, size): (BlobId, u64)| {
        let store = store.clone();
        async move {
            let found = match store.head(&layout::blob(&blob)).await? {
                None => Gaps { absent: 1, wrong: 0 },
                Some(meta) if meta.is(blob.digest(), size) => Gaps::default(),
                Some(_) => Gaps { absent: 0, wrong: 1 },
            };
            Ok((found, 0))
        }
    };
    let mut gaps = Gaps::default();
    let note = |found: Result<Gaps>| {
        let found = found?;
        gaps = Gaps { absent: gaps.absent + found.absent, wrong: gaps.wrong + found.wrong };
        Ok(())
    };
    let all = blobs.iter().map(|blob| ((blob.id, blob.size), 0)).collect();
    throttle::for_each(all, task, note).await?;
    Ok(gaps)
}
