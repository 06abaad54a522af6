//! Files that somebody names: they may be devices that never end, or pipes that nobody writes to.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::{Error, IoContext as _, Result};

/// Reads a regular file of at most `limit` bytes; `what` is what it should hold.
///
/// # Errors
/// Anything but a regular file, one that is larger, or one that cannot be read.
pub fn read(what: &str, path: &Path, limit: usize) -> Result<Vec<u8>> {
    let action = format!("cannot read the {what}");
    let refuse = |why: String| Error::bad_input(format!("`{}` {why}", path.display()));
    // Without waiting: a pipe is not even open before somebody writes to it.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).on(&action, path)?;
    if !file.metadata().on(&action, path)?.is_file() {
        return Err(refuse(format!("is not a regular file, so it cannot hold the {what}")));
    }
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).on(&action, path)?;
    if bytes.len() > limit {
        return Err(refuse(format!("has more than {limit} bytes, too many for a {what}")));
    }
    Ok(bytes)
}
