//! The location of a store: the input `store`, parsed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::Network;
use crate::error::Error;

/// A parsed input `store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `file:///directory`: an absolute path.
    Directory(PathBuf),
    /// `s3://bucket/prefix`.
    S3 {
        /// The name of the bucket: 3 to 63 characters.
        bucket: String,
        /// The text before every key, without leading and trailing slashes; may be empty.
        prefix: String,
    },
}

/// The sources of credentials that a command may use if it has no role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// The usual AWS sources: environment, profile, container, machine.
    #[default]
    Usual,
    /// The keys of the environment.
    Keys,
    /// No source at all. Each request fails before it is sent.
    Missing(Lack),
    /// No credentials: the requests are not signed.
    Unsigned,
}

/// The reason why a command has no credentials, although the machine may have an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// The input `role-to-assume` is given but empty, and the environment has no keys.
    EmptyRole,
    /// The environment has no keys, and this variable is set to nothing. Often a secret is not set.
    EmptyVariable(&'static str),
    /// The environment has a half of a key: this variable has no value.
    HalfKey(&'static str),
}

impl Lack {
    /// Returns the error for people.
    pub fn error(self) -> Error {
        match self {
            Self::EmptyRole => Error::bad_input(
                "no AWS credentials were found: the input `role-to-assume` is given but empty, and \
                 the environment has no keys",
            )
            .hint(
                "set the variable that `role-to-assume` names, remove the line, or set \
                 `credentials: ambient` to use the machine's identity; keys in AWS_ACCESS_KEY_ID \
                 and AWS_SECRET_ACCESS_KEY also work",
            ),
            Self::EmptyVariable(name) => Error::bad_input(format!(
                "no AWS credentials were found: the environment variable {name} is given but empty"
            ))
            .hint(
                "set it, for example by setting the secret that it takes its value from, unset it, \
                 or set `credentials: ambient` to use the machine's identity",
            ),
            Self::HalfKey(name) => Error::bad_input(format!(
                "no AWS credentials were found: the environment variable {name} is empty, but the \
                 other half of the key is set"
            ))
            .hint("set both halves, unset both, or set `credentials: ambient`"),
        }
    }
}

/// How the store encrypts an object. The service has the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// `AES256`, `aws:kms` or `aws:kms:dsse`.
    pub kind: String,
    /// The key of AWS KMS; `None` for the account's own key.
    pub kms_key_id: Option<String>,
}

/// The inputs for an S3 store. The SDK finds the value of an empty input in the usual AWS places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Options {
    /// The region. By default it comes from the AWS environment or configuration.
    pub region: Option<String>,
    /// The base URL of an S3-compatible service. By default it is the endpoint of AWS.
    pub endpoint_url: Option<String>,
    /// Whether the bucket stands in the path of the URL. By default it does for a custom endpoint
    /// only.
    pub force_path_style: Option<bool>,
    /// The sources of credentials for a command without a role.
    pub credentials: Credentials,
    /// Proxies and certificates.
    pub network: Network,
    /// The encryption that every written object asks for; `None` for the bucket's own.
    pub encryption: Option<Encryption>,
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            check_bucket(bucket)?;
            let prefix = prefix.trim_matches('/');
            if prefix.contains(['?', '#']) {
                return Err("its prefix must not contain `?` or `#`; region and endpoint have \
                            inputs of their own"
                    .to_owned());
            }
            if prefix
                .split('/')
                .any(|part| matches!(part, "." | "..") || (part.is_empty() && !prefix.is_empty()))
            {
                return Err("its prefix must not contain `.`, `..` or empty components".to_owned());
            }
            if prefix.chars().any(char::is_control) || prefix.len() > 512 {
                return Err("its prefix must be printable and at most 512 bytes long".to_owned());
            }
            return Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() });
        }
        if let Some(path) = text.strip_prefix("file://") {
            if !path.starts_with('/') {
                return Err(
                    "the directory must be absolute, with three slashes, as in `file:///directory`"
                        .to_owned(),
                );
            }
            if has_escape(path) {
                return Err("the directory must stand as it is, without `%` escapes, as in \
                            `file:///a directory`"
                    .to_owned());
            }
            return Ok(Self::Directory(PathBuf::from(path)));
        }
        let is_scheme =
            |scheme: &str| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+');
        match text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
            Some((scheme, _)) => Err(format!("the scheme `{scheme}` is not known")),
            None => Err("it has no scheme".to_owned()),
        }
    }
}

/// Returns whether the text has a percent escape. Readers of URLs disagree about its meaning.
fn has_escape(text: &str) -> bool {
    let is_hex = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
    text.match_indices('%').any(|(at, _)| is_hex(at + 1) && is_hex(at + 2))
}

/// Checks the rules for bucket names that all S3 services share.
fn check_bucket(bucket: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
    if (3..=63).contains(&bucket.len()) && bucket.chars().all(allowed) {
        Ok(())
    } else {
        Err("a bucket name must have 3 to 63 lower-case letters, digits, dots and hyphens"
            .to_owned())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "file://{}", path.display()),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read() {
        for (text, shown) in [
            ("s3://ml-models", "s3://ml-models"),
            ("s3://ml-models/", "s3://ml-models"),
            ("s3://ml-models/cache/v2/", "s3://ml-models/cache/v2"),
            ("file:///var/cache", "file:///var/cache"),
            ("file:///var/a cache/100%", "file:///var/a cache/100%"),
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn other_text_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "it has no scheme"),
            ("models", "it has no scheme"),
            ("gs://bucket", "the scheme `gs` is not known"),
            (
                "file://",
                "the directory must be absolute, with three slashes, as in `file:///directory`",
            ),
            (
                "file://tmp/store",
                "the directory must be absolute, with three slashes, as in `file:///directory`",
            ),
            (
                "s3://bucket/x?region=eu-central-1",
                "its prefix must not contain `?` or `#`; region and endpoint have inputs of their \
                 own",
            ),
            (
                "s3://bucket/x#y",
                "its prefix must not contain `?` or `#`; region and endpoint have inputs of their \
                 own",
            ),
            (
                "file:///a%20b",
                "the directory must stand as it is, without `%` escapes, as in `file:///a \
                 directory`",
            ),
            (
                "s3://ab",
                "a bucket name must have 3 to 63 lower-case letters, digits, dots and hyphens",
            ),
            (
                "s3://My_Bucket/x",
                "a bucket name must have 3 to 63 lower-case letters, digits, dots and hyphens",
            ),
            ("s3://bucket/../x", "its prefix must not contain `.`, `..` or empty components"),
            ("s3://bucket/a//b", "its prefix must not contain `.`, `..` or empty components"),
        ] {
            assert_eq!(text.parse::<Location>().unwrap_err(), reason, "{text}");
        }
    }
}
