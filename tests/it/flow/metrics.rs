//! The metrics of a model: stored, compared with the trusted model, and below a limit refused.

use std::fs;

use serde_json::json;

use super::{Sandbox, TRAIN};
use crate::support::cli::{Run, read_json};

const FILE: [&str; 2] = ["--metrics", "metrics.json"];

/// Trains on new data, and writes these metrics.
fn train(sandbox: &Sandbox, metrics: &str, more: &[&str]) -> Run {
    let number = sandbox.objects("v1/inputs").len();
    sandbox.write("data/number.csv", number.to_string());
    let script = format!("{TRAIN}; echo {number} > models/number; echo '{metrics}' > metrics.json");
    sandbox.train(&[&FILE, more].concat(), &script)
}

#[test]
fn a_model_keeps_its_metrics() {
    let sandbox = Sandbox::with_training();
    let saved = train(&sandbox, r#"{"auc": 0.9312, "test": {"loss": 1e-7}, "of": "x"}"#, &[]);
    assert!(saved.stderr.contains("metrics: auc 0.9312; test.loss 1e-7"), "{}", saved.stderr);
    let wanted = json!({"auc": 0.9312, "test.loss": 1e-7});
    assert_eq!(saved.json()["metrics"], wanted);
    let [pointer] = sandbox.pointers().try_into().unwrap();
    assert_eq!(pointer["schema"], "ml-cache/pointer/v3");
    assert_eq!(pointer["metrics"][0], json!({"name": "auc", "value": "0.9312"}));
    fs::remove_file(sandbox.path("metrics.json")).unwrap();
    for verb in ["plan", "restore", "resolve"] {
        assert_eq!(sandbox.run(verb, &[]).json()["metrics"], wanted, "{verb}");
    }
    // A model without metrics is stored as before.
    let bare = Sandbox::with_training();
    bare.train(&[], TRAIN).json();
    assert_eq!(bare.pointers()[0]["schema"], "ml-cache/pointer/v1");
    assert_eq!(bare.run("plan", &[]).json()["metrics"], json!(null));
}

#[test]
fn a_model_stands_beside_the_trusted_model() {
    let sandbox = Sandbox::with_training();
    train(&sandbox, r#"{"auc": 0.93}"#, &["--min-metrics", "auc >= trusted"]).json();
    let next = train(&sandbox, r#"{"auc": 0.925}"#, &["--min-metrics", "auc >= trusted - 0.005"]);
    assert_eq!(next.json()["saved"], true, "{}", next.stderr);
    let told = "metrics: auc 0.925 (trusted 0.93, -0.005)";
    assert!(next.stderr.contains(told), "{}", next.stderr);
}

#[test]
fn a_model_below_a_limit_is_not_filed_and_is_kept() {
    let sandbox = Sandbox::with_training();
    train(&sandbox, r#"{"auc": 0.93}"#, &[]).json();
    for (metrics, bound, told) in [
        (r#"{"auc": 0.92}"#, "auc >= trusted - 0.005", "auc is 0.92, and the limit is 0.925"),
        (r#"{"auc": 0.95}"#, "auc > 0.95", "auc is 0.95, and the limit is 0.95"),
        (r#"{"f1": 0.95}"#, "auc >= 0.5", "no such metric; there are `f1`"),
    ] {
        let run = train(&sandbox, metrics, &["--min-metrics", bound]);
        run.fails(1, &["below `min-metrics`", bound, told, "to get the model of this training"]);
        assert_eq!(sandbox.pointers().len(), 1);
        assert_eq!(sandbox.run("plan", &[]).json()["retrain-needed"], true);
    }
    let records = sandbox.objects("v1/trusted");
    let refused = records.iter().filter(|path| path.to_string_lossy().contains("/refused/"));
    let reasons: Vec<_> = refused.map(|path| read_json(path)["reason"].clone()).collect();
    assert_eq!(reasons, ["metrics"]);
}

#[test]
fn a_file_without_metrics_refuses_the_model_and_keeps_it() {
    let kept = "to get the model of this training";
    let sandbox = Sandbox::with_training();
    sandbox.train(&FILE, TRAIN).fails(1, &["cannot read the metrics", "metrics.json", kept]);
    train(&sandbox, r#"{"auc": NaN}"#, &[]).fails(1, &["no JSON", "`NaN`", kept]);
    train(&sandbox, r#"{"auc": "high"}"#, &[]).fails(1, &["no number", "{\"auc\": 0.93}", kept]);
    // The file of an earlier training says nothing of this model.
    sandbox.write("metrics.json", r#"{"auc": 0.9}"#);
    std::thread::sleep(std::time::Duration::from_millis(2500));
    sandbox.train(&FILE, TRAIN).fails(1, &["`metrics.json` is older than the training", kept]);
    assert!(sandbox.pointers().is_empty());
}

#[test]
fn what_cannot_be_met_is_told_before_the_training() {
    let sandbox = Sandbox::with_training();
    for (flags, told) in [
        (&["--metrics", "../metrics.json"][..], "does not lie within the workspace"),
        (&["--metrics", "/metrics.json"], "does not lie within the workspace"),
        (&["--min-metrics", "auc > 1"], "the input `metrics` names no file"),
        (&["--metrics", "m.json", "--min-metrics", "auc => 1"], "it is no demand"),
        (&["--metrics", "data/m.json"], "`data-paths` selects the file"),
    ] {
        sandbox.train(flags, "touch trained").fails(2, &[told, "hint:"]);
    }
    assert!(!sandbox.path("trained").exists());
}
