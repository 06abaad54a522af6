//! Models of other runs and repositories: how inputs name them, and the messages if they are
//! missing.

use serde_json::json;

use super::artifacts::{
    NO_PATHS, REPOSITORY, by_run, deployment, job, known, later_job, run, saved,
};
use super::runner::{Runner, Step};
use crate::support::double::Double;

/// A job of another repository.
fn serving(runner: &Runner) -> Runner {
    let mut serving = deployment(runner);
    serving.env("GITHUB_REPOSITORY", "acme/serving");
    serving.env("GITHUB_REPOSITORY_ID", "99");
    serving
}

fn restore(deploy: &Runner, more: &[(&str, &str)]) -> Step {
    deploy.step_with("restore", &[&NO_PATHS[..], &[("repository", REPOSITORY)], more].concat())
}

fn asked(double: &Double) -> usize {
    double.look("requests?path=/repos/").as_array().unwrap().len()
}

#[test]
fn a_run_of_a_named_branch_is_trusted_by_pattern_too() {
    for (branch, trusted, good) in [
        ("release/1.x", "release/*", true),
        ("release/1.x", "refs/heads/release/1.x", true),
        ("hotfix", "release/*", false),
        // The API does not tell a tag from a branch of the same name.
        ("v1", "refs/tags/v1", false),
    ] {
        let (double, deploy, _) = later_job("reader");
        double.control("state", &json!({"runs": [run(json!({"head_branch": branch}))]}));
        let step = deploy
            .step_with("restore", &[&by_run("reader")[..], &[("trusted-refs", trusted)]].concat());
        if good {
            step.succeeds();
            assert_eq!(deploy.read("models/model.bin"), "weights");
        } else {
            step.fails(
                1,
                &["is not among the trusted branches: main, ", trusted, "hint:", "`trusted-refs`"],
            );
        }
    }
}

#[test]
fn a_merge_queue_run_is_trusted_like_its_target_branch() {
    for (base, good) in [("main", true), ("feature", false)] {
        let (double, deploy, _) = later_job("reader");
        let branch =
            format!("gh-readonly-queue/{base}/pr-7-6f1e2d3c4b5a69788796a5b4c3d2e1f001122334");
        double.control(
            "state",
            &json!({"runs": [run(json!({"event": "merge_group", "head_branch": branch}))]}),
        );
        let step = deploy.step_with("restore", &by_run("reader"));
        if good {
            step.succeeds();
            assert_eq!(deploy.read("models/model.bin"), "weights");
        } else {
            step.fails(1, &["is not among the trusted branches: main"]);
        }
    }
}

/// The job reads the scope of its branch anyway, so the run's model is no risk for it.
#[test]
fn a_job_of_a_branch_may_name_a_run_of_that_branch() {
    let (double, mut runner) = job();
    runner.env("GITHUB_REF", "refs/heads/feature/x");
    saved(&runner);
    known(&double, "reader");
    double.control("state", &json!({"runs": [run(json!({"head_branch": "feature/x"}))]}));
    let deploy = deployment(&runner);
    deploy.step_with("restore", &by_run("reader")).succeeds();
    assert_eq!(deploy.read("models/model.bin"), "weights");
    for (name, value) in [("GITHUB_REF", "refs/heads/feature/y"), ("GITHUB_REF", "refs/heads/main")]
    {
        let mut other = deployment(&runner);
        other.env(name, value);
        other
            .step_with("restore", &by_run("reader"))
            .fails(1, &["branch `feature/x` is not among"]);
    }
    let elsewhere = serving(&runner);
    elsewhere
        .step_with("restore", &by_run("reader"))
        .fails(1, &["branch `feature/x` is not among"]);
}

#[test]
fn models_with_similar_artifact_names_are_not_mixed_up() {
    let (double, runner) = job();
    let mut japan = runner.next_job();
    let mut china = runner.next_job();
    for (job, model) in [(&mut japan, "日本"), (&mut china, "中国")] {
        job.input("model", model);
        job.env("GITHUB_RUN_ID", "1001");
        job.train(model);
        job.step("save").succeeds();
    }
    known(&double, "reader");
    for (job, model) in [(&japan, "日本"), (&china, "中国")] {
        let deploy = deployment(job);
        deploy.step_with("restore", &by_run("reader")).succeeds();
        assert_eq!(deploy.read("models/model.bin"), model);
    }
}

#[test]
fn a_run_without_an_artifact_is_a_miss() {
    let (double, runner) = job();
    known(&double, "reader");
    let deploy = deployment(&runner);
    deploy
        .step_with("restore", &by_run("reader"))
        .fails(3, &["has no artifact `ml-cache-fraud`", "hint:"]);
    let step = deploy
        .step_with("restore", &[&by_run("reader")[..], &[("fail-on-miss", "false")]].concat());
    step.succeeds();
    assert_eq!(step.pick(["reason", "restored", "retrain-needed"]), ["no-model", "false", "true"]);
    assert!(
        step.log.contains("::warning::") && step.log.contains("has no artifact"),
        "{}",
        step.log
    );
}

#[test]
fn an_api_that_fails_does_not_choose_the_branch() {
    let (double, runner) = job();
    saved(&runner);
    runner.name_the_head_as_before("main");
    known(&double, "reader");
    let deploy = serving(&runner);
    for (status, headers) in
        [(500, json!({})), (403, json!({"x-ratelimit-remaining": "0"})), (429, json!({}))]
    {
        double.control(
            "faults",
            &json!([{"path": "/repos/", "action": {"status": status, "headers": headers}}]),
        );
        let step = restore(&deploy, &[("github-token", "reader")]);
        step.fails(1, &[&format!("answered {status}"), "hint:", "`ref`"]);
        assert!(!deploy.path("models").exists());
    }
    // A job's own token does not know another repository. A repetition helps against none of these
    // answers.
    for status in [404, 403, 401, 301] {
        double.control("faults", &json!([{"path": "/repos/", "action": {"status": status}}]));
        let step = restore(&deploy, &[("github-token", "reader")]);
        step.succeeds();
        assert!(step.log.contains("tries `main` and `master`"), "{}", step.log);
        assert!(!step.log.contains("::warning::"), "{}", step.log);
    }
}

#[test]
fn a_renamed_default_branch_keeps_its_latest_model() {
    let (double, runner) = job();
    saved(&runner);
    let latest = |more: &[(&str, &str)]| {
        let deploy = serving(&runner);
        let step = restore(&deploy, &[&[("github-token", "")], more].concat());
        (step.code == 0).then(|| deploy.read("models/model.bin"))
    };
    let all = || [latest(&[]), latest(&[("ref", "main")]), latest(&[("ref", "trunk")])];
    let found = |text: &str| Some(text.to_owned());
    assert_eq!(all(), [found("weights"), found("weights"), None]);

    let mut renamed = runner.next_job();
    let repository = json!({"full_name": REPOSITORY, "id": 4242, "default_branch": "trunk"});
    renamed.event(&json!({"repository": repository}));
    renamed.env("GITHUB_REF", "refs/heads/trunk");
    assert_eq!(renamed.step("plan").output("reason"), "hit");
    assert_eq!(all(), [found("weights"), None, found("weights")]);
    renamed.write("data/a.csv", "changed");
    renamed.env("GITHUB_RUN_ID", "1003");
    renamed.train("newer");
    renamed.step("save").succeeds();
    assert_eq!(all(), [found("newer"), None, found("newer")]);
    assert_eq!(asked(&double), 0, "the head needs no name of a branch");
}

#[test]
fn a_head_from_before_the_fixed_key_is_found_until_the_next_run() {
    let (_double, runner) = job();
    saved(&runner);
    runner.name_the_head_as_before("main");
    for more in [&[][..], &[("ref", "main")]] {
        let deploy = serving(&runner);
        restore(&deploy, &[&[("github-token", "")], more].concat()).succeeds();
        assert_eq!(deploy.read("models/model.bin"), "weights");
    }
    let later = runner.next_job();
    later.write("data/a.csv", "changed");
    let plan = later.step("plan");
    assert_eq!(plan.output("reason"), "data-changed", "the old head leads to the baseline");
    later.train("newer");
    later.step("save").succeeds();
    for more in [&[][..], &[("ref", "main")]] {
        let deploy = serving(&runner);
        restore(&deploy, &[&[("github-token", "")], more].concat()).succeeds();
        assert_eq!(deploy.read("models/model.bin"), "newer");
    }
}

#[test]
fn nobody_is_asked_for_a_branch_that_does_not_matter() {
    let (double, runner) = job();
    let save = saved(&runner);
    let before = asked(&double);
    for more in [
        ("fingerprint", save.output("fingerprint")),
        ("pointer", save.output("pointer")),
        ("ref", "main"),
        ("fail-on-miss", "true"),
    ] {
        let deploy = serving(&runner);
        restore(&deploy, &[("github-token", "reader"), more]).succeeds();
        assert_eq!(deploy.read("models/model.bin"), "weights");
    }
    assert_eq!(asked(&double), before);
}

#[test]
fn the_latest_model_of_a_tag_is_found_by_its_full_name() {
    let (_double, mut runner) = job();
    runner.env("GITHUB_REF", "refs/tags/v1");
    runner.input("trusted-refs", "refs/tags/v*");
    saved(&runner);
    let deploy = serving(&runner);
    for name in ["refs/tags/v1", "tags/v1"] {
        restore(&deploy, &[("github-token", ""), ("ref", name)]).succeeds();
    }
    restore(&deploy, &[("github-token", ""), ("ref", "v1")]).fails(3, &["`v1` has no model yet"]);
}

#[test]
fn an_empty_artifact_name_needs_a_fingerprint() {
    let (_double, runner) = job();
    let save = saved(&runner);
    let deploy = deployment(&runner);
    let empty = [&NO_PATHS[..], &[("pointer", "artifact:")]].concat();
    deploy.step_with("restore", &empty).fails(2, &["it names no artifact", "`fingerprint`"]);
    deploy
        .step_with(
            "restore",
            &[&empty[..], &[("fingerprint", save.output("fingerprint"))]].concat(),
        )
        .succeeds();
    assert_eq!(deploy.read("models/model.bin"), "weights");
}

#[test]
fn an_expired_artifact_does_not_hide_the_newer_artifact() {
    let (double, deploy, name) = later_job("reader");
    let old = json!({
        "repository": REPOSITORY, "run_id": 1001, "name": "ml-cache-fraud-1-0badcafe",
        "expired": true, "files": {},
    });
    double.control("state", &json!({"artifacts": [old]}));
    deploy.step_with("restore", &by_run("reader")).succeeds();
    assert_eq!(deploy.read("models/model.bin"), "weights", "{name}");
}

#[test]
fn a_forged_artifact_beside_the_honest_one_is_refused() {
    let (double, deploy, _) = later_job("reader");
    let forged = json!({
        "repository": REPOSITORY, "run_id": 1001, "name": "ml-cache-fraud-1-0badcafe",
        "files": {"pointer.json": "{\"schema\":\"ml-cache/pointer/v9\"}"},
    });
    double.control("state", &json!({"artifacts": [forged]}));
    deploy.step_with("restore", &by_run("reader")).fails(1, &["cannot use the pointer"]);
    assert!(!deploy.path("models").exists());
}
