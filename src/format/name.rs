//! Namespaces, model names and scopes: with the fingerprint, they make the key of a pointer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::FormatError;

/// The owner of some models, as `owner/name`. By default it is the repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Namespace {
    owner: String,
    name: String,
}

impl Namespace {
    /// Returns the part before the slash: 1 to 100 bytes.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Returns the part after the slash: 1 to 100 bytes.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for Namespace {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let bad = |reason: &str| FormatError::new("namespace", reason);
        let (owner, name) =
            text.split_once('/').ok_or_else(|| bad("it must have two parts, `owner/name`"))?;
        if name.contains('/') {
            return Err(bad("it must have two parts, `owner/name`"));
        }
        check_word(owner).and_then(|()| check_word(name)).map_err(|reason| bad(&reason))?;
        Ok(Self { owner: owner.to_owned(), name: name.to_owned() })
    }
}

impl TryFrom<String> for Namespace {
    type Error = FormatError;
    fn try_from(text: String) -> Result<Self, FormatError> {
        text.parse()
    }
}

impl From<Namespace> for String {
    fn from(namespace: Namespace) -> Self {
        namespace.to_string()
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// The name of a model within a namespace: 1 to 100 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(String);

impl ModelName {
    /// Returns the name as the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModelName {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        if text.contains('/') {
            return Err(FormatError::new("model name", "it must not contain `/`"));
        }
        check_word(text).map_err(|reason| FormatError::new("model name", reason))?;
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ModelName {
    type Error = FormatError;
    fn try_from(text: String) -> Result<Self, FormatError> {
        text.parse()
    }
}

impl From<ModelName> for String {
    fn from(model: ModelName) -> Self {
        model.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Accepts 1 to 100 bytes without control characters. Dots alone are refused.
fn check_word(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("it must not be empty".to_owned());
    }
    if text.len() > 100 {
        return Err("a name must have at most 100 bytes".to_owned());
    }
    if text.chars().any(char::is_control) {
        return Err("it must not contain control characters".to_owned());
    }
    if text.chars().all(|c| c == '.') {
        return Err("it must not consist of dots alone".to_owned());
    }
    Ok(())
}

/// The group of runs that may write a pointer. docs/scopes.md says who writes and reads which
/// scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// The default branch and the user's trusted refs. Every run that may read caches reads it.
    Trusted,
    /// Another ref: a branch by its name, a tag `v1` as `tags/v1`.
    Branch(String),
    /// A pull request by its number. A fork's run never uses this scope.
    PullRequest(u64),
}

impl FromStr for Scope {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        if text == "trusted" {
            return Ok(Self::Trusted);
        }
        if let Some(name) = text.strip_prefix("branch/").filter(|name| !name.is_empty()) {
            return Ok(Self::Branch(name.to_owned()));
        }
        if let Some(Ok(number)) = text.strip_prefix("pr/").map(str::parse) {
            return Ok(Self::PullRequest(number));
        }
        Err(FormatError::new("scope", "it must be `trusted`, `branch/<name>` or `pr/<number>`"))
    }
}

impl TryFrom<String> for Scope {
    type Error = FormatError;
    fn try_from(text: String) -> Result<Self, FormatError> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trusted => f.write_str("trusted"),
            Self::Branch(name) => write!(f, "branch/{name}"),
            Self::PullRequest(number) => write!(f, "pr/{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_alike() {
        for text in ["org/repo", "local/my project", "a/b.c"] {
            assert_eq!(text.parse::<Namespace>().unwrap().to_string(), text);
        }
        for text in ["trusted", "branch/feature/x", "pr/12"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn names_that_could_climb_or_hide_are_refused() {
        for text in ["", "a", "a/b/c", "/b", "a/", "../b", "a/..", "a/b\n"] {
            assert!(text.parse::<Namespace>().is_err(), "{text:?}");
        }
        assert!("m".repeat(100).parse::<ModelName>().is_ok());
        assert!("m".repeat(101).parse::<ModelName>().is_err());
        for text in ["", ".", "..", "a/b", "a\0"] {
            assert!(text.parse::<ModelName>().is_err(), "{text:?}");
        }
        for text in ["", "branch/", "pr/", "pr/x", "pr/-1", "Trusted"] {
            assert!(text.parse::<Scope>().is_err(), "{text:?}");
        }
    }
}
