//! Git LFS stand-ins: small text files in place of the content that they name.
//!
//! Source: the Git LFS specification, docs/spec.md of git-lfs/git-lfs, "The Pointer".

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::ops::RangeInclusive;
use std::path::Path;

use crate::error::{IoContext as _, Result};
use crate::format::Digest;
use crate::regular_file;

/// A stand-in has fewer bytes than this.
pub const MAX_BYTES: u64 = 1024;
/// The sizes of the stand-ins that [`parse`] accepts: all but the digits of the size is fixed.
const SIZES: RangeInclusive<u64> = 126..=145;

const VERSION_LINE: &str = "version https://git-lfs.github.com/spec/v1";

/// Returns digest and size of the content that a stand-in names; `None` for any other file.
///
/// A stand-in with extension lines counts as an ordinary file. An extension changes the content
/// before it is stored, so the `oid` does not name the content that the work tree would hold.
pub fn parse(bytes: &[u8]) -> Option<(Digest, u64)> {
    if bytes.len() as u64 >= MAX_BYTES {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next()? != VERSION_LINE {
        return None;
    }
    let oid = lines.next()?.strip_prefix("oid sha256:")?;
    let size = lines.next()?.strip_prefix("size ")?;
    if lines.next().is_some() {
        return None;
    }
    let canonical =
        size == "0" || (!size.starts_with('0') && size.bytes().all(|byte| byte.is_ascii_digit()));
    if !canonical {
        return None;
    }
    Some((Digest::from_hex(oid).ok()?, size.parse().ok()?))
}

/// Returns whether a file of this size may be a stand-in.
pub fn may_be_stand_in(size: u64) -> bool {
    SIZES.contains(&size)
}

/// Returns whether the path leads to a stand-in. Only files of a fitting size are read.
///
/// # Errors
/// The file cannot be read.
pub fn is_stand_in(path: &Path) -> Result<bool> {
    match fs::metadata(path).is_ok_and(|it| it.is_file() && may_be_stand_in(it.len())) {
        true => holds_stand_in(path),
        false => Ok(false),
    }
}

/// Returns whether the file, whose size may be that of a stand-in, is a stand-in.
///
/// # Errors
/// The file cannot be read.
pub fn holds_stand_in(path: &Path) -> Result<bool> {
    // The path may lead to another file by now.
    let Some((mut file, found)) = regular_file::open(path).on("cannot open", path)? else {
        return Ok(false);
    };
    if !may_be_stand_in(found.len()) {
        return Ok(false);
    }
    // A file that shrinks meanwhile is read again by the save.
    let mut bytes = vec![0; found.len() as usize];
    match file.read_exact(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        read => read.on("cannot read", path).map(|()| parse(&bytes).is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OID: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

    #[test]
    fn the_example_of_the_specification_is_read() {
        let text = format!("{VERSION_LINE}\noid sha256:{OID}\nsize 12345\n");
        assert_eq!(parse(text.as_bytes()), Some((Digest::from_hex(OID).unwrap(), 12345)));
    }

    #[test]
    fn the_sizes_are_those_of_the_shortest_and_the_longest_stand_in() {
        for (size, length) in [(0, *SIZES.start()), (u64::MAX, *SIZES.end())] {
            let text = format!("{VERSION_LINE}\noid sha256:{OID}\nsize {size}\n");
            assert!(parse(text.as_bytes()).is_some());
            assert_eq!(text.len() as u64, length);
        }
    }

    #[test]
    fn near_misses_are_files() {
        for text in [
            String::new(),
            format!("{VERSION_LINE}\noid sha256:{OID}\nsize 12345"),
            format!("{VERSION_LINE}\r\noid sha256:{OID}\r\nsize 12345\r\n"),
            format!("{VERSION_LINE}\nsize 12345\noid sha256:{OID}\n"),
            format!("{VERSION_LINE}\noid sha256:{OID}\nsize 012\n"),
            format!("{VERSION_LINE}\noid sha256:{OID}\nsize +12\n"),
            format!("{VERSION_LINE}\noid sha256:{OID}\nsize 12\nzzz 1\n"),
            format!("{VERSION_LINE}\next-0-x sha256:{OID}\noid sha256:{OID}\nsize 12\n"),
            format!("{VERSION_LINE}\noid sha256:{}\nsize 12\n", OID.to_uppercase()),
            format!("{VERSION_LINE}\noid sha256:{OID}\nsize 12\n\n"),
            format!("version https://hawser.github.com/spec/v1\noid sha256:{OID}\nsize 12\n"),
            format!("{VERSION_LINE}\noid sha256:{OID}\nsize 99999999999999999999999\n"),
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        let long = format!("{VERSION_LINE}\noid sha256:{OID}\nsize 1\n{}", "x".repeat(1024));
        assert_eq!(parse(long.as_bytes()), None);
    }
}
