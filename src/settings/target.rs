//! Which model a command means.

use std::path::PathBuf;

use crate::format::{Fingerprint, ManifestId, Scope};

/// The model that a command means, as the user names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The model of a pointer that the user hands over. Its bytes are foreign.
    Pointer(PointerSource),
    /// The model of an artifact of this run. The text is the artifact's whole name or its prefix.
    Artifact(String),
    /// The model of the newest artifact of exactly this name that a trusted run of another
    /// repository uploaded.
    ArtifactOf {
        /// The other repository, `owner/repo`.
        repository: String,
        /// The whole name of the artifact.
        name: String,
    },
    /// The model that a run saved.
    Run {
        /// The repository of the run, `owner/repo`.
        repository: String,
        /// The number of the run.
        id: u64,
        /// The name of the artifact with the pointer, or the prefix of that name.
        name: String,
    },
    /// The model of this fingerprint.
    Fingerprint(Fingerprint),
    /// The model of the inputs in the workspace.
    Inputs,
    /// The model that a ref used last.
    Latest {
        /// The short name of the ref; `None` for the ref of this run, or for the default branch.
        git_ref: Option<String>,
    },
}

/// The source of a pointer's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PointerSource {
    /// The text of the pointer, as JSON.
    Json(String),
    /// The path of a file that contains the JSON.
    File(PathBuf),
    /// No pointer: the model of a refused save, which no pointer names.
    Refused {
        /// The scope of the run that trained.
        scope: Scope,
        /// The manifest of the model.
        manifest: ManifestId,
    },
}

/// The inputs that say which model to use, before [`Asked::target`] chooses among them.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) pointer: Option<PointerInput>,
    pub(super) run_id: Option<u64>,
    /// The repository that has the run.
    pub(super) run_repository: Option<String>,
    /// The repository that the user names, unless it is the run's own.
    pub(super) foreign: Option<String>,
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) has_sources: bool,
    pub(super) git_ref: Option<String>,
    pub(super) artifact_name: Option<String>,
}

/// The input `pointer`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PointerInput {
    Given(PointerSource),
    Artifact(String),
}

impl Asked {
    /// Returns the target of the most exact input.
    ///
    /// `only_reads` is the answer of [`super::Verb::only_reads`]. `prefix` is the prefix of the
    /// names of the model's artifacts.
    pub(super) fn target(self, only_reads: bool, prefix: String) -> Target {
        let names_nothing = self.run_id.is_none()
            && self.fingerprint.is_none()
            && self.pointer.is_none()
            && !self.has_sources;
        // A command that saves nothing can only read an artifact of this name.
        let given_name = if only_reads && names_nothing { self.artifact_name } else { None };
        let pointer = self.pointer.or_else(|| given_name.map(PointerInput::Artifact));
        match (pointer, self.run_id, self.foreign) {
            (Some(PointerInput::Given(source)), ..) => Target::Pointer(source),
            (pointer, Some(id), _) => Target::Run {
                repository: self.run_repository.unwrap_or_default(),
                id,
                name: match pointer {
                    Some(PointerInput::Artifact(name)) => name,
                    _ => prefix,
                },
            },
            (Some(PointerInput::Artifact(name)), None, Some(repository)) => {
                Target::ArtifactOf { repository, name }
            }
            (Some(PointerInput::Artifact(name)), None, None) => Target::Artifact(name),
            (None, None, _) => match self.fingerprint {
                Some(fingerprint) => Target::Fingerprint(fingerprint),
                None if self.has_sources => Target::Inputs,
                None => Target::Latest { git_ref: self.git_ref },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_of_what_is_said_counts() {
        let fingerprint = Fingerprint::of(b"inputs");
        let json = || PointerInput::Given(PointerSource::Json("{}".into()));
        let named = || Some(PointerInput::Artifact("given".into()));
        let all = Asked {
            pointer: Some(json()),
            run_id: None,
            run_repository: Some("org/a".into()),
            foreign: None,
            fingerprint: Some(fingerprint),
            has_sources: true,
            git_ref: Some("main".into()),
            artifact_name: Some("own".into()),
        };
        let elsewhere = Asked { foreign: Some("org/a".into()), ..all.clone() };
        let run = |name: &str| Target::Run { repository: "org/a".into(), id: 7, name: name.into() };
        let nothing = Asked {
            pointer: None,
            fingerprint: None,
            has_sources: false,
            artifact_name: None,
            ..all.clone()
        };
        for (asked, target) in [
            (all.clone(), Target::Pointer(PointerSource::Json("{}".into()))),
            (Asked { pointer: named(), ..all.clone() }, Target::Artifact("given".into())),
            (
                Asked { pointer: named(), ..elsewhere.clone() },
                Target::ArtifactOf { repository: "org/a".into(), name: "given".into() },
            ),
            (Asked { pointer: named(), run_id: Some(7), ..all.clone() }, run("given")),
            (Asked { pointer: None, run_id: Some(7), ..all.clone() }, run("prefix")),
            (Asked { pointer: None, ..all.clone() }, Target::Fingerprint(fingerprint)),
            (Asked { pointer: None, fingerprint: None, ..all.clone() }, Target::Inputs),
            (nothing.clone(), Target::Latest { git_ref: Some("main".into()) }),
            (
                Asked { artifact_name: Some("own".into()), ..nothing.clone() },
                Target::Artifact("own".into()),
            ),
        ] {
            assert_eq!(asked.clone().target(true, "prefix".into()), target, "{asked:?}");
        }
        // A save gives the name to its own artifact.
        let saved = Asked { artifact_name: Some("own".into()), git_ref: None, ..nothing };
        assert_eq!(saved.target(false, "prefix".into()), Target::Latest { git_ref: None });
    }
}
