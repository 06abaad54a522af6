//! The differences between two sets of inputs.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::format::{InputEntry, InputsDocument};

/// One difference between two inputs documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Whether the input was modified, added, removed or renamed.
    pub kind: ChangeKind,
    /// The set that holds the input. Each set has its own digest in the fingerprint.
    pub set: InputSet,
    /// The path of the file, or the name of the extra key. A renamed file has its new path here.
    pub path: String,
    /// The earlier path of a renamed file; `None` for any other change.
    pub old_path: Option<String>,
}

/// The kind of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// The path stayed, the content changed.
    Modified,
    /// The path is new.
    Added,
    /// The path is gone.
    Removed,
    /// The content moved to another path.
    Renamed,
}

impl ChangeKind {
    /// Returns the word that messages and outputs use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Modified => "modified",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Renamed => "renamed",
        }
    }
}

/// The three sets of inputs, named after the action's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InputSet {
    /// The files of `data-paths`.
    Data,
    /// The files of `training-paths`.
    Training,
    /// The lines of `extra-key`.
    Extra,
}

impl InputSet {
    /// Returns the word that messages and outputs use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Training => "training",
            Self::Extra => "extra",
        }
    }
}

/// Returns the differences, sorted by set, kind and path.
pub fn between(old: &InputsDocument, new: &InputsDocument) -> Vec<Change> {
    let mut changes = files(InputSet::Data, &old.data, &new.data);
    changes.extend(files(InputSet::Training, &old.training, &new.training));
    let change = |kind, name: &String| Change {
        kind,
        set: InputSet::Extra,
        path: name.clone(),
        old_path: None,
    };
    for (name, value) in &new.extra {
        match old.extra.get(name) {
            None => changes.push(change(ChangeKind::Added, name)),
            Some(before) if before != value => changes.push(change(ChangeKind::Modified, name)),
            Some(_) => {}
        }
    }
    changes.extend(
        old.extra
            .keys()
            .filter(|name| !new.extra.contains_key(*name))
            .map(|name| change(ChangeKind::Removed, name)),
    );
    changes.sort_by(|a, b| (a.set, a.kind, &a.path).cmp(&(b.set, b.kind, &b.path)));
    changes
}

fn files(set: InputSet, old: &[InputEntry], new: &[InputEntry]) -> Vec<Change> {
    let before: BTreeMap<&str, &InputEntry> =
        old.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    let after: BTreeMap<&str, &InputEntry> =
        new.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    let mut changes = Vec::new();
    // If the same content vanished under one path and appeared under another, report a renamed
    // file.
    let mut gone: HashMap<_, Vec<&str>> = HashMap::new();
    for entry in old.iter().rev().filter(|entry| !after.contains_key(entry.path.as_str())) {
        gone.entry((entry.digest, entry.size)).or_default().push(&entry.path);
    }
    for entry in new {
        let change = |kind, old_path: Option<&str>| Change {
            kind,
            set,
            path: entry.path.clone(),
            old_path: old_path.map(str::to_owned),
        };
        match before.get(entry.path.as_str()) {
            Some(before) if (before.digest, before.size) == (entry.digest, entry.size) => {}
            Some(_) => changes.push(change(ChangeKind::Modified, None)),
            // All empty files have the same content, so equal content does not show a rename.
            None if entry.size == 0 => changes.push(change(ChangeKind::Added, None)),
            None => match gone.get_mut(&(entry.digest, entry.size)).and_then(Vec::pop) {
                Some(old_path) => changes.push(change(ChangeKind::Renamed, Some(old_path))),
                None => changes.push(change(ChangeKind::Added, None)),
            },
        }
    }
    let removed = gone.into_values().flatten();
    changes.extend(removed.map(|path| Change {
        kind: ChangeKind::Removed,
        set,
        path: path.to_owned(),
        old_path: None,
    }));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Digest;

    fn document(data: &[(&str, &str)], extra: &[(&str, &str)]) -> InputsDocument {
        let entry = |(path, content): &(&str, &str)| InputEntry {
            path: (*path).to_owned(),
            digest: Digest::of(content.as_bytes()),
            size: content.len() as u64,
        };
        InputsDocument {
            data: data.iter().map(entry).collect(),
            training: Vec::new(),
            extra: extra
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn every_kind_of_change_is_found_once() {
        let old = document(
            &[("a", "1"), ("b", "2"), ("c", "3"), ("e", "")],
            &[("lr", "1"), ("old", "x")],
        );
        let new = document(
            &[("a", "1"), ("b", "9"), ("d", "3"), ("f", "")],
            &[("lr", "2"), ("new", "x")],
        );
        let shown: Vec<String> = between(&old, &new)
            .iter()
            .map(|c| {
                format!(
                    "{} {} {}{}",
                    c.set.word(),
                    c.kind.word(),
                    c.path,
                    c.old_path.as_ref().map_or(String::new(), |p| format!(" from {p}"))
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "data modified b",
                "data added f",
                "data removed e",
                "data renamed d from c",
                "extra modified lr",
                "extra added new",
                "extra removed old"
            ]
        );
        assert!(between(&new, &new).is_empty());
    }
}
