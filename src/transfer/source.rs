//! The files of a model as blobs to be read, each as often as its requests need it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::OFlags;
use rustix::io::{Errno, pread};

use super::chunks::{BlobPlan, Slice};
use super::tree::{Tree, TreeFile};
use crate::beneath::Beneath;
use crate::error::{Error, IoContext as _, Result};
use crate::stamp::Stamp;
use crate::store::{Pieces, Source};

/// The bytes of a piece: few enough for the processor's cache, and enough to wake the receiver
/// seldom. Each of many connections holds a piece or two.
const PIECE: u64 = 256 << 10;

/// The files on disk, as the tree lists them.
#[derive(Debug)]
pub(super) struct Files {
    base: Beneath,
    tree: Arc<Tree>,
    /// A file that is not as it was when it was listed.
    changed: Mutex<Option<String>>,
}

impl Files {
    pub(super) fn open(workspace: &Path, tree: Arc<Tree>) -> Result<Self> {
        let base = Beneath::open(workspace).on("cannot open", workspace)?;
        Ok(Self { base, tree, changed: Mutex::default() })
    }

    /// Returns the path of a file that is not as it was when it was listed.
    pub(super) fn changed(&self) -> Option<String> {
        self.changed.lock().map_or(None, |changed| changed.clone())
    }

    /// Opens a file, if it is still the file of the tree.
    fn file(&self, base: &Beneath, file: &TreeFile) -> Result<File> {
        // Another process may have put a link or a pipe in the file's place since the listing.
        let opened = base.next_file(&file.path, OFlags::RDONLY);
        let (opened, found) = opened.map_err(|error| self.failed("cannot open", file, &error))?;
        // Other times alone are no reason to stop: the content may be the same. The caller looks at
        // them after the last read.
        if !Stamp::of(&found).is_same_file(&file.stamp) {
            return Err(self.note_change(file));
        }
        Ok(opened)
    }

    fn failed(&self, action: &str, file: &TreeFile, error: &io::Error) -> Error {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::UnexpectedEof => {
                self.note_change(file)
            }
            // A link, a socket, or no regular file at all.
            _ => match error.raw_os_error().map(Errno::from_raw_os_error) {
                None | Some(Errno::LOOP | Errno::NXIO) => self.note_change(file),
                Some(_) => Error::io(action, Path::new(&file.path), error),
            },
        }
    }

    fn note_change(&self, file: &TreeFile) -> Error {
        if let Ok(mut changed) = self.changed.lock() {
            changed.get_or_insert_with(|| file.path.clone());
        }
        Error::failed(format!("`{}` changed while it was saved", file.path))
    }
}

/// A blob of the plan.
#[derive(Debug)]
pub(super) struct Blob {
    files: Arc<Files>,
    plans: Arc<Vec<BlobPlan>>,
    index: usize,
}

impl Blob {
    pub(super) fn new(files: Arc<Files>, plans: Arc<Vec<BlobPlan>>, index: usize) -> Self {
        Self { files, plans, index }
    }

    /// Returns whether the blob joins several files.
    pub(super) fn is_pack(&self) -> bool {
        self.plan().slices.len() > 1
    }

    /// Notes that a file of the blob has changed since it was hashed.
    pub(super) fn note_change(&self) {
        if let Some(slice) = self.plan().slices.first() {
            self.files.note_change(&self.files.tree.files[slice.file]);
        }
    }

    fn plan(&self) -> &BlobPlan {
        &self.plans[self.index]
    }
}

impl Source for Blob {
    fn size(&self) -> u64 {
        self.plan().size
    }

    fn pieces(&self) -> Pieces {
        Box::new(Reader {
            blob: Self::new(self.files.clone(), self.plans.clone(), self.index),
            slice: 0,
            at: 0,
            open: None,
            base: None,
        })
    }
}

/// Reads a blob piece by piece.
struct Reader {
    blob: Blob,
    /// The slice to read next, and how many of its bytes are read.
    slice: usize,
    at: u64,
    /// The file of this slice.
    open: Option<File>,
    /// The workspace. Each reader keeps the directory of its last file open.
    base: Option<Beneath>,
}

impl Reader {
    fn read(&mut self, slice: Slice) -> Result<Bytes> {
        let files = &self.blob.files;
        let listed = &files.tree.files[slice.file];
        let file = match self.open.take() {
            Some(file) => file,
            None => {
                let base = match self.base.take() {
                    Some(base) => base,
                    None => files.base.within("").on("cannot open", Path::new("."))?,
                };
                files.file(self.base.insert(base), listed)?
            }
        };
        let wanted = (slice.length - self.at).min(PIECE) as usize;
        let mut bytes = Vec::with_capacity(wanted);
        while bytes.len() < wanted {
            let offset = slice.offset + self.at + bytes.len() as u64;
            match pread(&file, spare_capacity(&mut bytes), offset) {
                Ok(0) => return Err(files.note_change(listed)),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(files.failed("cannot read", listed, &error.into())),
            }
        }
        // The vector may have had more room, and the file may be longer.
        bytes.truncate(wanted);
        self.at += wanted as u64;
        if self.at == slice.length {
            (self.slice, self.at) = (self.slice + 1, 0);
        } else {
            self.open = Some(file);
        }
        Ok(bytes.into())
    }
}

impl Iterator for Reader {
    type Item = Result<Bytes>;

    fn next(&mut self) -> Option<Result<Bytes>> {
        let slice = *self.blob.plan().slices.get(self.slice)?;
        let piece = self.read(slice);
        if piece.is_err() {
            self.slice = usize::MAX;
        }
        Some(piece)
    }
}
