//! Whether a model's blobs are all there: a pointer to missing bytes is no hit.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::throttle::Throttle;
use crate::error::{Error, Result};
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
    let throttle = Arc::new(Throttle::default());
    let mut tasks: JoinSet<Result<Gaps>> = JoinSet::new();
    let mut gaps = Gaps::default();
    let mut note = |result: std::result::Result<Result<Gaps>, tokio::task::JoinError>| -> Result<()> {
        let found = result.map_err(|error| Error::failed("the check was interrupted").caused_by(error))??;
        gaps = Gaps { absent: gaps.absent + found.absent, wrong: gaps.wrong + found.wrong };
        Ok(())
    };
    let result: Result<()> = async {
        for blob in blobs {
            let permit = throttle.acquire(0).await?;
            while let Some(result) = tasks.try_join_next() {
                note(result)?;
            }
            let (store, throttle, digest, size) = (store.clone(), throttle.clone(), blob.digest, blob.size);
            tasks.spawn(async move {
                let found = store.head(&layout::blob(&digest)).await?;
                throttle.finished(permit, 0);
                Ok(match found {
                    None => Gaps { absent: 1, wrong: 0 },
                    Some(meta) if meta.is(&digest, size) => Gaps::default(),
                    Some(_) => Gaps { absent: 0, wrong: 1 },
                })
            });
        }
        while let Some(result) = tasks.join_next().await {
            note(result)?;
        }
        Ok(())
    }
    .await;
    // Nothing of it may go on once this returns, neither writing nor waiting.
    tasks.shutdown().await;
    result?;
    Ok(gaps)
}
