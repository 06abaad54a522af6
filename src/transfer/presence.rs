//! Whether a model's blobs are all there: a pointer to missing bytes is no hit.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::throttle::Throttle;
use crate::error::{Error, Result};
use crate::format::manifest::Blob;
use crate::store::{DynStore, layout};

/// Returns the blobs that are missing or are visibly not what they should be.
///
/// # Errors
/// A store that could not be looked at.
pub async fn missing(store: &DynStore, blobs: &[Blob]) -> Result<Vec<Blob>> {
    let throttle = Arc::new(Throttle::default());
    let mut tasks: JoinSet<Result<Option<Blob>>> = JoinSet::new();
    let mut missing = Vec::new();
    let mut note = |result: std::result::Result<Result<Option<Blob>>, tokio::task::JoinError>| -> Result<()> {
        missing.extend(result.map_err(|error| Error::failed("the check was interrupted").caused_by(error))??);
        Ok(())
    };
    for blob in blobs {
        let permit = throttle.acquire(0).await?;
        while let Some(result) = tasks.try_join_next() {
            note(result)?;
        }
        let (store, throttle, blob) = (store.clone(), throttle.clone(), blob.clone());
        tasks.spawn(async move {
            let found = store.head(&layout::blob(&blob.digest)).await?;
            throttle.finished(permit, 0);
            Ok(if found.is_some_and(|meta| meta.is(&blob.digest, blob.size)) { None } else { Some(blob) })
        });
    }
    while let Some(result) = tasks.join_next().await {
        note(result)?;
    }
    missing.sort_unstable_by_key(|blob| blob.digest);
    Ok(missing)
}
