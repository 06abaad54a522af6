//! Each fact alone suffices to refuse a promotion.

use jiff::SignedDuration;

use super::*;
use crate::format::Nonce;
use crate::format::pointer::{ForceSource, Forced, Producer};
use crate::workflow::facts::RunFacts;

const SHA: &str = "89abcdef0123456789abcdef0123456789abcdef";
const HEAD: &str = "0123456789abcdef0123456789abcdef01234567";
/// The trial merge commit whose workflow the pull request's run followed.
const TRIAL: &str = "456789abcdef0123456789abcdef0123456789ab";
const WORKFLOW: &str = ".github/workflows/train.yml";

fn here() -> Here {
    Here {
        repository_id: 42,
        repository: "org/repo".into(),
        default_branch: "main".into(),
        sha: SHA.into(),
        workflow: WORKFLOW.into(),
        action: None,
    }
}

fn pull() -> PullFacts {
    PullFacts {
        number: 7,
        is_merged: true,
        merge_sha: Some(SHA.into()),
        base_branch: "main".into(),
        base_repository_id: Some(42),
        head_branch: "feature".into(),
        head_sha: HEAD.into(),
        head_repository_id: Some(42),
    }
}

fn run() -> TrainingRun {
    TrainingRun {
        id: 1001,
        facts: RunFacts {
            repository_id: Some(42),
            head_repository_id: Some(42),
            head_branch: Some("feature".into()),
            event: "pull_request".into(),
            conclusion: Some("success".into()),
        },
        head_sha: HEAD.into(),
        workflow: Some(WORKFLOW.into()),
        called: Some(vec![
            called("Org/Repo/.github/workflows/shared.yml@refs/pull/7/merge"),
            called("other/repo/.github/workflows/shared.yml@v1"),
        ]),
    }
}

fn called(path: &str) -> Called {
    Called { path: Some(path.into()), sha: Some(TRIAL.into()) }
}

/// A pull request's pointer, as its own run wrote it.
fn pointer() -> Pointer {
    let mut pointer =
        Pointer::parse(include_bytes!("../../../tests/it/golden/v1/pointer.json")).unwrap();
    pointer.scope = Scope::PullRequest(7);
    let producer = pointer.producer.clone().unwrap();
    let (event, git_ref) = ("pull_request".to_owned(), "refs/pull/7/merge".to_owned());
    pointer.producer =
        Some(Producer { repository_id: 42, run_id: 1001, event, git_ref, ..producer });
    pointer
}

#[test]
fn only_a_push_to_the_default_branch_that_may_write_is_due() {
    let push = RunContext {
        event: "push".into(),
        git_ref: "refs/heads/main".into(),
        default_branch: Some("main".into()),
        ..RunContext::default()
    };
    let access = Access {
        own: Scope::Trusted,
        reads: vec![Scope::Trusted],
        reads_this_run: false,
        replaces: true,
        read_only: None,
    };
    let policy = Policy::default();
    assert!(is_due(&push, &access, &policy));
    for run in [
        RunContext { event: "schedule".into(), ..push.clone() },
        RunContext { git_ref: "refs/heads/release".into(), ..push.clone() },
        RunContext { git_ref: "refs/tags/main".into(), ..push.clone() },
        RunContext { default_branch: None, ..push.clone() },
    ] {
        assert!(!is_due(&run, &access, &policy), "{run:?}");
    }
    let forced = Forced { by: None, source: ForceSource::Input, detail: "force-retrain".into() };
    assert!(!is_due(&push, &access, &Policy { force: Some(forced), ..policy.clone() }));
    assert!(!is_due(&push, &Access { own: Scope::PullRequest(7), ..access.clone() }, &policy));
    assert!(!is_due(&push, &Access { read_only: Some("no".into()), ..access }, &policy));
}

#[test]
fn only_this_merge_of_an_own_branch_counts() {
    assert_eq!(merged_here(&pull(), &here()), Ok(()));
    for (bad, why) in [
        (PullFacts { is_merged: false, ..pull() }, "not merged"),
        (PullFacts { base_branch: "release".into(), ..pull() }, "`release`"),
        (PullFacts { base_repository_id: Some(43), ..pull() }, "merged into another repository"),
        (PullFacts { base_repository_id: None, ..pull() }, "not say into which repository"),
        (PullFacts { head_repository_id: Some(43), ..pull() }, "fork"),
        (PullFacts { head_repository_id: None, ..pull() }, "fork"),
        (PullFacts { merge_sha: Some(HEAD.into()), ..pull() }, "another commit"),
        (PullFacts { merge_sha: None, ..pull() }, "another commit"),
    ] {
        assert!(merged_here(&bad, &here()).unwrap_err().contains(why), "{bad:?}");
    }
    // Two unknown repository numbers do not count as equal.
    let nowhere = Here { repository_id: 0, ..here() };
    for id in [Some(42), Some(0), None] {
        let pull = PullFacts { base_repository_id: id, head_repository_id: id, ..pull() };
        assert!(
            merged_here(&pull, &nowhere).unwrap_err().contains("GITHUB_REPOSITORY_ID"),
            "{id:?}"
        );
    }
}

#[test]
fn only_a_good_run_for_the_merged_commit_counts() {
    assert_eq!(trained_there(&run(), &pull(), &here()), Ok(()));
    let with_ref = TrainingRun { workflow: Some(format!("{WORKFLOW}@refs/pull/7/merge")), ..run() };
    assert_eq!(trained_there(&with_ref, &pull(), &here()), Ok(()));
    let facts = |change: fn(&mut RunFacts)| {
        let mut bad = run();
        change(&mut bad.facts);
        bad
    };
    for (bad, why) in [
        (facts(|facts| facts.repository_id = Some(43)), "repository itself"),
        (facts(|facts| facts.head_repository_id = Some(43)), "repository itself"),
        (facts(|facts| facts.head_repository_id = None), "repository itself"),
        (facts(|facts| facts.event = "pull_request_target".into()), "pull_request_target"),
        (facts(|facts| facts.event = "workflow_dispatch".into()), "workflow_dispatch"),
        (facts(|facts| facts.conclusion = Some("failure".into())), "not succeeded"),
        (facts(|facts| facts.conclusion = None), "not succeeded"),
        (facts(|facts| facts.head_branch = Some("other".into())), "another branch"),
        (facts(|facts| facts.head_branch = None), "another branch"),
        (TrainingRun { head_sha: SHA.into(), ..run() }, "another commit"),
        (TrainingRun { workflow: Some(".github/workflows/evil.yml".into()), ..run() }, WORKFLOW),
        (TrainingRun { workflow: None, ..run() }, WORKFLOW),
    ] {
        assert!(trained_there(&bad, &pull(), &here()).unwrap_err().contains(why), "{bad:?}");
    }
}

#[test]
fn called_workflows_are_looked_at_where_the_run_took_them_from() {
    let followed = |called: Option<Vec<Called>>| {
        let files = workflow_files(&TrainingRun { called, ..run() }, &here())?;
        let shown = |it: Followed| (it.repository, it.file, it.sha);
        Ok::<_, String>(files.into_iter().map(shown).collect::<Vec<_>>())
    };
    let file = |repository: &str, file: &str, sha: &str| {
        (repository.to_owned(), file.to_owned(), sha.to_owned())
    };
    let own = file("org/repo", WORKFLOW, HEAD);
    let shared = |sha: &str| file("org/repo", ".github/workflows/shared.yml", sha);
    let foreign = file("other/repo", ".github/workflows/shared.yml", TRIAL);
    assert_eq!(followed(run().called).unwrap(), [shared(TRIAL), own.clone(), foreign.clone()]);
    // The same file called at two commits counts twice; the name of the ref does not matter.
    let stable =
        Called { sha: Some(SHA.into()), ..called("org/repo/.github/workflows/shared.yml@stable") };
    let twice = [run().called.unwrap(), vec![stable]].concat();
    assert_eq!(followed(Some(twice)).unwrap(), [shared(TRIAL), shared(SHA), own.clone(), foreign]);
    assert_eq!(followed(Some(Vec::new())).unwrap(), [own]);
    let local = called("org/repo/.github/workflows/a.yml@main");
    for unclear in [
        called("org/repo/.github/workflows/a.yml@b.yml"),
        called("other/models/.github/workflows/a.yml@b.yml"),
        called("./.github/workflows/a.yml"),
        called(".github/workflows/a.yml"),
        called(""),
        Called { path: None, ..local.clone() },
        Called { sha: None, ..local.clone() },
        Called { sha: Some(String::new()), ..local },
    ] {
        assert!(
            followed(Some(vec![unclear.clone()]))
                .unwrap_err()
                .contains("does not clearly name a file"),
            "{unclear:?}"
        );
    }
    // If the API does not list the called workflows, the run could have called any of them.
    assert!(followed(None).unwrap_err().contains("not say which workflows"));
}

#[test]
fn nothing_else_may_have_caused_the_runs_of_the_branch() {
    let events = || vec!["labeled".to_owned(), "merged".to_owned(), "closed".to_owned()];
    let alone = Rivals { of_branch: vec![7], events: events() };
    assert_eq!(without_rivals(&alone, &pull()), Ok(()));
    for (bad, why) in [
        (Rivals { of_branch: vec![8, 7], ..alone.clone() }, "#8 has the same branch"),
        (Rivals { of_branch: vec![], ..alone.clone() }, "not list it among the pull requests"),
        (
            Rivals {
                events: [events(), vec!["base_ref_changed".into()]].concat(),
                ..alone.clone()
            },
            "its base branch was changed",
        ),
        (
            Rivals { events: vec!["automatic_base_change_succeeded".into()], ..alone.clone() },
            "its base branch was changed",
        ),
    ] {
        assert!(without_rivals(&bad, &pull()).unwrap_err().contains(why), "{bad:?}");
    }
}

#[test]
fn the_pointer_must_be_the_very_one_that_the_run_wrote() {
    let now = pointer().created_at + SignedDuration::from_hours(1);
    let (namespace, model, fingerprint) =
        (pointer().namespace, pointer().model, pointer().fingerprint);
    let wanted = Wanted { namespace: &namespace, model: &model, fingerprint: &fingerprint };
    let check = |stored: &Pointer, artifact: &Pointer| {
        same_pointer(
            &stored.to_bytes().unwrap(),
            &artifact.to_bytes().unwrap(),
            &run(),
            &pull(),
            wanted,
            now,
        )
    };
    assert_eq!(check(&pointer(), &pointer()), Ok(pointer()));
    let forged = Pointer { nonce: Nonce::new(u128::MAX), ..pointer() };
    assert!(
        check(&forged, &pointer()).unwrap_err().contains("differs from the pointer in the store")
    );
    let changed = |change: fn(&mut Pointer)| {
        let mut bad = pointer();
        change(&mut bad);
        bad
    };
    for (bad, why) in [
        (changed(|pointer| pointer.scope = Scope::PullRequest(8)), "scope"),
        (changed(|pointer| pointer.scope = Scope::Trusted), "scope"),
        (changed(|pointer| pointer.fingerprint = Fingerprint::of(b"other")), "fingerprint"),
        (changed(|pointer| pointer.model = "other".parse().unwrap()), "model"),
        (changed(|pointer| pointer.namespace = "org/other".parse().unwrap()), "namespace"),
        (changed(|pointer| pointer.producer = None), "another run"),
        (changed(|pointer| pointer.producer.as_mut().unwrap().run_id = 1000), "another run"),
        (changed(|pointer| pointer.producer.as_mut().unwrap().repository_id = 43), "another run"),
        (
            changed(|pointer| pointer.producer.as_mut().unwrap().event = "push".into()),
            "another run",
        ),
        (
            changed(|pointer| {
                pointer.producer.as_mut().unwrap().git_ref = "refs/pull/8/merge".into()
            }),
            "another run",
        ),
        (changed(|pointer| pointer.created_at += SignedDuration::from_hours(2)), "future"),
    ] {
        assert!(check(&bad, &bad).unwrap_err().contains(why), "{bad:?}");
    }
    assert!(same_pointer(b"{}", b"{}", &run(), &pull(), wanted, now).is_err());
}

#[test]
fn a_workflow_is_told_from_the_ref_behind_it() {
    for (path, file) in [
        ("a/train.yml", Some("a/train.yml")),
        ("a/train.yaml@main", Some("a/train.yaml")),
        ("a/train.yml@refs/heads/v@2", Some("a/train.yml")),
        ("a/of@home.yml@refs/heads/main", Some("a/of@home.yml")),
        // `@other.yml` could be a part of the file's name, or a ref.
        ("a/train.yml@other.yml", None),
        ("a/train.yml@other.yml@refs/heads/main", None),
        ("dynamic/pages/build", None),
        ("", None),
    ] {
        assert_eq!(workflow_file(path), file, "{path}");
    }
}
