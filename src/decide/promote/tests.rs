//! Each fact alone is enough to refuse.

use super::*;
use crate::format::pointer::Producer;

const SHA: &str = "89abcdef0123456789abcdef0123456789abcdef";
const HEAD: &str = "0123456789abcdef0123456789abcdef01234567";
const WORKFLOW: &str = ".github/workflows/train.yml";

fn here() -> Here {
    Here {
        repository_id: 42,
        repository: "org/repo".into(),
        default_branch: "main".into(),
        sha: SHA.into(),
        workflow: WORKFLOW.into(),
    }
}

fn pull() -> PullFacts {
    PullFacts {
        number: 7,
        is_merged: true,
        merge_sha: Some(SHA.into()),
        base_branch: "main".into(),
        base_repository_id: Some(42),
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
        called: vec![
            "org/repo/.github/workflows/shared.yml@refs/pull/7/merge".into(),
            "other/repo/.github/workflows/shared.yml@v1".into(),
        ],
    }
}

/// A pull request's pointer as its own run wrote it.
fn pointer() -> Pointer {
    let mut pointer = Pointer::parse(include_bytes!("../../../tests/it/golden/v1/pointer.json")).unwrap();
    pointer.scope = Scope::PullRequest(7);
    let producer = pointer.producer.clone().unwrap();
    pointer.producer = Some(Producer { repository_id: 42, run_id: 1001, ..producer });
    pointer
}

#[test]
fn only_this_merge_of_an_own_branch_counts() {
    assert_eq!(merged_here(&pull(), &here()), Ok(()));
    for (bad, why) in [
        (PullFacts { is_merged: false, ..pull() }, "not merged"),
        (PullFacts { base_branch: "release".into(), ..pull() }, "`release`"),
        (PullFacts { base_repository_id: Some(43), ..pull() }, "default branch"),
        (PullFacts { base_repository_id: None, ..pull() }, "default branch"),
        (PullFacts { head_repository_id: Some(43), ..pull() }, "fork"),
        (PullFacts { head_repository_id: None, ..pull() }, "fork"),
        (PullFacts { merge_sha: Some(HEAD.into()), ..pull() }, "another commit"),
        (PullFacts { merge_sha: None, ..pull() }, "another commit"),
    ] {
        assert!(merged_here(&bad, &here()).unwrap_err().contains(why), "{bad:?}");
    }
}

#[test]
fn only_a_good_run_of_this_workflow_for_the_merged_commit_counts() {
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
        (facts(|facts| facts.conclusion = Some("failure".into())), "ended well"),
        (facts(|facts| facts.conclusion = None), "ended well"),
        (TrainingRun { head_sha: SHA.into(), ..run() }, "another commit"),
        (TrainingRun { workflow: Some(".github/workflows/evil.yml".into()), ..run() }, WORKFLOW),
        (TrainingRun { workflow: None, ..run() }, WORKFLOW),
    ] {
        assert!(trained_there(&bad, &pull(), &here()).unwrap_err().contains(why), "{bad:?}");
    }
}

#[test]
fn called_workflows_of_the_repository_are_compared_too() {
    assert_eq!(workflow_files(&run(), &here()), [".github/workflows/shared.yml", WORKFLOW]);
}

#[test]
fn what_another_run_wrote_has_another_name() {
    for (name, own) in [
        ("ml-cache-fraud", true),
        ("ml-cache-fraud-1-0badcafe", true),
        ("ml-cache-fraud-adopted-1-0badcafe", false),
        ("ml-cache-fraud-adopted", false),
        ("ml-cache-fraud-12-0badcafe-deadbeef", true),
        ("ml-cache-fraud-0badcafe", true),
        ("ml-cache-fraudulent", false),
        ("ml-cache-fraud-", false),
        ("ml-cache-fraud-detector", false),
        ("ml-cache-fraud-detector-1-0badcafe", false),
        // Of a model `fraud-2`.
        ("ml-cache-fraud-2-1-0badcafe", false),
        ("ml-cache-fraud-1-0badcafe-0badcafe-0badcafe", false),
        ("other", false),
    ] {
        assert_eq!(is_own_artifact(name, "ml-cache-fraud"), own, "{name}");
    }
}

#[test]
fn the_pointer_must_be_the_very_one_that_the_run_wrote() {
    let now = pointer().created_at + SignedDuration::from_hours(1);
    let (namespace, model, fingerprint) = (pointer().namespace, pointer().model, pointer().fingerprint);
    let wanted = Wanted { namespace: &namespace, model: &model, fingerprint: &fingerprint };
    let check = |stored: &Pointer, artifact: &Pointer| {
        same_pointer(&stored.to_bytes().unwrap(), &artifact.to_bytes().unwrap(), &run(), &pull(), wanted, now)
    };
    assert_eq!(check(&pointer(), &pointer()), Ok(pointer()));
    let forged = Pointer { nonce: "f".repeat(32), ..pointer() };
    assert!(check(&forged, &pointer()).unwrap_err().contains("not the one in the store"));
    let changed = |change: fn(&mut Pointer)| {
        let mut bad = pointer();
        change(&mut bad);
        bad
    };
    for (bad, why) in [
        (changed(|pointer| pointer.scope = Scope::PullRequest(8)), "scope"),
        (changed(|pointer| pointer.scope = Scope::Trusted), "scope"),
        (changed(|pointer| pointer.fingerprint = Digest::of(b"other")), "fingerprint"),
        (changed(|pointer| pointer.model = "other".parse().unwrap()), "model"),
        (changed(|pointer| pointer.namespace = "org/other".parse().unwrap()), "namespace"),
        (changed(|pointer| pointer.producer = None), "another run"),
        (changed(|pointer| pointer.producer.as_mut().unwrap().run_id = 1000), "another run"),
        (changed(|pointer| pointer.producer.as_mut().unwrap().repository_id = 43), "another run"),
        (changed(|pointer| pointer.created_at += SignedDuration::from_hours(2)), "future"),
    ] {
        assert!(check(&bad, &bad).unwrap_err().contains(why), "{bad:?}");
    }
    assert!(same_pointer(b"{}", b"{}", &run(), &pull(), wanted, now).is_err());
}
