//! The keys of version 1. No other module spells them. Source: docs/formats.md, "Keys".

use std::fmt;
use std::fmt::Write as _;

use crate::format::{
    BlobId, Digest, Fingerprint, HeadName, InputsId, ManifestId, ModelName, Namespace, Scope,
};

/// The first component of every key.
pub(super) const ROOT: &str = "v1";
/// The names below [`ROOT`].
pub(super) const PARTS: &[&str] = &["blobs", "inputs", "manifests", "trusted", "untrusted"];
/// The most bytes of an encoded name. With `.json` it fits into the 255 bytes of a file's name.
const NAME: usize = 250;
/// The most bytes of a component of a key that is too long for a bucket.
const TIGHT_NAME: usize = 96;
/// The most bytes of a key in S3, with the prefix. Source: S3 User Guide, "Naming Amazon S3
/// objects".
const BUCKET_KEY: usize = 1024;

/// The name of an object below the store's prefix.
///
/// Invariant: a key is relative and has no empty component, no `.` and no `..`. Besides slashes it
/// has only the characters `[A-Za-z0-9._%-]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// Returns the key as text, without the store's prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the key below a prefix of a bucket. The prefix is empty or ends with a slash.
    ///
    /// A key that is too long for S3 has its long components shortened.
    pub(super) fn below(&self, prefix: &str) -> String {
        let full = format!("{prefix}{self}");
        if full.len() <= BUCKET_KEY {
            return full;
        }
        let tight = |component: &str| match component.strip_suffix(".json") {
            Some(name) => shorten(name, TIGHT_NAME - ".json".len()) + ".json",
            None => shorten(component, TIGHT_NAME),
        };
        format!("{prefix}{}", self.0.split('/').map(tight).collect::<Vec<_>>().join("/"))
    }

    /// Returns a key outside of the layout, for the conformance checks.
    pub(super) fn scratch(components: &[&str]) -> Self {
        Self(components.iter().map(|c| encode(c)).collect::<Vec<_>>().join("/"))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the key of a blob.
pub fn blob(digest: &BlobId) -> Key {
    let hex = digest.hex();
    Key(format!("v1/blobs/{}/{hex}", &hex[..2]))
}

/// Returns the key of a manifest.
pub fn manifest(digest: &ManifestId) -> Key {
    Key(format!("v1/manifests/{}.json", digest.hex()))
}

/// Returns the key of a manifest that is stored compressed, because it is large.
pub fn packed_manifest(digest: &ManifestId) -> Key {
    Key(format!("v1/manifests/{}.json.zst", digest.hex()))
}

/// Returns the key of an inputs document.
pub fn inputs(digest: &InputsId) -> Key {
    Key(format!("v1/inputs/{}.zst", digest.hex()))
}

/// Returns the key of a pointer.
pub fn pointer(
    scope: &Scope,
    namespace: &Namespace,
    model: &ModelName,
    fingerprint: &Fingerprint,
) -> Key {
    Key(format!("{}/pointers/{}.json", model_prefix(scope, namespace, model), fingerprint.hex()))
}

/// Returns the key of the record of a refused model. No lookup by fingerprint asks for it.
pub fn refused(
    scope: &Scope,
    namespace: &Namespace,
    model: &ModelName,
    manifest: &ManifestId,
) -> Key {
    Key(format!("{}/refused/{}.json", model_prefix(scope, namespace, model), manifest.hex()))
}

/// Returns the key of a head. The key of the default branch's head does not depend on the name of
/// that branch.
pub fn head(scope: &Scope, namespace: &Namespace, model: &ModelName, name: &HeadName) -> Key {
    let prefix = model_prefix(scope, namespace, model);
    Key(match name {
        HeadName::Default => format!("{prefix}/head.json"),
        HeadName::Ref(name) => format!("{prefix}/heads/{}.json", encode(name)),
    })
}

/// Returns the key that a run asks about before a training, to learn whether it may write.
///
/// A store that ignores conditions stores an empty object there, which nobody reads.
pub fn probe(scope: &Scope, namespace: &Namespace, model: &ModelName) -> Key {
    Key(format!("{}/probe", model_prefix(scope, namespace, model)))
}

/// The place of a scope's second names, in a namespace and for a model.
///
/// Every scope may create objects under the names that all scopes share, so somebody may have
/// occupied such a name. Only the writers of a scope write its second names.
#[derive(Clone, Debug)]
pub struct Home(String);

impl Home {
    /// Returns the place for a model of a scope.
    pub fn of(scope: &Scope, namespace: &Namespace, model: &ModelName) -> Self {
        Self(model_prefix(scope, namespace, model))
    }

    /// Returns the second name of a blob, manifest or inputs document.
    pub fn second(&self, shared: &Key) -> Key {
        let below = shared.0.split_once('/').map_or(shared.as_str(), |(_, below)| below);
        Key(format!("{}/{below}", self.0))
    }
}

fn model_prefix(scope: &Scope, namespace: &Namespace, model: &ModelName) -> String {
    let owner = encode(namespace.owner());
    let name = encode(namespace.name());
    let model = encode(model.as_str());
    match scope {
        Scope::Trusted => format!("v1/trusted/{owner}/{name}/{model}"),
        other => format!("v1/untrusted/{owner}/{name}/{}/{model}", encode(&other.to_string())),
    }
}

/// Percent-encodes every byte outside `[A-Za-z0-9._-]`. In `.` and `..` it encodes the dots too.
/// A long result is shortened.
pub fn encode(component: &str) -> String {
    let only_dots = matches!(component, "." | "..");
    let mut encoded = String::with_capacity(component.len());
    for byte in component.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => encoded.push(byte as char),
            b'.' if !only_dots => encoded.push('.'),
            _ => {
                // `write!` to a `String` cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    shorten(&encoded, NAME)
}

/// Shortens a component to at most `limit` bytes: its beginning, `%-` and its digest.
///
/// No encoded text has `%-`, so a shortened component equals no other component.
fn shorten(encoded: &str, limit: usize) -> String {
    if encoded.len() <= limit {
        return encoded.to_owned();
    }
    let digest = Digest::of(encoded.as_bytes()).hex();
    let kept = &encoded[..limit - "%-".len() - digest.len()];
    // The cut leaves no part of an escape.
    let kept = match kept.rfind('%') {
        Some(at) if kept.len() - at < "%XX".len() => &kept[..at],
        _ => kept,
    };
    format!("{kept}%-{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_format() {
        let hex = crate::format::Digest::of(b"abc").hex();
        let namespace: Namespace = "org/my repo".parse().unwrap();
        let model: ModelName = "fraud-detector".parse().unwrap();
        assert_eq!(blob(&BlobId::of(b"abc")).as_str(), format!("v1/blobs/ba/{hex}"));
        assert_eq!(manifest(&ManifestId::of(b"abc")).as_str(), format!("v1/manifests/{hex}.json"));
        assert_eq!(
            packed_manifest(&ManifestId::of(b"abc")).as_str(),
            format!("v1/manifests/{hex}.json.zst")
        );
        assert_eq!(inputs(&InputsId::of(b"abc")).as_str(), format!("v1/inputs/{hex}.zst"));
        assert_eq!(
            pointer(&Scope::Trusted, &namespace, &model, &Fingerprint::of(b"abc")).as_str(),
            format!("v1/trusted/org/my%20repo/fraud-detector/pointers/{hex}.json")
        );
        assert_eq!(
            refused(&Scope::PullRequest(7), &namespace, &model, &ManifestId::of(b"abc")).as_str(),
            format!("v1/untrusted/org/my%20repo/pr%2F7/fraud-detector/refused/{hex}.json")
        );
        assert_eq!(
            probe(&Scope::Trusted, &namespace, &model).as_str(),
            "v1/trusted/org/my%20repo/fraud-detector/probe"
        );
        let named = |name: &str| HeadName::Ref(name.to_owned());
        assert_eq!(
            head(&Scope::Trusted, &namespace, &model, &HeadName::Default).as_str(),
            "v1/trusted/org/my%20repo/fraud-detector/head.json"
        );
        assert_eq!(
            head(&Scope::PullRequest(7), &namespace, &model, &named("feature/ü")).as_str(),
            "v1/untrusted/org/my%20repo/pr%2F7/fraud-detector/heads/feature%2F%C3%BC.json"
        );
        assert_eq!(
            head(&Scope::Branch("..".into()), &namespace, &model, &named("..")).as_str(),
            "v1/untrusted/org/my%20repo/branch%2F../fraud-detector/heads/%2E%2E.json"
        );
    }

    /// Returns the key of a head in a scope and a ref of this name.
    fn head_of(namespace: &str, model: &str, name: &str) -> Key {
        let (namespace, model) = (namespace.parse().unwrap(), model.parse().unwrap());
        head(&Scope::Branch(name.to_owned()), &namespace, &model, &HeadName::Ref(name.to_owned()))
    }

    #[test]
    fn second_names_lie_below_their_scope() {
        let (namespace, model) = ("org/repo".parse().unwrap(), "m".parse().unwrap());
        let hex = Digest::of(b"abc").hex();
        let trusted = Home::of(&Scope::Trusted, &namespace, &model);
        let other = Home::of(&Scope::PullRequest(7), &namespace, &model);
        let shared = blob(&BlobId::of(b"abc"));
        assert_eq!(
            trusted.second(&shared).as_str(),
            format!("v1/trusted/org/repo/m/blobs/ba/{hex}")
        );
        assert_eq!(
            other.second(&packed_manifest(&ManifestId::of(b"abc"))).as_str(),
            format!("v1/untrusted/org/repo/pr%2F7/m/manifests/{hex}.json.zst")
        );
        assert_eq!(
            other.second(&inputs(&InputsId::of(b"abc"))).as_str(),
            format!("v1/untrusted/org/repo/pr%2F7/m/inputs/{hex}.zst")
        );
        let long = "日".repeat(33);
        let (namespace, model) = (format!("{long}/{long}").parse().unwrap(), long.parse().unwrap());
        let home = Home::of(&Scope::Branch("日".repeat(60)), &namespace, &model);
        let prefix = format!("{}/", "p".repeat(512));
        let key = home.second(&packed_manifest(&ManifestId::of(b"abc"))).below(&prefix);
        assert!(key.len() <= 1024 && key.ends_with(&format!("/{hex}.json.zst")), "{key}");
    }

    #[test]
    fn names_up_to_the_limit_stay_and_longer_names_are_shortened() {
        let text = "n".repeat(250);
        assert_eq!(encode(&text), text);
        assert_eq!(encode(&"ü".repeat(41)), "%C3%BC".repeat(41));
        let digest = Digest::of("%C3%BC".repeat(42).as_bytes()).hex();
        // The cut at 184 bytes would split an escape.
        assert_eq!(encode(&"ü".repeat(42)), format!("{}%C3%-{digest}", "%C3%BC".repeat(30)));
        let digest = Digest::of("n".repeat(251).as_bytes()).hex();
        assert_eq!(encode(&"n".repeat(251)), format!("{}%-{digest}", &text[..184]));
    }

    #[test]
    fn every_key_fits_into_file_systems_and_buckets() {
        let prefix = format!("{}/", "p".repeat(512));
        let long = "日".repeat(33);
        for name in ["x".repeat(2000), "日".repeat(60), format!("a{}", "日".repeat(2000))] {
            let key = head_of(&format!("{long}/{long}"), &long, &name);
            assert!(key.as_str().split('/').all(|component| component.len() <= 255), "{key}");
            let full = key.below(&prefix);
            assert!(full.len() <= 1024, "{} bytes: {full}", full.len());
            assert!(full.starts_with(&format!("{prefix}v1/untrusted/")) && full.ends_with(".json"));
        }
        let key = head_of("org/repo", "m", "main");
        assert_eq!(key.below("p/"), "p/v1/untrusted/org/repo/branch%2Fmain/m/heads/main.json");
    }

    #[test]
    fn different_long_names_have_different_keys() {
        let prefix = format!("{}/", "p".repeat(512));
        let long = "日".repeat(60);
        let shortened = encode(&long);
        let names = [long.clone(), format!("{long}a"), format!("{long}b"), shortened];
        for tight in [false, true] {
            let key = |name: &String| {
                let key = head_of("org/repo", &"m".repeat(100), name);
                if tight { key.below(&prefix) } else { key.to_string() }
            };
            let keys: std::collections::HashSet<_> = names.iter().map(key).collect();
            assert_eq!(keys.len(), names.len(), "{keys:?}");
        }
    }
}
