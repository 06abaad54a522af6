//! The names of stored things. Each kind has its own type, so the compiler keeps them apart.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use super::digest::bare_hex;
use super::{Digest, FormatError};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident $(, $form:meta)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name($(#[$form])? Digest);

        impl $name {
            /// Wraps a digest that the caller knows already.
            pub const fn new(digest: Digest) -> Self {
                Self(digest)
            }

            /// Returns the id of the thing with these bytes.
            pub fn of(bytes: &[u8]) -> Self {
                Self(Digest::of(bytes))
            }

            /// Returns the digest inside.
            pub const fn digest(&self) -> &Digest {
                &self.0
            }

            /// Returns 64 lower-case hex digits.
            pub fn hex(&self) -> String {
                self.0.hex()
            }
        }

        impl FromStr for $name {
            type Err = FormatError;

            fn from_str(text: &str) -> Result<Self, FormatError> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id! {
    /// The digest of everything that a model depends on. It decides whether to train.
    Fingerprint
}
id! {
    /// The SHA-256 of a blob. A manifest writes it as hex digits alone.
    BlobId, serde(with = "bare_hex")
}
id! {
    /// The SHA-256 of a manifest.
    ManifestId
}
id! {
    /// The SHA-256 of an inputs document's text, before compression.
    InputsId
}
id! {
    /// The SHA-256 of an artifact's zip archive.
    ZipId
}

/// 128 random bits in hex. After a lost answer, a writer recognises its own write by them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Nonce(String);

impl Nonce {
    /// Returns the nonce with these bits, as 32 lower-case hex digits.
    pub fn new(bits: u128) -> Self {
        Self(format!("{bits:032x}"))
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == 32 && is_hex {
            return Ok(Self(text));
        }
        Err(serde::de::Error::custom("a nonce must be 32 lower-case hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_the_formats_demand() {
        let hex = Digest::of(b"abc").hex();
        assert_eq!(
            serde_json::to_string(&Fingerprint::of(b"abc")).unwrap(),
            format!("\"sha256:{hex}\"")
        );
        assert_eq!(serde_json::to_string(&BlobId::of(b"abc")).unwrap(), format!("\"{hex}\""));
        assert_eq!(serde_json::from_str::<BlobId>(&format!("\"{hex}\"")).unwrap().hex(), hex);
        assert!(serde_json::from_str::<ManifestId>(&format!("\"{hex}\"")).is_err());
        assert_eq!(format!("sha256:{hex}").parse::<InputsId>().unwrap(), InputsId::of(b"abc"));
    }

    #[test]
    fn a_nonce_is_checked_wherever_it_is_read() {
        let nonce = Nonce::new(0xabc);
        let text = serde_json::to_string(&nonce).unwrap();
        assert_eq!(text, format!("\"{}abc\"", "0".repeat(29)));
        assert_eq!(serde_json::from_str::<Nonce>(&text).unwrap(), nonce);
        for bad in ["", "abc", &"A".repeat(32), &"g".repeat(32), &"0".repeat(33)] {
            assert!(serde_json::from_str::<Nonce>(&format!("\"{bad}\"")).is_err(), "{bad}");
        }
    }
}
