//! The directory adapter: a store in a local or mounted directory.
//!
//! An object is a file. A `put` writes a temporary file in the store, syncs it, and renames it into
//! place.
//!
//! A conditional `put` locks one of 256 lock files while it checks and renames. So it is atomic
//! among the processes of one machine. The kernel releases the lock of a killed process.

mod place;

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use rustix::fs::{Access, AtFlags, OFlags, access};

use self::place::{Odd, Place};
use super::payload::unreadable;
use super::{
    Condition, Key, Meta, Object, Payload, Store, StoreError, StoreErrorKind, Version, layout,
};
use crate::beneath::{entries, look, look_at};
use crate::error::{Error, Result as MainResult, describe_io};
use crate::format::{Digest, Hasher};
use crate::lock::{self, LockWait, Sort};
use crate::shell::quoted;
use crate::unfinished::Unfinished;

/// Bytes of one read.
const PIECE: usize = 256 << 10;
/// The directory of temporary files, below the root.
const INCOMING: &str = "incoming";
/// The directory of lock files, below the root.
const LOCKS: &str = "locks";
/// The directories of an empty store.
const OWN: &[&str] = &[INCOMING, LOCKS, layout::ROOT];
/// Temporary files have random names between this beginning and this end.
const TEMPORARY: (&str, &str) = ("ml-cache-", ".part");
/// The largest object, in bytes, whose version is the digest of its content. Every register is
/// smaller.
const REGISTER: u64 = 128 << 10;

/// The bits of a mode that let the group or others write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A store in a directory.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    description: String,
    lock_wait: LockWait,
}

impl LocalStore {
    /// Opens a store. The first `put` makes the directory.
    ///
    /// # Errors
    /// The path exists and is not a directory.
    pub fn open(root: &Path, lock_wait: LockWait) -> MainResult<Self> {
        if fs::metadata(root).is_ok_and(|found| !found.is_dir()) {
            return Err(Error::bad_input(format!(
                "the store `{}` is not a directory",
                root.display()
            ))
            .hint(
                "set `store` to a directory that exists or that can be made, such as \
                 `file:///var/cache/ml-cache`",
            ));
        }
        // If the file system refuses, the next process tries again.
        let _ = Place::open(root).and_then(|place| sweep(&place));
        Ok(Self {
            root: root.to_owned(),
            description: format!("file://{}", root.display()),
            lock_wait,
        })
    }

    fn lock(&self, place: &Place, key: &Key) -> io::Result<File> {
        let name = hex::encode(&Digest::of(key.as_str().as_bytes()).as_bytes()[..1]);
        let directory = place.make(LOCKS)?;
        let file = match place::create(&directory, &name) {
            // Another user may have put a hard link to any file there, so it keeps its owner.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                place::open(&directory, &name, OFlags::WRONLY)?
            }
            created => {
                let created = created?;
                place.owner().adopt_file(&created)?;
                created
            }
        };
        self.lock_wait.lock(&file, Sort::Alone, &self.shown(&format!("{LOCKS}/{name}")))?;
        Ok(file)
    }

    /// Locks the directory of temporary files, so that no other process sweeps it during a write.
    fn hold(&self, incoming: &OwnedFd) -> io::Result<File> {
        let held = place::readable(incoming)?;
        match self.lock_wait.lock(&held, Sort::Shared, &self.shown(INCOMING)) {
            // Some network file systems have no locks. There, `sweep` cannot lock either, so it
            // removes nothing.
            Err(error) if !lock::are_missing(&error) => Err(error),
            _ => Ok(held),
        }
    }

    fn shown(&self, path: &str) -> String {
        format!("`{}`", self.root.join(path).display())
    }

    fn put_blocking(
        &self,
        key: &Key,
        payload: &Payload,
        condition: &Condition,
    ) -> Result<Version, StoreError> {
        let failed = |error: io::Error| io_error("write", key, &error);
        let _unfinished = Unfinished::begin().map_err(failed)?;
        let place = Place::make_root(&self.root).map_err(failed)?;
        place.claim(OWN).map_err(failed)?;
        let incoming = place.make(INCOMING).map_err(failed)?;
        let _held = self.hold(&incoming).map_err(failed)?;
        let (above, name) = parent_of(key);
        let parent = place.make(above).map_err(failed)?;
        let refused = |kind, reason: &str| Err(StoreError::new(kind, "write", key, reason));
        // Whatever has the name, it need not be readable.
        let is_taken = || look_at(&parent, name).map(|found| found.is_some()).map_err(failed);
        const TAKEN: &str = "it exists already";
        if *condition == Condition::Absent && is_taken()? {
            return refused(StoreErrorKind::Exists, TAKEN);
        }
        let mut new = Temporary::new(incoming).map_err(failed)?;
        place.owner().adopt_file(&new.file).map_err(failed)?;
        new.fill(key, payload)?;
        new.file.sync_data().map_err(failed)?;

        let _lock = match condition {
            Condition::None => None,
            _ => Some(self.lock(&place, key).map_err(failed)?),
        };
        match condition {
            Condition::Absent if is_taken()? => return refused(StoreErrorKind::Exists, TAKEN),
            Condition::None | Condition::Absent => {}
            Condition::Unchanged(version) => {
                let found = self.meta_blocking(key, "write")?;
                if found.as_ref().map(|meta| &meta.version) != Some(version) {
                    let why = "another process changed it meanwhile";
                    return refused(StoreErrorKind::Changed, why);
                }
            }
        }
        new.persist(&parent, name).map_err(failed)?;
        place::readable(&parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
        self.meta_blocking(key, "write")?.map(|meta| meta.version).ok_or_else(|| {
            StoreError::new(StoreErrorKind::Other, "write", key, "it vanished after the write")
        })
    }

    fn meta_blocking(&self, key: &Key, action: &'static str) -> Result<Option<Meta>, StoreError> {
        match self.open_blocking(key, action) {
            Ok((_, meta)) => Ok(Some(meta)),
            Err(error) if error.kind == StoreErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_blocking(&self, key: &Key, action: &'static str) -> Result<(File, Meta), StoreError> {
        let failed = |error: io::Error| io_error(action, key, &error);
        let place = Place::open(&self.root).map_err(failed)?;
        let (above, file) = place.file(key.as_str()).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        let version = version_of(&file, &found).map_err(failed)?;
        let above = rustix::fs::fstat(&above).map_err(|error| failed(error.into()))?;
        let is_ours = |uid, mode| place.owner().is(uid) && mode & WRITABLE_BY_OTHERS == 0;
        // Who may write in the directory may put a file there under another name.
        let ours = is_ours(found.uid(), found.mode()) && is_ours(above.st_uid, above.st_mode);
        Ok((file, Meta { size: Some(found.size()), version, digest: None, archived: false, ours }))
    }
}

#[async_trait]
impl Store for LocalStore {
    fn describe(&self) -> &str {
        &self.description
    }

    fn removal(&self, key: &Key) -> String {
        format!("rm {}", quoted(&self.root.join(key.as_str()).display().to_string()))
    }

    async fn put(
        &self,
        key: &Key,
        payload: Payload,
        condition: Condition,
    ) -> Result<Version, StoreError> {
        tokio::task::block_in_place(|| self.put_blocking(key, &payload, &condition))
    }

    async fn check_writable(&self, key: &Key) -> Result<(), StoreError> {
        let failed = |error: io::Error| io_error("write", key, &error);
        let place = match Place::open(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return check_missing(&self.root).map_err(failed);
            }
            opened => opened.map_err(failed)?,
        };
        place.check(OWN).map_err(failed)?;
        for path in [INCOMING, LOCKS, parent_of(key).0] {
            place.check_writable(path).map_err(failed)?;
        }
        Ok(())
    }

    async fn get(&self, key: &Key) -> Result<Object, StoreError> {
        let (mut file, meta) = tokio::task::block_in_place(|| self.open_blocking(key, "read"))?;
        let key = key.clone();
        let pieces = futures::stream::try_unfold(meta.size.unwrap_or_default(), move |left| {
            let read = tokio::task::block_in_place(|| {
                let mut buffer = vec![0; PIECE.min(left as usize)];
                let count = file.read(&mut buffer)?;
                buffer.truncate(count);
                Ok::<_, io::Error>(buffer)
            });
            let result = match read {
                Ok(piece) if piece.is_empty() => Ok(None),
                Ok(piece) => {
                    let left = left.saturating_sub(piece.len() as u64);
                    Ok(Some((Bytes::from(piece), left)))
                }
                Err(error) => Err(io_error("read", &key, &error)),
            };
            async { result }
        });
        Ok(Object { meta, body: pieces.boxed() })
    }

    async fn head(&self, key: &Key) -> Result<Option<Meta>, StoreError> {
        tokio::task::block_in_place(|| self.meta_blocking(key, "look up"))
    }
}

/// Returns the path of the directory above an object, and the object's name there.
fn parent_of(key: &Key) -> (&str, &str) {
    key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()))
}

/// Checks that this process may make the missing directory of a store.
fn check_missing(root: &Path) -> io::Result<()> {
    let nearest = root.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(root);
    if !fs::metadata(nearest)?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory));
    }
    Ok(access(nearest, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// A file that is not in place yet. It is removed when its owner drops it.
struct Temporary {
    incoming: OwnedFd,
    name: String,
    file: File,
}

impl Temporary {
    fn new(incoming: OwnedFd) -> io::Result<Self> {
        let (begin, end) = TEMPORARY;
        let name = format!("{begin}{:032x}{end}", rand::random::<u128>());
        let file = place::create(&incoming, &name)?;
        Ok(Self { incoming, name, file })
    }

    /// Returns whether a file of this name is a temporary file of a store.
    fn is_name(name: &str) -> bool {
        let (begin, end) = TEMPORARY;
        let random = name.strip_prefix(begin).and_then(|rest| rest.strip_suffix(end));
        random.is_some_and(|random| {
            random.len() == 32 && random.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    }

    /// Writes the payload, and compares its digest.
    fn fill(&mut self, key: &Key, payload: &Payload) -> Result<(), StoreError> {
        let mut hasher = Hasher::default();
        for piece in payload.pieces() {
            let piece = piece.map_err(|error| unreadable(key, &error))?;
            hasher.update(&piece);
            self.file.write_all(&piece).map_err(|error| io_error("write", key, &error))?;
        }
        if hasher.finish() == payload.digest() {
            return Ok(());
        }
        let why = "the bytes do not match their digest";
        Err(StoreError::new(StoreErrorKind::Damaged, "write", key, why))
    }

    /// Moves the file to its place, over any file there.
    fn persist(&self, parent: &OwnedFd, name: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.incoming, &self.name, parent, name)?)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Where the file is in place, its random name is gone.
        let _ = rustix::fs::unlinkat(&self.incoming, &self.name, AtFlags::empty());
    }
}

/// Removes the temporary files of killed writers, unless a writer is active. Nothing else is
/// removed, and nothing in a directory that is no store.
fn sweep(place: &Place) -> io::Result<()> {
    if !place.is_store()? {
        return Ok(());
    }
    let incoming = place.directory(INCOMING)?;
    let held = place::readable(&incoming)?;
    if held.try_lock().is_err() {
        return Ok(());
    }
    let names = entries(&incoming)?;
    for name in names.iter().filter(|name| name.to_str().is_ok_and(Temporary::is_name)) {
        if look(&incoming, name)?.is_some_and(|found| found.is_file()) {
            rustix::fs::unlinkat(&incoming, name.as_c_str(), AtFlags::empty())?;
        }
    }
    Ok(())
}

/// Returns the version of an object.
///
/// A small object may be a register. Its version is the digest of its content, because its nonce is
/// new for every write. Inode number and time can repeat within a clock tick, but a large object
/// never changes.
fn version_of(file: &File, found: &fs::Metadata) -> io::Result<Version> {
    let mut hasher = Hasher::default();
    if found.size() <= REGISTER {
        let mut bytes = vec![0; found.size() as usize];
        file.read_exact_at(&mut bytes, 0)?;
        hasher.update(&bytes);
    } else {
        for number in [
            found.dev(),
            found.ino(),
            found.mtime() as u64,
            found.mtime_nsec() as u64,
            found.size(),
        ] {
            hasher.update(&number.to_be_bytes());
        }
    }
    Ok(Version(hasher.finish().hex()))
}

fn io_error(action: &'static str, key: &Key, error: &io::Error) -> StoreError {
    let odd = error.get_ref().and_then(|inner| inner.downcast_ref::<Odd>());
    let kind = match error.kind() {
        _ if matches!(odd, Some(Odd::NotAStore)) => StoreErrorKind::NotAStore,
        _ if matches!(odd, Some(Odd::LinkedFile(_) | Odd::NotRegular | Odd::Forbidden)) => {
            StoreErrorKind::Unusable
        }
        io::ErrorKind::NotFound => StoreErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StoreErrorKind::Denied
        }
        _ => StoreErrorKind::Other,
    };
    let result = StoreError::new(kind, action, key, describe_io(error));
    match odd {
        Some(Odd::NotAStore) => {
            result.hint("set `store` to a directory that is empty, new, or a store already")
        }
        Some(Odd::Forbidden) => result.hint("let this user read the files of the store"),
        Some(Odd::Link(_) | Odd::LinkedFile(_)) => result.hint(
            "put the directory itself there; only the path of the store may lead through links",
        ),
        _ if error.kind() == io::ErrorKind::TimedOut => {
            result.hint("end the other process, or raise `lock-timeout`")
        }
        _ => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_objects_have_versions_by_content_large_ones_by_file() {
        let place = tempfile::tempdir().unwrap();
        let version = |name: &str, size: usize| {
            let path = place.path().join(name);
            fs::write(&path, vec![7; size]).unwrap();
            let file = File::open(path).unwrap();
            version_of(&file, &file.metadata().unwrap()).unwrap()
        };
        for (size, by_content) in [(0, true), (131_072, true), (131_073, false)] {
            assert_eq!(version("one", size) == version("other", size), by_content, "{size}");
        }
    }

    #[test]
    fn errors_of_the_file_system_are_told_apart() {
        let key = crate::store::layout::manifest(&crate::format::ManifestId::of(b""));
        for (error, kind) in [
            (io::ErrorKind::NotFound, StoreErrorKind::NotFound),
            (io::ErrorKind::PermissionDenied, StoreErrorKind::Denied),
            (io::ErrorKind::ReadOnlyFilesystem, StoreErrorKind::Denied),
            (io::ErrorKind::StorageFull, StoreErrorKind::Other),
        ] {
            assert_eq!(io_error("write", &key, &error.into()).kind, kind, "{error}");
        }
    }
}
