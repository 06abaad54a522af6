//! The zip around a pointer, which is an artifact of version 4.

use std::io::{Cursor, Read as _, Write as _};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::error::{Error, Result};
use crate::format::pointer;

/// The name of the file with the pointer.
pub const POINTER_FILE: &str = "pointer.json";
/// The largest accepted archive, in bytes. A pointer has at most [`pointer::MAX_BYTES`].
pub const MAX_BYTES: usize = 128 << 10;
/// The largest accepted number of entries. Only the pointer's entry counts.
const MAX_ENTRIES: usize = 16;
/// The bits of a Unix mode for the type of a file, and their value for a regular file. Source:
/// inode(7).
const FILE_TYPE: u32 = 0o170_000;
const REGULAR_FILE: u32 = 0o100_000;

/// Packs a pointer. Equal pointers give equal bytes.
///
/// # Errors
/// The packer fails.
pub fn pack(pointer: &[u8]) -> Result<Vec<u8>> {
    let failed =
        |error: zip::result::ZipError| Error::failed("cannot pack the pointer").caused_by(error);
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    archive.start_file(POINTER_FILE, options).map_err(failed)?;
    archive
        .write_all(pointer)
        .map_err(|error| Error::failed("cannot pack the pointer").caused_by(error))?;
    Ok(archive.finish().map_err(failed)?.into_inner())
}

/// Returns the bytes of the pointer in a foreign archive.
///
/// A bare JSON document counts too, because newer clients upload a single file without a zip.
///
/// # Errors
/// - The archive is too large, or it is no zip.
/// - The archive has too many entries, or several entries of the same name.
/// - The archive has no regular file of the pointer's name.
/// - The unpacked pointer is too large.
pub fn unpack(bytes: &[u8]) -> Result<Vec<u8>> {
    let refuse = |reason: String| Error::failed(format!("the artifact holds no pointer: {reason}"));
    if bytes.len() > MAX_BYTES {
        return Err(refuse(format!("it has {} bytes, the limit is {MAX_BYTES}", bytes.len())));
    }
    if bytes.first() == Some(&b'{') {
        return Ok(bytes.to_vec());
    }
    let mut archive =
        ZipArchive::new(Cursor::new(bytes)).map_err(|error| refuse(error.to_string()))?;
    if archive.len() > MAX_ENTRIES {
        return Err(refuse(format!(
            "it has {} entries, the limit is {MAX_ENTRIES}",
            archive.len()
        )));
    }
    // Other programs might read another entry of the same name.
    if archive.has_duplicate_names() {
        return Err(refuse("several of its entries have the same name".to_owned()));
    }
    let entry = archive.by_name(POINTER_FILE).map_err(|error| refuse(error.to_string()))?;
    let kind = entry.unix_mode().unwrap_or_default() & FILE_TYPE;
    if !entry.is_file() || !matches!(kind, 0 | REGULAR_FILE) {
        return Err(refuse(format!("`{POINTER_FILE}` is not a file")));
    }
    let mut pointer = Vec::new();
    entry
        .take(pointer::MAX_BYTES as u64 + 1)
        .read_to_end(&mut pointer)
        .map_err(|error| refuse(error.to_string()))?;
    if pointer.len() > pointer::MAX_BYTES {
        return Err(refuse(format!("it unpacks to more than {} bytes", pointer::MAX_BYTES)));
    }
    Ok(pointer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zip_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in files {
            archive.start_file(*name, SimpleFileOptions::default()).unwrap();
            archive.write_all(content).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    #[test]
    fn a_pointer_comes_back_and_packing_is_deterministic() {
        let packed = pack(b"{\"a\":1}").unwrap();
        assert_eq!(packed, pack(b"{\"a\":1}").unwrap());
        assert_eq!(unpack(&packed).unwrap(), b"{\"a\":1}");
        assert_eq!(unpack(b"{\"a\":1}").unwrap(), b"{\"a\":1}");
    }

    #[test]
    fn bombs_and_nonsense_are_refused() {
        let bomb = zip_of(&[(POINTER_FILE, vec![b' '; 50 << 20])]);
        assert!(bomb.len() < MAX_BYTES);
        assert!(unpack(&bomb).is_err());
        let many: Vec<(String, Vec<u8>)> = (0..40).map(|n| (format!("f{n}"), vec![])).collect();
        let many: Vec<(&str, Vec<u8>)> =
            many.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
        assert!(unpack(&zip_of(&many)).is_err());
        assert!(unpack(&zip_of(&[("../pointer.json", b"{}".to_vec())])).is_err());
        assert!(unpack(&zip_of(&[("other.json", b"{}".to_vec())])).is_err());
        assert!(unpack(b"PK\x03\x04 not really").is_err());
        assert!(unpack(&vec![b'{'; MAX_BYTES + 1]).is_err());
        assert!(unpack(b"").is_err());
    }
}
