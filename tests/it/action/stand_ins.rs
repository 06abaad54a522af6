//! Git LFS stand-ins in a job: a plan needs no content, a training does.

use super::runner::{Runner, State, Step};
use crate::support::cli::stand_in;

const WARNING: &str = "::warning::1 input is a Git LFS stand-in in place of its content: \
                       `data/a.csv`; run `git lfs pull` before the training";
const ROW: &str = "| Git LFS stand-ins | 1, allowed by ";

/// A checkout without the content of `data/a.csv`, and that content.
fn without_content() -> (Runner, String) {
    let runner = Runner::new();
    let content = runner.read("data/a.csv");
    runner.write("data/a.csv", &stand_in(&content));
    (runner, content)
}

#[track_caller]
fn refuses(runner: &Runner, step: &Step) {
    step.fails(2, &["::error::cannot save the model: 1 input is a Git LFS stand-in", "hint:"]);
    assert!(runner.pointers().is_empty());
}

#[test]
fn a_model_that_was_trained_on_stand_ins_is_not_filed() {
    let (runner, content) = without_content();
    let plan = runner.step("plan");
    plan.succeeds();
    assert!(!plan.log.contains("::warning::"), "{}", plan.log);
    let main = runner.main();
    main.succeeds();
    assert!(main.log.contains(WARNING), "{}", main.log);
    assert_eq!(main.output("retrain-needed"), "true");
    runner.train("weights");
    refuses(&runner, &runner.post(&main));
    refuses(&runner, &runner.step_after("post", &State::new()));
    refuses(&runner, &runner.step("save"));
    refuses(&runner, &runner.step_with("save", &[("fingerprint", plan.output("fingerprint"))]));

    // The steps of the job may fetch the content between plan and training.
    runner.write("data/a.csv", &content);
    runner.post(&main).succeeds();
    assert_eq!(runner.pointers()[0]["fingerprint"], plan.output("fingerprint"));

    let next = runner.next_job();
    next.write("data/a.csv", &stand_in(&content));
    let hit = next.main();
    hit.succeeds();
    assert_eq!(hit.pick(["reason", "restored"]), ["hit", "true"]);
    assert!(!hit.log.contains("stand-in"), "{}", hit.log);
    next.post(&hit).succeeds();
}

#[test]
fn stand_ins_that_the_user_allows_are_shown() {
    let (mut runner, _) = without_content();
    runner.input("lfs-stand-ins", "allow");
    let main = runner.main();
    main.succeeds();
    assert!(!main.log.contains("::warning::"), "{}", main.log);
    runner.train("weights");
    let post = runner.post(&main);
    post.succeeds();
    for step in [main, post] {
        assert!(step.summary.contains(ROW), "{}", step.summary);
    }
    runner.input("lfs-stand-ins", "ignore");
    runner.main().fails(2, &["input `lfs-stand-ins`: `ignore`", "`refuse`, `allow`"]);
}
