//! Every way to force a training, and the record of the account that did.

use serde_json::{Value, json};

use super::runner::{Runner, Step};
use crate::support::double::Double;

/// A later job of a project whose model is stored.
fn later() -> Runner {
    let mut runner = Runner::trained().next_job();
    runner.env("GITHUB_ACTOR", "author");
    runner.env("GITHUB_TRIGGERING_ACTOR", "octocat");
    runner
}

#[track_caller]
fn forces(runner: &Runner, step: &Step, source: &str, detail: &str) {
    step.succeeds();
    assert_eq!(step.pick(["reason", "retrain-needed"]), ["forced", "true"], "{}", step.log);
    assert!(step.log.contains("run started by octocat"), "{}", step.log);
    runner.train("forced weights");
    let post = runner.post(step);
    post.succeeds();
    assert!(
        post.summary.contains("Forced by") && post.summary.contains("octocat"),
        "{}",
        post.summary
    );
    let pointers = runner.pointers();
    let forced: Vec<&Value> =
        pointers.iter().filter(|pointer| !pointer["forced"].is_null()).collect();
    assert_eq!(forced.len(), 1, "{pointers:?}");
    assert_eq!(forced[0]["forced"], json!({"by": "octocat", "source": source, "detail": detail}));
    assert_eq!(forced[0]["schema"], "ml-cache/pointer/v2");
}

#[track_caller]
fn does_not_force(runner: &Runner) {
    let step = runner.main();
    step.succeeds();
    assert_eq!(step.output("reason"), "hit", "{}", step.log);
}

#[test]
fn the_input_forces_and_an_empty_one_does_not() {
    let mut runner = later();
    // `${{ inputs.force_retrain }}` is empty on a push.
    runner.input("force-retrain", "");
    does_not_force(&runner);
    runner.input("force-retrain", "false");
    does_not_force(&runner);
    runner.input("force-retrain", "true");
    forces(&runner, &runner.main(), "input", "force-retrain");
}

#[test]
fn a_token_in_the_message_forces_where_it_is_named() {
    let mut runner = later();
    runner.event(&json!({"head_commit": {"message": "tune the loader\n\n[retrain] please"}}));
    does_not_force(&runner);
    runner.input("force-retrain-message", "[train]");
    does_not_force(&runner);
    runner.input("force-retrain-message", "[retrain]");
    forces(&runner, &runner.main(), "commit-message", "[retrain]");
}

#[test]
fn a_merge_queue_has_a_message_too() {
    let mut runner = later();
    runner.env("GITHUB_EVENT_NAME", "merge_group");
    runner.env("GITHUB_REF", "refs/heads/gh-readonly-queue/main/pr-7-abc");
    runner.event(&json!({
        "merge_group": {"base_ref": "refs/heads/main", "head_commit": {"message": "a [retrain]"}},
    }));
    runner.input("force-retrain-message", "[retrain]");
    // The run trains, although it replaces no model.
    assert_eq!(runner.main().output("reason"), "forced");
}

#[test]
fn a_message_of_a_schedule_does_not_force_again_and_again() {
    let mut runner = later();
    runner.env("GITHUB_EVENT_NAME", "schedule");
    runner.input("force-retrain-message", "[retrain]");
    does_not_force(&runner);
}

fn request(labels: &Value) -> Runner {
    let mut runner = later();
    runner.pull_request("acme/fraud-detection");
    set_labels(&mut runner, labels);
    runner
}

fn set_labels(runner: &mut Runner, labels: &Value) {
    let side = |sha: &str| json!({"repo": {"full_name": "acme/fraud-detection"}, "sha": sha});
    let (head, base) = (side("1".repeat(40).as_str()), side("2".repeat(40).as_str()));
    runner.event(
        &json!({"pull_request": {"number": 7, "head": head, "base": base, "labels": labels}}),
    );
}

#[test]
fn a_label_forces_where_it_is_named() {
    let mut runner = request(&json!([{"name": "bug"}, {"name": "Retrain"}]));
    does_not_force(&runner);
    runner.input("force-retrain-label", "train");
    does_not_force(&runner);
    runner.input("force-retrain-label", "retrain");
    forces(&runner, &runner.main(), "label", "retrain");
    let mut other = request(&json!([]));
    other.input("force-retrain-label", "retrain");
    does_not_force(&other);
}

#[test]
fn the_message_of_a_pull_request_is_asked_for() {
    let double = Double::start();
    let name = "acme/fraud-detection";
    double.control(
        "state",
        &json!({
            "repositories": {name: {"id": 4242, "default_branch": "main", "private": true}},
            "tokens": {"job": {
                "kind": "installation", "repositories": [name],
                "permissions": {"contents": "read", "metadata": "read"},
            }},
            "commits": [{"repository": name, "sha": "1".repeat(40), "message": "again [retrain]"}],
        }),
    );
    let mut runner = request(&json!([]));
    runner.env("GITHUB_API_URL", &double.url);
    runner.input("force-retrain-message", "[retrain]");
    runner.input("github-token", "");
    let step = runner.main();
    assert_eq!(step.output("reason"), "hit");
    assert!(
        step.log.contains("::warning::") && step.log.contains("`github-token` is empty"),
        "{}",
        step.log
    );
    runner.input("github-token", "job");
    forces(&runner, &runner.main(), "commit-message", "[retrain]");
}

/// Hours may pass between the main step and the post step, and a label may vanish meanwhile.
#[test]
fn the_save_does_not_ask_again_for_the_cause_of_a_forced_run() {
    let mut runner = request(&json!([{"name": "retrain"}]));
    runner.input("force-retrain-label", "retrain");
    let main = runner.main();
    assert_eq!(main.output("reason"), "forced");
    runner.train("forced weights");
    set_labels(&mut runner, &json!([]));
    let post = runner.post(&main);
    post.succeeds();
    assert!(post.summary.contains("Forced by"), "{} {}", post.log, post.summary);
    assert_eq!(runner.pointers().iter().filter(|pointer| !pointer["forced"].is_null()).count(), 1);
}

#[test]
fn who_forced_stands_in_the_artifact() {
    let double = Double::start();
    let mut runner = later();
    for (name, value) in double.job(json!({})) {
        runner.env(&name, &value);
    }
    runner.env("GITHUB_TRIGGERING_ACTOR", "octocat");
    runner.train("forced weights");
    let save = runner.step_with("save", &[("force-retrain", "true")]);
    save.succeeds();
    let found = runner.step_with(
        "resolve",
        &[("pointer", &format!("artifact:{}", save.output("artifact-name")))],
    );
    found.succeeds();
    let pointer: Value = serde_json::from_str(found.output("pointer")).unwrap();
    assert_eq!(
        pointer["forced"],
        json!({"by": "octocat", "source": "input", "detail": "force-retrain"})
    );
}
