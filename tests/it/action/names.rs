//! Names of artifacts: suffixes of a taken name, and models with similar names.

use super::artifacts::{by_run, deployment, job, known, restores, saved};

#[test]
fn a_name_that_is_taken_gets_a_suffix() {
    let (_double, mut runner) = job();
    runner.input("artifact-name", "fraud-model");
    assert_eq!(saved(&runner).output("artifact-name"), "fraud-model");
    let second = saved(&runner);
    assert!(
        second.output("artifact-name").starts_with("fraud-model-"),
        "{}",
        second.output("artifact-name")
    );
}

#[test]
fn only_where_no_artifact_has_the_very_name_all_are_listed() {
    let (double, runner) = job();
    let name = saved(&runner).output("artifact-name").to_owned();
    for (asked, filters) in [
        (name.as_str(), vec![Some(name.as_str())]),
        ("ml-cache-fraud", vec![Some("ml-cache-fraud"), None]),
    ] {
        let before = double.look("requests?path=ListArtifacts").as_array().unwrap().len();
        restores(&deployment(&runner), &[("pointer", &format!("artifact:{asked}"))]);
        let requests = double.look("requests?path=ListArtifacts");
        let sent: Vec<Option<&str>> = requests.as_array().unwrap()[before..]
            .iter()
            .map(|request| request["body"]["name_filter"].as_str())
            .collect();
        assert_eq!(sent, filters, "{asked}");
    }
}

#[test]
fn a_model_is_not_mistaken_for_a_longer_name() {
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
