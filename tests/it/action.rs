//! The container action as the runner starts it: `INPUT_*` in; outputs, state, summary and log out.

mod ambient;
mod artifacts;
mod bounds;
mod comments;
mod configuration;
mod elsewhere;
mod failures;
mod force;
mod foreign_pointers;
mod foreign_zips;
mod hostile;
mod identity;
mod injection;
mod inputs;
mod leaks;
mod limits;
mod long_names;
mod names;
mod no_credentials;
mod old_runner;
mod promotion;
mod protocol;
mod proxies;
mod read_scopes;
mod redirects;
mod refused;
mod renewal;
mod resolve;
mod runner;
mod scenes;
mod secrets;
mod stand_ins;
mod trust;
mod without_state;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::process::Stdio;

use runner::{Runner, State};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::cli::{noise, snapshot, wait_until_stoppable};

#[test]
fn a_job_trains_once_and_later_jobs_restore() {
    let runner = Runner::new();
    let main = runner.main();
    main.succeeds();
    assert_eq!(
        main.pick(["retrain-needed", "cache-hit", "restored", "reason"]),
        ["true", "false", "false", "no-model"]
    );
    assert!(main.output("fingerprint").starts_with("sha256:"));
    assert_eq!([main.output("pointer"), main.output("manifest-digest")], ["", ""]);
    assert_eq!(main.output("model-files"), "0");

    runner.train("weights");
    let post = runner.post(&main);
    post.succeeds();
    assert!(post.outputs.is_empty(), "outputs of a post step are lost, so there are none");
    let wanted = snapshot(&runner.path("models"));

    let runner = runner.next_job();
    let main = runner.main();
    main.succeeds();
    assert_eq!(
        main.pick(["retrain-needed", "cache-hit", "restored", "reason"]),
        ["false", "true", "true", "hit"]
    );
    assert_eq!(snapshot(&runner.path("models")), wanted);
    assert_eq!(main.output("model-files"), "1");
    let pointer: serde_json::Value = serde_json::from_str(main.output("pointer")).unwrap();
    assert_eq!([&pointer["namespace"], &pointer["scope"]], ["acme/fraud-detection", "trusted"]);
    assert_eq!(pointer["producer"]["run_id"], 1001);
    assert_eq!(pointer["manifest"]["digest"], main.output("manifest-digest"));

    let before = runner.objects("v1");
    let post = runner.post(&main);
    post.succeeds();
    assert!(post.log.contains("nothing to save") && post.summary.is_empty(), "{}", post.log);
    assert_eq!(runner.objects("v1"), before);
}

#[test]
fn a_pipeline_of_several_jobs_hands_on_a_fingerprint() {
    let mut runner = Runner::new();
    let plan = runner.step("plan");
    plan.succeeds();
    assert_eq!(plan.pick(["retrain-needed", "saved", "restored"]), ["true", "false", "false"]);
    let fingerprint = plan.output("fingerprint").to_owned();

    runner.input("fingerprint", &fingerprint);
    runner.train("weights");
    let save = runner.step("save");
    save.succeeds();
    assert_eq!(save.pick(["saved", "cache-hit", "fingerprint"]), ["true", "true", &fingerprint]);

    let deploy = runner.next_job();
    fs::remove_dir_all(deploy.path("data")).unwrap();
    fs::remove_dir_all(deploy.path("src")).unwrap();
    let restore = deploy.step_with("restore", &[("data-paths", ""), ("training-paths", "")]);
    restore.succeeds();
    assert_eq!(restore.pick(["restored", "reason", "fingerprint"]), ["true", "hit", &fingerprint]);
    assert_eq!(restore.output("manifest-digest"), save.output("manifest-digest"));
    assert_eq!(deploy.read("models/model.bin"), "weights");
}

#[test]
fn a_plan_of_unchanged_inputs_restores_nothing() {
    let runner = Runner::trained().next_job();
    let plan = runner.step("plan");
    plan.succeeds();
    assert_eq!(plan.pick(["retrain-needed", "restored", "reason"]), ["false", "false", "hit"]);
    assert!(!runner.path("models").exists());
}

#[test]
fn changed_inputs_are_named_in_log_and_summary() {
    let runner = Runner::trained().next_job();
    runner.write("data/b.csv", "id,amount\n2,21\n");
    let main = runner.main();
    main.succeeds();
    assert_eq!(
        main.pick(["reason", "changed-count", "retrain-needed"]),
        ["data-changed", "1", "true"]
    );
    assert!(main.log.contains("data modified: data/b.csv"), "{}", main.log);
    assert!(
        main.summary.contains("data/b.csv") && main.summary.contains("modified"),
        "{}",
        main.summary
    );
}

#[test]
fn a_post_step_without_state_finds_out_for_itself() {
    let runner = Runner::new();
    runner.main().succeeds();
    runner.train("weights");
    let post = runner.step_after("post", &State::new());
    post.succeeds();
    assert_eq!(runner.pointers().len(), 1, "{}", post.log);
    assert!(
        post.log.contains("::warning::cannot tell whether the inputs changed since the plan"),
        "{}",
        post.log
    );

    let runner = runner.next_job();
    runner.main().succeeds();
    let before = runner.objects("v1");
    let post = runner.step_after("post", &State::new());
    post.succeeds();
    assert!(post.log.contains("nothing to save"), "{}", post.log);
    assert_eq!(runner.objects("v1"), before);
}

#[test]
fn a_post_step_does_not_believe_broken_state() {
    let runner = Runner::new();
    runner.main().succeeds();
    runner.train("weights");
    for state in ["", "{", "null", "{\"retrain\":false}"] {
        let state = State::from([("plan".to_owned(), state.to_owned())]);
        runner.step_after("post", &state).succeeds();
    }
    assert_eq!(runner.pointers().len(), 1);
}

#[test]
fn inputs_that_changed_since_the_plan_prevent_the_save() {
    let runner = Runner::new();
    let main = runner.main();
    runner.train("weights");
    runner.write("data/a.csv", "id,amount\n1,99\n");
    fs::remove_file(runner.path("src/train.py")).unwrap();
    runner.write("src/other.py", "print('other')\n");
    let post = runner.post(&main);
    post.fails(
        1,
        &[
            "data modified: data/a.csv",
            "training added: src/other.py",
            "training removed: src/train.py",
        ],
    );
    assert!(post.log.contains("::error::"), "{}", post.log);
    assert!(runner.pointers().is_empty());
}

#[test]
fn without_a_temporary_directory_changes_are_noticed_too() {
    let mut runner = Runner::new();
    runner.env("RUNNER_TEMP", "");
    let main = runner.main();
    runner.train("weights");
    runner.write("data/a.csv", "changed");
    runner.post(&main).fails(1, &["nothing was saved"]);
    assert!(runner.pointers().is_empty());
}

#[test]
fn a_forced_training_replaces_the_model_in_the_post_step() {
    let mut runner = Runner::trained().next_job();
    runner.input("force-retrain", "true");
    let main = runner.main();
    main.succeeds();
    assert_eq!(main.pick(["reason", "retrain-needed", "restored"]), ["forced", "true", "false"]);
    runner.train("better weights");
    runner.post(&main).succeeds();
    let pointer = &runner.pointers()[0];
    assert_eq!([&pointer["generation"], &pointer["previous"][0]["generation"]], [2, 1]);
}

#[test]
fn a_run_that_was_overtaken_does_not_move_the_head_back() {
    let runner = Runner::trained().next_job();
    runner.write("data/a.csv", "newer data");
    let main = runner.main();
    runner.train("newer");
    runner.post(&main).succeeds();
    let newest = main.output("fingerprint").to_owned();
    let latest = |runner: &Runner| {
        runner
            .step_with("restore", &[("data-paths", ""), ("training-paths", "")])
            .output("fingerprint")
            .to_owned()
    };
    assert_eq!(latest(&runner), newest);

    // A second attempt of the first run, with the files of that time.
    let mut late = runner.next_job();
    late.write("data/a.csv", "id,amount\n1,10\n");
    late.env("GITHUB_RUN_ID", "1001");
    let main = late.main();
    assert_eq!(main.output("reason"), "hit");
    assert_ne!(main.output("fingerprint"), newest);
    assert_eq!(latest(&runner.next_job()), newest);

    // A revert is a later run, so it moves the head.
    let reverted = runner.next_job();
    reverted.write("data/a.csv", "id,amount\n1,10\n");
    let main = reverted.main();
    assert_eq!(latest(&reverted), main.output("fingerprint"));
}

#[test]
fn what_is_restored_belongs_to_the_owner_of_the_workspace() {
    let runner = Runner::trained().next_job();
    // Only root can change an owner. For any other user the call fails, and the test still holds.
    let _ = chown(runner.work(), Some(1001), Some(121));
    let wanted = fs::metadata(runner.work()).unwrap();
    runner.main().succeeds();
    for path in ["models", "models/model.bin"] {
        let found = fs::metadata(runner.path(path)).unwrap();
        assert_eq!((found.uid(), found.gid()), (wanted.uid(), wanted.gid()), "{path}");
    }
}

#[test]
fn the_image_without_a_phase_is_the_main_step() {
    let runner = Runner::new();
    let main = runner.step("");
    main.succeeds();
    assert_eq!(main.output("reason"), "no-model");
    assert!(!main.state.is_empty());
}

#[test]
fn a_step_that_is_cancelled_sets_its_outputs() {
    for (phase, signal, code) in [("main", Signal::INT, 130), ("plan", Signal::TERM, 143)] {
        let runner = Runner::new();
        fs::write(runner.path("data/large.bin"), noise(1, 64 << 20)).unwrap();
        let inputs = runner.input_variables(phase, &runner.inputs_of());
        let cancelled = || {
            let (mut command, files) = runner.command(phase, inputs.clone(), &State::new());
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            wait_until_stoppable(&child);
            kill_process(Pid::from_child(&child), signal).unwrap();
            let output = child.wait_with_output().unwrap();
            files.read(output.status.code(), &[output.stdout, output.stderr])
        };
        // On a busy machine the step may end before the signal arrives.
        let step = (0..10).map(|_| cancelled()).find(|step| step.code != 0).unwrap();
        step.fails(code, &["::error::stopped by SIG"]);
        step.has_all_outputs();
        assert_eq!(
            step.pick(["retrain-needed", "cache-hit", "restored"]),
            ["true", "false", "false"]
        );
    }
}
