//! Repeated saves: they send nothing twice, and change no stored object.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde_json::json;

use super::{Sandbox, TRAIN};
use crate::support::cli::noise;

/// Returns the identity of every object except heads. A rewritten object has another inode or time.
fn identities(sandbox: &Sandbox) -> Vec<(PathBuf, u64, i64, i64)> {
    let identity = |path: PathBuf| {
        let found = fs::metadata(&path).unwrap();
        (path, found.ino(), found.mtime(), found.mtime_nsec())
    };
    let is_head = |path: &PathBuf| path.parent().is_some_and(|parent| parent.ends_with("heads"));
    sandbox.objects("v1").into_iter().filter(|path| !is_head(path)).map(identity).collect()
}

#[test]
fn a_second_save_sends_nothing() {
    let sandbox = Sandbox::trained();
    let before = identities(&sandbox);
    assert!(before.len() >= 4, "{before:?}");
    let again = sandbox.run("save", &[]);
    assert_eq!([&again.json()["saved"], &again.json()["cache-hit"]], [false, true]);
    assert!(again.stderr.contains("and keeps it"), "{}", again.stderr);
    assert_eq!(identities(&sandbox), before);
}

#[test]
fn another_model_of_the_same_inputs_does_not_replace_the_first() {
    let sandbox = Sandbox::trained();
    let before = sandbox.pointers();
    sandbox.write("models/model.bin", "other weights");
    let again = sandbox.run("save", &[]);
    assert_eq!(again.json()["saved"], false);
    assert_eq!(again.json()["pointer"], before[0]);
    assert!(again.stderr.contains("the newly trained model is not used"), "{}", again.stderr);
    assert_eq!(sandbox.pointers(), before);
}

#[test]
fn models_share_what_they_have_in_common() {
    let sandbox = Sandbox::with_training();
    sandbox.write("models/base.bin", noise(1, 5 << 20));
    let first = sandbox.train(&[], TRAIN).json();
    let blobs = sandbox.objects("v1/blobs").len();
    sandbox.write("data/a.csv", "changed\n");
    sandbox.seed("second");
    let second = sandbox.train(&[], TRAIN);
    assert_eq!(second.json()["saved"], true);
    assert!(
        second.stderr.contains("(1 object, "),
        "only the pack with the new weights: {}",
        second.stderr
    );
    assert_eq!(sandbox.objects("v1/blobs").len(), blobs + 1);
    assert_ne!(second.json()["manifest-digest"], first["manifest-digest"]);
}

#[test]
fn other_models_and_namespaces_are_other_models() {
    let sandbox = Sandbox::trained();
    assert_eq!(sandbox.run("plan", &["--namespace", "org/other"]).json()["reason"], "no-model");
    let mut arguments = Sandbox::arguments("plan", &[]);
    arguments[3] = "churn".to_owned();
    assert_eq!(sandbox.raw(&arguments).json()["reason"], "no-model");
    let shared = sandbox.train(&["--namespace", "org/other"], TRAIN).json();
    assert_eq!(
        [&shared["saved"], &shared["pointer"]["namespace"]],
        [&json!(true), &json!("org/other")]
    );
    assert_eq!(sandbox.pointers().len(), 2);
}

#[test]
fn the_history_of_forced_trainings_is_kept_newest_first() {
    let sandbox = Sandbox::trained();
    for n in 2..=4 {
        sandbox.seed(&format!("weights {n}"));
        assert_eq!(sandbox.train(&["--force-retrain"], TRAIN).json()["pointer"]["generation"], n);
    }
    let pointer = &sandbox.pointers()[0];
    let generations: Vec<i64> = pointer["previous"]
        .as_array()
        .unwrap()
        .iter()
        .map(|previous| previous["generation"].as_i64().unwrap())
        .collect();
    assert_eq!(generations, [3, 2, 1]);
}

#[test]
fn model_path_selects_what_is_saved() {
    let sandbox = Sandbox::with_project();
    for name in
        ["models/a.bin", "models/checkpoints/1.bin", "reports/metrics.json", "reports/notes.txt"]
    {
        sandbox.write(name, name);
    }
    let mut arguments = Sandbox::arguments("save", &[]);
    *arguments.last_mut().unwrap() = "models\n!models/checkpoints\nreports/*.json".to_owned();
    assert_eq!(sandbox.raw(&arguments).json()["model-files"], 2);
    fs::remove_dir_all(sandbox.path("models")).unwrap();
    fs::remove_dir_all(sandbox.path("reports")).unwrap();
    sandbox.run("restore", &[]).json();
    assert_eq!(sandbox.read("models/a.bin"), "models/a.bin");
    assert_eq!(sandbox.read("reports/metrics.json"), "reports/metrics.json");
    assert!(
        !sandbox.path("models/checkpoints").exists() && !sandbox.path("reports/notes.txt").exists()
    );
}
