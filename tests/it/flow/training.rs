//! Trainings that fail, are killed, or change their declared inputs.

use super::{Sandbox, TRAIN};

impl Sandbox {
    /// Demands that the store is empty, apart from an inputs document, which makes no model
    /// visible.
    #[track_caller]
    pub fn has_stored_no_model(&self) {
        let objects = self.objects("v1");
        assert!(
            objects.iter().all(|path| path.parent().unwrap().ends_with("inputs")),
            "{objects:?}"
        );
    }

    /// Demands that a training ends with this code and message, and that no model becomes visible.
    #[track_caller]
    fn does_not_save(&self, script: &str, code: i32, needles: &[&str]) {
        self.train(&[], script).fails(code, needles);
        self.has_stored_no_model();
        assert_eq!(self.run("plan", &[]).json()["reason"], "no-model");
    }
}

#[test]
fn a_failed_training_keeps_its_exit_code_and_saves_nothing() {
    for code in [1, 2, 3, 4, 77, 255] {
        let sandbox = Sandbox::with_training();
        let needle = format!("ended with exit code {code}; nothing was saved");
        sandbox.does_not_save(&format!("{TRAIN}; exit {code}"), code, &[&needle]);
    }
}

#[test]
fn a_killed_training_ends_with_128_and_the_signal() {
    for (signal, code) in [(9, 137), (15, 143), (11, 139)] {
        let sandbox = Sandbox::with_training();
        sandbox.does_not_save(
            &format!("{TRAIN}; kill -{signal} $$"),
            code,
            &[&format!("signal {signal}")],
        );
    }
}

#[test]
fn a_training_that_cannot_be_started_is_named() {
    let sandbox = Sandbox::with_training();
    let mut arguments = Sandbox::arguments("run", &["--", "./no-such-program"]);
    sandbox.raw(&arguments).fails(1, &["./no-such-program", "No such file", "hint:"]);
    arguments.truncate(arguments.len() - 2);
    sandbox.raw(&arguments).fails(2, &["COMMAND"]);
}

#[test]
fn a_training_that_changes_its_data_is_refused() {
    let sandbox = Sandbox::with_training();
    let script = format!("{TRAIN}; echo 9,90 >> data/b.csv; echo x > data/new.csv");
    sandbox
        .train(&[], &script)
        .fails(1, &["data modified: data/b.csv", "data added: data/new.csv", "hint:"]);
    assert!(sandbox.pointers().is_empty());
    assert_eq!(sandbox.run("plan", &[]).json()["reason"], "no-model");
}

#[test]
fn a_save_for_another_fingerprint_is_refused() {
    let sandbox = Sandbox::trained();
    let planned = sandbox.run("plan", &[]).json()["fingerprint"].as_str().unwrap().to_owned();
    sandbox.write("src/train.py", "print('changed after the plan')\n");
    let before = sandbox.pointers();
    sandbox
        .run("save", &["--fingerprint", &planned])
        .fails(1, &["training modified: src/train.py", "nothing was saved"]);
    assert_eq!(sandbox.pointers(), before);
}

#[test]
fn a_training_that_leaves_no_model_is_refused() {
    let sandbox = Sandbox::with_training();
    sandbox.does_not_save("true", 2, &["model-path", "`models/`", "hint:"]);
    let sandbox = Sandbox::with_training();
    sandbox.does_not_save("mkdir models", 2, &["there is nothing at `models/`"]);
}

#[test]
fn a_training_runs_in_the_workspace_with_the_environment() {
    let mut sandbox = Sandbox::with_training();
    sandbox.env("LEARNING_RATE", "0.1");
    let script = "mkdir models; cd models; (cd ..; pwd -P) > where; echo $LEARNING_RATE > rate; \
                  echo \"$0 $1\" > arguments";
    let run = sandbox.run("run", &["--", "sh", "-c", script, "a b", "--json"]);
    assert_eq!(run.json()["saved"], true);
    let here = sandbox.work().canonicalize().unwrap();
    assert_eq!(sandbox.read("models/where").trim_end(), here.to_str().unwrap());
    assert_eq!(sandbox.read("models/rate"), "0.1\n");
    assert_eq!(sandbox.read("models/arguments"), "a b --json\n");
}
