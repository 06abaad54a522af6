//! Whether the default branch may take over the model that a merged pull request trained.
//!
//! The store's word about a pull request proves nothing: everybody who can push to its branch can
//! write its scope. So GitHub's API must confirm the merge, the run that trained, and the workflow
//! of that run. docs/threat-model.md says why each question is needed.

mod reads;

use jiff::Timestamp;

pub use self::reads::only_trusted;

use super::scope::Access;
use super::verdict::{CLOCK_SKEW, Policy};
use crate::format::{Fingerprint, ModelName, Namespace, Pointer, Scope};
use crate::workflow::RunContext;
use crate::workflow::facts::{Called, PullFacts, TrainingRun};

/// The run that wants to take over the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// The repository's number; 0 if the runner does not say it.
    pub repository_id: u64,
    /// The repository, `owner/repo`.
    pub repository: String,
    /// The name of the repository's default branch, such as `main`.
    pub default_branch: String,
    /// The commit that was pushed to the default branch.
    pub sha: String,
    /// The path of the workflow file that is running. Only a run of the same file counts as a
    /// proof.
    pub workflow: String,
    /// The repository of this action, `owner/name`; `None` if the runner does not say it.
    pub action: Option<String>,
}

/// A workflow file that a run followed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Followed {
    /// The repository of the file, `owner/repo`.
    pub repository: String,
    /// The path from the root of the repository.
    pub file: String,
    /// The commit whose version of the file counts. For the run's own workflow it is the head
    /// commit.
    pub sha: String,
}

/// The model that the default branch needs.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The namespace of the model.
    pub namespace: &'a Namespace,
    /// The name of the model.
    pub model: &'a ModelName,
    /// The fingerprint of the inputs that are checked out.
    pub fingerprint: &'a Fingerprint,
}

/// Returns whether the run may try to promote a model.
///
/// All of these must hold:
/// - The run is a push to the default branch.
/// - The run may write trusted pointers.
/// - Nothing forces a training.
pub fn is_due(run: &RunContext, access: &Access, policy: &Policy) -> bool {
    let default = run.default_branch.as_ref().map(|branch| format!("refs/heads/{branch}"));
    run.event == "push"
        && default.as_ref() == Some(&run.git_ref)
        && access.own == Scope::Trusted
        && access.read_only.is_none()
        && policy.force.is_none()
}

/// Checks that exactly this commit merged the pull request, and that its branch is in this
/// repository.
///
/// # Errors
/// Returns the first fact against the promotion, as a sentence without a full stop.
pub fn merged_here(pull: &PullFacts, here: &Here) -> Result<(), String> {
    if !pull.is_merged {
        return Err("it is not merged".to_owned());
    }
    if here.repository_id == 0 {
        return Err("the runner does not say the number of this repository (GITHUB_REPOSITORY_ID)"
            .to_owned());
    }
    match pull.base_repository_id {
        Some(base) if base == here.repository_id => {}
        Some(_) => return Err("it was merged into another repository".to_owned()),
        None => return Err("GitHub does not say into which repository it was merged".to_owned()),
    }
    if pull.base_branch != here.default_branch {
        return Err(format!(
            "it was merged into `{}`, not into the default branch",
            pull.base_branch
        ));
    }
    if pull.head_repository_id != Some(here.repository_id) {
        return Err("it comes from a fork".to_owned());
    }
    if pull.merge_sha.as_deref() != Some(here.sha.as_str()) {
        return Err("another commit merged it".to_owned());
    }
    Ok(())
}

/// Other possible causes for the runs of the pull request's branch.
///
/// A pull request's run follows the workflow of a trial merge with the base branch. The API names
/// the run's commit and branch, but not the pull request that caused the run. So the branch may
/// have only this pull request, and its base must always have been the default branch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rivals {
    /// The numbers of all pull requests, open and closed, whose branch has the same name.
    pub of_branch: Vec<u64>,
    /// The names of all issue events of the pull request, as GitHub's API spells them.
    pub events: Vec<String>,
}

/// Checks that only this pull request, into the default branch, can have caused the branch's runs.
///
/// # Errors
/// Returns the first fact against the promotion, as a sentence without a full stop.
pub fn without_rivals(rivals: &Rivals, pull: &PullFacts) -> Result<(), String> {
    if !rivals.of_branch.contains(&pull.number) {
        return Err(format!(
            "GitHub does not list it among the pull requests of its branch `{}`",
            pull.head_branch
        ));
    }
    if let Some(other) = rivals.of_branch.iter().find(|number| **number != pull.number) {
        return Err(format!(
            "pull request #{other} has the same branch, so a run may belong to either"
        ));
    }
    let is_base_change = |event: &&String| {
        event.starts_with("base_ref_") || event.starts_with("automatic_base_change")
    };
    match rivals.events.iter().find(is_base_change) {
        Some(_) => Err("its base branch was changed".to_owned()),
        None => Ok(()),
    }
}

/// Checks that the run trained the merged commit successfully, with the workflow that runs here.
///
/// # Errors
/// Returns the first fact against the promotion, as a sentence without a full stop.
pub fn trained_there(run: &TrainingRun, pull: &PullFacts, here: &Here) -> Result<(), String> {
    let facts = &run.facts;
    if facts.repository_id != Some(here.repository_id)
        || facts.head_repository_id != Some(here.repository_id)
    {
        return Err("its code is not from the repository itself".to_owned());
    }
    if facts.event != "pull_request" {
        return Err(format!("its event is `{}`, not `pull_request`", facts.event));
    }
    if facts.head_branch.as_deref() != Some(pull.head_branch.as_str()) {
        return Err("it ran for another branch than the merged branch".to_owned());
    }
    if run.head_sha != pull.head_sha {
        return Err("it ran for another commit than the last commit of the pull request".to_owned());
    }
    if run.workflow.as_deref().and_then(workflow_file) != Some(here.workflow.as_str()) {
        return Err(format!("it is not a run of `{}`", here.workflow));
    }
    if facts.conclusion.as_deref() != Some("success") {
        return Err("it has not succeeded".to_owned());
    }
    Ok(())
}

/// Returns the workflow files that the run followed: its own and all that it called.
///
/// The caller must check that each file of this repository is the same in the merge, and that no
/// file lets the run read untrusted models.
///
/// # Errors
/// Returns a sentence without a full stop if GitHub does not clearly name a called workflow.
pub fn workflow_files(run: &TrainingRun, here: &Here) -> Result<Vec<Followed>, String> {
    let called = run.called.as_ref().ok_or("GitHub does not say which workflows it calls")?;
    let mut files = vec![Followed {
        repository: here.repository.clone(),
        file: here.workflow.clone(),
        sha: run.head_sha.clone(),
    }];
    for Called { path, sha } in called {
        let path = path.as_deref().unwrap_or_default();
        let unclear = || format!("`{path}` does not clearly name a file");
        // A path without a repository may mean a file of this repository.
        if path.split('/').nth(2) != Some(".github") {
            return Err(unclear());
        }
        let file = workflow_file(path).ok_or_else(unclear)?;
        let start = file.find("/.github/").ok_or_else(unclear)?;
        let (repository, file) = (&file[..start], file[start + 1..].to_owned());
        let sha = sha.clone().filter(|sha| !sha.is_empty()).ok_or_else(unclear)?;
        // GitHub ignores case in the names of repositories.
        let is_own = repository.eq_ignore_ascii_case(&here.repository);
        let repository = if is_own { &here.repository } else { repository };
        files.push(Followed { repository: repository.to_owned(), file, sha });
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// Returns the file of `path` or `path@ref`; `None` if the text could name two files.
///
/// Anybody can name a workflow `train.yml@other.yml`, or a branch `other.yml`.
fn workflow_file(path: &str) -> Option<&str> {
    let ends = path.match_indices('@').map(|(end, _)| end).chain([path.len()]);
    let mut files = ends
        .map(|end| &path[..end])
        .filter(|file| file.ends_with(".yml") || file.ends_with(".yaml"));
    let file = files.next()?;
    if files.next().is_none() { Some(file) } else { None }
}

/// Returns the pull request's pointer if the run's artifact proves it.
///
/// All of these must hold:
/// - The artifact and the store hold the same bytes.
/// - The pointer names the wanted model and inputs.
/// - The pointer names this run as its producer.
///
/// # Errors
/// Returns the first fact against the promotion, as a sentence without a full stop.
pub fn same_pointer(
    stored: &[u8],
    artifact: &[u8],
    run: &TrainingRun,
    pull: &PullFacts,
    wanted: Wanted<'_>,
    now: Timestamp,
) -> Result<Pointer, String> {
    if stored != artifact {
        return Err("its pointer differs from the pointer in the store".to_owned());
    }
    let pointer = Pointer::parse(stored).map_err(|error| error.to_string())?;
    let scope = Scope::PullRequest(pull.number);
    pointer
        .expect(wanted.namespace, wanted.model, &scope, wanted.fingerprint)
        .map_err(|error| error.to_string())?;
    let own = pointer.producer.as_ref().is_some_and(|producer| {
        producer.run_id == run.id
            && Some(producer.repository_id) == run.facts.repository_id
            && producer.event == run.facts.event
            && producer.git_ref == format!("refs/pull/{}/merge", pull.number)
    });
    if !own {
        return Err("its pointer says that another run trained the model".to_owned());
    }
    if pointer.promotion.is_some() {
        return Err("its pointer claims to be promoted already".to_owned());
    }
    if pointer.created_at > now + CLOCK_SKEW {
        return Err("the date of its pointer lies in the future".to_owned());
    }
    Ok(pointer)
}

#[cfg(test)]
mod tests;
