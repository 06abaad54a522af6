//! The process environment as a value. Only `main` reads the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;

/// The prefixes of variables that are inputs, or that decide the rights of this process.
const OURS: [&str; 6] = ["ACTIONS_", "AWS_", "GITHUB_", "INPUT_", "ML_CACHE_", "STATE_"];

/// Environment variables by name. An empty value counts as unset, as in the runner.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Keeps the variables that are UTF-8. Returns also the names of unreadable variables that are
    /// inputs or decide rights.
    ///
    /// An unreadable input must not count as unset, because the command would then ignore the
    /// user's wish.
    pub fn read(variables: impl Iterator<Item = (OsString, OsString)>) -> (Self, Vec<String>) {
        let (mut environment, mut unreadable) = (Self::default(), Vec::new());
        for (name, value) in variables {
            match (name.to_str(), value.to_str()) {
                (Some(name), Some(value)) => {
                    environment.0.insert(name.to_owned(), value.to_owned());
                }
                _ if OURS.iter().any(|start| name.as_bytes().starts_with(start.as_bytes())) => {
                    unreadable.push(name.to_string_lossy().into_owned());
                }
                _ => {}
            }
        }
        unreadable.sort();
        (environment, unreadable)
    }

    /// Returns the value; `None` if it is unset or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns whether the variable is set, even to the empty text.
    pub fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns whether the value is `true`, in upper or lower case.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Returns all variables, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn only_what_matters_must_be_utf_8() {
        let variables: [(&[u8], &[u8]); 7] = [
            (b"INPUT_MODEL", b"m"),
            (b"INPUT_POINTER", b"x\xff"),
            (b"AWS_X\xff", b"1"),
            (b"STATE_plan", b"\xc3"),
            (b"LESS_TERMCAP", b"\xff"),
            (b"\xff", b"\xff"),
            (b"MY_INPUT_X", b"\xff"),
        ];
        let own = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let (environment, unreadable) =
            Environment::read(variables.into_iter().map(|(name, value)| (own(name), own(value))));
        assert_eq!(environment.iter().collect::<Vec<_>>(), [("INPUT_MODEL", "m")]);
        assert_eq!(unreadable, ["AWS_X\u{fffd}", "INPUT_POINTER", "STATE_plan"]);
    }
}
