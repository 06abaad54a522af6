//! The answers of GitHub's REST API, with the fields that this program needs.
//!
//! The types are our own. octocrab's types lack fields that trust depends on, and demand fields
//! that may be null.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};

use crate::workflow::facts::{MERGE_QUEUE, RunFacts};

/// A repository that the token can see.
#[derive(Clone, Debug, Deserialize)]
pub struct Repository {
    /// The repository's number, which survives renames.
    pub id: u64,
    /// The name of the default branch, such as `main`.
    pub default_branch: String,
}

/// A workflow run, with the fields that trust needs.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Run {
    /// The run's number.
    pub id: u64,
    /// The event that caused the run, such as `push`; empty if the API gives no event.
    #[serde(default, deserialize_with = "or_default")]
    pub event: String,
    /// The short name of the run's branch. For a tag, the API gives the name of the tag.
    pub head_branch: Option<String>,
    /// The commit of the run; empty if the API gives no commit.
    #[serde(default, deserialize_with = "or_default")]
    pub head_sha: String,
    /// The result of the run, such as `success`; `None` before its end.
    pub conclusion: Option<String>,
    /// The path of the workflow file, sometimes with `@ref`.
    pub path: Option<String>,
    /// The repository of the run.
    pub repository: Option<RepositoryId>,
    /// The repository of the run's code. For a fork's pull request, this is the fork.
    pub head_repository: Option<RepositoryId>,
    /// The workflow files that the run's own file calls. If the API gives no list, any file may be
    /// among them.
    pub referenced_workflows: Option<Vec<ReferencedWorkflow>>,
}

impl Run {
    /// Returns the facts that trust in the run needs.
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

/// A workflow file that another workflow file calls.
#[derive(Clone, Debug, Deserialize)]
pub struct ReferencedWorkflow {
    /// The file, as `owner/repo/path@ref`.
    pub path: Option<String>,
    /// The commit from which the run took the file.
    pub sha: Option<String>,
}

/// A pull request, with the fields that trust needs.
#[derive(Clone, Debug, Deserialize)]
pub struct PullRequest {
    /// The pull request's number.
    pub number: u64,
    /// The time of the merge; `None` if there is no merge.
    pub merged_at: Option<String>,
    /// The commit of the merge. Before the merge, this is a trial merge.
    pub merge_commit_sha: Option<String>,
    /// The base, which receives the commits.
    pub base: Side,
    /// The head, which offers the commits.
    pub head: Side,
}

/// The base or the head of a pull request.
#[derive(Clone, Debug, Deserialize)]
pub struct Side {
    /// The name of the branch.
    #[serde(rename = "ref")]
    pub name: String,
    /// The commit of the branch.
    pub sha: String,
    /// The repository of the branch; `None` if the repository is gone.
    pub repo: Option<RepositoryId>,
}

/// A repository by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct RepositoryId {
    /// The repository's number, which survives renames.
    pub id: u64,
}

/// An artifact of a run.
#[derive(Clone, Debug, Deserialize)]
pub struct Artifact {
    /// The artifact's number. A newer artifact has a larger number.
    pub id: u64,
    /// The artifact's name.
    pub name: String,
    /// The size of the zip in bytes.
    #[serde(default, deserialize_with = "or_default")]
    pub size_in_bytes: u64,
    /// Whether GitHub has deleted the artifact's bytes.
    #[serde(default, deserialize_with = "or_default")]
    pub expired: bool,
    /// The run that uploaded the artifact, as the list describes it.
    pub workflow_run: Option<Uploader>,
}

impl Artifact {
    /// Returns the facts about the artifact's run that the list gives. It assumes success, and the
    /// event that fits the branch best. `None` if the list lacks a fact.
    ///
    /// If trust refuses even these facts, the caller need not ask for the run.
    pub fn hopeful_facts(&self) -> Option<RunFacts> {
        let run = self.workflow_run.as_ref()?;
        let branch = run.head_branch.clone()?;
        let event = if branch.starts_with(MERGE_QUEUE) { "merge_group" } else { "push" };
        Some(RunFacts {
            repository_id: Some(run.repository_id?),
            head_repository_id: Some(run.head_repository_id?),
            head_branch: Some(branch),
            event: event.to_owned(),
            conclusion: Some("success".to_owned()),
        })
    }
}

/// The run that uploaded an artifact, as a list describes it.
#[derive(Clone, Debug, Deserialize)]
pub struct Uploader {
    /// The run's number.
    pub id: Option<u64>,
    /// The number of the run's repository.
    pub repository_id: Option<u64>,
    /// The number of the repository of the run's code. For a fork's pull request, this is the fork.
    pub head_repository_id: Option<u64>,
    /// The short name of the run's branch.
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
    #[serde(default)]
    content: String,
    #[serde(default)]
    encoding: String,
}

impl File {
    /// Returns the content. GitHub sends it in Base64 with line breaks, and up to 1 MB.
    pub(super) fn text(&self) -> Option<String> {
        let packed: String = self.content.split_ascii_whitespace().collect();
        let is_known = self.encoding == "base64";
        is_known
            .then(|| STANDARD.decode(packed).ok())
            .flatten()
            .and_then(|it| String::from_utf8(it).ok())
    }
}

/// A comment of a pull request.
#[derive(Clone, Debug, Deserialize)]
pub struct Comment {
    /// The comment's number. A newer comment has a larger number.
    pub id: u64,
    /// The text, in Markdown; empty if the API gives no text.
    #[serde(default, deserialize_with = "or_default")]
    pub body: String,
    /// The author; `None` if the account is gone.
    pub user: Option<Account>,
}

/// An account of GitHub.
#[derive(Clone, Debug, Deserialize)]
pub struct Account {
    /// The name, such as `octocat` or `github-actions[bot]`.
    pub login: String,
    /// The sort, such as `User` or `Bot`; empty if the API gives none.
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub kind: String,
}

/// A text file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFile {
    /// Git's id for the content.
    pub id: String,
    /// The content.
    pub text: String,
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

/// Reads null as an absent field, so that a null in one item does not spoil the whole page.
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

    #[test]
    fn an_artifact_of_a_merge_queue_may_be_of_a_trusted_run() {
        for (branch, may_be) in [
            ("main", true),
            ("gh-readonly-queue/main/pr-7-0a1b", true),
            ("gh-readonly-queue/other/pr-7-0a1b", false),
            ("topic", false),
        ] {
            let text = format!(
                r#"{{"id":1,"name":"a","workflow_run":{{"id":2,"repository_id":42,
                "head_repository_id":42,"head_branch":"{branch}"}}}}"#
            );
            let artifact: Artifact = serde_json::from_str(&text).unwrap();
            let facts = artifact.hopeful_facts().unwrap();
            assert_eq!(usable(&facts, "main", &[], &[]).is_ok(), may_be, "{branch}");
        }
    }
}
