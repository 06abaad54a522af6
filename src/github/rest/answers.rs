//! What the API answers, as far as it is needed.
//!
//! The types are our own: octocrab's lack fields that trust depends on, and take others for always
//! present that may be null.

use serde::{Deserialize, Deserializer};

use crate::workflow::facts::RunFacts;

/// A repository.
#[derive(Clone, Debug, Deserialize)]
pub struct Repository {
    /// Its number.
    pub id: u64,
    /// Its default branch.
    pub default_branch: String,
}

/// A workflow run, as far as trust needs it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Run {
    /// Its number.
    pub id: u64,
    /// The event that caused it.
    #[serde(default, deserialize_with = "or_default")]
    pub event: String,
    /// The branch it ran for.
    pub head_branch: Option<String>,
    /// The commit it ran for.
    #[serde(default, deserialize_with = "or_default")]
    pub head_sha: String,
    /// `success` where it ended well.
    pub conclusion: Option<String>,
    /// The workflow file.
    pub path: Option<String>,
    /// The repository that it belongs to.
    pub repository: Option<RepositoryId>,
    /// The repository whose code it ran.
    pub head_repository: Option<RepositoryId>,
    /// The workflow files that its own file calls; where the API does not say, there may be any.
    pub referenced_workflows: Option<Vec<ReferencedWorkflow>>,
}

impl Run {
    /// Returns the facts that trust in the run rests on.
    pub fn facts(&self) -> RunFacts {
        RunFacts {
            repository_id: self.repository.map(|repository| repository.id),
            head_repository_id: self.head_repository.map(|repository| repository.id),
            head_branch: self.head_branch.clone(),
            event: self.event.clone(),
            conclusion: self.conclusion.clone(),
        }
    }
}

/// A workflow file that another one calls.
#[derive(Clone, Debug, Deserialize)]
pub struct ReferencedWorkflow {
    /// `owner/repo/path@ref`.
    pub path: Option<String>,
    /// The commit that it was taken from.
    pub sha: Option<String>,
}

/// A pull request, as far as trust needs it.
#[derive(Clone, Debug, Deserialize)]
pub struct PullRequest {
    /// Its number.
    pub number: u64,
    /// When it was merged, if it was.
    pub merged_at: Option<String>,
    /// The commit that merged it; before that, a trial.
    pub merge_commit_sha: Option<String>,
    /// Where it goes.
    pub base: Side,
    /// Where it comes from.
    pub head: Side,
}

/// One end of a pull request.
#[derive(Clone, Debug, Deserialize)]
pub struct Side {
    /// The branch.
    #[serde(rename = "ref")]
    pub name: String,
    /// Its commit.
    pub sha: String,
    /// Its repository; null where that is gone.
    pub repo: Option<RepositoryId>,
}

/// A repository by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct RepositoryId {
    /// Its number.
    pub id: u64,
}

/// An artifact.
#[derive(Clone, Debug, Deserialize)]
pub struct Artifact {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Size of the zip in bytes.
    #[serde(default, deserialize_with = "or_default")]
    pub size_in_bytes: u64,
    /// Whether its bytes are gone.
    #[serde(default, deserialize_with = "or_default")]
    pub expired: bool,
    /// What the list says of the run that uploaded it.
    pub workflow_run: Option<Uploader>,
}

impl Artifact {
    /// Returns what is known of its run without asking for it, and the best of the rest; `None`
    /// where nothing is.
    pub fn hopeful_facts(&self) -> Option<RunFacts> {
        let run = self.workflow_run.as_ref()?;
        Some(RunFacts {
            repository_id: Some(run.repository_id?),
            head_repository_id: Some(run.head_repository_id?),
            head_branch: Some(run.head_branch.clone()?),
            event: "push".to_owned(),
            conclusion: Some("success".to_owned()),
        })
    }
}

/// The run that uploaded an artifact, as lists tell of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Uploader {
    /// Its number.
    pub id: Option<u64>,
    /// The repository that it belongs to.
    pub repository_id: Option<u64>,
    /// The repository whose code it ran.
    pub head_repository_id: Option<u64>,
    /// The branch it ran for.
    pub head_branch: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Artifacts {
    #[serde(default)]
    pub(super) artifacts: Vec<Artifact>,
}

#[derive(Deserialize)]
pub(super) struct Runs {
    #[serde(default)]
    pub(super) workflow_runs: Vec<Run>,
}

#[derive(Deserialize)]
pub(super) struct File {
    pub(super) sha: String,
}

#[derive(Deserialize)]
pub(super) struct Event {
    pub(super) event: String,
}

#[derive(Deserialize)]
pub(super) struct Commit {
    pub(super) commit: CommitText,
}

#[derive(Deserialize)]
pub(super) struct CommitText {
    pub(super) message: String,
}

/// Takes null for a field that is not there: one of them must not make a whole page of no use.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    value: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::trust::usable;

    #[test]
    fn a_field_without_a_value_spoils_no_page_and_says_nothing_good() {
        let whole = r#"{"id":1,"event":"push","head_branch":"main","head_sha":"ab",
            "conclusion":"success","path":"a.yml","repository":{"id":42},
            "head_repository":{"id":42},"referenced_workflows":[]}"#;
        let nulls = r#"{"id":2,"event":null,"head_branch":null,"head_sha":null,"conclusion":null,
            "path":null,"repository":null,"head_repository":null,"referenced_workflows":null}"#;
        let odd = r#"{"id":4,"referenced_workflows":[{"path":null}]}"#;
        let page = format!(r#"{{"workflow_runs":[{whole},{nulls},{{"id":3}},{odd}]}}"#);
        let runs = serde_json::from_str::<Runs>(&page).unwrap().workflow_runs;
        assert_eq!(usable(&runs[0].facts(), "main", &[], &[]), Ok(()));
        assert_eq!(runs[0].referenced_workflows.as_ref().map(Vec::len), Some(0));
        for run in &runs[1..3] {
            assert!(usable(&run.facts(), "main", &[], &[]).is_err() && run.head_sha.is_empty());
            assert!(run.referenced_workflows.is_none(), "it is not known to call nothing");
        }
        assert_eq!(runs[3].referenced_workflows.as_ref().unwrap()[0].path, None);

        let page = r#"{"artifacts":[{"id":1,"name":"a","size_in_bytes":null,"expired":null,
            "workflow_run":null,"created_at":null,"expires_at":null,"digest":null},
            {"id":2,"name":"b"}]}"#;
        let artifacts = serde_json::from_str::<Artifacts>(page).unwrap().artifacts;
        assert_eq!(
            artifacts.iter().map(|found| (found.size_in_bytes, found.expired)).collect::<Vec<_>>(),
            [(0, false); 2]
        );
    }
}
