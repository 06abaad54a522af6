//! What GitHub's API says of runs and pull requests, as far as a decision needs it.

/// What the API says of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFacts {
    /// The repository that the run belongs to.
    pub repository_id: Option<u64>,
    /// The repository whose code it ran.
    pub head_repository_id: Option<u64>,
    /// The branch it ran for.
    pub head_branch: Option<String>,
    /// The event that caused it.
    pub event: String,
    /// How it ended.
    pub conclusion: Option<String>,
}

/// What the API says of a pull request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullFacts {
    /// Its number.
    pub number: u64,
    /// Whether it was merged.
    pub is_merged: bool,
    /// The commit that merged it.
    pub merge_sha: Option<String>,
    /// The branch it was merged into.
    pub base_branch: String,
    /// The repository of that branch.
    pub base_repository_id: Option<u64>,
    /// The branch that was merged.
    pub head_branch: String,
    /// The commit that was merged.
    pub head_sha: String,
    /// The repository it came from; `None` where that is gone.
    pub head_repository_id: Option<u64>,
}

/// What the API says of a run that may have trained.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrainingRun {
    /// Its number.
    pub id: u64,
    /// Where its code came from, and how it ended.
    pub facts: RunFacts,
    /// The commit it ran for.
    pub head_sha: String,
    /// Its workflow file.
    pub workflow: Option<String>,
    /// The workflow files that this one calls; `None` where the API does not say.
    pub called: Option<Vec<Called>>,
}

/// A workflow file that a run called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// `owner/repo/path@ref`, where the ref may mean another commit by now.
    pub path: Option<String>,
    /// The commit that it was taken from.
    pub sha: Option<String>,
}
