//! Reads files whose names come from outside. Such a path may lead to a device that never ends, or
//! to a pipe without a writer.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::{Error, IoContext as _, Result};

/// Opens a regular file for reading, and returns its metadata, too; `None` if the path leads to
/// something else.
///
/// # Errors
/// The file system refuses.
pub fn open(path: &Path) -> io::Result<Option<(File, Metadata)>> {
    // Without this flag, opening a pipe waits until another process opens it for writing.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    Ok(if found.is_file() { Some((file, found)) } else { None })
}

/// Reads a regular file of at most `limit` bytes; `what` names its content in messages.
///
/// # Errors
/// - The path is not a regular file.
/// - The file has more than `limit` bytes.
/// - The file cannot be read.
pub fn read(what: &str, path: &Path, limit: usize) -> Result<Vec<u8>> {
    let action = format!("cannot read the {what}");
    let refuse = |why: String| {
        Error::bad_input(format!("`{}` {why}", path.display()))
            .hint(format!("give the path of a file that holds the {what}"))
    };
    let Some((file, _)) = open(path).on(&action, path)? else {
        return Err(refuse(format!("is not a regular file, so it cannot hold the {what}")));
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).on(&action, path)?;
    if bytes.len() > limit {
        return Err(refuse(format!("has more than {limit} bytes, too many for a {what}")));
    }
    Ok(bytes)
}
