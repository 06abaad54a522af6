//! A runner that hands no state to the post step, as act does for a container action. Its
//! containers share the directory of the workflow-command files.

use std::fs;
use std::path::PathBuf;

use super::runner::{Runner, State, Step};

/// A job under act, and the directory that its containers share.
struct Job {
    runner: Runner,
    shared: PathBuf,
}

impl Job {
    fn of(mut runner: Runner) -> Self {
        runner.env("ACT", "true");
        // Under act, each container has a temporary directory of its own.
        runner.env("RUNNER_TEMP", "");
        let shared = runner.temp().join("workflow");
        fs::create_dir(&shared).unwrap();
        Self { runner, shared }
    }

    fn step(&self, phase: &str) -> Step {
        let inputs = self.runner.input_variables(phase, &self.runner.inputs_of());
        let (mut command, files) = self.runner.command(phase, inputs, &State::new());
        command.env("GITHUB_STATE", self.shared.join("statecmd.txt"));
        let output = command.output().unwrap();
        files.read(output.status.code(), &[output.stdout, output.stderr])
    }
}

#[test]
fn a_restored_model_is_not_saved_for_changed_inputs() {
    let job = Job::of(Runner::trained().next_job());
    let main = job.step("main");
    main.succeeds();
    assert_eq!(main.output("restored"), "true");
    job.runner.write("src/train.py", "formatted");
    let before = job.runner.objects("v1");
    let post = job.step("post");
    post.succeeds();
    assert!(
        post.log.contains("this job restored the model, so there is nothing to save"),
        "{}",
        post.log
    );
    assert_eq!(job.runner.objects("v1"), before);
}

#[test]
fn a_training_that_changes_its_inputs_saves_nothing() {
    let job = Job::of(Runner::new());
    job.step("main").succeeds();
    job.runner.train("weights");
    job.runner.write("data/log.txt", "of the training");
    job.step("post")
        .fails(1, &["the inputs differ from the inputs of the plan", "data added: data/log.txt"]);
    assert!(job.runner.pointers().is_empty());
}

#[test]
fn a_training_is_saved_once_and_leaves_nothing_for_a_later_job() {
    let job = Job::of(Runner::new());
    job.step("main").succeeds();
    job.runner.train("weights");
    let post = job.step("post");
    post.succeeds();
    assert_eq!(job.runner.pointers().len(), 1);
    assert!(!post.log.contains("cannot tell whether the inputs changed"), "{}", post.log);
    // The shared directory may keep only the runner's file and the inputs document.
    let left: Vec<_> =
        fs::read_dir(&job.shared).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        left.iter().all(|name| name == "statecmd.txt" || name.to_string_lossy().ends_with(".zst")),
        "{left:?}"
    );
}
