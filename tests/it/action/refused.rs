//! Models of refused saves in a job: which runs keep them, and which runs may restore them.

use super::runner::{Runner, Step};

/// A job whose training changed its data, and its post step.
fn refused(runner: &Runner) -> Step {
    let main = runner.main();
    main.succeeds();
    runner.train("refused weights");
    runner.write("data/a.csv", "changed by the training\n");
    let post = runner.post(&main);
    post.fails(1, &["::error::the inputs differ from the inputs of the plan"]);
    post
}

fn pointer_in(post: &Step) -> String {
    let word = post.log.split("--pointer ").nth(1).unwrap();
    word.split(['`', ' ']).next().unwrap().to_owned()
}

fn restore(runner: &Runner, pointer: &str) -> Step {
    let inputs = [("pointer", pointer), ("data-paths", ""), ("training-paths", "")];
    runner.step_with("restore", &inputs)
}

#[test]
fn a_refused_model_is_restored_from_a_readable_scope_as_no_hit() {
    let mut request = Runner::new();
    request.pull_request("acme/fraud-detection");
    let post = refused(&request);
    let pointer = pointer_in(&post);
    assert!(post.log.contains(&format!("{pointer} --destination refused-model`")), "{}", post.log);
    assert!(pointer.starts_with("refused:pr/7/"), "{pointer}");
    let kept = request.objects("v1/untrusted");
    assert!(kept.len() == 1 && kept[0].contains("/pr%2F7/fraud/refused/"), "{kept:?}");

    let inputs = [("data-paths", ""), ("training-paths", ""), ("model-path", "")];
    let unlimited = [&[("pointer", pointer.as_str())][..], &inputs].concat();
    let step = request.next_job().step_with("restore", &unlimited);
    step.fails(2, &["the untrusted scope `pr/7`", "`model-path: models/`"]);
    let own = restore(&request.next_job(), &pointer);
    own.succeeds();
    assert_eq!(own.pick(["restored", "cache-hit", "retrain-needed"]), ["true", "false", "true"]);
    assert_eq!(own.pick(["reason", "fingerprint", "pointer", "manifest-digest"]), ["", "", "", ""]);

    let trusted = Runner::new();
    let mut branch = request.next_job();
    branch.event(&serde_json::json!({}));
    branch.env("GITHUB_EVENT_NAME", "push");
    branch.env("GITHUB_REF", "refs/heads/main");
    for reader in [&branch, &trusted] {
        let step = restore(reader, &pointer);
        step.fails(1, &["this run may not read the scope `pr/7` of the refused model"]);
        assert!(!reader.path("models").exists());
    }
    // The trusted scope has no such record, although the store has the manifest.
    let moved = pointer.replace("pr/7", "trusted");
    restore(&branch, &moved).fails(3, &["the scope `trusted` has no refused model"]);
    let main = branch.main();
    main.succeeds();
    assert_eq!(main.output("reason"), "no-model");
}

#[test]
fn a_run_that_may_not_write_keeps_nothing_and_says_so() {
    let mut fork = Runner::new();
    fork.pull_request("stranger/fraud-detection");
    let post = refused(&fork);
    let told = "::warning::the model of this training is not kept: runs of a pull request from a \
                fork never write";
    assert!(post.log.contains(told), "{}", post.log);
    assert!(!post.log.contains("ml-cache restore"), "{}", post.log);
    assert!(fork.objects("v1").is_empty());
}

#[test]
fn the_name_of_a_branch_runs_nothing_in_the_shell_of_a_person() {
    let mut branch = Runner::new();
    branch.env("GITHUB_REF", "refs/heads/x;$(touch${IFS}pwned)");
    let post = refused(&branch);
    let told = "--pointer 'refused:branch/x;$(touch${IFS}pwned)/";
    assert!(post.log.contains(told), "{}", post.log);
}
