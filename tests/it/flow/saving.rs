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

#[test]
fn the_remains_of_a_killed_restore_are_no_part_of_the_model() {
    let sandbox = Sandbox::with_project();
    sandbox.write("models/model.bin", "weights");
    sandbox.write("models/.ml-cache-tmp-2.bin", "half");
    sandbox.write("models/.ml-cache-tmp-1/half.bin", "half");
    let save = sandbox.run("save", &[]);
    assert_eq!(save.json()["model-files"], 1);
    let told = "are left out: `models/.ml-cache-tmp-1`, `models/.ml-cache-tmp-2.bin`";
    assert!(save.stderr.contains(told), "{}", save.stderr);
    sandbox.run("verify", &[]).json();
    sandbox.forget_model();
    assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
}

#[test]
fn nothing_is_sent_of_a_model_that_no_manifest_can_hold() {
    let sandbox = Sandbox::with_project();
    for name in ["models/e\u{301}", "models/\u{e9}"] {
        sandbox.write(name, name);
    }
    sandbox.run("save", &[]).fails(2, &["cannot save the model", "is named twice", "hint: rename"]);
    assert!(sandbox.objects("v1/blobs").is_empty());
}

#[test]
fn a_link_to_weights_outside_of_the_model_is_refused() {
    let sandbox = Sandbox::with_project();
    sandbox.write("runs/42/best.pt", "weights");
    sandbox.write("models/config.json", "{}");
    std::os::unix::fs::symlink("../runs/42/best.pt", sandbox.path("models/best.pt")).unwrap();
    let needles = [
        "`models/best.pt` cannot be saved: it is a link to `../runs/42/best.pt`",
        "hint: exclude it with a `!` line",
        "copy it into the model in place of the link",
    ];
    sandbox.run("save", &[]).fails(2, &needles);
    assert!(sandbox.objects("v1").is_empty());
}

#[test]
fn a_model_of_empty_files_is_refused_and_an_empty_file_is_told() {
    let sandbox = Sandbox::with_project();
    sandbox.write("models/model.bin", "");
    sandbox.write("models/.gitkeep", "");
    let needles = ["there is no model to save", "is empty: `models/.gitkeep`, `models/model.bin`"];
    sandbox.run("save", &[]).fails(1, &needles);
    assert!(sandbox.objects("v1/blobs").is_empty() && sandbox.pointers().is_empty());

    sandbox.write("models/config.json", "{}");
    let save = sandbox.run("save", &[]);
    assert_eq!(save.json()["saved"], true);
    let told = "warning: 1 file of the model is empty: `models/model.bin`\n";
    assert!(save.stderr.contains(told), "{}", save.stderr);
}

#[test]
fn files_of_an_earlier_training_are_told() {
    let script = "sleep 3; echo new > models/new.bin; cp -p ../old models/copied.bin";
    let sandbox = Sandbox::with_training();
    sandbox.write("models/old.bin", "weights of another training");
    fs::write(sandbox.work().join("../old"), "pretrained").unwrap();
    std::process::Command::new("touch")
        .args(["-d", "2001-01-01"])
        .arg(sandbox.work().join("../old"))
        .status()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let run = sandbox.train(&[], script);
    assert_eq!(run.json()["saved"], true);
    let told = "1 file of the model is older than the training and becomes a part of it: \
                `models/old.bin`; remove";
    assert!(run.stderr.contains(told), "{}", run.stderr);
    // A short training right after other steps gives no alarm.
    let sandbox = Sandbox::with_training();
    sandbox.write("models/fresh.bin", "written by an earlier step");
    let run = sandbox.train(&[], "echo new > models/new.bin");
    assert!(!run.stderr.contains("older") && !run.stderr.contains("newer"), "{}", run.stderr);
    // Without a plan, nobody knows when the training began.
    sandbox.write("data/a.csv", "changed\n");
    let save = sandbox.run("save", &[]);
    assert!(!save.stderr.contains("older") && !save.stderr.contains("newer"), "{}", save.stderr);
}

#[test]
fn a_deep_directory_overflows_no_stack() {
    let sandbox = Sandbox::with_project();
    let deep = "d/".repeat(650);
    sandbox.write(&format!("models/{deep}weights"), "weights");
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    fs::remove_dir_all(sandbox.path("models")).unwrap();
    let restored = sandbox.run("restore", &[]);
    assert_eq!(restored.json()["restored"], true, "{}", restored.stderr);
    assert_eq!(sandbox.read(&format!("models/{deep}weights")), "weights");
}
