//! `read-scopes: trusted`: beside trusted models, a run reads only the models that it saved itself.

use serde_json::json;

use super::runner::Runner;
use crate::support::double::Double;

const RUN: u64 = 1001;

/// Makes the job a part of the run, as the runner does.
fn part_of(double: &Double, mut job: Runner, run: u64) -> Runner {
    for (name, value) in double.job(json!({"run_id": run})) {
        job.env(&name, &value);
    }
    job.env("GITHUB_RUN_ID", &run.to_string());
    job
}

/// Returns a pull request's model that an earlier run saved, and a job of a later run with
/// `read-scopes: trusted`.
fn planted() -> (Double, Runner) {
    let double = Double::start();
    let mut earlier = Runner::new();
    earlier.pull_request("acme/fraud-detection");
    let earlier = part_of(&double, earlier, RUN);
    let main = earlier.main();
    earlier.train("weights of another run");
    earlier.post(&main).succeeds();
    let mut job = part_of(&double, earlier.next_job(), RUN + 1);
    job.input("read-scopes", "trusted");
    (double, job)
}

#[test]
fn models_of_other_runs_are_not_read() {
    let (_double, job) = planted();
    let pointer = job.pointers()[0].to_string();
    let fingerprint = job.pointers()[0]["fingerprint"].as_str().unwrap().to_owned();
    let main = job.main();
    assert_eq!(main.pick(["reason", "restored"]), ["no-model", "false"], "{}", main.log);
    for inputs in [
        vec![("fingerprint", fingerprint.as_str())],
        vec![("data-paths", ""), ("training-paths", "")],
        vec![],
    ] {
        for phase in ["restore", "resolve"] {
            job.step_with(phase, &inputs).fails(3, &["hint:"]);
        }
    }
    let given = job.step_with("restore", &[("pointer", &pointer)]);
    given.fails(1, &["`read-scopes` is `trusted`"]);
    assert!(!job.path("models").exists());
    // Changed data must not be compared with the inputs of another run either.
    job.write("data/a.csv", "changed");
    let main = job.main();
    assert_eq!(main.output("reason"), "no-model", "{}", main.log);
    assert!(!main.log.contains("Compared with"), "{}", main.log);
}

/// A save without `read-scopes` keeps the planted pointer. Its artifact is an artifact of this run,
/// and its name must not prove more, also if a step gives that name.
#[test]
fn a_pointer_that_this_run_only_adopted_is_not_read() {
    for given in ["", "ckpt-pointer"] {
        let (_double, mut job) = planted();
        job.edit_pointer(|pointer| pointer["producer"]["run_id"] = json!(RUN + 1));
        job.train("honest weights");
        let save = job.step_with("save", &[("read-scopes", "own"), ("artifact-name", given)]);
        save.succeeds();
        let name = save.output("artifact-name").to_owned();
        assert!(save.output("saved") == "false" && name.contains("-adopted"), "{name}");
        std::fs::remove_dir_all(job.path("models")).unwrap();
        let fingerprint = save.output("fingerprint").to_owned();
        let end = name.find("-adopted").unwrap();
        for artifact in [&name, &name[..end], &name[..end + "-adopted".len()]] {
            job.input("artifact-name", artifact);
            for inputs in [vec![], vec![("fingerprint", fingerprint.as_str())]] {
                job.step_with("restore", &inputs).fails(3, &["hint:"]);
            }
            let pointer = format!("artifact:{name}");
            job.step_with("restore", &[("pointer", &pointer)]).fails(1, &["did not save"]);
        }
        assert!(!job.path("models").exists());
    }
}

#[test]
fn the_jobs_and_attempts_of_a_run_read_what_it_saved() {
    let (double, train) = planted();
    let main = train.main();
    train.train("honest weights");
    train.post(&main).succeeds();
    let pointer = &train.pointers()[0];
    assert_eq!(pointer["generation"], 2, "the save replaced the model of the other run");
    let fingerprint = pointer["fingerprint"].as_str().unwrap().to_owned();

    let test = part_of(&double, train.next_job(), RUN + 1);
    for inputs in [
        vec![("fingerprint", fingerprint.as_str())],
        vec![("pointer", "artifact:ml-cache-fraud")],
        vec![("data-paths", ""), ("training-paths", "")],
        vec![],
    ] {
        let step = test.step_with("restore", &inputs);
        step.succeeds();
        assert_eq!(test.read("models/model.bin"), "honest weights", "{inputs:?}");
        std::fs::remove_dir_all(test.path("models")).unwrap();
    }

    // A second attempt of the run restores as well, even after another run replaced the pointer.
    let mut other = part_of(&double, train.next_job(), RUN + 2);
    other.input("force-retrain", "true");
    let main = other.main();
    other.train("weights of a third run");
    other.post(&main).succeeds();
    let mut again = part_of(&double, train.next_job(), RUN + 1);
    again.env("GITHUB_RUN_ATTEMPT", "2");
    let main = again.main();
    assert_eq!(main.pick(["reason", "restored"]), ["hit", "true"], "{}", main.log);
    assert_eq!(again.read("models/model.bin"), "honest weights");
}

#[test]
fn without_it_a_pull_request_keeps_the_hits_of_earlier_pushes() {
    let (_double, mut job) = planted();
    job.input("read-scopes", "own");
    let main = job.main();
    assert_eq!(main.pick(["reason", "restored"]), ["hit", "true"], "{}", main.log);
}

#[test]
fn a_run_without_artifacts_reads_trusted_models_only() {
    let (_double, mut job) = planted();
    job.env("ACTIONS_RESULTS_URL", "");
    let main = job.main();
    assert_eq!(main.output("reason"), "no-model", "{}", main.log);
    assert!(main.log.contains("its own artifacts cannot be read"), "{}", main.log);
}
