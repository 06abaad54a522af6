//! Zip archives in which every field may be a lie.
//!
//! Source: APPNOTE.TXT of PKWARE, 4.3.7 (local file header), 4.3.12 (central directory), 4.3.14 and
//! 4.3.16 (end of the central directory).

/// An entry. Its content is always stored uncompressed, whatever its method says.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    pub name: String,
    pub content: Vec<u8>,
    /// The general purpose bit flag; 1 means encryption.
    pub flags: u16,
    pub method: u16,
    /// Type and permissions, as Unix has them.
    pub mode: u32,
    /// The size in both headers; `None` for the true size.
    pub size: Option<u32>,
    /// The extra field of both headers, such as sizes for zip64.
    pub extra: Vec<u8>,
}

impl Entry {
    pub fn new(name: &str, content: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            content: content.to_vec(),
            mode: 0o100_644,
            ..Self::default()
        }
    }
}

/// Returns the extra field with sizes for zip64.
pub fn zip64_sizes(size: u64, packed: u64) -> Vec<u8> {
    [&1_u16.to_le_bytes()[..], &16_u16.to_le_bytes(), &size.to_le_bytes(), &packed.to_le_bytes()]
        .concat()
}

/// Writes an archive. Its end counts `count` entries; `None` for the true number.
pub fn archive(entries: &[Entry], count: Option<u16>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        let offset = bytes.len() as u32;
        let packed = entry.size.map_or(entry.content.len() as u32, |size| size);
        let mut common = Vec::new();
        for number in [45, entry.flags, entry.method, 0, 0x21] {
            common.extend_from_slice(&number.to_le_bytes());
        }
        for number in [crc32(&entry.content), packed, packed] {
            common.extend_from_slice(&number.to_le_bytes());
        }
        for length in [entry.name.len(), entry.extra.len()] {
            common.extend_from_slice(&(length as u16).to_le_bytes());
        }
        let names = [entry.name.as_bytes(), &entry.extra].concat();
        bytes.extend([&b"PK\x03\x04"[..], &common, &names, &entry.content].concat());
        // Made by Unix; no comment, first disk, no internal attributes.
        directory.extend([&b"PK\x01\x02\x2d\x03"[..], &common, &[0; 6]].concat());
        directory.extend_from_slice(&(entry.mode << 16).to_le_bytes());
        directory.extend([&offset.to_le_bytes()[..], &names].concat());
    }
    let count = count.unwrap_or(entries.len() as u16);
    let (start, length) = (bytes.len() as u32, directory.len() as u32);
    bytes.extend(directory);
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    bytes.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    bytes.extend([&length.to_le_bytes()[..], &start.to_le_bytes(), &[0; 2]].concat());
    bytes
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn an_honest_archive_is_read() {
    let honest = [Entry::new("other", b"x"), Entry::new("pointer.json", b"{\"a\":1}")];
    assert_eq!(ml_cache::github::archive::unpack(&archive(&honest, None)).unwrap(), b"{\"a\":1}");
}
