//! Chooses a model of the configuration file, and joins it with the defaults.

use super::keys::{Key, Kind, MODEL};
use super::shape::{Content, Item, Values};
use crate::sanitize;
use crate::settings::names::nearest_of;
use crate::settings::{RawInputs, Verb};

/// What decides about the model, beside the inputs and the file.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) verb: Verb,
    pub(super) is_of_another_repository: bool,
    pub(super) file: &'a str,
}

/// The parts of the file that hold for the model.
#[derive(Clone, Debug, Default)]
pub(super) struct Chosen<'a> {
    /// The name, if the file has the model.
    pub(super) name: Option<&'a Item>,
    /// The defaults and then the model, each as far as it counts.
    parts: Vec<&'a Values>,
    /// Whether the user says which model to find. Then no inputs are hashed.
    is_found_otherwise: bool,
}

/// Inputs that say which model to find.
const TARGETS: &[&str] =
    &["pointer", "run-id", "fingerprint", "ref", "repository", "artifact-name"];

/// Chooses the model that `model` names, or the only model of the file.
///
/// # Errors
/// The message about a name that the file does not have, or about several models.
pub(super) fn choose<'a>(
    content: &'a Content,
    raw: &RawInputs,
    about: About<'_>,
) -> Result<Chosen<'a>, String> {
    let is_given = |name: &&str| raw.get(name).is_some();
    let is_found_otherwise = about.verb.only_reads() && TARGETS.iter().any(is_given);
    if about.is_of_another_repository {
        return Ok(Chosen { is_found_otherwise, ..Chosen::default() });
    }
    let of = |(name, values): &'a (Item, Values)| Chosen {
        name: Some(name),
        parts: vec![&content.defaults, values],
        is_found_otherwise,
    };
    let names = || content.models.iter().map(|(name, _)| name.text.as_str());
    let accepted = || {
        let names: Vec<String> = names().map(|name| format!("`{name}`")).collect();
        sanitize::short(&names.join(", "), 300)
    };
    let file = sanitize::short(about.file, 200);
    let Some(wanted) = raw.get("model") else {
        return match content.models.as_slice() {
            [] => Ok(Chosen { name: None, parts: vec![&content.defaults], is_found_otherwise }),
            [only] => Ok(of(only)),
            _ => Err(format!(
                "input `model`: ``: `{file}` has several models; accepted: {}",
                accepted()
            )),
        };
    };
    if let Some(found) = content.models.iter().find(|(name, _)| name.text == wanted) {
        return Ok(of(found));
    }
    let says_all = ["data-paths", "training-paths", "model-path"].iter().any(is_given);
    match content.models.is_empty() {
        true => Ok(Chosen { name: None, parts: vec![&content.defaults], is_found_otherwise }),
        false if says_all || is_found_otherwise => {
            Ok(Chosen { is_found_otherwise, ..Chosen::default() })
        }
        false => {
            let near = nearest_of(wanted, names());
            let near = near.map_or(String::new(), |near| {
                format!("; did you mean `{}`?", sanitize::short(near, 100))
            });
            Err(format!(
                "input `model`: `{}`: `{file}` has no such model{near}; accepted: {}",
                sanitize::short(wanted, 200),
                accepted()
            ))
        }
    }
}

impl<'a> Chosen<'a> {
    /// Joins a model of the file with the defaults, whatever a command needs.
    pub(super) fn all(content: &'a Content, model: &'a Values) -> Self {
        Self { parts: vec![&content.defaults, model], ..Self::default() }
    }

    /// Returns the values of the model: lists one behind the other, of maps the last value of each
    /// name, and otherwise the last value.
    pub(super) fn values(&self) -> Vec<(&'static Key, Vec<Item>)> {
        let is_hashed = |key: &Key| matches!(key.name, "data" | "training" | "extra");
        let keys = MODEL.iter().filter(|key| !key.input.is_empty());
        keys.filter(|key| !(self.is_found_otherwise && is_hashed(key)))
            .map(|key| (key, self.joined(key)))
            .filter(|(_, items)| !items.is_empty())
            .collect()
    }

    fn joined(&self, key: &Key) -> Vec<Item> {
        let all = self.parts.iter().filter_map(|part| part.get(key.name)).flatten();
        let mut joined: Vec<Item> = Vec::new();
        for item in all {
            let name = |item: &Item| item.text.split('=').next().map(str::to_owned);
            match key.kind {
                Kind::List => {}
                Kind::Table => joined.retain(|other| name(other) != name(item)),
                _ => joined.clear(),
            }
            joined.push(item.clone());
        }
        joined
    }

    /// Returns the key `working-directory` that counts.
    pub(super) fn directory_item(&self) -> Option<&'a Item> {
        self.parts.iter().rev().find_map(|part| part.get("working-directory")?.first())
    }

    /// Returns the working directory relative to the workspace; empty for the workspace itself.
    pub(super) fn working_directory(&self) -> String {
        self.directory_item().and_then(|item| directory(&item.text).ok()).unwrap_or_default()
    }
}

/// Reads a working directory.
pub(super) fn directory(text: &str) -> Result<String, &'static str> {
    if text.starts_with(['/', '~']) {
        return Err("it must be relative to the workspace");
    }
    if text.starts_with(['!', '#']) || text.contains(['*', '?', '[', ']', '\\']) {
        return Err("it names a single directory, without wildcards");
    }
    let names: Vec<&str> = text.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    match names.contains(&"..") {
        true => Err("`..` is not allowed"),
        false => Ok(names.join("/")),
    }
}

/// Checks a path that names a single file. `../` at its start may lead out of the directory.
pub(super) fn file(text: &str) -> Result<(), &'static str> {
    let mut rest = text;
    while let Some(after) = rest.strip_prefix("./").or_else(|| rest.strip_prefix("../")) {
        rest = after;
    }
    if rest.starts_with(['!', '#', '~']) || rest.contains(['*', '?', '[', ']', '\\']) {
        return Err("it names a single file, without wildcards");
    }
    match rest.split('/').any(|name| matches!(name, "" | "." | "..")) {
        true => Err("it names no file below the workspace"),
        false => Ok(()),
    }
}

/// Returns the pattern relative to the workspace. `../` at its start leads out of the directory.
pub(super) fn below(directory: &str, pattern: &str) -> String {
    let rest = pattern.trim_start_matches(|c: char| c == '!' || c.is_whitespace());
    let (signs, mut rest) = pattern.split_at(pattern.len() - rest.len());
    if directory.is_empty() || rest.is_empty() || rest.starts_with(['/', '~']) {
        return pattern.to_owned();
    }
    let mut above: Vec<&str> = directory.split('/').collect();
    loop {
        rest = match rest.strip_prefix("./").or_else(|| rest.strip_prefix('/')) {
            Some(after) => after,
            None if rest == "." => "",
            None if rest == ".." || rest.starts_with("../") => {
                if above.pop().is_none() {
                    return pattern.to_owned();
                }
                rest[2..].strip_prefix('/').unwrap_or_default()
            }
            None => break,
        };
    }
    let above = above.join("/");
    match (above.is_empty(), rest.is_empty()) {
        (false, false) => format!("{signs}{above}/{rest}"),
        (true, false) => format!("{signs}{rest}"),
        (false, true) => format!("{signs}{above}"),
        // The workspace itself.
        (true, true) => format!("{signs}**"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_relative_to_the_working_directory() {
        for (pattern, wanted) in [
            ("data/**", "a/b/data/**"),
            ("./data/", "a/b/data/"),
            ("!data/x", "!a/b/data/x"),
            ("! !data", "! !a/b/data"),
            ("../common/**", "a/common/**"),
            ("!../../x", "!x"),
            ("../../../x", "../../../x"),
            ("./.././x", "a/x"),
            ("..", "a"),
            ("../..", "**"),
            (".", "a/b"),
            ("**/*.py", "a/b/**/*.py"),
            ("x/../y", "a/b/x/../y"),
            ("/srv/x", "/srv/x"),
            ("~/x", "~/x"),
            ("...", "a/b/..."),
        ] {
            assert_eq!(below("a/b", pattern), wanted, "{pattern}");
            assert_eq!(below("", pattern), pattern);
        }
    }

    #[test]
    fn a_file_is_a_single_file() {
        for text in ["metrics.json", "./a/b.json", "../a b", "../../x", ".hidden", "..."] {
            assert_eq!(file(text), Ok(()), "{text}");
        }
        for text in ["/a", "~/a", ".", "..", "../", "a/", "a//b", "a/../b", "a/./b", "*", "!a"] {
            assert!(file(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_working_directory_is_a_directory_below() {
        for (text, wanted) in [("a", "a"), ("./a//b/", "a/b"), (".", ""), ("a b", "a b")] {
            assert_eq!(directory(text).as_deref(), Ok(wanted));
        }
        for text in ["/a", "~", "..", "a/../b", "a*", "a?b", "[a]", "!a", "#a", "a\\b"] {
            assert!(directory(text).is_err(), "{text}");
        }
    }
}
