//! Whether a run of a pointer's scope can have written the claims of the pointer.
//!
//! Everybody with an untrusted role can write any claim into an untrusted scope. A claim that no
//! honest run makes shows that somebody planted the pointer. All other claims remain claims.

use super::scope::TRUSTED_EVENTS;
use crate::format::{Pointer, Scope};
use crate::workflow::short_ref;

/// The repository of the run that reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// The repository, `owner/repo`.
    pub repository: String,
    /// The repository's number; 0 if it is unknown.
    pub id: u64,
}

/// Checks that a run of the pointer's scope can have written its claims.
///
/// The rule knows neither the default branch nor `trusted-refs`, so it allows any ref in `trusted`.
/// Repositories can share a namespace. So it compares the numbers only under the reader's own name.
///
/// # Errors
/// Returns the first claim that cannot be, as a sentence without a full stop.
pub fn possible(pointer: &Pointer, reader: Option<&Reader>) -> Result<(), String> {
    let scope = &pointer.scope;
    if pointer.promotion.is_some() && *scope != Scope::Trusted {
        return Err(format!("it claims a promotion, which the scope `{scope}` never has"));
    }
    let Some(producer) = &pointer.producer else {
        return match scope {
            Scope::Trusted => Ok(()),
            _ => Err(format!("it names no run, but only runs write the scope `{scope}`")),
        };
    };
    let event = producer.event.as_str();
    let fits = match scope {
        Scope::Trusted if pointer.promotion.is_some() => event == "pull_request",
        Scope::PullRequest(_) => event == "pull_request",
        Scope::Trusted | Scope::Branch(_) => TRUSTED_EVENTS.contains(&event),
    };
    if !fits {
        return Err(format!("no run of the event `{event}` writes the scope `{scope}`"));
    }
    let git_ref = producer.git_ref.as_str();
    let fits = match scope {
        Scope::Trusted => true,
        // The scope of a run without a ref has a name of its own.
        Scope::Branch(name) if git_ref.is_empty() => name == "unknown",
        Scope::Branch(name) => git_ref.starts_with("refs/") && short_ref(git_ref) == name,
        // GitHub's runs are on the merge, Forgejo's runs on the head.
        Scope::PullRequest(number) => {
            ["merge", "head"].iter().any(|end| git_ref == format!("refs/pull/{number}/{end}"))
        }
    };
    if !fits {
        return Err(format!("no run of `{git_ref}` writes the scope `{scope}`"));
    }
    let is_other = reader.is_some_and(|reader| {
        reader.id != 0
            && producer.repository_id != 0
            && reader.id != producer.repository_id
            && reader.repository.eq_ignore_ascii_case(&producer.repository)
    });
    if is_other && *scope != Scope::Trusted {
        return Err(format!(
            "`{}` is not the repository number {}",
            producer.repository, producer.repository_id
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../tests/it/golden/v1/pointer.json");
    const PROMOTED: &[u8] = include_bytes!("../../tests/it/golden/v2/pointer.json");

    fn of(scope: &str, event: &str, git_ref: &str) -> Pointer {
        let mut pointer = Pointer::parse(GOLDEN).unwrap();
        pointer.scope = scope.parse().unwrap();
        let producer = pointer.producer.as_mut().unwrap();
        (producer.event, producer.git_ref) = (event.to_owned(), git_ref.to_owned());
        pointer
    }

    #[test]
    fn a_scope_has_the_pointers_of_its_own_runs_only() {
        for (scope, event, git_ref, can_be) in [
            ("pr/7", "pull_request", "refs/pull/7/merge", true),
            ("pr/7", "pull_request", "refs/pull/8/merge", false),
            ("pr/7", "pull_request", "refs/pull/71/merge", false),
            ("pr/7", "pull_request", "refs/heads/main", false),
            ("pr/7", "pull_request", "refs/pull/7/head", true),
            ("pr/7", "pull_request", "refs/pull/7/", false),
            ("pr/7", "pull_request", "refs/pull/7/../8/merge", false),
            ("pr/7", "pull_request", "refs/pull/7/merge\nx", false),
            ("pr/7", "pull_request", "refs/pull/7/merge/x", false),
            ("pr/7", "pull_request", "refs/pull/07/merge", false),
            ("branch/main", "push", "main", false),
            ("branch/heads/main", "push", "refs/heads/main", false),
            ("branch/unknown", "push", "", true),
            ("pr/7", "push", "refs/pull/7/merge", false),
            ("pr/7", "pull_request_target", "refs/pull/7/merge", false),
            ("pr/7", "push", "refs/heads/main", false),
            ("branch/feature/x", "push", "refs/heads/feature/x", true),
            ("branch/feature/x", "workflow_dispatch", "refs/heads/feature/x", true),
            ("branch/feature/x", "push", "refs/heads/main", false),
            ("branch/feature/x", "pull_request", "refs/heads/feature/x", false),
            ("branch/feature/x", "workflow_run", "refs/heads/feature/x", false),
            ("branch/v1", "push", "refs/tags/v1", false),
            ("branch/tags/v1", "push", "refs/tags/v1", true),
            (
                "branch/gh-readonly-queue/x/pr-1-ab",
                "merge_group",
                "refs/heads/gh-readonly-queue/x/pr-1-ab",
                true,
            ),
            // A trusted ref may have any name, and be renamed later.
            ("trusted", "push", "refs/heads/trunk", true),
            ("trusted", "schedule", "refs/heads/main", true),
            ("trusted", "push", "refs/tags/v1", true),
            ("trusted", "merge_group", "refs/heads/gh-readonly-queue/main/pr-1-ab", true),
            ("trusted", "pull_request", "refs/pull/7/merge", false),
            ("trusted", "issue_comment", "refs/heads/main", false),
        ] {
            let verdict = possible(&of(scope, event, git_ref), None);
            assert_eq!(verdict.is_ok(), can_be, "{scope} {event} {git_ref}: {verdict:?}");
        }
    }

    #[test]
    fn only_what_is_trusted_is_promoted_or_made_by_no_run() {
        let promoted = Pointer::parse(PROMOTED).unwrap();
        assert_eq!(possible(&promoted, None), Ok(()));
        let planted = Pointer { scope: Scope::PullRequest(7), ..promoted };
        assert!(possible(&planted, None).unwrap_err().contains("promotion"));
        for (scope, can_be) in [("trusted", true), ("pr/7", false), ("branch/main", false)] {
            let pointer =
                Pointer { producer: None, ..of(scope, "pull_request", "refs/pull/7/merge") };
            assert_eq!(possible(&pointer, None).is_ok(), can_be, "{scope}");
        }
    }

    #[test]
    fn a_repository_has_one_number_and_a_namespace_several() {
        let reader = |repository: &str, id| Reader { repository: repository.to_owned(), id };
        for (scope, reader, can_be) in [
            ("pr/7", reader("org/repo", 42), true),
            ("pr/7", reader("Org/Repo", 43), false),
            // The runner may not know the number.
            ("pr/7", reader("org/repo", 0), true),
            // Another repository shares the namespace, or the repository has a new name.
            ("pr/7", reader("org/other", 43), true),
            ("pr/7", reader("org/renamed", 42), true),
        ] {
            let pointer = of(scope, "pull_request", "refs/pull/7/merge");
            assert_eq!(possible(&pointer, Some(&reader)).is_ok(), can_be, "{reader:?}");
        }
        // The trusted model of a repository that was made anew is still trusted.
        let trusted = of("trusted", "push", "refs/heads/main");
        assert_eq!(possible(&trusted, Some(&reader("org/repo", 43))), Ok(()));
    }
}
