//! The stored form of a manifest: small manifests as they are, large manifests compressed.
//!
//! The digest is always that of the plain text, so equal models keep equal digests. The text of a
//! large manifest is never in memory as a whole.

use std::io::{self, BufReader, Read, Write};

use serde::Serialize as _;
use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

use super::{MAX_BYTES, Manifest, SCHEMA, bad};
use crate::format::{FormatError, Hasher, ManifestId, strictly};

/// A manifest of more bytes than this is stored compressed.
pub const PACKED_ABOVE: u64 = 1 << 20;
/// The compressor's level: a higher level costs much time and saves little.
const LEVEL: i32 = 3;
/// The largest window of a stored frame, as a power of two. A larger window costs readers memory.
const WINDOW_LOG: u32 = 23;
const BUFFER: usize = 128 << 10;

/// A manifest, ready to be stored.
#[derive(Debug)]
pub struct Packed {
    /// The SHA-256 of the plain text.
    pub id: ManifestId,
    /// The length of the plain text in bytes.
    pub size: u64,
    /// The bytes to store.
    pub bytes: Vec<u8>,
    /// Whether these bytes are compressed: where `size` exceeds [`PACKED_ABOVE`].
    pub is_compressed: bool,
}

impl Manifest {
    /// Returns the bytes to store, and the name of the manifest.
    ///
    /// # Errors
    /// - The manifest exceeds [`MAX_BYTES`].
    /// - The compressor fails.
    pub fn pack(&self) -> Result<Packed, FormatError> {
        let mut packer = Packer::new();
        self.write(&mut packer)?;
        packer.finish().map_err(|error| bad(error.to_string()))
    }

    /// Returns the digest that names the manifest.
    ///
    /// # Errors
    /// Any error of [`Manifest::pack`].
    pub fn id(&self) -> Result<ManifestId, FormatError> {
        Ok(self.pack()?.id)
    }

    /// Checks that the manifest does not exceed [`MAX_BYTES`]. The names of the blobs may be
    /// unknown yet, because all of them have the same length.
    ///
    /// # Errors
    /// The manifest would exceed the limit.
    pub fn check_size(&self) -> Result<(), FormatError> {
        self.check_size_within(MAX_BYTES)
    }

    fn check_size_within(&self, limit: usize) -> Result<(), FormatError> {
        // Each byte of a path takes up to six bytes, and each entry has fewer than 200 others.
        let parts: usize = self.files.iter().map(|file| file.parts.len()).sum();
        let paths: usize = self.paths().map(str::len).sum();
        let targets: usize = self.links.iter().map(|link| link.target.len()).sum();
        let most = 6 * (paths + targets) + 200 * (self.paths().count() + parts + 1);
        match most <= limit {
            true => Ok(()),
            false => self.write(&mut Room(limit)),
        }
    }

    /// Decompresses stored bytes, compares them with digest and size, and reads them.
    ///
    /// # Errors
    /// - The text has another size or another digest. It is unpacked no further than `size`.
    /// - The text is not a manifest, or its entries break a rule of the format.
    pub fn unpack(stored: &[u8], id: &ManifestId, size: u64) -> Result<Self, FormatError> {
        let most = size.min(MAX_BYTES as u64);
        if measured(stored, id, most)? != size {
            return Err(bad(format!("its text has not {size} bytes")));
        }
        let text = BufReader::with_capacity(BUFFER, decoder(stored)?.take(size));
        let strictly::Object(manifest): strictly::Object<Self> =
            serde_json::from_reader(text).map_err(|error| bad(error.to_string()))?;
        if manifest.schema != SCHEMA {
            return Err(bad(format!("its schema is `{}`, not `{SCHEMA}`", manifest.schema)));
        }
        manifest.check()?;
        Ok(manifest)
    }

    fn write(&self, mut writer: &mut impl Write) -> Result<(), FormatError> {
        let mut serializer = serde_json::Serializer::new(&mut writer);
        self.serialize(&mut serializer).map_err(|error| match error.is_io() {
            true => bad(format!("it would have more than {MAX_BYTES} bytes")),
            false => bad(error.to_string()),
        })
    }
}

/// Returns the largest number of bytes that a compressed text of this size takes.
pub fn most_stored(size: u64) -> usize {
    let size = usize::try_from(size).map_or(MAX_BYTES, |size| size.min(MAX_BYTES));
    size + size / 128 + 1024
}

/// Returns the size of the plain text of a compressed manifest, after a look at its digest.
///
/// # Errors
/// - The text exceeds [`MAX_BYTES`].
/// - The text has another digest.
pub fn unpacked_size(stored: &[u8], id: &ManifestId) -> Result<u64, FormatError> {
    measured(stored, id, MAX_BYTES as u64)
}

/// Returns whether stored bytes unpack to the text of this digest and size. They are unpacked no
/// further than `size`.
pub fn holds(stored: &[u8], id: &ManifestId, size: u64) -> bool {
    measured(stored, id, size.min(MAX_BYTES as u64)).is_ok_and(|found| found == size)
}

fn measured(stored: &[u8], id: &ManifestId, most: u64) -> Result<u64, FormatError> {
    let mut text = decoder(stored)?.take(most + 1);
    let (mut hasher, mut size, mut buffer) = (Hasher::default(), 0, vec![0; BUFFER]);
    loop {
        let count = text.read(&mut buffer).map_err(|error| bad(error.to_string()))?;
        if count == 0 {
            break;
        }
        size += count as u64;
        if size > most {
            return Err(bad(format!("it unpacks to more than {most} bytes")));
        }
        hasher.update(&buffer[..count]);
    }
    let found = ManifestId::new(hasher.finish());
    match found == *id {
        true => Ok(size),
        false => Err(bad(format!("its content has the digest {found}"))),
    }
}

fn decoder(stored: &[u8]) -> Result<impl Read, FormatError> {
    let ready = || -> io::Result<_> {
        let mut decoder = Decoder::with_buffer(stored)?;
        decoder.window_log_max(WINDOW_LOG)?;
        Ok(decoder)
    };
    ready().map_err(|error| bad(error.to_string()))
}

/// Hashes a text, and compresses it as soon as it is large.
struct Packer {
    hasher: Hasher,
    /// The bytes that are hashed and compressed already.
    done: u64,
    /// The following bytes, at most [`PACKED_ABOVE`].
    buffer: Vec<u8>,
    encoder: Option<Encoder<'static, Vec<u8>>>,
}

impl Packer {
    fn new() -> Self {
        Self { hasher: Hasher::default(), done: 0, buffer: Vec::new(), encoder: None }
    }

    /// Hashes the buffer, and hands it to the compressor.
    fn spill(&mut self) -> io::Result<()> {
        self.done += self.buffer.len() as u64;
        if self.done > MAX_BYTES as u64 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.hasher.update(&self.buffer);
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(Encoder::new(Vec::new(), LEVEL)?),
        };
        encoder.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<Packed> {
        if self.encoder.is_some() {
            self.spill()?;
        }
        let (size, bytes) = match self.encoder {
            Some(encoder) => (self.done, encoder.finish()?),
            None => {
                self.hasher.update(&self.buffer);
                (self.buffer.len() as u64, self.buffer)
            }
        };
        let id = ManifestId::new(self.hasher.finish());
        Ok(Packed { id, size, bytes, is_compressed: size > PACKED_ABOVE })
    }
}

impl Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.buffer.len() + bytes.len()) as u64 > PACKED_ABOVE {
            self.spill()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Takes this many bytes, and keeps none.
struct Room(usize);

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::BlobId;
    use crate::format::manifest::{File, Mode, Part};

    /// Returns a manifest with this many files.
    fn manifest(count: usize) -> Manifest {
        let file = |number: usize| {
            let blob = BlobId::of(&(number / 1000).to_le_bytes());
            File {
                path: format!("models/part-{:04}/file-{number:07}.json", number / 1000),
                size: 2,
                mode: Mode::Regular,
                parts: vec![Part { blob, offset: 2 * (number as u64 % 1000), length: 2 }],
            }
        };
        Manifest::new((0..count).map(file).collect(), vec![], vec![]).unwrap()
    }

    #[test]
    fn a_large_manifest_is_compressed_and_keeps_its_digest() {
        for (count, is_compressed) in [(3, false), (5000, false), (20_000, true)] {
            let manifest = manifest(count);
            let plain = manifest.to_bytes().unwrap();
            let packed = manifest.pack().unwrap();
            assert_eq!(packed.id, ManifestId::of(&plain));
            assert_eq!(packed.id, manifest.id().unwrap());
            assert_eq!(packed.size, plain.len() as u64);
            assert_eq!(packed.is_compressed, is_compressed, "{count}");
            assert_eq!(plain.len() as u64 > PACKED_ABOVE, is_compressed, "{count}");
            if !is_compressed {
                assert_eq!(packed.bytes, plain);
                continue;
            }
            assert!(packed.bytes.len() < plain.len() / 4, "{}", packed.bytes.len());
            assert!(packed.bytes.len() < most_stored(packed.size));
            let read = Manifest::unpack(&packed.bytes, &packed.id, packed.size).unwrap();
            assert_eq!(read, manifest);
            assert_eq!(unpacked_size(&packed.bytes, &packed.id).unwrap(), packed.size);
        }
    }

    #[test]
    fn a_compressed_manifest_that_is_another_is_refused() {
        let Packed { id, size, bytes, .. } = manifest(20_000).pack().unwrap();
        let refused = |stored: &[u8], id: &ManifestId, size: u64, needle: &str| {
            let error = Manifest::unpack(stored, id, size).unwrap_err().to_string();
            assert!(error.contains(needle), "{error}");
        };
        refused(&bytes, &ManifestId::of(b"another"), size, "has the digest");
        refused(&bytes, &id, size - 1, "unpacks to more than");
        refused(&bytes, &id, size + 1, "has not");
        refused(&bytes[..bytes.len() / 2], &id, size, "");
        refused(b"", &id, size, "");
        // A few bytes that unpack to gigabytes are unpacked no further than the size.
        let bomb = zstd::bulk::compress(&vec![b' '; 64 << 20], LEVEL).unwrap();
        assert!(bomb.len() < 64 << 10);
        refused(&bomb, &id, 2 << 20, "unpacks to more than 2097152 bytes");
        // A frame may demand a large window of its reader.
        let mut encoder = Encoder::new(Vec::new(), LEVEL).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&vec![b' '; 64 << 20]).unwrap();
        refused(&encoder.finish().unwrap(), &id, size, "");
    }

    #[test]
    fn the_size_is_known_before_the_blobs() {
        let manifest = manifest(3);
        manifest.check_size().unwrap();
        let size = manifest.to_bytes().unwrap().len();
        manifest.check_size_within(size).unwrap();
        let error = manifest.check_size_within(size - 1).unwrap_err().to_string();
        assert!(error.contains("would have more than"), "{error}");
    }
}
