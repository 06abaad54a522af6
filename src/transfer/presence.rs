//! Whether a model's blobs are all there: a pointer to missing bytes is no hit.

use super::throttle;
use crate::error::Result;
use crate::format::BlobId;
use crate::format::manifest::Blob;
use crate::store::{DynStore, layout};

/// How many of a model's blobs cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// They are not there.
    pub absent: usize,
    /// Something of another length or checksum is there.
    pub wrong: usize,
}

/// Looks at every blob without reading it.
///
/// # Errors
/// A store that could not be looked at.
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
