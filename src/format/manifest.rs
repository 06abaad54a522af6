//! The manifest: it lists a model's files and the blobs that hold their bytes.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use super::{BlobId, FormatError, MAX_NUMBER, from_json, strictly, to_json};

mod link;
mod packed;

pub use packed::{PACKED_ABOVE, Packed, holds, most_stored, unpacked_size};

/// The schema name of version 1.
pub const SCHEMA: &str = "ml-cache/manifest/v1";
/// The largest number of files, links and empty directories together.
pub const MAX_ENTRIES: usize = 1_000_000;
/// The largest size of a manifest, in bytes.
pub const MAX_BYTES: usize = 512 << 20;
/// The largest size of a manifest that is stored as it is, in bytes.
pub const MAX_PLAIN_BYTES: usize = 64 << 20;
/// The beginning of the names of our own temporary files and directories. No model has such a name.
pub const RESERVED: &str = ".ml-cache-tmp-";

/// The list of a model's files, named by the SHA-256 of its bytes, so it never changes.
///
/// Source: docs/formats.md, "Manifest". [`Manifest::new`] and [`Manifest::parse`] guarantee this:
/// - Every path obeys [`check_path`], and every link obeys [`check_link`].
/// - The lists are in byte order of their paths.
/// - No path stands twice, and no path lies below a file, a link or an empty directory.
/// - The parts of a file add up to its size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    schema: String,
    /// The regular files, in byte order of their paths.
    #[serde(deserialize_with = "strictly::objects")]
    pub files: Vec<File>,
    /// The symbolic links, in byte order of their paths.
    #[serde(deserialize_with = "strictly::objects")]
    pub links: Vec<Link>,
    /// The empty directories, in byte order. The paths of files and links imply all other
    /// directories.
    pub dirs: Vec<String>,
}

/// A regular file of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The path relative to the workspace, with `/`.
    pub path: String,
    /// The length in bytes.
    pub size: u64,
    /// Whether the owner may execute the file. No other permission is kept.
    #[serde(deserialize_with = "strictly::word")]
    pub mode: Mode,
    /// The slices of blobs that make up the file, in order; empty for an empty file.
    #[serde(deserialize_with = "strictly::objects")]
    pub parts: Vec<Part>,
}

/// The two sets of permissions that a manifest can record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// `rw-r--r--`
    #[serde(rename = "644")]
    Regular,
    /// `rwxr-xr-x`
    #[serde(rename = "755")]
    Executable,
}

impl Mode {
    /// Returns the mode for permission bits: executable if the owner may execute the file (0100).
    pub fn of(bits: u32) -> Self {
        if bits & 0o100 == 0 { Self::Regular } else { Self::Executable }
    }

    /// Returns the permission bits that a restored file gets.
    pub fn bits(self) -> u32 {
        match self {
            Self::Regular => 0o644,
            Self::Executable => 0o755,
        }
    }
}

/// The next bytes of a file, as a slice of a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The blob that holds the slice.
    pub blob: BlobId,
    /// The offset of the slice in the blob, in bytes.
    pub offset: u64,
    /// The length of the slice in bytes, at least 1.
    pub length: u64,
}

/// A symbolic link of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The path of the link itself, relative to the workspace.
    pub path: String,
    /// The text of the link. It is relative and stays inside the tree; see [`check_link`].
    pub target: String,
}

/// A blob, and all places that its bytes belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The SHA-256 of the blob's bytes.
    pub id: BlobId,
    /// The length in bytes, as far as the parts of the files reach.
    pub size: u64,
    /// The slices that files use, in order of the files.
    pub uses: Vec<Use>,
}

impl Blob {
    /// Returns the sum of the blobs' sizes in bytes; [`u64::MAX`] if the sum is larger.
    pub fn total<'a>(blobs: impl IntoIterator<Item = &'a Self>) -> u64 {
        blobs.into_iter().fold(0, |sum, blob| blob.size.saturating_add(sum))
    }
}

/// A slice of a blob, and its place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The index of the file in [`Manifest::files`].
    pub file: usize,
    /// The offset in the file, in bytes.
    pub file_offset: u64,
    /// The offset in the blob, in bytes.
    pub blob_offset: u64,
    /// The length in bytes, at least 1.
    pub length: u64,
}

impl Manifest {
    /// Returns a manifest of these entries. The caller must sort each list by path bytes.
    ///
    /// # Errors
    /// The entries break a rule of the format.
    pub fn new(files: Vec<File>, links: Vec<Link>, dirs: Vec<String>) -> Result<Self, FormatError> {
        let manifest = Self { schema: SCHEMA.to_owned(), files, links, dirs };
        manifest.check()?;
        Ok(manifest)
    }

    /// Reads stored bytes, and checks every rule of the format.
    ///
    /// # Errors
    /// - The bytes exceed [`MAX_PLAIN_BYTES`].
    /// - The bytes are not JSON of this schema.
    /// - The entries break a rule of the format.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let strictly::Object(manifest): strictly::Object<Self> = from_json(
            "manifest",
            bytes,
            MAX_PLAIN_BYTES,
            &[SCHEMA],
            |found: &strictly::Object<Self>| &found.0.schema,
        )?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Returns the bytes to store. Their SHA-256 is the [`ManifestId`](super::ManifestId).
    ///
    /// # Errors
    /// The manifest exceeds [`MAX_BYTES`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        to_json("manifest", self, MAX_BYTES)
    }

    /// Returns the sum of the files' sizes in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Returns every blob once, in the order of first use.
    pub fn blobs(&self) -> Vec<Blob> {
        let mut index: HashMap<BlobId, usize> = HashMap::new();
        let mut blobs: Vec<Blob> = Vec::new();
        for (file, entry) in self.files.iter().enumerate() {
            let mut file_offset = 0;
            for part in &entry.parts {
                let at = *index.entry(part.blob).or_insert_with(|| {
                    blobs.push(Blob { id: part.blob, size: 0, uses: Vec::new() });
                    blobs.len() - 1
                });
                blobs[at].size = blobs[at].size.max(part.offset + part.length);
                blobs[at].uses.push(Use {
                    file,
                    file_offset,
                    blob_offset: part.offset,
                    length: part.length,
                });
                file_offset += part.length;
            }
        }
        blobs
    }

    /// Returns the deepest directory that holds all entries; empty if that is the workspace itself.
    pub fn directory(&self) -> &str {
        let parent = |path: &'_ str| path.rfind('/').map_or(0, |end| end);
        let mut paths = self.paths();
        let Some(first) = paths.next() else { return "" };
        let mut common = &first[..parent(first)];
        for path in paths {
            while !common.is_empty()
                && !path.strip_prefix(common).is_some_and(|rest| rest.starts_with('/'))
            {
                common = &common[..parent(common)];
            }
        }
        common
    }

    /// Returns pairs of paths that differ only in case, because some file systems cannot hold both.
    pub fn case_collisions(&self) -> Vec<(&str, &str)> {
        // A million lower-case copies would take too much memory, so the map has only their hashes.
        let count = self.files.len() + self.links.len() + self.dirs.len();
        let mut seen: HashMap<u64, &str> = HashMap::with_capacity(count);
        let mut found = Vec::new();
        let mut lower = String::new();
        for path in self.paths() {
            lower.clear();
            match path.is_ascii() {
                true => {
                    lower.push_str(path);
                    lower.make_ascii_lowercase();
                }
                false => lower.extend(lower_case(path)),
            }
            let mut hasher = DefaultHasher::new();
            lower.hash(&mut hasher);
            if let Some(earlier) = seen.insert(hasher.finish(), path)
                && lower_case(earlier).eq(lower_case(path))
            {
                found.push((earlier, path));
            }
        }
        found
    }

    /// Returns the paths of all files, links and empty directories, in this order.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let files = self.files.iter().map(|file| file.path.as_str());
        let links = self.links.iter().map(|link| link.path.as_str());
        files.chain(links).chain(self.dirs.iter().map(String::as_str))
    }

    fn check(&self) -> Result<(), FormatError> {
        if self.files.len() + self.links.len() + self.dirs.len() > MAX_ENTRIES {
            return Err(bad(format!("it lists more than {MAX_ENTRIES} entries")));
        }
        check_sorted("files", self.files.iter().map(|file| file.path.as_str()))?;
        check_sorted("links", self.links.iter().map(|link| link.path.as_str()))?;
        check_sorted("dirs", self.dirs.iter().map(String::as_str))?;

        self.check_paths()?;
        for link in &self.links {
            check_link(&link.path, &link.target).map_err(|reason| {
                bad(format!("link {:?} to {:?}: {reason}", link.path, link.target))
            })?;
        }
        for file in &self.files {
            let mut total: u64 = 0;
            for part in &file.parts {
                let end = part.offset.saturating_add(part.length);
                total = total.saturating_add(part.length);
                if part.length == 0 || end > MAX_NUMBER {
                    return Err(bad(format!("path {:?}: a part has no valid length", file.path)));
                }
            }
            if total != file.size {
                return Err(bad(format!(
                    "path {:?}: its parts have {total} bytes, not {}",
                    file.path, file.size
                )));
            }
        }
        self.files
            .iter()
            .try_fold(0_u64, |sum, file| sum.checked_add(file.size))
            .filter(|sum| *sum <= MAX_NUMBER)
            .map(|_| ())
            .ok_or_else(|| bad("its files together are too large"))
    }
}

/// Returns the letters of the path in lower case.
fn lower_case(path: &str) -> impl Iterator<Item = char> + '_ {
    path.chars().flat_map(char::to_lowercase)
}

/// Returns whether a component of the path has a name that is reserved for our own files.
pub fn is_reserved(path: &str) -> bool {
    path.split('/').any(|component| component.starts_with(RESERVED))
}

/// Returns the name of a stage of a restore, by a random number.
pub fn stage_name(number: u128) -> String {
    format!("{RESERVED}{number:032x}")
}

/// Returns whether a directory of this name is a stage of a restore.
pub fn is_stage(name: &str) -> bool {
    name.strip_prefix(RESERVED).is_some_and(|number| {
        number.len() == 32 && number.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn bad(reason: impl Into<String>) -> FormatError {
    FormatError::new("manifest", reason)
}

impl Manifest {
    /// Checks each path, and that no two entries can be in each other's place.
    fn check_paths(&self) -> Result<(), FormatError> {
        let mut names: Vec<Cow<'_, str>> =
            Vec::with_capacity(self.files.len() + self.links.len() + self.dirs.len());
        for path in self.paths() {
            check_path(path).map_err(|reason| bad(format!("path {path:?}: {reason}")))?;
            names.push(match is_nfc(path) {
                true => Cow::Borrowed(path),
                false => Cow::Owned(path.nfc().collect()),
            });
        }
        // No path has a NUL, which sorts before every other character. With NUL for `/`, each path
        // comes right before the paths below it. The names are almost in this order already, which
        // a stable sort makes use of.
        let order = |byte: u8| if byte == b'/' { 0 } else { byte };
        names.sort_by(|a, b| a.bytes().map(order).cmp(b.bytes().map(order)));
        for pair in names.windows(2) {
            match pair[1].strip_prefix(&*pair[0]) {
                Some("") => return Err(bad(format!("path {:?} is named twice", pair[1]))),
                Some(rest) if rest.starts_with('/') => {
                    let (above, below) = (&pair[0], &pair[1]);
                    return Err(bad(format!(
                        "path {below:?} lies below {above:?}, which is a file, a link or an empty \
                         directory"
                    )));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the first path with a reserved name. A save leaves such files out, and a restore
    /// refuses them.
    pub fn reserved(&self) -> Option<&str> {
        self.paths().find(|path| is_reserved(path))
    }
}

fn check_sorted<'a>(list: &str, paths: impl Iterator<Item = &'a str>) -> Result<(), FormatError> {
    let mut last: Option<&str> = None;
    for path in paths {
        if last.is_some_and(|last| last.as_bytes() >= path.as_bytes()) {
            return Err(bad(format!("`{list}` is not sorted by path bytes at {path:?}")));
        }
        last = Some(path);
    }
    Ok(())
}

/// Checks that a path stays inside the tree, and outside of `.git` and `.github`, which control CI.
///
/// # Errors
/// Returns the rule that the path breaks.
pub fn check_path(path: &str) -> Result<(), &'static str> {
    if path.len() > 4096 {
        return Err("it has more than 4096 bytes");
    }
    for component in path.split('/') {
        if component.eq_ignore_ascii_case(".git") || component.eq_ignore_ascii_case(".github") {
            return Err("a model must not contain `.git` or `.github`");
        }
        match component {
            "" => return Err("it is not a relative path with single slashes"),
            "." | ".." => return Err("it must not contain `.` or `..`"),
            _ if component.contains('\0') => return Err("it contains a NUL byte"),
            _ if component.len() > 255 => return Err("a component has more than 255 bytes"),
            _ => {}
        }
    }
    Ok(())
}

/// Checks that a link is relative and stays inside the tree.
///
/// `..` may stand only at the start of the target. After a name, `..` would climb from the place
/// that the name leads to, and the name may be another link.
///
/// # Errors
/// Returns the rule that the link breaks.
pub fn check_link(path: &str, target: &str) -> Result<(), &'static str> {
    if target.is_empty() || target.contains('\0') || target.len() > 4096 {
        return Err("the target is empty, has more than 4096 bytes or contains a NUL byte");
    }
    if target.starts_with('/') {
        return Err("the target must be relative");
    }
    let mut room = path.matches('/').count();
    let mut named = false;
    for component in target.split('/') {
        match component {
            ".." if named => return Err("`..` may stand only at the start of the target"),
            ".." => room = room.checked_sub(1).ok_or("the target lies outside the tree")?,
            "." | "" => {}
            _ if component.eq_ignore_ascii_case(".git")
                || component.eq_ignore_ascii_case(".github") =>
            {
                return Err("a link must not lead into `.git` or `.github`");
            }
            _ => named = true,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
