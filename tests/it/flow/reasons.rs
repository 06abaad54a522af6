//! The reasons to train again, each by itself.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{Sandbox, TRAIN};
use crate::support::cli::{edit_json, stand_in};

impl Sandbox {
    fn plan(&self, more: &[&str]) -> Value {
        self.run("plan", more).json()
    }

    /// Demands a training for this reason, and returns the changes that the plan names.
    #[track_caller]
    fn retrains_because(&self, reason: &str, more: &[&str]) -> Value {
        let plan = self.plan(more);
        assert_eq!([&plan["reason"], &plan["retrain-needed"]], [&json!(reason), &json!(true)]);
        assert_eq!(plan["cache-hit"], false);
        assert_eq!(plan["changed-count"], plan["changes"].as_array().unwrap().len());
        plan["changes"].clone()
    }
}

fn change(kind: &str, set: &str, path: &str) -> Value {
    json!({"kind": kind, "set": set, "path": path, "old_path": null})
}

#[test]
fn a_touched_file_without_a_change_is_a_hit() {
    let sandbox = Sandbox::trained();
    let file = fs::File::options().write(true).open(sandbox.path("data/a.csv")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
    let plan = sandbox.plan(&[]);
    assert_eq!([&plan["reason"], &plan["changed-count"]], [&json!("hit"), &json!(0)]);
}

#[test]
fn a_changed_row_is_named() {
    let sandbox = Sandbox::trained();
    sandbox.write("data/b.csv", "id,amount\n2,21\n");
    assert_eq!(
        sandbox.retrains_because("data-changed", &[]),
        json!([change("modified", "data", "data/b.csv")])
    );
}

#[test]
fn a_new_and_a_removed_file_are_named() {
    let sandbox = Sandbox::trained();
    fs::remove_file(sandbox.path("data/a.csv")).unwrap();
    sandbox.write("data/sub/c.csv", "id,amount\n3,30\n");
    let wanted =
        json!([change("added", "data", "data/sub/c.csv"), change("removed", "data", "data/a.csv")]);
    assert_eq!(sandbox.retrains_because("data-changed", &[]), wanted);
}

#[test]
fn a_renamed_file_is_reported_as_renamed() {
    let sandbox = Sandbox::trained();
    fs::rename(sandbox.path("data/b.csv"), sandbox.path("data/c.csv")).unwrap();
    let wanted =
        json!([{"kind": "renamed", "set": "data", "path": "data/c.csv", "old_path": "data/b.csv"}]);
    assert_eq!(sandbox.retrains_because("data-changed", &[]), wanted);
}

#[test]
fn changed_code_is_told_from_changed_data() {
    let sandbox = Sandbox::trained();
    sandbox.write("src/train.py", "print('train better')\n");
    let wanted = json!([change("modified", "training", "src/train.py")]);
    assert_eq!(sandbox.retrains_because("training-changed", &[]), wanted);
    sandbox.write("data/a.csv", "id,amount\n1,11\n");
    assert_eq!(sandbox.retrains_because("inputs-changed", &[]).as_array().unwrap().len(), 2);
}

#[test]
fn an_extra_key_counts_like_a_file() {
    let sandbox = Sandbox::with_training();
    let keys = ["--extra-key", "seed=7\ntorch=2.4"];
    assert_eq!(sandbox.train(&keys, TRAIN).json()["saved"], true);
    assert_eq!(
        sandbox.plan(&["--extra-key", "torch=2.4", "--extra-key", "seed=7"])["reason"],
        "hit"
    );
    let changes =
        sandbox.retrains_because("extra-key-changed", &["--extra-key", "seed=8\ntorch=2.4"]);
    assert_eq!(changes, json!([change("modified", "extra", "seed")]));
}

#[test]
fn a_forced_training_replaces_the_model_and_names_the_old_model() {
    let sandbox = Sandbox::trained();
    let old = sandbox.plan(&[])["manifest-digest"].clone();
    sandbox.retrains_because("forced", &["--force-retrain"]);
    sandbox.seed("better weights");
    let forced = sandbox.train(&["--force-retrain"], TRAIN).json();
    assert_eq!([&forced["reason"], &forced["saved"]], [&json!("forced"), &json!(true)]);
    assert_eq!(forced["pointer"]["generation"], 2);
    assert_eq!(forced["pointer"]["previous"], json!([{"generation": 1, "manifest": old}]));
    assert_ne!(forced["manifest-digest"], old);
    sandbox.forget_model();
    assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
    assert_eq!(sandbox.read("models/model.bin"), "better weights");
}

#[test]
fn an_old_model_expires_and_is_renewed() {
    let sandbox = Sandbox::trained();
    assert_eq!(sandbox.plan(&["--max-age", "1d"])["reason"], "hit");
    let pointer = sandbox
        .objects("v1/trusted")
        .into_iter()
        .find(|path| path.to_string_lossy().contains("/pointers/"));
    edit_json(&pointer.unwrap(), |pointer| pointer["created_at"] = json!("2020-01-01T00:00:00Z"));
    sandbox.retrains_because("expired", &["--max-age", "1d"]);
    assert_eq!(sandbox.plan(&[])["reason"], "hit");
    let renewed = sandbox.train(&["--max-age", "1d"], TRAIN).json();
    assert_eq!(
        [&renewed["reason"], &renewed["pointer"]["generation"]],
        [&json!("expired"), &json!(2)]
    );
    assert_eq!(sandbox.plan(&["--max-age", "1d"])["reason"], "hit");
}

#[test]
fn a_model_without_its_bytes_is_incomplete_until_it_is_trained() {
    for (lost, seed) in
        [("v1/blobs", "weights"), ("v1/blobs", "other weights"), ("v1/manifests", "weights")]
    {
        let sandbox = Sandbox::trained();
        fs::remove_file(&sandbox.objects(lost)[0]).unwrap();
        sandbox.retrains_because("incomplete", &[]);
        sandbox.seed(seed);
        assert_eq!(sandbox.train(&[], TRAIN).json()["reason"], "incomplete", "{lost}");
        assert_eq!(sandbox.plan(&[])["reason"], "hit", "{lost}");
        sandbox.forget_model();
        assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
        assert_eq!(sandbox.read("models/model.bin"), seed);
    }
}

#[test]
fn a_revert_is_a_hit_and_moves_the_head_back() {
    let sandbox = Sandbox::trained();
    let first = sandbox.plan(&[]);
    sandbox.write("data/b.csv", "id,amount\n2,21\n");
    sandbox.seed("second");
    assert_eq!(sandbox.train(&[], TRAIN).json()["reason"], "data-changed");
    let head = || sandbox.run("restore", &[]).json()["fingerprint"].clone();
    assert_ne!(head(), first["fingerprint"]);

    sandbox.project();
    let reverted = sandbox.train(&[], "exit 9").json();
    assert_eq!(
        [&reverted["reason"], &reverted["fingerprint"]],
        [&json!("hit"), &first["fingerprint"]]
    );
    assert_eq!(head(), first["fingerprint"]);
    assert_eq!(sandbox.read("models/model.bin"), "weights");
}

#[test]
fn a_plan_alone_writes_nothing() {
    let sandbox = Sandbox::with_training();
    sandbox.retrains_because("no-model", &[]);
    assert!(!sandbox.store_dir().exists());
}

#[test]
fn the_lfs_stand_in_of_a_file_counts_as_the_file() {
    let sandbox = Sandbox::trained();
    let real = sandbox.plan(&[]);
    sandbox.write("data/a.csv", stand_in(&sandbox.read("data/a.csv")));
    let without_download = sandbox.plan(&[]);
    assert_eq!(without_download["fingerprint"], real["fingerprint"]);
    assert_eq!(without_download["data-hash"], real["data-hash"]);
    assert_eq!(without_download["reason"], "hit");
}
