//! Uploads a model's blobs: hashes each blob once, and skips blobs that the store has.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::chunks::{self, BlobPlan};
use super::throttle;
use super::tree::Tree;
use crate::error::{Error, IoContext as _, Result, describe_io};
use crate::format::BlobId;
use crate::format::manifest::{self, Manifest, Part};
use crate::progress::Progress;
use crate::retry::Failure;
use crate::store::{self, Condition, DynStore, Key, Payload, StoreErrorKind, layout};

/// The result of an upload.
#[derive(Clone, Debug)]
pub struct Uploaded {
    /// The manifest of the uploaded files. The caller has to store it.
    pub manifest: Manifest,
    /// The number of blobs that the upload sent.
    pub sent_blobs: u64,
    /// The sum of their sizes in bytes.
    pub sent_bytes: u64,
}

/// Uploads the bytes of all files of the tree, and makes the manifest.
///
/// # Errors
/// - A file cannot be read.
/// - A file changes during the upload.
/// - The store cannot be written.
pub async fn upload(
    store: &DynStore,
    workspace: &Path,
    tree: &Tree,
    progress: &Arc<Progress>,
) -> Result<Uploaded> {
    let files: Arc<Vec<(PathBuf, u64)>> =
        Arc::new(tree.files.iter().map(|file| (workspace.join(&file.path), file.size)).collect());
    let plans =
        Arc::new(chunks::plan(tree.files.iter().map(|file| (file.path.as_str(), file.size))));
    let total: u64 = plans.iter().map(|plan| plan.size).sum();
    progress.begin("uploading", total);

    let begun: Arc<Mutex<HashSet<BlobId>>> = Arc::default();
    let task = |index: usize| {
        let (store, begun, progress) = (store.clone(), begun.clone(), progress.clone());
        let (files, plans, size) = (files.clone(), plans.clone(), plans[index].size);
        async move {
            let payload =
                joined(tokio::task::spawn_blocking(move || read(&files, &plans[index])).await)??;
            let blob = BlobId::new(payload.digest);
            let first = begun.lock().map_or(true, |mut begun| begun.insert(blob));
            let sent = first && put_addressed(&store, &layout::blob(&blob), payload).await?;
            progress.advance(size);
            Ok(((index, blob, sent), if sent { size } else { 0 }))
        }
    };
    let mut ids: HashMap<usize, BlobId> = HashMap::with_capacity(plans.len());
    let (mut sent_blobs, mut sent_bytes) = (0, 0);
    let finished = |result: Result<(usize, BlobId, bool)>| {
        let (index, blob, sent) = result?;
        ids.insert(index, blob);
        if sent {
            sent_blobs += 1;
            sent_bytes += plans[index].size;
        }
        Ok(())
    };
    let all = plans.iter().enumerate().map(|(index, plan)| (index, plan.size)).collect();
    throttle::for_each(all, task, finished).await?;
    progress.end();
    let manifest = assemble(tree, &plans, &ids)?;
    Ok(Uploaded { manifest, sent_blobs, sent_bytes })
}

fn joined<T>(result: std::result::Result<T, tokio::task::JoinError>) -> Result<T> {
    result.map_err(|error| Error::failed("the upload was interrupted").caused_by(error))
}

fn read(files: &[(PathBuf, u64)], plan: &BlobPlan) -> Result<Payload> {
    let mut bytes = vec![0; plan.size as usize];
    let mut at = 0;
    for slice in &plan.slices {
        let (path, size) = &files[slice.file];
        let file = File::open(path).on("cannot open", path)?;
        let changed = || {
            Error::failed(format!("`{}` changed while it was being saved", path.display()))
                .hint("save only after the training has ended")
        };
        if file.metadata().on("cannot look at", path)?.len() != *size {
            return Err(changed());
        }
        let end = at + slice.length as usize;
        file.read_exact_at(&mut bytes[at..end], slice.offset).map_err(|error| {
            match error.kind() {
                std::io::ErrorKind::UnexpectedEof => changed(),
                _ => Error::failed(format!(
                    "cannot read `{}`: {}",
                    path.display(),
                    describe_io(&error)
                )),
            }
        })?;
        at = end;
    }
    Ok(Payload::new(bytes))
}

/// Stores bytes under their content address, unless they are there. Returns whether it wrote them.
///
/// # Errors
/// The store cannot be written.
pub async fn put_addressed(store: &DynStore, key: &Key, payload: Payload) -> Result<bool> {
    match store.head(key).await? {
        Some(meta) if meta.is(&payload.digest, payload.bytes.len() as u64) => Ok(false),
        // Another length or checksum under a content address means damage or malice. A role that
        // may only create content cannot repair the object.
        Some(_) => put(store, key, payload, Condition::None).await.map_err(|error| {
            error.hint(format!(
                "remove `{key}` from the store and save again; it holds other bytes than its name \
                 says"
            ))
        }),
        None => put(store, key, payload, Condition::Absent).await,
    }
}

/// Writes an object. Returns `false` if [`Condition::Absent`] did not hold.
///
/// # Errors
/// The store cannot be written.
pub async fn put(
    store: &DynStore,
    key: &Key,
    payload: Payload,
    condition: Condition,
) -> Result<bool> {
    let attempt = || async {
        match store.put(key, payload.clone(), condition.clone()).await {
            Ok(_) => Ok(true),
            Err(error) => match error.kind {
                StoreErrorKind::Exists => Ok(false),
                // The store could not decide, or the bytes were damaged on the way.
                StoreErrorKind::Conflict | StoreErrorKind::Damaged => Err(Failure::passing(error)),
                _ => Err(error.into()),
            },
        }
    };
    Ok(store::RETRY.run(attempt).await?)
}

fn assemble(tree: &Tree, plans: &[BlobPlan], ids: &HashMap<usize, BlobId>) -> Result<Manifest> {
    let mut parts: Vec<Vec<Part>> = vec![Vec::new(); tree.files.len()];
    for (index, plan) in plans.iter().enumerate() {
        let blob = *ids.get(&index).ok_or_else(|| Error::failed("the upload was interrupted"))?;
        let mut offset = 0;
        for slice in &plan.slices {
            parts[slice.file].push(Part { blob, offset, length: slice.length });
            offset += slice.length;
        }
    }
    let files = tree
        .files
        .iter()
        .zip(parts)
        .map(|(file, parts)| manifest::File {
            path: file.path.clone(),
            size: file.size,
            mode: file.mode,
            parts,
        })
        .collect();
    Manifest::new(files, tree.links.clone(), tree.dirs.clone())
        .map_err(|error| Error::bad_input("cannot save the model").caused_by(error))
}
