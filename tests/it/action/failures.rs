//! A failed step says in the annotation and in the summary what failed, on what, and what to do.

use super::runner::Runner;
use crate::support::s3::Server;

#[test]
fn a_failed_step_shows_the_remedy() {
    let mut runner = Runner::new();
    runner.input("max-age", "soon");
    let step = runner.main();
    step.fails(2, &["::error::input `max-age`: `soon`: ", "%0Ahint: see "]);
    assert!(step.summary.starts_with("### fraud: failed\n"), "{}", step.summary);
    let failure = "| Failure | input <code>max-age</code>: <code>soon</code>: ";
    for told in [failure, "\n| :--- | :--- |\n| Remedy | see "] {
        assert!(step.summary.contains(told), "{}", step.summary);
    }
}

#[test]
fn a_failure_behind_the_settings_names_the_model() {
    let mut runner = Runner::new();
    runner.input("data-paths", "nothing/**");
    runner.input("training-paths", "");
    let step = runner.step("plan");
    assert!(step.code != 0 && step.log.contains("%0Ahint: "), "{}", step.log);
    assert!(step.summary.starts_with("### fraud: failed\n"), "{}", step.summary);
    assert_eq!(step.output("retrain-needed"), "true");
}

#[test]
fn the_summary_links_to_the_pages_of_the_model() {
    let mut runner = Runner::new();
    runner.env("GITHUB_SERVER_URL", "https://github.com");
    let main = runner.main();
    assert!(!main.summary.contains("Pages"), "there is no model: {}", main.summary);
    runner.train("weights");
    runner.post(&main).succeeds();
    let next = runner.next_job().main();
    let row = "| Pages | [run 1001](https://github.com/acme/fraud-detection/actions/runs/1001), \
               [commit 6f1e2d3c4b5a](https://github.com/acme/fraud-detection/commit/\
               6f1e2d3c4b5a69788796a5b4c3d2e1f001122334) |\n";
    assert!(next.summary.contains(row), "{}", next.summary);
}

#[test]
fn a_missing_permission_is_told_together_with_bad_inputs() {
    let server = Server::start();
    let mut runner = Runner::on_server(&server);
    runner.input("role-to-assume", "arn:aws:iam::123456789012:role/trainer");
    runner.input("max-age", "soon");
    runner.input("model", "");
    for phase in ["main", "plan"] {
        let step = runner.step(phase);
        step.fails(2, &["2 inputs cannot be used", "OIDC token", "id-token: write"]);
        assert_eq!(step.log.matches("::error::").count(), 2, "{}", step.log);
        let remedy = "<code>permissions: id-token: write</code>";
        assert!(step.summary.contains(remedy), "{}", step.summary);
    }
    assert!(server.requests().is_empty());
}
