//! Uploads a model's blobs: hashes each blob once, and skips blobs that the store has.

use std::collections::{HashMap, HashSet};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::addressed::{Content, Shelf};
use super::chunks::{self, BlobPlan};
use super::throttle;
use super::tree::{Tree, TreeFile};
use crate::beneath::Beneath;
use crate::error::{Error, IoContext as _, Result};
use crate::format::BlobId;
use crate::format::manifest::{self, Manifest, Part};
use crate::progress::Progress;
use crate::stamp::Stamp;
use crate::store::{Payload, layout};

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

/// The end of an upload.
#[derive(Clone, Debug)]
pub enum Upload {
    /// Every byte is in the store. A file that was read may have changed since.
    Done(Uploaded),
    /// This file is not as it was when the tree was listed.
    Changed(String),
}

/// Uploads the bytes of all files of the tree, and makes the manifest.
///
/// # Errors
/// - The tree breaks a rule of the manifest. Then nothing is sent.
/// - A file cannot be read.
/// - The store cannot be written.
pub async fn upload(
    shelf: &Shelf,
    workspace: &Path,
    tree: Arc<Tree>,
    progress: &Arc<Progress>,
) -> Result<Upload> {
    let base = Beneath::open(workspace).on("cannot open", workspace)?;
    let plans =
        Arc::new(chunks::plan(tree.files.iter().map(|file| (file.path.as_str(), file.size))));
    let mut manifest = draft(&tree, &plans)?;
    let source = Arc::new(Source { base, tree, changed: Mutex::default() });
    let total: u64 = plans.iter().map(|plan| plan.size).sum();
    progress.begin("uploading", total);

    let begun: Arc<Mutex<HashSet<BlobId>>> = Arc::default();
    let task = |index: usize| {
        let (shelf, begun, progress) = (shelf.clone(), begun.clone(), progress.clone());
        let (source, plans, size) = (source.clone(), plans.clone(), plans[index].size);
        async move {
            let payload =
                joined(tokio::task::spawn_blocking(move || source.read(&plans[index])).await)??;
            let blob = BlobId::new(payload.digest);
            let first = begun.lock().map_or(true, |mut begun| begun.insert(blob));
            let content = Content::Bytes(payload.digest, size);
            let sent = first && shelf.keep(&layout::blob(&blob), &payload, content).await?;
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
    let result = throttle::for_each(all, task, finished).await;
    if let Some(path) = source.changed() {
        progress.end();
        return Ok(Upload::Changed(path));
    }
    result?;
    progress.end();
    name_blobs(&mut manifest, &plans, &ids)?;
    Ok(Upload::Done(Uploaded { manifest, sent_blobs, sent_bytes }))
}

fn joined<T>(result: std::result::Result<T, tokio::task::JoinError>) -> Result<T> {
    result.map_err(|error| Error::failed("the upload was interrupted").caused_by(error))
}

/// The files on disk, as the tree lists them.
struct Source {
    base: Beneath,
    tree: Arc<Tree>,
    /// A file that is not as it was when it was listed.
    changed: Mutex<Option<String>>,
}

impl Source {
    fn changed(&self) -> Option<String> {
        self.changed.lock().map_or(None, |changed| changed.clone())
    }

    fn read(&self, plan: &BlobPlan) -> Result<Payload> {
        let mut bytes = vec![0; plan.size as usize];
        let mut at = 0;
        for slice in &plan.slices {
            let file = &self.tree.files[slice.file];
            let end = at + slice.length as usize;
            self.read_slice(file, slice.offset, &mut bytes[at..end])?;
            at = end;
        }
        Ok(Payload::new(bytes))
    }

    /// Reads a slice of the file, if it is still the file of the tree.
    fn read_slice(&self, file: &TreeFile, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let path = Path::new(&file.path);
        let failed = |action: &str, error: &io::Error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::UnexpectedEof => {
                self.note_change(file)
            }
            // A link, a socket, or no regular file at all.
            _ => match error.raw_os_error().map(Errno::from_raw_os_error) {
                None | Some(Errno::LOOP | Errno::NXIO) => self.note_change(file),
                Some(_) => Error::io(action, path, error),
            },
        };
        // Another process may have put a link or a pipe in the file's place since the listing.
        let opened = self.base.file_with_metadata(&file.path, OFlags::RDONLY);
        let (opened, found) = opened.map_err(|error| failed("cannot open", &error))?;
        // Other times alone are no reason to stop: the content may be the same. The caller looks at
        // them after the last read.
        if !Stamp::of(&found).is_same_file(&file.stamp) {
            return Err(self.note_change(file));
        }
        opened.read_exact_at(bytes, offset).map_err(|error| failed("cannot read", &error))
    }

    fn note_change(&self, file: &TreeFile) -> Error {
        if let Ok(mut changed) = self.changed.lock() {
            changed.get_or_insert_with(|| file.path.clone());
        }
        Error::failed(format!("`{}` changed while it was saved", file.path))
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

    use std::time::Duration;

    use super::*;
    use crate::fingerprint::Patterns;
    use crate::format::Scope;
    use crate::lock::LockWait;
    use crate::store::local::LocalStore;
    use crate::store::{DynStore, Home};
    use crate::transfer::addressed::Occupied;
    use crate::transfer::tree;

    /// Uploads a model that changes after it was listed.
    fn upload_after(change: impl Fn(&Path)) -> (Result<Upload>, usize) {
        let place = tempfile::tempdir().unwrap();
        let (work, root) = (place.path().join("work"), place.path().join("store"));
        fs::create_dir_all(work.join("models")).unwrap();
        fs::write(work.join("models/a"), "one").unwrap();
        fs::write(place.path().join("secret"), "key").unwrap();
        let lock_wait = LockWait { limit: Duration::from_secs(60), tell: |_| () };
        let store: DynStore = Arc::new(LocalStore::open(&root, lock_wait).unwrap());
        let patterns = Patterns::parse("models/", &work).unwrap();
        let tree = Arc::new(tree::scan(&work, &patterns).unwrap());
        change(&work);
        let names = ("org/repo".parse().unwrap(), "m".parse().unwrap());
        let home = Home::of(&Scope::Trusted, &names.0, &names.1);
        let shelf = Shelf::new(store, home, false, Occupied::default());
        let progress = Arc::new(Progress::hidden());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let result = runtime.block_on(upload(&shelf, &work, tree, &progress));
        let blobs = fs::read_dir(root.join("v1/blobs")).map_or(0, Iterator::count);
        (result, blobs)
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
