//! Whether the default branch may take over the model that a merged pull request trained.
//!
//! What the store says of a pull request proves nothing: everybody who can push to its branch can
//! write there. So the proof is what GitHub's API says of the merge, of the run that trained and of
//! the workflow that the run followed; docs/threat-model.md argues why each question is needed.

use jiff::{SignedDuration, Timestamp};

use super::scope::Access;
use super::verdict::Policy;
use crate::format::{Fingerprint, ModelName, Namespace, Pointer, Scope};
use crate::workflow::RunContext;
use crate::workflow::facts::{Called, PullFacts, TrainingRun};

/// How far the clocks of two machines may differ.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(10);

/// The run that may take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// The repository's number; 0 where it is not known.
    pub repository_id: u64,
    /// `owner/repo`.
    pub repository: String,
    /// Its default branch.
    pub default_branch: String,
    /// The commit that was pushed to it.
    pub sha: String,
    /// The workflow file, which is also the one that must have trained.
    pub workflow: String,
}

/// A file of the repository that a run followed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Followed {
    /// Its path.
    pub file: String,
    /// The commit that it was taken from.
    pub sha: String,
}

/// The model that is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Whose model.
    pub namespace: &'a Namespace,
    /// Which model.
    pub model: &'a ModelName,
    /// From which inputs.
    pub fingerprint: &'a Fingerprint,
}

/// Returns whether the run may take over anything: a push to the default branch that may write, and
/// is not to train anyway.
pub fn is_due(run: &RunContext, access: &Access, policy: &Policy) -> bool {
    let default = run.default_branch.as_ref().map(|branch| format!("refs/heads/{branch}"));
    run.event == "push"
        && default.as_ref() == Some(&run.git_ref)
        && access.own == Scope::Trusted
        && access.read_only.is_none()
        && policy.force.is_none()
}

/// Checks that the pull request was merged by this very commit, and came from the repository
/// itself.
///
/// # Errors
/// The first fact that says no, as a sentence without a full stop.
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

/// What else could have caused the runs of the pull request's branch.
///
/// A run of a pull request follows the workflow of a trial merge with the branch it goes to. The
/// API names a run's commit and branch, but not the pull request that caused it: so there must be
/// one only, and it must have gone to the default branch all the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rivals {
    /// The numbers of all pull requests whose branch has the same name, open and closed.
    pub of_branch: Vec<u64>,
    /// The names of everything that happened to the pull request.
    pub events: Vec<String>,
}

/// Checks that nothing but this pull request, into the default branch, caused the runs of its
/// branch.
///
/// # Errors
/// The first fact that says no, as a sentence without a full stop.
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

/// Checks that the run trained the commit that was merged, by the workflow that is running here.
///
/// # Errors
/// The first fact that says no, as a sentence without a full stop.
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

/// Returns the files of the repository that made the run what it was; each must be the same in the
/// commit that merged the pull request.
///
/// # Errors
/// A called workflow of which it is not clear which file it is, as a sentence without a full stop.
pub fn workflow_files(run: &TrainingRun, here: &Here) -> Result<Vec<Followed>, String> {
    let called = run.called.as_ref().ok_or("GitHub does not say which workflows it calls")?;
    let own = format!("{}/", here.repository);
    let mut files = vec![Followed { file: here.workflow.clone(), sha: run.head_sha.clone() }];
    for Called { path, sha } in called {
        let path = path.as_deref().unwrap_or_default();
        let unclear = || format!("`{path}` does not clearly name a file");
        // Whatever does not name its repository may lie in this one.
        if path.split('/').nth(2) != Some(".github") {
            return Err(unclear());
        }
        // GitHub does not tell names of repositories apart by case.
        if path.get(..own.len()).is_some_and(|start| start.eq_ignore_ascii_case(&own)) {
            let file = workflow_file(path).ok_or_else(unclear)?[own.len()..].to_owned();
            let sha = sha.clone().filter(|sha| !sha.is_empty()).ok_or_else(unclear)?;
            files.push(Followed { file, sha });
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// Returns the file of `path` or `path@ref`; `None` where both could be meant. Anybody can name a
/// workflow `train.yml@other.yml`, and a branch `other.yml`.
fn workflow_file(path: &str) -> Option<&str> {
    let ends = path.match_indices('@').map(|(end, _)| end).chain([path.len()]);
    let mut files = ends
        .map(|end| &path[..end])
        .filter(|file| file.ends_with(".yml") || file.ends_with(".yaml"));
    let file = files.next()?;
    if files.next().is_none() { Some(file) } else { None }
}

/// Returns the pull request's pointer if the run's artifact holds the very same bytes, the run
/// itself wrote them, and they are about the wanted model.
///
/// # Errors
/// The first fact that says no, as a sentence without a full stop.
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
