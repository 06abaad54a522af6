//! Fetches a model, and verifies every blob before anybody can see its bytes.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::StreamExt as _;
use rustix::fs::OFlags;

use super::addressed::Shelf;
use super::pairing::{Arriving, Pairing};
use super::stage::{Destination, Stage};
use super::throttle::{self, Turn, Width};
use super::treatment::{self, Content, Fixed, Plan, Treatment};
use super::{AHEAD, unchanged};
use crate::error::{Error, IoContext as _, Kind, Result};
use crate::format::Digest;
use crate::format::manifest::{Blob, File, Manifest};
use crate::lock::LockWait;
use crate::progress::Progress;
use crate::retry::{Failure, Policy};
use crate::store::{self, Key, StoreError, StoreErrorKind, layout};

/// For blobs whose transfer breaks off or brings other bytes.
const RETRY: Policy = Policy { pause: Duration::from_millis(200), growth: 3.0, ..store::RETRY };
/// A blob that arrives damaged this many times is damaged in the store.
const DAMAGED: u32 = 3;

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

/// Opens and locks the destination of a restore.
///
/// # Errors
/// Any error of [`Destination::open`].
pub async fn open(destination: &Path, lock_wait: LockWait) -> Result<Destination> {
    let destination = destination.to_owned();
    blocking(move || Destination::open(&destination, lock_wait)).await
}

/// Makes the destination hold the model. Also returns the paths whose modes stay wrong, because the
/// file system permits no change.
///
/// The old files stay as they were until every blob is verified.
///
/// # Errors
/// - [`Kind::Integrity`]: stored bytes are missing, or they are not the saved bytes.
/// - Other kinds: the store or the file system fails.
pub async fn restore(
    shelf: &Shelf,
    manifest: Manifest,
    held: Destination,
    progress: &Arc<Progress>,
) -> Result<(Restored, Vec<String>)> {
    let manifest = Arc::new(manifest);
    let blobs = manifest.blobs();
    let (held, plan) = {
        let (manifest, blobs, progress) = (manifest.clone(), blobs.clone(), progress.clone());
        blocking(move || prepare(held, &manifest, &blobs, &progress)).await?
    };
    let Plan { treatments, odd_modes } = plan;
    let treatments = Arc::new(treatments);
    let writes = to_write(&manifest, &treatments).next().is_some()
        || manifest.links.iter().any(|link| !held.has_link(link))
        || manifest.dirs.iter().any(|dir| !held.has_directory(dir));
    let stage = Arc::new(Stage::create(held, writes)?);
    tokio::task::block_in_place(|| {
        to_write(&manifest, &treatments).try_for_each(|file| stage.allocate(file))
    })?;

    let wanted = needed(blobs, &treatments);
    let fetched_bytes = Blob::total(&wanted);
    progress.begin("downloading", fetched_bytes);
    let target = Target { stage: stage.clone(), treatments: treatments.clone() };
    let fetch = Fetch::new(shelf, &manifest, Some(target), progress);
    fetch.all(wanted, |result| result).await?;
    drop(fetch);
    progress.end();

    let mut stage =
        Arc::into_inner(stage).ok_or_else(|| Error::failed("the restore was interrupted"))?;
    tokio::task::block_in_place(|| {
        stage.finish(&manifest, |index| treatments[index].content == Content::Write)?;
        let files = manifest.files.iter().zip(&*treatments);
        stage.set_modes(files.filter(|(_, it)| it.sets_mode).map(|(file, _)| file))?;
        stage.promote(&manifest)
    })?;
    let fetched_files = to_write(&manifest, &treatments).count() as u64;
    let unchanged_files = manifest.files.len() as u64 - fetched_files;
    Ok((Restored { fetched_files, fetched_bytes, unchanged_files }, odd_modes))
}

/// Compares what is in place, and checks that the rest can be written.
fn prepare(
    mut held: Destination,
    manifest: &Manifest,
    blobs: &[Blob],
    progress: &Progress,
) -> Result<(Destination, Plan)> {
    let sized = held.check(manifest)?;
    let found = unchanged::files(manifest, blobs, sized, held.directory(), progress);
    let plan = treatment::plan(&held, manifest, found)?;
    held.spread(to_write(manifest, &plan.treatments).map(|file| file.path.as_str()))?;
    let links = manifest.links.iter().filter(|link| !held.has_link(link));
    let dirs = manifest.dirs.iter().filter(|dir| !held.has_directory(dir));
    let others: Vec<&str> =
        links.map(|link| link.path.as_str()).chain(dirs.map(String::as_str)).collect();
    held.spread(others)?;
    held.check_space(
        to_write(manifest, &plan.treatments).map(|file| (file.path.as_str(), file.size)),
    )?;
    Ok((held, plan))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::failed("the restore was interrupted").caused_by(error))?
}

/// Returns the files for which a new file takes the place.
fn to_write<'a>(
    manifest: &'a Manifest,
    treatments: &'a [Treatment],
) -> impl Iterator<Item = &'a File> {
    let files = manifest.files.iter().zip(treatments);
    files.filter(|(_, it)| it.content == Content::Write).map(|(file, _)| file)
}

/// Returns the blobs that hold a part of a file that is written or compared.
fn needed(blobs: Vec<Blob>, treatments: &[Treatment]) -> Vec<Blob> {
    let needed = |mut blob: Blob| {
        blob.uses.retain(|used| treatments[used.file].content != Content::Keep);
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
    let fetch = Fetch::new(shelf, &manifest, None, progress);
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
    fetch.all(blobs, judge).await?;
    progress.end();
    damage.sort();
    Ok(damage)
}

/// The files of a restore, and what it does with them.
struct Target {
    stage: Arc<Stage>,
    treatments: Arc<Vec<Treatment>>,
}

/// What the requests of a transfer share.
struct Fetch {
    shelf: Shelf,
    manifest: Arc<Manifest>,
    /// Where the bytes go. Without a target, they are only compared with their digest.
    target: Option<Target>,
    pairing: Arc<Pairing>,
    progress: Arc<Progress>,
}

impl Fetch {
    fn new(
        shelf: &Shelf,
        manifest: &Arc<Manifest>,
        target: Option<Target>,
        progress: &Arc<Progress>,
    ) -> Arc<Self> {
        let (shelf, manifest, progress) = (shelf.clone(), manifest.clone(), progress.clone());
        Arc::new(Self { shelf, manifest, target, pairing: Arc::default(), progress })
    }

    /// Reads blobs, and passes each result to `note`.
    async fn all(
        self: &Arc<Self>,
        blobs: Vec<Blob>,
        note: impl FnMut(Result<()>) -> Result<()>,
    ) -> Result<()> {
        let task = |blob: Blob, turn: Turn| {
            let fetch = self.clone();
            async move {
                let request = turn.begin().await?;
                fetch.blob(&blob).await?;
                request.moved(blob.size);
                Ok(())
            }
        };
        throttle::for_each(self.shelf.store(), Width::BLOBS, AHEAD, blobs, task, note).await
    }

    /// Reads a blob and compares its digest. With a target, it also writes or compares the blob's
    /// slices there.
    async fn blob(&self, blob: &Blob) -> Result<()> {
        let [shared, second] = self.shelf.names(&layout::blob(&blob.id));
        let damaged = AtomicU32::new(0);
        let attempt = || async {
            let first = match self.once(&shared, blob).await {
                Err(Miss::OfObject(failure)) => failure,
                Err(Miss::OfAll(failure)) => return Err(failure),
                Ok(()) => return Ok(()),
            };
            match self.once(&second, blob).await {
                Ok(()) => Ok(()),
                Err(Miss::OfAll(failure)) => Err(failure),
                Err(Miss::OfObject(_)) if damaged.fetch_add(1, Relaxed) + 1 >= DAMAGED => {
                    Err(first.why.into())
                }
                Err(Miss::OfObject(_)) => Err(first),
            }
        };
        RETRY.run(attempt).await
    }

    /// Reads the object under a name of the blob.
    async fn once(&self, key: &Key, blob: &Blob) -> std::result::Result<(), Miss> {
        let files = &self.manifest.files;
        let damaged = |reason: String| {
            let path = blob.uses.first().map_or("", |used| files[used.file].path.as_str());
            let damage = format!("`{key}`, a part of `{path}`, is damaged: {reason}");
            Miss::OfObject(Failure::passing(Error::integrity(damage).hint(
                "force a training, or remove that object from the store, and the next run trains \
                 and saves the model anew; nothing was restored",
            )))
        };
        let mut object = match self.shelf.store().get(key).await {
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
        let mut arrival = Arrival::new(self, blob);
        let mut at = 0_u64;
        while let Some(piece) = object.body.next().await {
            let piece = piece.map_err(|error| Failure::passing(Error::from(error)))?;
            at += piece.len() as u64;
            if at > blob.size {
                return Err(damaged(format!("it has more than {} bytes", blob.size)));
            }
            self.progress.advance(piece.len() as u64);
            arrival.take(&piece).await?;
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
        let (digest, writer) = arrival.end().await?;
        if digest != *blob.id.digest() {
            return Err(damaged(format!("its content has the digest {digest}")));
        }
        Ok(writer.map_or(Ok(()), Writer::end)?)
    }
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

/// Returns the error of a stored object that is there, but whose bytes cannot be used.
pub fn unusable(error: StoreError) -> Error {
    let told = Error::integrity(error.to_string());
    error.hint.into_iter().fold(told, Error::hint)
}

/// The bytes of a write and of a hash. A connection brings pieces of all sizes, which are copied:
/// the connection then reuses its memory, and pieces of one size are hashed well in pairs.
const PIECE: usize = 64 << 10;

/// A blob that is being read.
struct Arrival<'a> {
    writer: Option<Writer<'a>>,
    hash: Arriving,
    /// The number of bytes that are written, and the bytes after them.
    written: u64,
    gathered: Vec<u8>,
}

impl<'a> Arrival<'a> {
    fn new(fetch: &'a Fetch, blob: &'a Blob) -> Self {
        let target = fetch.target.as_ref();
        let writer = target.map(|target| Writer::new(target, &fetch.manifest, blob));
        Self { writer, hash: fetch.pairing.begin(), written: 0, gathered: Vec::new() }
    }

    /// Takes the next bytes.
    async fn take(&mut self, mut bytes: &[u8]) -> Result<()> {
        while let Some((next, rest)) = bytes.split_at_checked(PIECE - self.gathered.len()) {
            self.gather(next);
            self.pass().await?;
            bytes = rest;
        }
        self.gather(bytes);
        Ok(())
    }

    fn gather(&mut self, bytes: &[u8]) {
        if self.gathered.capacity() < PIECE && !bytes.is_empty() {
            self.gathered.reserve_exact(PIECE);
        }
        self.gathered.extend_from_slice(bytes);
    }

    async fn pass(&mut self) -> Result<()> {
        let bytes = std::mem::take(&mut self.gathered);
        if let Some(writer) = &mut self.writer {
            writer.write(self.written, &bytes)?;
        }
        self.written += bytes.len() as u64;
        // Hash the bytes while they are in the processor's cache.
        self.gathered = self.hash.update(bytes).await?;
        Ok(())
    }

    /// Writes the rest. Returns the digest of all bytes.
    async fn end(mut self) -> Result<(Digest, Option<Writer<'a>>)> {
        self.pass().await?;
        Ok((self.hash.finish().await?, self.writer))
    }
}

/// Writes the bytes of a blob to all files that use them, or compares them.
struct Writer<'a> {
    target: &'a Target,
    manifest: &'a Manifest,
    blob: &'a Blob,
    /// The last file written, kept open for the next piece.
    open: Option<(usize, std::fs::File)>,
    /// A file in place that cannot be replaced and has other bytes.
    differs: Option<(usize, Fixed)>,
}

impl<'a> Writer<'a> {
    fn new(target: &'a Target, manifest: &'a Manifest, blob: &'a Blob) -> Self {
        Self { target, manifest, blob, open: None, differs: None }
    }

    /// Fails if a file that cannot be replaced has other bytes.
    fn end(self) -> Result<()> {
        self.difference().map_or(Ok(()), Err)
    }

    /// Writes bytes that begin at `at` in the blob.
    fn write(&mut self, at: u64, piece: &[u8]) -> Result<()> {
        let end = at + piece.len() as u64;
        for used in &self.blob.uses {
            let from = used.blob_offset.max(at);
            let to = (used.blob_offset + used.length).min(end);
            if from >= to {
                continue;
            }
            let path = &self.manifest.files[used.file].path;
            let bytes = &piece[(from - at) as usize..(to - at) as usize];
            let offset = used.file_offset + (from - used.blob_offset);
            if let Content::Compare(fixed) = self.target.treatments[used.file].content {
                if !self.is_in_place(path, offset, bytes) {
                    self.differs = Some((used.file, fixed));
                }
                continue;
            }
            let file = match &self.open {
                Some((index, file)) if *index == used.file => file,
                _ => &self.open.insert((used.file, self.target.stage.open(path)?)).1,
            };
            file.write_all_at(bytes, offset).on("cannot write", Path::new(path))?;
        }
        Ok(())
    }

    fn is_in_place(&self, path: &str, offset: u64, bytes: &[u8]) -> bool {
        let mut found = vec![0; bytes.len()];
        let file = self.target.stage.destination().directory().file(path, OFlags::RDONLY);
        file.and_then(|file| file.read_exact_at(&mut found, offset)).is_ok() && found == bytes
    }

    /// Returns the error about a file that should be replaced and cannot.
    fn difference(&self) -> Option<Error> {
        let (file, fixed) = self.differs?;
        Some(fixed.error(self.target.stage.destination(), &self.manifest.files[file].path))
    }
}
