//! Uploads a model's blobs: hashes each blob once, and skips blobs that the store has.
//!
//! A blob is hashed first, and read again when its request sends it. So no blob is in memory, but
//! for a few packs of small files, whose second reading would cost more.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::addressed::{Content, Guess, Shelf};
use super::chunks::{self, BlobPlan};
use super::hashing::Hashing;
use super::source::{Blob, Files};
use super::throttle::{self, Turn, Width};
use super::tree::Tree;
use crate::error::{Error, Result};
use crate::format::BlobId;
use crate::format::manifest::{self, Manifest, Part};
use crate::progress::Progress;
use crate::store::{Source as _, layout};

/// The most bytes of packs in memory, whatever the size of the model.
const PACKS: usize = 16 << 20;

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

impl Uploaded {
    /// Returns what the store probably has of the documents of this model.
    pub fn guess(&self) -> Guess {
        if self.sent_blobs == 0 { Guess::There } else { Guess::New }
    }
}

/// The end of an upload.
#[derive(Clone, Debug)]
pub enum Upload {
    /// Every byte is in the store. A file that was read may have changed since.
    Done(Uploaded),
    /// This file is not as it was when the tree was listed.
    Changed(String),
}

/// The blobs that the store probably has, once a request has told them.
pub type Likely = Shared<BoxFuture<'static, Arc<HashSet<BlobId>>>>;

/// Returns the blobs that this future tells.
pub fn likely(told: impl Future<Output = Arc<HashSet<BlobId>>> + Send + 'static) -> Likely {
    told.boxed().shared()
}

/// Uploads the bytes of all files of the tree, and makes the manifest. It asks about the likely
/// blobs before it sends them, and hashes while they are not known yet.
///
/// # Errors
/// - The tree breaks a rule of the manifest. Then nothing is sent.
/// - A file cannot be read.
/// - The store cannot be written.
pub async fn upload(
    shelf: &Shelf,
    workspace: &Path,
    tree: Arc<Tree>,
    likely: &Likely,
    progress: &Arc<Progress>,
) -> Result<Upload> {
    let plans =
        Arc::new(chunks::plan(tree.files.iter().map(|file| (file.path.as_str(), file.size))));
    let mut manifest = draft(&tree, &plans)?;
    let files = Arc::new(Files::open(workspace, tree)?);
    progress.begin("uploading", plans.iter().map(|plan| plan.size).sum());

    let sender = Arc::new(Sender {
        shelf: shelf.clone(),
        files: files.clone(),
        plans: plans.clone(),
        hashing: Arc::default(),
        likely: likely.clone(),
        packs: Arc::new(Semaphore::new(PACKS)),
        begun: Mutex::default(),
        was_there: AtomicBool::default(),
        progress: progress.clone(),
    });
    let task = |index: usize, turn: Turn| {
        let sender = sender.clone();
        async move {
            let (blob, sent) = sender.send(index, turn).await?;
            Ok((index, blob, sent))
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
    // The processors hash while earlier blobs are on their way. Before anything is known, they hash
    // the blobs that a long line takes at once.
    let ahead = Hashing::at_once().max(Width::BLOBS.far());
    let all = (0..plans.len()).collect();
    let result = throttle::for_each(shelf.store(), Width::BLOBS, ahead, all, task, finished).await;
    if let Some(path) = files.changed() {
        progress.end();
        return Ok(Upload::Changed(path));
    }
    result?;
    progress.end();
    name_blobs(&mut manifest, &plans, &ids)?;
    Ok(Upload::Done(Uploaded { manifest, sent_blobs, sent_bytes }))
}

/// What the tasks of an upload share.
struct Sender {
    shelf: Shelf,
    files: Arc<Files>,
    plans: Arc<Vec<BlobPlan>>,
    hashing: Arc<Hashing>,
    likely: Likely,
    /// The bytes that packs in memory may still take.
    packs: Arc<Semaphore>,
    begun: Mutex<HashSet<BlobId>>,
    /// Whether the store had the last unknown blob: then it probably has the next one, too.
    was_there: AtomicBool,
    progress: Arc<Progress>,
}

impl Sender {
    /// Hashes a blob, and sends it unless the store has it. Returns its name, and whether it was
    /// sent.
    async fn send(&self, index: usize, turn: Turn) -> Result<(BlobId, bool)> {
        let source = Arc::new(Blob::new(self.files.clone(), self.plans.clone(), index));
        let size = source.size();
        let room = self.room_for(&source);
        let payload = self.hashing.hash(source.clone(), room.is_some()).await?;
        let blob = BlobId::new(payload.digest());
        if !self.begun.lock().map_or(true, |mut begun| begun.insert(blob)) {
            self.progress.advance(size);
            return Ok((blob, false));
        }
        let is_known = self.likely.clone().await.contains(&blob);
        let request = turn.begin().await?;
        let guess = match is_known || self.was_there.load(Ordering::Relaxed) {
            true => Guess::There,
            false => Guess::New,
        };
        let content = Content::Bytes(payload.digest(), size);
        let kept = self.shelf.keep(&layout::blob(&blob), &payload, content, guess).await;
        // The store may have refused bytes that changed after they were hashed.
        if kept.is_err() && !payload.is_intact() {
            source.note_change();
        }
        let sent = kept?;
        if !is_known {
            self.was_there.store(!sent, Ordering::Relaxed);
        }
        self.progress.advance(size);
        request.moved(if sent { size } else { 0 });
        drop(room);
        Ok((blob, sent))
    }

    /// Returns the room for a pack in memory, if there is any.
    fn room_for(&self, source: &Blob) -> Option<OwnedSemaphorePermit> {
        if !source.is_pack() {
            return None;
        }
        let size = u32::try_from(source.size()).ok()?;
        self.packs.clone().try_acquire_many_owned(size).ok()
    }
}

/// Makes the manifest without the names of its blobs, so that nothing is sent of a model that no
/// manifest can hold.
fn draft(tree: &Tree, plans: &[BlobPlan]) -> Result<Manifest> {
    let unknown = BlobId::of(b"");
    let mut counts: Vec<usize> = vec![0; tree.files.len()];
    for slice in plans.iter().flat_map(|plan| &plan.slices) {
        counts[slice.file] += 1;
    }
    let mut parts: Vec<Vec<Part>> = counts.into_iter().map(Vec::with_capacity).collect();
    for plan in plans {
        let mut offset = 0;
        for slice in &plan.slices {
            parts[slice.file].push(Part { blob: unknown, offset, length: slice.length });
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
        .and_then(|manifest| manifest.check_size().map(|()| manifest))
        .map_err(|error| {
            Error::bad_input("cannot save the model").caused_by(error).hint(
                "rename or remove files of the model, or exclude them with `!` lines in \
                 `model-path`",
            )
        })
}

/// Writes the names of the blobs into the manifest.
fn name_blobs(
    manifest: &mut Manifest,
    plans: &[BlobPlan],
    ids: &HashMap<usize, BlobId>,
) -> Result<()> {
    let mut named: Vec<usize> = vec![0; manifest.files.len()];
    for (index, plan) in plans.iter().enumerate() {
        let blob = *ids.get(&index).ok_or_else(|| Error::failed("the upload was interrupted"))?;
        for slice in &plan.slices {
            manifest.files[slice.file].parts[named[slice.file]].blob = blob;
            named[slice.file] += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use async_trait::async_trait;

    use super::*;
    use crate::fingerprint::Patterns;
    use crate::format::Scope;
    use crate::lock::LockWait;
    use crate::store::local::LocalStore;
    use crate::store::{
        Condition, DynStore, Home, Key, Meta, Object, Payload, Store, StoreError, Version,
    };
    use crate::transfer::addressed::Occupied;
    use crate::transfer::tree;

    /// A model of a file with the text `one`, and a store beside it.
    struct Scene {
        place: tempfile::TempDir,
        store: LocalStore,
    }

    impl Scene {
        fn new() -> Self {
            let place = tempfile::tempdir().unwrap();
            fs::create_dir_all(place.path().join("work/models")).unwrap();
            fs::write(place.path().join("work/models/a"), "one").unwrap();
            fs::write(place.path().join("secret"), "key").unwrap();
            let lock_wait = LockWait { limit: Duration::from_secs(60), tell: |_| () };
            let store = LocalStore::open(&place.path().join("store"), lock_wait).unwrap();
            Self { place, store }
        }

        /// Lists the model, changes it, and uploads it to this store. Returns the number of blobs,
        /// too.
        fn upload(
            self,
            change: impl Fn(&Path),
            store: impl Fn(&Path, LocalStore) -> DynStore,
        ) -> (Result<Upload>, usize) {
            let (work, root) = (self.place.path().join("work"), self.place.path().join("store"));
            let store = store(&work, self.store);
            let patterns = Patterns::parse("models/", &work).unwrap();
            let tree = Arc::new(tree::scan(&work, &patterns).unwrap());
            change(&work);
            let names = ("org/repo".parse().unwrap(), "m".parse().unwrap());
            let home = Home::of(&Scope::Trusted, &names.0, &names.1);
            let shelf = Shelf::new(store, home, false, Occupied::default());
            let progress = Arc::new(Progress::hidden());
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let likely = likely(std::future::ready(Arc::default()));
            let result = runtime.block_on(upload(&shelf, &work, tree, &likely, &progress));
            let blobs = fs::read_dir(root.join("v1/blobs")).map_or(0, |found| {
                found.map(|it| fs::read_dir(it.unwrap().path()).unwrap().count()).sum()
            });
            (result, blobs)
        }
    }

    /// Uploads a model that changes after it was listed.
    fn upload_after(change: impl Fn(&Path)) -> (Result<Upload>, usize) {
        Scene::new().upload(change, |_, store| Arc::new(store))
    }

    /// A store before whose writes somebody changes the model.
    #[derive(Debug)]
    struct Meddled {
        inner: LocalStore,
        work: PathBuf,
        change: fn(&Path),
        puts: Arc<AtomicUsize>,
    }

    #[async_trait]
    impl Store for Meddled {
        fn describe(&self) -> &str {
            self.inner.describe()
        }

        fn removal(&self, key: &Key) -> String {
            self.inner.removal(key)
        }

        async fn put(
            &self,
            key: &Key,
            payload: Payload,
            condition: Condition,
        ) -> std::result::Result<Version, StoreError> {
            self.puts.fetch_add(1, Ordering::SeqCst);
            (self.change)(&self.work.join("models/a"));
            self.inner.put(key, payload, condition).await
        }

        async fn check_writable(&self, key: &Key) -> std::result::Result<(), StoreError> {
            self.inner.check_writable(key).await
        }

        async fn get(&self, key: &Key) -> std::result::Result<Object, StoreError> {
            self.inner.get(key).await
        }

        async fn head(&self, key: &Key) -> std::result::Result<Option<Meta>, StoreError> {
            self.inner.head(key).await
        }
    }

    #[test]
    fn a_file_that_changes_after_its_hash_is_never_stored() {
        let changes: [fn(&Path); 3] = [
            |file| fs::write(file, "two").unwrap(),
            |file| fs::write(file, "").unwrap(),
            |file| fs::remove_file(file).unwrap_or_default(),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let puts = Arc::new(AtomicUsize::new(0));
            let counted = puts.clone();
            let (result, blobs) = Scene::new().upload(
                |_| {},
                |work, inner| {
                    let (work, puts) = (work.to_owned(), counted.clone());
                    Arc::new(Meddled { inner, work, change, puts })
                },
            );
            let is_told = matches!(&result, Ok(Upload::Changed(path)) if path == "models/a");
            assert!(is_told, "{index}: {result:?}");
            assert_eq!(blobs, 0, "{index}");
            assert_eq!(puts.load(Ordering::SeqCst), 1, "{index}: the same bytes fail again");
        }
    }

    #[test]
    fn another_file_in_place_of_a_listed_file_is_never_sent() {
        let file = |work: &Path| work.join("models/a");
        let changes: [&dyn Fn(&Path); 5] = [
            &|work| fs::write(file(work), "longer").unwrap(),
            &|work| fs::remove_file(file(work)).unwrap(),
            &|work| {
                fs::remove_file(file(work)).unwrap();
                std::os::unix::fs::symlink(work.join("../secret"), file(work)).unwrap();
            },
            &|work| {
                fs::rename(work.join("models"), work.join("old")).unwrap();
                fs::create_dir(work.join("models")).unwrap();
                fs::copy(work.join("../secret"), file(work)).unwrap();
            },
            &|work| {
                fs::remove_file(file(work)).unwrap();
                let made = std::process::Command::new("mkfifo").arg(file(work)).status();
                assert!(made.unwrap().success());
            },
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let (result, blobs) = upload_after(change);
            let is_told = matches!(&result, Ok(Upload::Changed(path)) if path == "models/a");
            assert!(is_told, "{index}: {result:?}");
            assert_eq!(blobs, 0, "{index}");
        }
        let (result, blobs) = upload_after(|_| {});
        assert!(matches!(result, Ok(Upload::Done(_))) && blobs == 1, "{result:?}");
    }
}
