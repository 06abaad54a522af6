//! Whether an artifact of another run may name a model.
//!
//! Artifacts have no branch scope: a fork's run can upload any name, and its branch may be called
//! `main` too. So every fact about the run must say that it is trusted.

use super::scope::TRUSTED_EVENTS;

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

/// Decides whether the run's artifacts may be used by a reader who trusts the branches.
///
/// # Errors
/// The first fact that says no, as a sentence without a full stop.
pub fn usable(run: &RunFacts, branches: &[String]) -> Result<(), String> {
    match (run.repository_id, run.head_repository_id) {
        (Some(own), Some(head)) if own == head => {}
        _ => return Err("the run's code is not from the repository itself".to_owned()),
    }
    if !TRUSTED_EVENTS.contains(&run.event.as_str()) {
        return Err(format!("runs of the event `{}` are not trusted", run.event));
    }
    match &run.head_branch {
        Some(branch) if branches.contains(branch) => {}
        branch => {
            let shown = branch.as_deref().unwrap_or("unknown");
            return Err(format!(
                "the run's branch `{shown}` is not among those that are trusted: {}",
                branches.join(", ")
            ));
        }
    }
    match run.conclusion.as_deref() {
        Some("success") => Ok(()),
        conclusion => Err(format!("the run has not ended well ({})", conclusion.unwrap_or("it is still running"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_must_say_yes() {
        let good = RunFacts {
            repository_id: Some(42),
            head_repository_id: Some(42),
            head_branch: Some("main".into()),
            event: "push".into(),
            conclusion: Some("success".into()),
        };
        let branches = ["main".to_owned()];
        assert_eq!(usable(&good, &branches), Ok(()));
        for bad in [
            RunFacts { head_repository_id: Some(43), ..good.clone() },
            RunFacts { head_repository_id: None, ..good.clone() },
            RunFacts { repository_id: None, head_repository_id: None, ..good.clone() },
            RunFacts { event: "pull_request".into(), ..good.clone() },
            RunFacts { event: "pull_request_target".into(), ..good.clone() },
            RunFacts { event: "workflow_run".into(), ..good.clone() },
            RunFacts { event: "issue_comment".into(), ..good.clone() },
            RunFacts { head_branch: Some("feature".into()), ..good.clone() },
            RunFacts { head_branch: None, ..good.clone() },
            RunFacts { conclusion: Some("failure".into()), ..good.clone() },
            RunFacts { conclusion: None, ..good.clone() },
        ] {
            assert!(usable(&bad, &branches).is_err(), "{bad:?}");
        }
    }
}
