//! The keys of version 1. No other module spells them. Source: docs/formats.md, "Keys".

use std::fmt;
use std::fmt::Write as _;

use crate::format::{
    BlobId, Fingerprint, HeadName, InputsId, ManifestId, ModelName, Namespace, Scope,
};

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
fn encode(component: &str) -> String {
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
    encoded
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
}
