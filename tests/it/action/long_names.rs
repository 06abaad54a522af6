//! Names of branches, models and namespaces that make long keys.

use super::runner::Runner;
use crate::support::cli::Sandbox;
use crate::support::s3::Endpoint;

/// Sixty Chinese characters: 540 bytes in a key.
fn long_branch() -> String {
    "数据".repeat(30)
}

/// Trains on the branch, and demands that the next run finds the model and a sibling does not.
fn trains_once(mut runner: Runner, branch: &str) {
    runner.on_branch(branch);
    let main = runner.main();
    main.succeeds();
    assert_eq!(main.output("reason"), "no-model");
    runner.train("weights");
    let post = runner.post(&main);
    post.succeeds();
    assert!(!post.log.contains("cannot"), "the head is kept too: {}", post.log);
    let next = runner.next_job().main();
    next.succeeds();
    assert_eq!(next.pick(["reason", "restored"]), ["hit", "true"]);
    let mut sibling = runner.next_job();
    sibling.on_branch(&format!("{branch}数"));
    assert_eq!(sibling.main().output("reason"), "no-model");
}

#[test]
fn a_long_branch_trains_once_in_a_directory() {
    for branch in [long_branch(), "数据".repeat(14), "b".repeat(241), "b".repeat(1000)] {
        trains_once(Runner::new(), &branch);
    }
}

#[test]
fn a_long_branch_trains_once_in_a_bucket() {
    trains_once(Runner::on_s3(&Endpoint::seaweedfs()).0, &long_branch());
}

#[test]
fn the_longest_names_and_prefix_fit_into_a_bucket() {
    let endpoint = Endpoint::seaweedfs();
    let prefix = vec!["p".repeat(100); 5].join("/");
    let store = format!("s3://{}/{prefix}", endpoint.fresh_bucket());
    let mut sandbox = Sandbox::with_store(&store);
    endpoint.env().into_iter().for_each(|(name, value)| sandbox.env(name, value));
    sandbox.project();
    let long = "数".repeat(33);
    let names = ["--model", &long, "--namespace", &format!("{long}/{long}")];
    let arguments = |script: &str| {
        let mut all = vec!["run", "--json", "--data-paths", "data/**", "--model-path", "models/"];
        all.extend(names);
        all.extend(["--", "sh", "-c", script]);
        all.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let first = sandbox.raw(arguments("mkdir models; echo weights > models/a"));
    assert_eq!(first.json()["saved"], true);
    assert_eq!(sandbox.raw(arguments("exit 9")).json()["restored"], true);
    let latest = sandbox.raw(["resolve", "--json", names[0], names[1], names[2], names[3]]);
    assert_eq!(latest.json()["model-files"], 1, "the head is found");
}
