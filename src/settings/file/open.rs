//! Finds the configuration file below the workspace and reads it.

use std::fs::Metadata;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::yaml;
use crate::beneath::Beneath;
use crate::error::describe_io;

/// The name of the file if the user names no other.
pub const NAME: &str = "ml-cache.yml";
/// The value of `config` that reads no file.
pub const NONE: &str = "none";
/// The largest accepted file, in bytes.
const MAX_BYTES: usize = 256 << 10;

/// Returns the path of the file relative to the workspace. `given` is the workspace as the user
/// spells it, `real` its real path.
pub(super) fn relative(value: &str, given: &Path, real: &Path) -> Result<String, &'static str> {
    let path = Path::new(value);
    let below = match path.is_absolute() {
        true => path
            .strip_prefix(real)
            .or_else(|_| path.strip_prefix(given))
            .map_err(|_| "it lies outside the workspace")?,
        false => path,
    };
    let mut names = Vec::new();
    for component in below.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_string_lossy()),
            _ => return Err("`..` is not allowed"),
        }
    }
    match names.is_empty() {
        true => Err("it names the workspace itself"),
        false => Ok(names.join("/")),
    }
}

/// Reads the file; `None` if there is no such file.
///
/// # Errors
/// The reason why the file cannot be used.
pub(super) fn read(root: &Beneath, path: &str) -> Result<Option<String>, String> {
    let (file, found) = match root.file_with_metadata(path, OFlags::RDONLY) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refusal(root, path, &error)),
    };
    if !is_ours(root, &found) {
        let why = "it belongs to another user, who is neither root nor the workspace's owner";
        return Err(why.to_owned());
    }
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("it cannot be read: {}", describe_io(&error)))?;
    if bytes.len() > MAX_BYTES {
        return Err(format!("it has more than {MAX_BYTES} bytes"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let place = yaml::end_of(&format!("{valid}?"));
            Err(format!("line {}, column {} is not UTF-8", place.line, place.column))
        }
    }
}

/// Returns whether nobody else chose the content. Other users may write into a shared directory,
/// such as `/tmp`.
fn is_ours(root: &Beneath, found: &Metadata) -> bool {
    let owner = found.uid();
    let of_root = root.look("").ok().flatten().map(|it| it.uid);
    owner == 0 || owner == rustix::process::geteuid().as_raw() || Some(owner) == of_root
}

/// Returns the reason why the file cannot be opened.
fn refusal(root: &Beneath, path: &str, error: &io::Error) -> String {
    match root.look(path) {
        Ok(Some(found)) if found.is_link() => "it is a link, and no link is followed".to_owned(),
        Ok(Some(found)) if found.is_dir() => "it is a directory".to_owned(),
        Ok(Some(found)) if !found.is_file() => "it is not a regular file".to_owned(),
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            "a directory above it is a link, and no link is followed".to_owned()
        }
        _ => format!("it cannot be opened: {}", describe_io(error)),
    }
}
