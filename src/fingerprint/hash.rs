//! Hashes many files in parallel, and holds only a buffer of each in memory.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::lfs;
use crate::error::{Error, IoContext as _, Result};
use crate::format::{Hasher, InputEntry};
use crate::progress::Progress;
use crate::regular_file;
use crate::stamp::Stamp;

/// Bytes of one read: enough to need few calls, and few enough for the processor's cache.
const BUFFER: usize = 128 << 10;

/// A file that changes while it is read is read at most so many times.
const READS: u32 = 3;

/// The hashed files of a list.
#[derive(Debug, Default)]
pub struct Hashed {
    /// The entries, in the order of the list.
    pub entries: Vec<InputEntry>,
    /// The paths of the files that are Git LFS stand-ins, in the same order.
    pub stand_ins: Vec<String>,
}

/// Hashes the files in the given order. Up to 16 threads share the work.
///
/// # Errors
/// The error of the first file in this order that cannot be read.
pub fn entries(workspace: &Path, files: &[(String, u64)], progress: &Progress) -> Result<Hashed> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(files.len()).min(16);
    let next = AtomicUsize::new(0);
    let mut hashed: Vec<(usize, Result<(InputEntry, bool)>)> = thread::scope(|scope| {
        let work = || {
            let mut buffer = vec![0; BUFFER];
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some((path, _)) = files.get(index) else { return done };
                let result = entry(workspace, path, &mut buffer, progress);
                if result.is_err() {
                    // The caller returns the error, so no thread need hash another file.
                    next.store(files.len(), Ordering::Relaxed);
                }
                done.push((index, result));
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    hashed.sort_unstable_by_key(|(index, _)| *index);
    let mut stand_ins = Vec::new();
    let entry = |(_, result): (usize, Result<(InputEntry, bool)>)| {
        let (entry, is_stand_in) = result?;
        stand_ins.extend(is_stand_in.then(|| entry.path.clone()));
        Ok(entry)
    };
    // This reuses the memory of the list.
    let entries: Vec<InputEntry> = hashed.into_iter().map(entry).collect::<Result<_>>()?;
    if entries.len() != files.len() {
        return Err(Error::failed("cannot hash the inputs: a thread stopped early"));
    }
    Ok(Hashed { entries, stand_ins })
}

/// Returns the error about inputs that go on changing.
pub(super) fn changing(what: &str) -> Error {
    Error::failed(format!("{what} while the inputs were hashed"))
        .hint("let nothing write to `data-paths` or `training-paths` during this step")
}

/// Hashes a file, and again if it changes meanwhile. Returns its entry, and whether the file is a
/// Git LFS stand-in.
fn entry(
    workspace: &Path,
    path: &str,
    buffer: &mut [u8],
    progress: &Progress,
) -> Result<(InputEntry, bool)> {
    let full = workspace.join(path);
    let mut earlier = None;
    for _ in 0..READS {
        let Some((mut file, before)) = regular_file::open(&full).on("cannot open", &full)? else {
            earlier = None;
            continue;
        };
        let read = entry_once(&mut file, &full, path, buffer, progress)?;
        let after = file.metadata().on("cannot look at", &full)?;
        // Times may go on changing where the content does not.
        if Stamp::of(&after) == Stamp::of(&before) || earlier.as_ref() == Some(&read) {
            return Ok(read);
        }
        earlier = Some(read);
    }
    Err(changing(&format!("`{path}` changed")))
}

fn entry_once(
    file: &mut File,
    full: &Path,
    path: &str,
    buffer: &mut [u8],
    progress: &Progress,
) -> Result<(InputEntry, bool)> {
    let mut hasher = Hasher::default();
    let mut size = 0;
    let mut filled = 0;
    loop {
        let count = file.read(&mut buffer[filled..]).on("cannot read", full)?;
        size += count as u64;
        if count == 0 {
            // The buffer holds the whole of a small file, which may be a Git LFS stand-in.
            if let Some((digest, size)) = lfs::parse(&buffer[..filled]) {
                return Ok((InputEntry { path: path.to_owned(), digest, size }, true));
            }
            break;
        }
        hasher.update(&buffer[filled..filled + count]);
        progress.advance(count as u64);
        filled = if size < lfs::MAX_BYTES { filled + count } else { 0 };
    }
    Ok((InputEntry { path: path.to_owned(), digest: hasher.finish(), size }, false))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A pipe without a writer would keep the opening process for ever.
    #[test]
    fn an_input_that_became_a_pipe_is_told_at_once() {
        let place = tempfile::tempdir().unwrap();
        let pipe = place.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        symlink("pipe", place.path().join("link")).unwrap();
        for path in ["pipe", "link"] {
            let files = [(path.to_owned(), 4)];
            let error = entries(place.path(), &files, &Progress::hidden()).unwrap_err();
            assert!(error.to_string().contains(&format!("`{path}` changed")), "{error}");
        }
    }
}
