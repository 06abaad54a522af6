//! Whether another run's artifact may name a model.
//!
//! Artifacts have no branch scope. A fork's run can give an artifact any name, and a fork's branch
//! may be called `main` too. So every fact about the run must show that the run is trusted.

use super::scope::{TRUSTED_EVENTS, is_named};
use crate::format::{Pointer, Scope};
use crate::workflow::facts::{MERGE_QUEUE, RunFacts};

/// Decides whether a reader may use the run's artifacts.
///
/// The reader trusts the default branch, the branches in `trusted_refs`, and the branches whose
/// scopes it reads anyway. Entries for tags have no effect, because the API does not tell a tag
/// from a branch.
///
/// # Errors
/// Returns the first fact against the run, as a sentence without a full stop.
pub fn usable(
    run: &RunFacts,
    default_branch: &str,
    trusted_refs: &[String],
    reads: &[Scope],
) -> Result<(), String> {
    match (run.repository_id, run.head_repository_id) {
        (Some(own), Some(head)) if own == head => {}
        _ => return Err("the run's code is not from the repository itself".to_owned()),
    }
    if !TRUSTED_EVENTS.contains(&run.event.as_str()) {
        return Err(format!("runs of the event `{}` are not trusted", run.event));
    }
    let branch = run.head_branch.as_deref();
    let target = if run.event == "merge_group" { branch.and_then(merged_into) } else { branch };
    let is_read = branch.is_some_and(|name| reads.contains(&Scope::Branch(name.to_owned())));
    if !is_read
        && !target.is_some_and(|name| {
            name == default_branch || is_named(&format!("refs/heads/{name}"), trusted_refs)
        })
    {
        let trusted = [&[default_branch.to_owned()], trusted_refs].concat().join(", ");
        let shown = branch.unwrap_or("unknown");
        return Err(format!(
            "the run's branch `{shown}` is not among the trusted branches: {trusted}"
        ));
    }
    match run.conclusion.as_deref() {
        Some("success") => Ok(()),
        conclusion => Err(format!(
            "the run has not succeeded ({})",
            conclusion.unwrap_or("it is still running")
        )),
    }
}

/// Returns the name of the run's branch if it may be the name of a tag.
///
/// The API gives the name of a branch and of a tag in the same field. Runs of other events than
/// these two are on branches only.
pub fn may_be_tag(run: &RunFacts) -> Option<&str> {
    match run.event.as_str() {
        "push" | "workflow_dispatch" => run.head_branch.as_deref(),
        _ => None,
    }
}

/// Returns whether the store itself shows that the run was on a trusted ref: only such a run can
/// have written this trusted pointer.
pub fn is_shown_by(pointer: &Pointer, run: u64) -> bool {
    pointer.scope == Scope::Trusted
        && pointer.promotion.is_none()
        && pointer.producer.as_ref().is_some_and(|producer| producer.run_id == run)
}

/// Returns the target branch of a merge queue entry. The entry is trusted as far as that branch.
///
/// GitHub names the entry's own branch `gh-readonly-queue/<base>/pr-<number>-<commit>`.
fn merged_into(queued: &str) -> Option<&str> {
    let (base, entry) = queued.strip_prefix(MERGE_QUEUE)?.rsplit_once('/')?;
    let (number, sha) = entry.strip_prefix("pr-")?.split_once('-')?;
    let is_entry = number.parse::<u64>().is_ok()
        && sha.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !sha.is_empty();
    is_entry.then_some(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> RunFacts {
        RunFacts {
            repository_id: Some(42),
            head_repository_id: Some(42),
            head_branch: Some("main".into()),
            event: "push".into(),
            conclusion: Some("success".into()),
        }
    }

    #[test]
    fn branches_are_trusted_by_name() {
        let good = good();
        let named =
            ["release/*".to_owned(), "refs/heads/next".to_owned(), "refs/tags/v1".to_owned()];
        assert_eq!(usable(&good, "main", &[], &[]), Ok(()));
        for (branch, is_good) in
            [("release/1.x", true), ("next", true), ("releases", false), ("v1", false)]
        {
            let run = RunFacts { head_branch: Some(branch.into()), ..good.clone() };
            assert_eq!(
                usable(&run, "main", &named, &[Scope::Trusted]).is_ok(),
                is_good,
                "{branch}"
            );
        }
        for (branch, is_good) in [
            ("gh-readonly-queue/main/pr-7-0a1b", true),
            ("gh-readonly-queue/release/1.x/pr-7-0a1b", true),
            ("gh-readonly-queue/feature/pr-7-0a1b", false),
            ("gh-readonly-queue/main/x/pr-7-0a1b", false),
            ("gh-readonly-queue/main/pr-7", false),
            ("gh-readonly-queue/main", false),
            ("gh-readonly-queue/main/0a1b", false),
            ("gh-readonly-queue/main/pr-x-0a1b", false),
            ("gh-readonly-queue/main/pr-7-main", false),
            ("gh-readonly-queue/main/pr-7-", false),
            ("main", false),
        ] {
            let run = RunFacts {
                head_branch: Some(branch.into()),
                event: "merge_group".into(),
                ..good.clone()
            };
            assert_eq!(
                usable(&run, "main", &named, &[Scope::Trusted]).is_ok(),
                is_good,
                "{branch}"
            );
            // Anybody with push access can create a branch with such a name.
            let pushed = RunFacts { event: "push".into(), ..run };
            assert_eq!(
                usable(&pushed, "main", &named, &[Scope::Trusted]).is_ok(),
                branch == "main",
                "{branch}"
            );
        }
    }

    #[test]
    fn only_runs_of_some_events_may_be_of_a_tag() {
        for (event, name) in [
            ("push", Some("main")),
            ("workflow_dispatch", Some("main")),
            ("schedule", None),
            ("repository_dispatch", None),
            ("merge_group", None),
        ] {
            let run = RunFacts { event: event.into(), ..good() };
            assert_eq!(may_be_tag(&run), name, "{event}");
        }
    }

    #[test]
    fn a_trusted_pointer_shows_the_ref_of_the_run_that_wrote_it() {
        let of = |bytes: &[u8]| Pointer::parse(bytes).unwrap();
        let pointer = of(include_bytes!("../../tests/it/golden/v1/pointer.json"));
        let run = pointer.producer.as_ref().unwrap().run_id;
        assert!(is_shown_by(&pointer, run));
        assert!(!is_shown_by(&pointer, run + 1));
        assert!(!is_shown_by(&Pointer { scope: Scope::PullRequest(7), ..pointer.clone() }, run));
        assert!(!is_shown_by(&Pointer { producer: None, ..pointer }, run));
        let promoted = of(include_bytes!("../../tests/it/golden/v2/pointer.json"));
        let run = promoted.producer.as_ref().unwrap().run_id;
        assert!(!is_shown_by(&promoted, run));
    }

    #[test]
    fn a_branch_that_is_read_anyway_is_trusted() {
        let good = good();
        let own = RunFacts { head_branch: Some("feature/x".into()), ..good.clone() };
        let reads = [Scope::Branch("feature/x".into()), Scope::Trusted];
        assert_eq!(usable(&own, "main", &[], &reads), Ok(()));
        assert!(
            usable(&own, "main", &[], &reads[1..]).is_err(),
            "a trusted run reads only what is trusted"
        );
        for bad in [
            RunFacts { head_branch: Some("feature".into()), ..own.clone() },
            RunFacts { event: "pull_request".into(), ..own.clone() },
            RunFacts { head_repository_id: Some(43), ..own.clone() },
            RunFacts { conclusion: None, ..own },
        ] {
            assert!(usable(&bad, "main", &[], &reads).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_fact_must_say_yes() {
        let good = good();
        let named = ["release/*".to_owned(), "refs/heads/next".to_owned()];
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
            assert!(usable(&bad, "main", &named, &[Scope::Trusted]).is_err(), "{bad:?}");
        }
    }
}
