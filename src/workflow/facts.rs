//! GitHub's facts about runs and pull requests, with the fields that a decision needs.

/// The beginning of the name of each branch that GitHub makes for an entry of a merge queue.
pub const MERGE_QUEUE: &str = "gh-readonly-queue/";

/// A run, as GitHub's API describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFacts {
    /// The number of the run's repository.
    pub repository_id: Option<u64>,
    /// The number of the repository of the run's code. For a fork's pull request, this is the fork.
    pub head_repository_id: Option<u64>,
    /// The short name of the run's branch.
    pub head_branch: Option<String>,
    /// The event that caused the run, such as `push`.
    pub event: String,
    /// The result of the run, such as `success`; `None` before its end.
    pub conclusion: Option<String>,
}

/// A pull request, as GitHub's API describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullFacts {
    /// The pull request's number.
    pub number: u64,
    /// Whether the pull request is merged.
    pub is_merged: bool,
    /// The commit of the merge.
    pub merge_sha: Option<String>,
    /// The base branch, which receives the commits.
    pub base_branch: String,
    /// The number of the base branch's repository.
    pub base_repository_id: Option<u64>,
    /// The head branch, which offers the commits.
    pub head_branch: String,
    /// The last commit of the head branch.
    pub head_sha: String,
    /// The number of the head branch's repository; `None` if that repository is gone.
    pub head_repository_id: Option<u64>,
}

/// A run that may have trained the model, as GitHub's API describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrainingRun {
    /// The run's number.
    pub id: u64,
    /// The origin of the run's code, and the run's result.
    pub facts: RunFacts,
    /// The commit of the run.
    pub head_sha: String,
    /// The path of the run's workflow file, sometimes with `@ref`.
    pub workflow: Option<String>,
    /// The workflow files that the run's own file calls; `None` if the API gives no list.
    pub called: Option<Vec<Called>>,
}

/// A workflow file that the run's own file calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// The file, as `owner/repo/path@ref`. The ref may name another commit by now.
    pub path: Option<String>,
    /// The commit from which the run took the file.
    pub sha: Option<String>,
}
