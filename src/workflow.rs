//! The workflow run of this process, as plain data. [`crate::github`] fills in the fields.

use crate::format::pointer::Producer;

pub mod facts;

/// The facts about this run. All text is foreign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunContext {
    /// The repository, `owner/repo`.
    pub repository: String,
    /// The repository's number; 0 if neither the runner nor the payload says it.
    pub repository_id: u64,
    /// The base URL of GitHub, such as `https://github.com`; empty if the runner does not say it.
    pub server_url: String,
    /// The full ref, such as `refs/heads/main` or `refs/pull/7/merge`.
    pub git_ref: String,
    /// The commit of the run (GITHUB_SHA).
    pub sha: String,
    /// The name of the event, such as `push`.
    pub event: String,
    /// The workflow file and its ref, `owner/repo/path@ref`.
    pub workflow_ref: String,
    /// The run's number; 0 if the runner does not say it.
    pub run_id: u64,
    /// The attempt of the run, from 1.
    pub run_attempt: u64,
    /// The job's id in the workflow file.
    pub job: String,
    /// The account that started this attempt of the run.
    pub actor: String,
    /// The message of the pushed or queued commit; `None` if the payload lacks it.
    pub message: Option<String>,
    /// The branch of a pull request; empty for other events.
    pub head_ref: String,
    /// The default branch, if the payload names it.
    pub default_branch: Option<String>,
    /// The pull request of the event; `None` for other events.
    pub pull_request: Option<PullRequest>,
    /// The ref into which the merge queue merges this entry; `None` for other events.
    pub merge_base_ref: Option<String>,
    /// The repository of this action, `owner/name` (GITHUB_ACTION_REPOSITORY); `None` if the runner
    /// does not say it.
    pub action: Option<String>,
    /// The rights to caches that the runner gives this run.
    pub cache_mode: CacheMode,
}

/// A pull request, with the fields that trust needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullRequest {
    /// The pull request's number.
    pub number: u64,
    /// Whether the branch belongs to the repository itself. A missing head repository counts as
    /// foreign.
    pub same_repository: bool,
    /// The last commit of the pull request's branch.
    pub head_sha: String,
    /// The names of the labels.
    pub labels: Vec<String>,
}

/// The value of ACTIONS_CACHE_MODE, which GitHub sets for events that outsiders can cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// Unset or unknown: no restriction.
    #[default]
    ReadWrite,
    /// The run may only restore.
    Read,
    /// The run may only save.
    WriteOnly,
    /// The run may neither restore nor save.
    None,
}

/// Returns the short name of a ref, which names its head in the store: a branch, or `tags/<tag>`.
pub fn short_ref(git_ref: &str) -> &str {
    git_ref.strip_prefix("refs/heads/").or_else(|| git_ref.strip_prefix("refs/")).unwrap_or(git_ref)
}

impl RunContext {
    /// Returns whether the run belongs to this repository. GitHub ignores the case of repository
    /// names.
    pub fn is_of(&self, repository: &str) -> bool {
        self.repository.eq_ignore_ascii_case(repository)
    }

    /// Returns the short name of the ref whose head this run moves: a branch, `tags/<tag>`, or the
    /// branch of a pull request.
    pub fn ref_name(&self) -> &str {
        if !self.head_ref.is_empty() {
            return &self.head_ref;
        }
        short_ref(&self.git_ref)
    }

    /// Returns the path of the workflow file, such as `.github/workflows/train.yml`. Returns `None`
    /// if the runner names no file of this repository.
    pub fn workflow_path(&self) -> Option<&str> {
        // A file's name may contain an `@`, but no slash.
        let (file, _) = self.workflow_ref.split_once("@refs/")?;
        file.strip_prefix(self.repository.as_str())?.strip_prefix('/')
    }

    /// Returns the facts about this run that a pointer records as its producer.
    ///
    /// After the merge of a pull request, GITHUB_REF of its runs is the branch that received the
    /// commits. These runs are still runs of the pull request, so the pointer names its own ref.
    pub fn producer(&self) -> Producer {
        let git_ref = match &self.pull_request {
            Some(request) if self.event == "pull_request" => {
                let head = format!("refs/pull/{}/head", request.number);
                let merge = format!("refs/pull/{}/merge", request.number);
                if self.git_ref == head { head } else { merge }
            }
            _ => self.git_ref.clone(),
        };
        Producer {
            repository: self.repository.clone(),
            repository_id: self.repository_id,
            git_ref,
            sha: self.sha.clone(),
            event: self.event.clone(),
            workflow_ref: self.workflow_ref.clone(),
            run_id: self.run_id,
            run_attempt: self.run_attempt,
            job: self.job.clone(),
        }
    }
}
