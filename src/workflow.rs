//! The workflow run that this process belongs to, as plain data; [`crate::github`] fills it in.

use crate::format::pointer::Producer;

pub mod facts;

/// What is known of the run; all text is foreign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunContext {
    /// `owner/repo`.
    pub repository: String,
    /// The repository's number; 0 where neither the runner nor the payload says.
    pub repository_id: u64,
    /// The full ref, such as `refs/heads/main` or `refs/pull/7/merge`.
    pub git_ref: String,
    /// The commit.
    pub sha: String,
    /// The event's name.
    pub event: String,
    /// The workflow file and its ref.
    pub workflow_ref: String,
    /// The run's number; 0 where the runner does not say.
    pub run_id: u64,
    /// The attempt, from 1.
    pub run_attempt: u64,
    /// The job's id.
    pub job: String,
    /// The account that started this attempt of the run.
    pub actor: String,
    /// The message of the commit that was pushed last or that is queued, where the payload tells
    /// it.
    pub message: Option<String>,
    /// The branch of a pull request.
    pub head_ref: String,
    /// The default branch, where the payload tells it.
    pub default_branch: Option<String>,
    /// The pull request of the event.
    pub pull_request: Option<PullRequest>,
    /// The ref that a merge queue entry will be merged into.
    pub merge_base_ref: Option<String>,
    /// What the runner allows this run to do with caches.
    pub cache_mode: CacheMode,
}

/// A pull request as far as trust needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullRequest {
    /// Its number.
    pub number: u64,
    /// Whether its branch lies in the repository itself; a deleted or unknown one does not.
    pub same_repository: bool,
    /// The last commit of its branch.
    pub head_sha: String,
    /// The names of its labels.
    pub labels: Vec<String>,
}

/// `ACTIONS_CACHE_MODE`, which GitHub sets for events that outsiders can cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// Unset or unknown: no restriction.
    #[default]
    ReadWrite,
    /// Only restoring is allowed.
    Read,
    /// Only saving is allowed.
    WriteOnly,
    /// Neither is.
    None,
}

/// Returns the short name of a ref, by which heads are filed: a branch, or `tags/<tag>`.
pub fn short_ref(git_ref: &str) -> &str {
    git_ref.strip_prefix("refs/heads/").or_else(|| git_ref.strip_prefix("refs/")).unwrap_or(git_ref)
}

impl RunContext {
    /// Returns whether the run is one of this repository, whose name GitHub takes in any case.
    pub fn is_of(&self, repository: &str) -> bool {
        self.repository.eq_ignore_ascii_case(repository)
    }

    /// Returns the short name of the ref whose head this run moves: a branch, `tags/<tag>`, or
    /// the branch of a pull request.
    pub fn ref_name(&self) -> &str {
        if !self.head_ref.is_empty() {
            return &self.head_ref;
        }
        short_ref(&self.git_ref)
    }

    /// Returns the path of the workflow file, such as `.github/workflows/train.yml`; `None` where
    /// the workflow is not the repository's own.
    pub fn workflow_path(&self) -> Option<&str> {
        // The name of a file may hold an `@`, but no slash.
        let (file, _) = self.workflow_ref.split_once("@refs/")?;
        file.strip_prefix(self.repository.as_str())?.strip_prefix('/')
    }

    /// Returns what a pointer says of its producer.
    pub fn producer(&self) -> Producer {
        Producer {
            repository: self.repository.clone(),
            repository_id: self.repository_id,
            git_ref: self.git_ref.clone(),
            sha: self.sha.clone(),
            event: self.event.clone(),
            workflow_ref: self.workflow_ref.clone(),
            run_id: self.run_id,
            run_attempt: self.run_attempt,
            job: self.job.clone(),
        }
    }
}
