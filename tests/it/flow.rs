//! The main job on a store in a directory: train once, restore ever after, and say why.

mod changing;
mod foresight;
mod many;
mod metrics;
mod reasons;
mod refused;
mod restoring;
mod saving;
mod stand_ins;
mod training;

use std::fs;

use crate::support::cli::{Sandbox, snapshot};

/// A training that makes every kind of entry that a model may have. The model depends on the file
/// `seed` beside the workspace, which no input covers.
const TRAIN: &str = "umask 022; mkdir -p models/sub models/cache
cat ../seed > models/model.bin; \
                     printf '#!/bin/sh\\n' > models/run.sh; chmod 755 models/run.sh
printf deep > \
                     models/sub/x; : > models/empty; ln -sfn model.bin models/latest; ln -sfn \
                     ../run.sh models/sub/up";

impl Sandbox {
    /// A project, and a seed for its training.
    fn with_training() -> Self {
        let sandbox = Self::with_project();
        sandbox.seed("weights");
        sandbox
    }

    /// Chooses the weights of the next training.
    fn seed(&self, weights: &str) {
        fs::write(self.work().join("../seed"), weights).unwrap();
    }

    /// A project whose model is stored.
    fn trained() -> Self {
        let sandbox = Self::with_training();
        assert_eq!(sandbox.train(&[], TRAIN).json()["saved"], true);
        sandbox
    }

    fn forget_model(&self) {
        fs::remove_dir_all(self.path("models")).unwrap();
    }
}

#[test]
fn the_first_run_trains_and_the_second_restores_everything() {
    let sandbox = Sandbox::with_training();
    let first = sandbox.train(&[], TRAIN).json();
    assert_eq!(
        [&first["retrain-needed"], &first["restored"], &first["saved"]],
        [true, false, true]
    );
    assert_eq!(first["reason"], "no-model");
    let before = snapshot(&sandbox.path("models"));
    for entry in ["cache/", "empty 644", "latest -> model.bin", "run.sh 755", "sub/up -> ../run.sh"]
    {
        assert!(
            before.iter().any(|found| found.starts_with(entry)),
            "{entry} is not in {before:?}"
        );
    }

    sandbox.forget_model();
    let second = sandbox.train(&[], "echo trained again; exit 9").json();
    assert_eq!(
        [&second["retrain-needed"], &second["restored"], &second["saved"]],
        [false, true, false]
    );
    assert_eq!(
        [&second["reason"], &second["cache-hit"]],
        [&"hit".into(), &serde_json::Value::Bool(true)]
    );
    assert_eq!(snapshot(&sandbox.path("models")), before);
    assert_eq!(second["fingerprint"], first["fingerprint"]);
    assert_eq!(second["pointer"], first["pointer"]);
    assert_eq!(second["model-files"], 4);
}

#[test]
fn what_training_prints_does_not_spoil_the_json() {
    let sandbox = Sandbox::with_training();
    let run = sandbox.train(&[], &format!("echo on stdout; echo on stderr >&2; {TRAIN}"));
    assert_eq!(run.json()["saved"], true);
    assert!(run.stderr.contains("on stdout") && run.stderr.contains("on stderr"), "{}", run.stderr);
}

#[test]
fn plan_save_and_restore_do_the_same_as_run_in_three_steps() {
    let sandbox = Sandbox::with_training();
    let plan = sandbox.run("plan", &[]).json();
    assert_eq!([&plan["retrain-needed"], &plan["cache-hit"]], [true, false]);
    sandbox.write("models/model.bin", "by hand");
    let fingerprint = plan["fingerprint"].as_str().unwrap();
    let save = sandbox.run("save", &["--fingerprint", fingerprint]).json();
    assert_eq!([&save["saved"], &save["cache-hit"]], [true, true]);
    assert_eq!(sandbox.run("plan", &[]).json()["reason"], "hit");
    sandbox.forget_model();
    let restore = sandbox.run("restore", &["--fingerprint", fingerprint]).json();
    assert_eq!(restore["restored"], true);
    assert_eq!(sandbox.read("models/model.bin"), "by hand");
    assert_eq!(restore["manifest-digest"], save["manifest-digest"]);
}
