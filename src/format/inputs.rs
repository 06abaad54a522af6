//! The lists of inputs, the fingerprint over them, and the document that explains a later change.

use std::collections::BTreeMap;
use std::io::Read as _;

use zstd::stream::read::Decoder;

use super::{Digest, Fingerprint, FormatError, Hasher, InputsId};

/// The first line of an inputs document.
pub const DOCUMENT_SCHEMA: &str = "ml-cache/inputs-document/v1";
/// The largest size of an uncompressed inputs document, in bytes.
pub const MAX_DOCUMENT_BYTES: usize = 512 << 20;

/// The largest window of a stored frame, as a power of two: the most that RFC 8878 asks of readers.
const WINDOW_LOG: u32 = 23;
const BUFFER: usize = 128 << 10;

/// One input file: a line of an inputs list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InputEntry {
    /// The path relative to the workspace, with `/`.
    pub path: String,
    /// The SHA-256 of the content; for a Git LFS stand-in, of the content that it names.
    pub digest: Digest,
    /// The length of the same content in bytes.
    pub size: u64,
}

impl InputEntry {
    /// Appends `sha256:<hex> <size> <path>\n`, with `\`, LF and CR in the path escaped.
    fn write_line(&self, out: &mut String) {
        out.push_str("sha256:");
        out.push_str(&self.digest.hex());
        out.push(' ');
        out.push_str(&self.size.to_string());
        out.push(' ');
        for c in self.path.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                c => out.push(c),
            }
        }
        out.push('\n');
    }

    fn parse_line(line: &str) -> Option<Self> {
        let (digest, rest) = line.strip_prefix("sha256:")?.split_once(' ')?;
        let (size, escaped) = rest.split_once(' ')?;
        let mut path = String::with_capacity(escaped.len());
        let mut chars = escaped.chars();
        while let Some(c) = chars.next() {
            path.push(match c {
                '\\' => match chars.next()? {
                    '\\' => '\\',
                    'n' => '\n',
                    'r' => '\r',
                    _ => return None,
                },
                c => c,
            });
        }
        Some(Self { path, digest: Digest::from_hex(digest).ok()?, size: size.parse().ok()? })
    }
}

/// Everything that the fingerprint covers. Source: docs/formats.md, "Inputs document".
///
/// Invariant: both lists are in byte order of their paths, and no path stands twice in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputsDocument {
    /// The files of `data-paths`.
    pub data: Vec<InputEntry>,
    /// The files of `training-paths`.
    pub training: Vec<InputEntry>,
    /// The values of `extra-key`, by name.
    pub extra: BTreeMap<String, String>,
}

/// The four hashes of an inputs document. Source: docs/formats.md, "Hashes and the fingerprint".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputDigests {
    /// The hash of the data list.
    pub data: Digest,
    /// The hash of the training list.
    pub training: Digest,
    /// The hash of the extra lines.
    pub extra: Digest,
    /// The hash of the three hashes above. It decides whether to train.
    pub fingerprint: Fingerprint,
}

impl InputsDocument {
    /// Computes the four hashes that docs/formats.md defines.
    pub fn digests(&self) -> InputDigests {
        let data = list_digest(&self.data);
        let training = list_digest(&self.training);
        let mut hasher = Hasher::default();
        hasher.update(b"ml-cache/extra/v1\n");
        for line in self.extra_lines() {
            hasher.update(line.as_bytes());
        }
        let extra = hasher.finish();
        let fingerprint = Fingerprint::of(
            format!(
                "ml-cache/fingerprint/v1\ndata {}\ntraining {}\nextra {}\n",
                data.hex(),
                training.hex(),
                extra.hex()
            )
            .as_bytes(),
        );
        InputDigests { data, training, extra, fingerprint }
    }

    /// Returns the document's text. [`InputsId`] is the SHA-256 of this text.
    pub fn to_text(&self) -> String {
        let mut text = format!("{DOCUMENT_SCHEMA}\n[data]\n");
        for entry in &self.data {
            entry.write_line(&mut text);
        }
        text.push_str("[training]\n");
        for entry in &self.training {
            entry.write_line(&mut text);
        }
        text.push_str("[extra]\n");
        for line in self.extra_lines() {
            text.push_str(&line);
        }
        text
    }

    /// Compresses the text into one Zstandard frame, the stored form.
    ///
    /// # Errors
    /// The compressor fails.
    pub fn compress(text: &str) -> Result<Vec<u8>, FormatError> {
        zstd::bulk::compress(text.as_bytes(), 3).map_err(|error| bad(error.to_string()))
    }

    /// Returns whether stored bytes unpack to the text of this digest and size. They are unpacked
    /// no further than `size`, and the text is never in memory as a whole.
    pub fn is_stored(stored: &[u8], id: &InputsId, size: u64) -> bool {
        let Ok(decoder) = decoder(stored) else { return false };
        let mut text = decoder.take(size.saturating_add(1));
        let (mut hasher, mut found, mut buffer) = (Hasher::default(), 0_u64, vec![0; BUFFER]);
        loop {
            match text.read(&mut buffer) {
                Ok(0) => return found == size && InputsId::new(hasher.finish()) == *id,
                Ok(count) => {
                    found += count as u64;
                    hasher.update(&buffer[..count]);
                }
                Err(_) => return false,
            }
        }
    }

    /// Decompresses stored bytes, compares them with the digest in their name, and reads them.
    ///
    /// `most` is the largest number of bytes to unpack, such as the size that a pointer names.
    /// [`MAX_DOCUMENT_BYTES`] is the limit in any case.
    ///
    /// # Errors
    /// - The text exceeds a limit.
    /// - The text has another digest than `id`.
    /// - The text is not an inputs document.
    pub fn parse(stored: &[u8], id: &InputsId, most: u64) -> Result<Self, FormatError> {
        let most = most.min(MAX_DOCUMENT_BYTES as u64);
        let decoder = decoder(stored)?;
        let mut bytes = Vec::new();
        decoder.take(most + 1).read_to_end(&mut bytes).map_err(|error| bad(error.to_string()))?;
        if bytes.len() as u64 > most {
            return Err(bad(format!("it unpacks to more than {most} bytes")));
        }
        if InputsId::of(&bytes) != *id {
            return Err(bad(format!("its text has another digest than {id}")));
        }
        let text = String::from_utf8(bytes).map_err(|_| bad("it is not UTF-8"))?;
        Self::parse_text(&text)
    }

    fn parse_text(text: &str) -> Result<Self, FormatError> {
        let mut lines = text.split_terminator('\n');
        if lines.next() != Some(DOCUMENT_SCHEMA) {
            return Err(bad(format!("its first line is not `{DOCUMENT_SCHEMA}`")));
        }
        let mut document = Self::default();
        let mut section = "";
        for line in lines {
            match (section, line) {
                ("", "[data]") | ("[data]", "[training]") | ("[training]", "[extra]") => {
                    section = line
                }
                ("[data]" | "[training]", line) => {
                    let entry = InputEntry::parse_line(line)
                        .ok_or_else(|| bad(format!("cannot read the line {line:?}")))?;
                    let list = if section == "[data]" {
                        &mut document.data
                    } else {
                        &mut document.training
                    };
                    list.push(entry);
                }
                ("[extra]", line) => {
                    let (name, value) = line
                        .split_once('=')
                        .ok_or_else(|| bad(format!("cannot read the line {line:?}")))?;
                    document.extra.insert(name.to_owned(), value.to_owned());
                }
                (_, line) => return Err(bad(format!("line {line:?} belongs to no section"))),
            }
        }
        if section != "[extra]" {
            return Err(bad("it ends early"));
        }
        Ok(document)
    }

    /// Returns the `name=value` lines in byte order of the whole lines.
    fn extra_lines(&self) -> Vec<String> {
        let mut lines: Vec<String> =
            self.extra.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        lines.sort_unstable();
        lines
    }
}

fn decoder(stored: &[u8]) -> Result<Decoder<'_, &[u8]>, FormatError> {
    let ready = || {
        let mut decoder = Decoder::with_buffer(stored)?;
        decoder.window_log_max(WINDOW_LOG)?;
        Ok(decoder)
    };
    ready().map_err(|error: std::io::Error| bad(error.to_string()))
}

/// Returns the largest number of bytes that the compressed form of a text of this size takes.
pub fn most_stored(size: u64) -> usize {
    let size = usize::try_from(size).map_or(MAX_DOCUMENT_BYTES, |it| it.min(MAX_DOCUMENT_BYTES));
    size + size / 128 + 1024
}

fn list_digest(entries: &[InputEntry]) -> Digest {
    let mut hasher = Hasher::default();
    hasher.update(b"ml-cache/inputs/v1\n");
    let mut line = String::new();
    for entry in entries {
        line.clear();
        entry.write_line(&mut line);
        hasher.update(line.as_bytes());
    }
    hasher.finish()
}

fn bad(reason: impl Into<String>) -> FormatError {
    FormatError::new("inputs document", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> InputsDocument {
        let entry = |path: &str| InputEntry {
            path: path.to_owned(),
            digest: Digest::of(path.as_bytes()),
            size: 7,
        };
        InputsDocument {
            data: vec![entry("data/a b.csv"), entry("data/new\nline\r\\n")],
            training: vec![entry("src/train.py")],
            extra: BTreeMap::from([("a".into(), "1=2".into()), ("a.b".into(), String::new())]),
        }
    }

    #[test]
    fn text_round_trips_through_compression() {
        let document = sample();
        let text = document.to_text();
        let stored = InputsDocument::compress(&text).unwrap();
        assert_eq!(
            InputsDocument::parse(&stored, &InputsId::of(text.as_bytes()), text.len() as u64)
                .unwrap(),
            document
        );
        assert!(InputsDocument::parse(&stored, &InputsId::of(b"other"), u64::MAX).is_err());
        assert!(InputsDocument::parse(b"not zstd", &InputsId::of(b""), u64::MAX).is_err());
        let id = InputsId::of(text.as_bytes());
        let error = InputsDocument::parse(&stored, &id, text.len() as u64 - 1).unwrap_err();
        assert!(error.to_string().contains("unpacks to more than"), "{error}");
    }

    #[test]
    fn damaged_text_is_refused() {
        let text = sample().to_text();
        assert_eq!(InputsDocument::parse_text(&text).unwrap(), sample());
        for broken in [
            "",
            "x\n",
            &text[..40],
            &text.replace("[training]\n", ""),
            &text.replace("\\\\n", "\\q"),
        ] {
            assert!(InputsDocument::parse_text(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn every_part_changes_the_fingerprint() {
        let base = sample().digests();
        let mut other = sample();
        other.data[0].size = 8;
        assert_ne!(other.digests().data, base.data);
        assert_eq!(other.digests().training, base.training);
        assert_ne!(other.digests().fingerprint, base.fingerprint);
        let mut other = sample();
        other.extra.insert("lr".into(), "0.1".into());
        assert_ne!(other.digests().extra, base.extra);
        assert_ne!(other.digests().fingerprint, base.fingerprint);
    }

    #[test]
    fn extra_lines_are_sorted_as_lines_not_by_name() {
        // `.` sorts before `=`, so the line `a.b=` comes before `a=`. By name alone, `a` would come
        // first.
        let text = sample().to_text();
        assert!(text.ends_with("[extra]\na.b=\na=1=2\n"), "{text}");
    }
}
