//! The configuration file in a checkout, also where the checkout may hold foreign code.

use super::runner::{Runner, Step};

/// The commit of the run.
const OWN: &str = "6f1e2d3c4b5a69788796a5b4c3d2e1f001122334";
/// The commit of a stranger's pull request.
const FOREIGN: &str = "0bad0bad0bad0bad0bad0bad0bad0bad0bad0bad";

const FILE: &str = "\
store: STORE
models:
  fraud:
    data: data/**
    training: [src/**]
    path: models/
";

/// A job whose steps have no inputs, and whose checkout has the file.
fn configured(file: &str) -> Runner {
    let mut runner = Runner::new();
    let store = runner.inputs_of()["store"].clone();
    check_out(&runner, &file.replace("STORE", &store), OWN);
    for name in ["model", "store", "data-paths", "training-paths", "model-path"] {
        runner.input(name, "");
    }
    runner
}

fn check_out(runner: &Runner, file: &str, commit: &str) {
    runner.write("ml-cache.yml", file);
    runner.write(".git/HEAD", "ref: refs/heads/main\n");
    runner.write(".git/refs/heads/main", &format!("{commit}\n"));
}

#[test]
fn steps_without_inputs_take_everything_from_the_file() {
    let runner = configured(FILE);
    let main = runner.main();
    main.succeeds();
    assert_eq!(main.output("reason"), "no-model");
    assert!(main.log.contains("fraud: settings: model from ml-cache.yml:3; "), "{}", main.log);
    runner.train("weights");
    let post = runner.post(&main);
    post.succeeds();
    assert!(!post.log.contains("settings:"), "the main step has told it: {}", post.log);
    assert_eq!(runner.pointers()[0]["model"], "fraud");

    let mut next = runner.next_job();
    check_out(&next, &runner.read("ml-cache.yml"), OWN);
    let plan = next.step("plan");
    assert_eq!(plan.output("reason"), "hit");
    assert_eq!(plan.output("fingerprint"), main.output("fingerprint"));
    next.step("restore").succeeds();
    assert_eq!(next.read("models/model.bin"), "weights");
    next.step("resolve").succeeds();
    // The same inputs without the file have the same fingerprint.
    next.input("config", "none");
    for (name, value) in Runner::new().inputs_of() {
        next.input(&name, &value);
    }
    assert_eq!(next.step("plan").output("fingerprint"), main.output("fingerprint"));
}

#[test]
fn the_post_step_saves_by_the_file_of_the_main_step() {
    let runner = configured(FILE);
    let main = runner.main();
    main.succeeds();
    runner.train("weights");
    // The training commits, and changes the file.
    let elsewhere = runner.path("elsewhere");
    let file = FILE.replace("STORE", &format!("file://{}", elsewhere.display()));
    check_out(&runner, &file.replace("data/**", "data/a.csv"), FOREIGN);
    let post = runner.post(&main);
    post.succeeds();
    assert_eq!(runner.pointers().len(), 1, "{}", post.log);
    assert!(!elsewhere.exists());
    // Without state, the file counts as it is now, with the same rules.
    let stateless = runner.step("post");
    stateless.fails(2, &["`store` is not taken from this file"]);
}

#[test]
fn a_job_fills_no_setting_by_a_variable_or_a_new_file() {
    let mut runner = Runner::new();
    let main = runner.main();
    main.succeeds();
    runner.train("weights");
    runner.env("STATE_settings", r#"{"namespace":"acme/other"}"#);
    check_out(&runner, "namespace: acme/other\n", OWN);
    runner.post(&main).succeeds();
    assert_eq!(runner.pointers()[0]["namespace"], "acme/fraud-detection");
}

/// Demands that a step refuses the key, and has touched nothing.
#[track_caller]
fn refuses(runner: &Runner, key: &str, because: &str) -> Step {
    let step = runner.step("plan");
    step.fails(2, &[&format!("`{key}` is not taken from this file, because "), because, "hint:"]);
    step.has_all_outputs();
    assert_eq!(step.pick(["retrain-needed", "restored", "saved"]), ["true", "false", "false"]);
    step
}

const KEYS: &[(&str, &str)] = &[
    ("store", "store: file:///tmp/evil\n"),
    ("endpoint-url", "endpoint-url: https://evil.example\n"),
    ("roles", "roles: { untrusted: 'arn:aws:iam::1:role/x', trusted: 'arn:aws:iam::1:role/x' }\n"),
    ("namespace", "namespace: acme/other\n"),
    ("trusted-refs", "trusted-refs: better-features\n"),
];

#[test]
fn a_foreign_checkout_chooses_no_credentials_and_no_trust() {
    for (key, line) in KEYS {
        for event in ["pull_request_target", "workflow_run", "issue_comment", "check_run"] {
            let mut runner = Runner::new();
            check_out(&runner, line, OWN);
            if *key == "store" {
                runner.input("store", "");
            }
            runner.env("GITHUB_EVENT_NAME", event);
            refuses(&runner, key, &format!("a run of the event `{event}` may have foreign code"));
        }
        // A push that checks out a pull request.
        let mut runner = Runner::new();
        if *key == "store" {
            runner.input("store", "");
        }
        check_out(&runner, line, FOREIGN);
        let because = format!("the checkout has the commit `{FOREIGN}`, and the run is for");
        refuses(&runner, key, &because);
        // The run's own commit may have the key.
        check_out(&runner, &line.replace("/tmp/evil", &runner.path("s").to_string_lossy()), OWN);
        if !["roles", "endpoint-url"].contains(key) {
            runner.step("plan").succeeds();
        }
        // A checkout beside the run's own.
        runner.write("pr/ml-cache.yml", line);
        runner.write("pr/.git/HEAD", FOREIGN);
        runner.input("config", "pr/ml-cache.yml");
        refuses(&runner, key, &because);
    }
    assert!(!std::path::Path::new("/tmp/evil").exists());
}

#[test]
fn a_foreign_checkout_may_name_its_own_files() {
    let mut runner = configured(FILE);
    let store = Runner::new().inputs_of()["store"].clone();
    runner.env("GITHUB_EVENT_NAME", "pull_request_target");
    refuses(&runner, "store", "`pull_request_target`");
    // The step's own store replaces that of the file.
    runner.input("store", &store);
    let plan = runner.step("plan");
    plan.succeeds();
    assert!(plan.log.contains("store from the input; data-paths from ml-cache.yml:4"));
    runner.input("store", "");
    runner.env("ML_CACHE_STORE", &store);
    refuses(&runner, "store", "`pull_request_target`");
    // Without the file, everything is as before.
    runner.input("config", "none");
    for (name, value) in Runner::new().inputs_of() {
        runner.input(&name, &value);
    }
    runner.step("plan").succeeds();
}

#[test]
fn a_file_that_a_past_checkout_left_decides_about_no_trust() {
    // A job without a checkout, on a runner that keeps its workspace.
    let runner = configured(FILE);
    std::fs::remove_dir_all(runner.path(".git")).unwrap();
    refuses(&runner, "store", "the checkout does not show which commit it has");
}

#[test]
fn a_pull_request_writes_its_own_scope_whatever_the_file_says() {
    let file = format!("{FILE}trusted-refs: [better-features, 'refs/pull/7*', main]\n");
    let mut runner = configured(&file.replace("'refs/pull/7*', ", ""));
    runner.pull_request("acme/fraud-detection");
    let main = runner.main();
    main.succeeds();
    runner.train("weights");
    runner.post(&main).succeeds();
    let scopes: Vec<String> =
        runner.pointers().iter().map(|it| it["scope"].as_str().unwrap().to_owned()).collect();
    assert_eq!(scopes, ["pr/7"]);
    runner.write("ml-cache.yml", &file);
    runner.main().fails(2, &["ml-cache.yml:7:33: `trusted-refs`: `refs/pull/7*`: "]);
}
