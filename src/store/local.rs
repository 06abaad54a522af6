//! The directory adapter: a store in a local or mounted directory.
//!
//! An object is a file. A `put` writes a temporary file in the store, syncs it, and renames it into
//! place.
//!
//! A conditional `put` locks one of 256 lock files while it checks and renames. So it is atomic
//! among the processes of one machine. The kernel releases the lock of a killed process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use rustix::fs::{Access, access};

use super::{Condition, Key, Meta, Object, Payload, Store, StoreError, StoreErrorKind, Version};
use crate::error::{Error, Result as MainResult, describe_io};
use crate::format::{Digest, Hasher};
use crate::ownership::Owner;
use crate::unfinished::Unfinished;

/// Bytes of one read.
const PIECE: usize = 256 << 10;
/// The directory of temporary files, below the root.
const INCOMING: &str = "incoming";
/// The largest object, in bytes, whose version is the digest of its content. Every register is
/// smaller.
const REGISTER: u64 = 128 << 10;

/// A store in a directory.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    description: String,
    owner: Owner,
}

impl LocalStore {
    /// Opens a store. The first `put` makes the directory.
    ///
    /// # Errors
    /// The path exists and is not a directory.
    pub fn open(root: &Path) -> MainResult<Self> {
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
        sweep(&root.join(INCOMING));
        Ok(Self {
            root: root.to_owned(),
            description: format!("file://{}", root.display()),
            owner: Owner::of(root),
        })
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.root.join(key.as_str())
    }

    fn lock(&self, key: &Key) -> io::Result<File> {
        let name = hex::encode(&Digest::of(key.as_str().as_bytes()).as_bytes()[..1]);
        let directory = self.root.join("locks");
        self.owner.make_directories(&directory)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(name))?;
        self.owner.adopt_file(&file)?;
        file.lock()?;
        Ok(file)
    }

    /// Locks the directory of temporary files, so that no other process sweeps it during a write.
    fn hold_incoming(&self, incoming: &Path) -> io::Result<File> {
        self.owner.make_directories(incoming)?;
        let held = File::open(incoming)?;
        match held.lock_shared() {
            // Some network file systems have no locks. There, `sweep` cannot lock either, so it
            // removes nothing.
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
            _ => Ok(held),
        }
    }

    fn put_blocking(
        &self,
        key: &Key,
        payload: &Payload,
        condition: &Condition,
    ) -> Result<Version, StoreError> {
        let failed = |error: io::Error| io_error("write", key, &error);
        let _unfinished = Unfinished::begin().map_err(failed)?;
        if Digest::of(&payload.bytes) != payload.digest {
            return Err(StoreError::new(
                StoreErrorKind::Damaged,
                "write",
                key,
                "the bytes do not match their digest",
            ));
        }
        let target = self.path(key);
        let parent = target.parent().unwrap_or(&self.root);
        let incoming = self.root.join(INCOMING);
        let _held = self.hold_incoming(&incoming).map_err(failed)?;
        self.owner.make_directories(parent).map_err(failed)?;
        let mut file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(&incoming)
            .map_err(failed)?;
        self.owner.adopt_file(file.as_file()).map_err(failed)?;
        file.write_all(&payload.bytes).map_err(failed)?;
        file.as_file().sync_data().map_err(failed)?;

        let _lock = match condition {
            Condition::None => None,
            _ => Some(self.lock(key).map_err(failed)?),
        };
        let found = self.meta_blocking(key, "write")?;
        match (condition, found) {
            (Condition::Absent, Some(_)) => {
                return Err(StoreError::new(
                    StoreErrorKind::Exists,
                    "write",
                    key,
                    "it exists already",
                ));
            }
            (Condition::Unchanged(version), found)
                if found.as_ref().map(|meta| &meta.version) != Some(version) =>
            {
                return Err(StoreError::new(
                    StoreErrorKind::Changed,
                    "write",
                    key,
                    "another process changed it meanwhile",
                ));
            }
            _ => {}
        }
        file.persist(&target).map_err(|error| failed(error.error))?;
        File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)?;
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
        let file = File::open(self.path(key)).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if !found.is_file() {
            return Err(StoreError::new(
                StoreErrorKind::Other,
                action,
                key,
                "it is not a regular file",
            ));
        }
        let version = version_of(&file, &found).map_err(failed)?;
        Ok((file, Meta { size: Some(found.size()), version, digest: None, archived: false }))
    }
}

#[async_trait]
impl Store for LocalStore {
    fn describe(&self) -> &str {
        &self.description
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
        let path = self.path(key);
        let nearest = path
            .ancestors()
            .skip(1)
            .find(|path| path.symlink_metadata().is_ok())
            .unwrap_or(&self.root);
        let failed = |error: io::Error| io_error("write", key, &error);
        if !fs::metadata(nearest).map_err(failed)?.is_dir() {
            return Err(failed(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        access(nearest, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| failed(error.into()))
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

/// Removes the temporary files of killed writers, unless a writer is active.
fn sweep(incoming: &Path) {
    if let Ok(held) = File::open(incoming)
        && held.try_lock().is_ok()
    {
        for entry in fs::read_dir(incoming).into_iter().flatten().flatten() {
            // If the file system refuses, the next process tries again.
            let _ = fs::remove_file(entry.path());
        }
    }
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
    let kind = match error.kind() {
        io::ErrorKind::NotFound => StoreErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StoreErrorKind::Denied
        }
        _ => StoreErrorKind::Other,
    };
    StoreError::new(kind, action, key, describe_io(error))
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
