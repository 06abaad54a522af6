//! Fetches a model, and verifies every blob before anybody can see its bytes.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

use super::addressed::Shelf;
use super::stage::{self, Destination, Stage};
use super::{throttle, unchanged};
use crate::beneath::Beneath;
use crate::error::{Error, IoContext as _, Kind, Result};
use crate::format::Hasher;
use crate::format::manifest::{Blob, File, Manifest};
use crate::lock::LockWait;
use crate::progress::Progress;
use crate::retry::{Failure, Policy};
use crate::store::{self, Key, StoreError, StoreErrorKind, layout};

/// For blobs whose transfer breaks off or brings other bytes.
const RETRY: Policy = Policy { attempts: 3, pause: Duration::from_millis(200), ..store::RETRY };

/// The result of a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The number of fetched files.
    pub fetched_files: u64,
    /// The sum of the fetched blobs' sizes in bytes. A blob may also hold parts of unchanged files.
    pub fetched_bytes: u64,
    /// The number of files that had the right bytes already.
    pub unchanged_files: u64,
}

/// Makes the destination hold the model.
///
/// The old files stay as they were until every blob is verified.
///
/// # Errors
/// - [`Kind::Integrity`]: stored bytes are missing, or they are not the saved bytes.
/// - Other kinds: the store or the file system fails.
pub async fn restore(
    shelf: &Shelf,
    manifest: Manifest,
    destination: &Path,
    lock_wait: LockWait,
    progress: &Arc<Progress>,
) -> Result<Restored> {
    let manifest = Arc::new(manifest);
    let blobs = manifest.blobs();
    stage::check(destination, &manifest)?;
    let (held, same) = {
        let (manifest, blobs, destination, progress) =
            (manifest.clone(), blobs.clone(), destination.to_owned(), progress.clone());
        tokio::task::spawn_blocking(move || {
            let mut held = Destination::open(&destination, lock_wait)?;
            let same = unchanged::files(&manifest, &blobs, held.directory(), &progress);
            held.spread(to_write(&manifest, &same).map(|file| file.path.as_str()))?;
            let links = manifest.links.iter().filter(|link| !held.has_link(link));
            let dirs = manifest.dirs.iter().filter(|dir| !held.has_directory(dir));
            let others: Vec<&str> =
                links.map(|link| link.path.as_str()).chain(dirs.map(String::as_str)).collect();
            held.spread(others)?;
            Ok::<_, Error>((held, same))
        })
        .await
        .map_err(|error| Error::failed("the restore was interrupted").caused_by(error))??
    };
    held.check_space(to_write(&manifest, &same).map(|file| (file.path.as_str(), file.size)))?;
    let stage = Arc::new(Stage::create(held)?);
    tokio::task::block_in_place(|| {
        to_write(&manifest, &same).try_for_each(|file| stage.allocate(file))
    })?;

    let wanted = needed(blobs, &same);
    let fetched_bytes = Blob::total(&wanted);
    progress.begin("downloading", fetched_bytes);
    let task = |blob: Blob| {
        let (shelf, manifest, stage, progress) =
            (shelf.clone(), manifest.clone(), stage.clone(), progress.clone());
        async move {
            fetch(&shelf, &manifest, &blob, Some(&stage), &progress).await?;
            Ok(((), blob.size))
        }
    };
    throttle::for_each(streamed(wanted), task, |result| result).await?;
    progress.end();

    let stage =
        Arc::into_inner(stage).ok_or_else(|| Error::failed("the restore was interrupted"))?;
    tokio::task::block_in_place(|| {
        stage.finish(&manifest, |index| !same[index])?;
        stage.promote(manifest.directory())?;
        let mut unchanged = manifest.files.iter().zip(&same).filter(|(_, same)| **same);
        let directory = Beneath::open(destination).on("cannot open", destination)?;
        unchanged.try_for_each(|(file, _)| {
            stage::set_mode(&directory, &file.path, file.mode)
                .on("cannot set the mode of", &destination.join(&file.path))
        })
    })?;
    let unchanged_files = same.iter().filter(|same| **same).count() as u64;
    Ok(Restored {
        fetched_files: manifest.files.len() as u64 - unchanged_files,
        fetched_bytes,
        unchanged_files,
    })
}

/// Returns the files that are changed or missing.
fn to_write<'a>(manifest: &'a Manifest, same: &'a [bool]) -> impl Iterator<Item = &'a File> {
    manifest.files.iter().zip(same).filter(|(_, same)| !**same).map(|(file, _)| file)
}

/// Returns the blobs that hold a part of a changed or missing file.
fn needed(blobs: Vec<Blob>, same: &[bool]) -> Vec<Blob> {
    let needed = |mut blob: Blob| {
        blob.uses.retain(|used| !same[used.file]);
        (!blob.uses.is_empty()).then_some(blob)
    };
    blobs.into_iter().filter_map(needed).collect()
}

/// Reads every blob, and returns a sentence about each missing or damaged blob.
///
/// # Errors
/// The store cannot be read.
pub async fn verify(
    shelf: &Shelf,
    manifest: Manifest,
    progress: &Arc<Progress>,
) -> Result<Vec<String>> {
    let manifest = Arc::new(manifest);
    let blobs = manifest.blobs();
    progress.begin("verifying", Blob::total(&blobs));
    let task = |blob: Blob| {
        let (shelf, manifest, progress) = (shelf.clone(), manifest.clone(), progress.clone());
        async move {
            fetch(&shelf, &manifest, &blob, None, &progress).await?;
            Ok(((), blob.size))
        }
    };
    let mut damage = Vec::new();
    if let Some(path) = manifest.reserved() {
        damage.push(format!("the manifest has the reserved path `{path}`, so no restore takes it"));
    }
    let judge = |result: Result<()>| match result {
        Err(error) if error.kind() == Kind::Integrity => {
            damage.push(error.to_string());
            Ok(())
        }
        other => other,
    };
    throttle::for_each(streamed(blobs), task, judge).await?;
    progress.end();
    damage.sort();
    Ok(damage)
}

/// Gives each blob 0 bytes of memory: its task writes the pieces as they arrive.
fn streamed(blobs: Vec<Blob>) -> Vec<(Blob, u64)> {
    blobs.into_iter().map(|blob| (blob, 0)).collect()
}

/// Reads a blob and compares its digest. With a stage, it also writes the blob's slices there.
async fn fetch(
    shelf: &Shelf,
    manifest: &Manifest,
    blob: &Blob,
    stage: Option<&Stage>,
    progress: &Progress,
) -> Result<()> {
    let [shared, second] = shelf.names(&layout::blob(&blob.id));
    let from = |name| fetch_once(shelf, name, manifest, blob, stage, progress);
    let attempt = || async {
        let first = match from(&shared).await {
            Err(Miss::OfObject(failure)) => failure,
            Err(Miss::OfAll(failure)) => return Err(failure),
            Ok(()) => return Ok(()),
        };
        match from(&second).await {
            Ok(()) => Ok(()),
            Err(Miss::OfAll(failure)) => Err(failure),
            Err(Miss::OfObject(_)) => Err(first),
        }
    };
    RETRY.run(attempt).await
}

/// The failure to read a blob.
enum Miss {
    /// The object is missing or wrong, or cannot be read. Another name may hold the blob.
    OfObject(Failure<Error>),
    /// The failure would be the same under another name.
    OfAll(Failure<Error>),
}

impl<E: Into<Failure<Error>>> From<E> for Miss {
    fn from(failure: E) -> Self {
        Self::OfAll(failure.into())
    }
}

/// Reads the object under a name of the blob.
async fn fetch_once(
    shelf: &Shelf,
    key: &Key,
    manifest: &Manifest,
    blob: &Blob,
    stage: Option<&Stage>,
    progress: &Progress,
) -> std::result::Result<(), Miss> {
    let damaged = |reason: String| {
        let path = blob.uses.first().map_or("", |used| manifest.files[used.file].path.as_str());
        let damage = format!("`{key}`, a part of `{path}`, is damaged: {reason}");
        Miss::OfObject(Failure::passing(Error::integrity(damage).hint(
            "force a training, or remove that object from the store, and the next run trains and \
             saves the model anew; nothing was restored",
        )))
    };
    let mut object = match shelf.store().get(key).await {
        Ok(object) => object,
        Err(error) if error.kind == StoreErrorKind::NotFound => {
            return Err(damaged("the store has no such object".to_owned()));
        }
        Err(error) if error.kind == StoreErrorKind::Unusable => {
            return Err(Miss::OfObject(unusable(error).into()));
        }
        Err(error) if error.kind.may_spare_others() => {
            return Err(Miss::OfObject(Error::from(error).into()));
        }
        Err(error) => return Err(Error::from(error).into()),
    };
    if let Some(found) = object.meta.size.filter(|found| *found != blob.size) {
        return Err(damaged(format!("it has {found} bytes instead of {}", blob.size)));
    }
    let mut writer = stage.map(|stage| Writer { stage, manifest, blob, open: None });
    let mut hasher = Hasher::default();
    let mut at = 0_u64;
    while let Some(piece) = object.body.next().await {
        let piece = piece.map_err(|error| Failure::passing(Error::from(error)))?;
        if at + piece.len() as u64 > blob.size {
            return Err(damaged(format!("it has more than {} bytes", blob.size)));
        }
        // Hash and write the piece while it is in the processor's cache.
        hasher.update(&piece);
        if let Some(writer) = &mut writer {
            writer.write(at, &piece)?;
        }
        at += piece.len() as u64;
        progress.advance(piece.len() as u64);
    }
    // Without an announced length, the object itself may be short.
    if at != blob.size && object.meta.size.is_none() {
        return Err(damaged(format!("it ends after {at} of {} bytes", blob.size)));
    }
    if at != blob.size {
        return Err(Miss::OfAll(Failure::passing(Error::failed(format!(
            "cannot read `{key}`: the transfer broke off after {at} of {} bytes",
            blob.size
        )))));
    }
    let digest = hasher.finish();
    if digest != *blob.id.digest() {
        return Err(damaged(format!("its content has the digest {digest}")));
    }
    Ok(())
}

/// Returns the error of a stored object that is there, but whose bytes cannot be used.
pub fn unusable(error: StoreError) -> Error {
    let hint = error.hint.clone();
    let hint = hint.unwrap_or_else(|| "remove that object from the store, and train again".into());
    Error::integrity(error.to_string()).hint(hint)
}

/// Writes pieces of a blob to all files that use them.
struct Writer<'a> {
    stage: &'a Stage,
    manifest: &'a Manifest,
    blob: &'a Blob,
    /// The last file written, kept open for the next piece.
    open: Option<(usize, std::fs::File)>,
}

impl Writer<'_> {
    fn write(&mut self, at: u64, piece: &[u8]) -> Result<()> {
        let end = at + piece.len() as u64;
        for used in &self.blob.uses {
            let from = used.blob_offset.max(at);
            let to = (used.blob_offset + used.length).min(end);
            if from >= to {
                continue;
            }
            let path = &self.manifest.files[used.file].path;
            let file = match &self.open {
                Some((index, file)) if *index == used.file => file,
                _ => &self.open.insert((used.file, self.stage.open(path)?)).1,
            };
            let bytes = &piece[(from - at) as usize..(to - at) as usize];
            file.write_all_at(bytes, used.file_offset + (from - used.blob_offset))
                .on("cannot write", Path::new(path))?;
        }
        Ok(())
    }
}
