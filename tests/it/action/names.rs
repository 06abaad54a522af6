//! Names of artifacts: what follows the one that was asked for, and whose artifact it is.

use super::artifacts::{by_run, deployment, job, known, restores, saved};

#[test]
fn a_name_that_is_taken_gets_a_suffix() {
    let (_double, mut runner) = job();
    runner.input("artifact-name", "fraud-model");
    assert_eq!(saved(&runner).output("artifact-name"), "fraud-model");
    let second = saved(&runner);
    assert!(second.output("artifact-name").starts_with("fraud-model-"), "{}", second.output("artifact-name"));
}

#[test]
fn a_model_whose_name_begins_like_another_one_s_is_not_taken_for_it() {
    let (double, runner) = job();
    saved(&runner);
    let mut longer = runner.next_job();
    longer.env("GITHUB_RUN_ID", "1001");
    longer.input("model", "fraud-detector");
    longer.train("of the other model");
    longer.step("save").succeeds();
    known(&double, "reader");
    restores(&deployment(&runner), &[("pointer", "artifact:ml-cache-fraud")]);
    restores(&deployment(&runner), &by_run("reader"));
}
