//! The configuration file `ml-cache.yml` on the command line.

mod faults;
mod init;
pub mod schema;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::cli::{Run, Sandbox};

const FILE: &str = "\
# The whole configuration of a project.
store: file://STORE
models:
  fraud:
    data: [data/**]
    training: src/**
    extra: { python: 3.10, seed: 7 }
    path: models/
";

/// A project with the configuration file, which names the store.
pub fn project(file: &str) -> Sandbox {
    let mut sandbox = Sandbox::with_project();
    // The file decides before the variable.
    sandbox.env("ML_CACHE_STORE", "file:///nowhere/else");
    let store = sandbox.store_dir().display().to_string();
    sandbox.write("ml-cache.yml", file.replace("STORE", &store));
    sandbox
}

fn fingerprint(run: &Run) -> String {
    run.json()["fingerprint"].as_str().unwrap().to_owned()
}

/// Plans a model with its data and its training code, without the file.
fn by_flags(sandbox: &Sandbox, [model, data, training]: [&str; 3], more: &[&str]) -> Run {
    let inputs = ["--model", model, "--data-paths", data, "--training-paths", training];
    let verb = ["plan", "--json", "--config", "none"];
    sandbox.raw([&verb, &inputs[..], more].concat())
}

#[test]
fn every_command_reads_the_file() {
    let sandbox = project(FILE);
    let train = ["run", "--json", "--", "sh", "-c", "mkdir -p models && echo w > models/m"];
    let trained = sandbox.raw(train);
    assert_eq!(trained.json()["reason"], "no-model", "{}", trained.stderr);
    let told = "fraud: settings: model from ml-cache.yml:4; store from ml-cache.yml:2; data-paths \
                from ml-cache.yml:5; training-paths from ml-cache.yml:6; extra-key from \
                ml-cache.yml:7; model-path from ml-cache.yml:8\n";
    assert!(trained.stderr.contains(told), "{}", trained.stderr);
    assert_eq!(sandbox.pointers().len(), 1);
    for verb in ["plan", "restore", "resolve", "verify"] {
        let run = sandbox.raw([verb, "--json"]);
        assert_eq!(fingerprint(&run), fingerprint(&trained), "{verb}");
    }
    sandbox.write("src/train.py", "print('again')\n");
    assert_eq!(sandbox.raw(["plan", "--json"]).json()["reason"], "training-changed");
    assert_eq!(sandbox.raw(["save", "--json"]).json()["saved"], true);
}

#[test]
fn an_input_replaces_the_value_of_the_file() {
    let sandbox = project(FILE);
    let elsewhere = format!("file://{}-2", sandbox.store_dir().display());
    let run = sandbox.raw(["plan", "--json", "--store", &elsewhere, "--data-paths", "data/a.csv"]);
    let more = ["--store", &elsewhere, "--extra-key", "python=3.10\nseed=7"];
    let same = by_flags(&sandbox, ["fraud", "data/a.csv", "src/**"], &more);
    assert_eq!(fingerprint(&run), fingerprint(&same));
    assert!(run.stderr.contains("; store from the input; data-paths from the input;"));
    assert!(!same.stderr.contains("settings:"), "{}", same.stderr);
}

#[test]
fn lists_join_maps_merge_and_single_values_replace() {
    let file = "\
store: file://STORE
defaults:
  data: ['data/**', '!data/b.csv']
  training: src/**
  extra: { python: '3.11', seed: 1 }
  max-age: 30d
  path: models/
models:
  plain: {}
  own:
    data: [data/b.csv]
    extra: { seed: 2, cuda: 12.4 }
    max-age: 1d
    path: [weights/]
";
    let sandbox = project(file);
    let flags = |data: &str, extra: &str| {
        fingerprint(&by_flags(&sandbox, ["x", data, "src/**"], &["--extra-key", extra]))
    };
    let of = |model: &str| fingerprint(&sandbox.raw(["plan", "--json", "--model", model]));
    assert_eq!(of("plain"), flags("data/**\n!data/b.csv", "python=3.11\nseed=1"));
    assert_eq!(of("own"), flags("data/**", "python=3.11\nseed=2\ncuda=12.4"));
    let told = sandbox.raw(["plan", "--model", "own"]).stderr;
    for origin in [
        "data-paths from ml-cache.yml:3, 11;",
        "extra-key from ml-cache.yml:5, 12;",
        "max-age from ml-cache.yml:13",
        "model-path from ml-cache.yml:7, 14;",
    ] {
        assert!(told.contains(origin), "{origin} not in {told}");
    }
}

#[test]
fn the_model_is_chosen_and_never_guessed() {
    let two =
        "store: file://STORE\nmodels:\n  fraud: { data: data/** }\n  churn: { data: src/** }\n";
    let sandbox = project(two);
    sandbox.raw(["plan"]).fails(
        2,
        &["input `model`: ``: `ml-cache.yml` has several models; accepted: `fraud`, `churn`"],
    );
    sandbox.raw(["plan", "--model", "frued"]).fails(
        2,
        &["input `model`: `frued`: `ml-cache.yml` has no such model; did you mean `fraud`?; \
         accepted: `fraud`, `churn`"],
    );
    assert_eq!(sandbox.raw(["plan", "--json", "--model", "churn"]).json()["reason"], "no-model");
    // The user describes a model of their own, or finds one by other means.
    let own = sandbox.raw(["plan", "--json", "--model", "own", "--data-paths", "data/a.csv"]);
    assert_eq!(own.json()["reason"], "no-model");
    let old = format!("sha256:{}", "0".repeat(64));
    let gone = sandbox.raw(["restore", "--model", "gone", "--fingerprint", &old]);
    assert_eq!(gone.code, 3, "{}", gone.stderr);
}

#[test]
fn who_names_a_model_to_find_needs_no_inputs_of_a_training() {
    let sandbox = project(FILE);
    let train = ["run", "--json", "--", "sh", "-c", "mkdir -p models && echo w > models/m"];
    let fingerprint = fingerprint(&sandbox.raw(train));
    let file = sandbox.read("ml-cache.yml");
    for name in ["data", "src", "models"] {
        std::fs::remove_dir_all(sandbox.path(name)).unwrap();
    }
    sandbox.write("ml-cache.yml", file);
    let by_inputs = sandbox.raw(["restore", "--json"]);
    by_inputs.fails(2, &["data/**"]);
    for target in [["--fingerprint", &fingerprint], ["--ref", "local"]] {
        let restored = sandbox.raw(["restore", "--json", target[0], target[1]]);
        assert_eq!(restored.json()["restored"], true, "{}", restored.stderr);
    }
}

#[test]
fn a_monorepo_has_working_directories() {
    let file = "\
store: file://STORE
defaults:
  data: data/**
  training: [src/**, ../common/**]
  path: models/
models:
  fraud: { working-directory: services/fraud }
  churn: { working-directory: ./services//churn/, training: '!src/notes.md' }
";
    let sandbox = project(file);
    for name in ["fraud", "churn"] {
        sandbox.write(&format!("services/{name}/data/a.csv"), name);
        sandbox.write(&format!("services/{name}/src/train.py"), "train");
        sandbox.write(&format!("services/{name}/src/notes.md"), "notes");
    }
    sandbox.write("services/common/x.py", "common");
    let script = "mkdir -p models && pwd > models/where";
    let train = ["run", "--json", "--model", "fraud", "--", "sh", "-c", script];
    let trained = sandbox.raw(train);
    trained.json();
    assert!(sandbox.read("services/fraud/models/where").ends_with("/services/fraud\n"));
    let plain = |name: &str, more: &str| {
        let data = format!("services/{name}/data/**");
        let training = format!("services/{name}/src/**\nservices/common/**\n{more}");
        fingerprint(&by_flags(&sandbox, [name, &data, &training], &[]))
    };
    assert_eq!(fingerprint(&trained), plain("fraud", ""));
    let churn = sandbox.raw(["plan", "--json", "--model", "churn"]);
    assert_eq!(fingerprint(&churn), plain("churn", "!services/churn/src/notes.md"));
    std::fs::remove_dir_all(sandbox.path("services/fraud/models")).unwrap();
    let restored = sandbox.raw(["restore", "--json", "--model", "fraud"]);
    assert_eq!(restored.json()["restored"], true);
    assert!(sandbox.path("services/fraud/models/where").is_file());
}

#[test]
fn equal_inputs_give_equal_fingerprints_with_the_file() {
    let sandbox = project("store: file://STORE\n");
    sandbox.write("data/sub/c d.csv", "3");
    sandbox.write("src/lib/x.py", "x");
    let data = ["data/**", "data/*.csv", "!data/b.csv", "data/sub/", "**/*.csv", "data/a.csv"];
    let training = ["src/**", "!src/lib/**", "src/train.py", "src/**/*.py", "./src/lib/"];
    let values = ["3.10", "007", "true", "a b", "x=y", "1e3", "ünï", "", "~user", "- x", "{a}"];
    let mut seen = BTreeMap::new();
    for seed in 0..40 {
        let mut dice = schema::Dice(seed);
        let mut some = |from: &[&str]| -> Vec<String> {
            let count = 1 + dice.throw(3);
            (0..count).map(|_| (*dice.pick(from)).to_owned()).collect()
        };
        let (mut data, training, extra) = (some(&data), some(&training), some(&values));
        data.insert(0, "data/a.csv".to_owned());
        let extra: BTreeMap<String, String> =
            extra.into_iter().enumerate().map(|(at, it)| (format!("key {at}"), it)).collect();
        let lines: Vec<String> = extra.iter().map(|(name, it)| format!("{name}={it}")).collect();
        let more = ["--if-no-files-found", "ignore", "--extra-key", &lines.join("\n")];
        let flags = by_flags(&sandbox, ["m", &data.join("\n"), &training.join("\n")], &more);
        let model = serde_json::json!({ "data": data, "training": training, "extra": extra });
        // Keys and values in block style, each value in quotes.
        let mut file = "models:\n  m:\n".to_owned();
        for (name, value) in model.as_object().unwrap() {
            file.push_str(&format!("    {name}: {value}\n"));
        }
        sandbox.write("other/config.yml", &file);
        let with = sandbox.raw([
            "plan",
            "--json",
            "--config",
            "other/config.yml",
            "--if-no-files-found",
            "ignore",
        ]);
        assert_eq!(fingerprint(&with), fingerprint(&flags), "{file}");
        *seen.entry(fingerprint(&with)).or_insert(0) += 1;
    }
    assert!(seen.len() > 20, "{seen:?}");
}

#[test]
fn a_file_under_another_name_is_told() {
    let sandbox = project("store: file://STORE\n");
    std::fs::rename(sandbox.path("ml-cache.yml"), sandbox.path("ml-cache.yaml")).unwrap();
    let run = sandbox.run("plan", &[]);
    assert!(run.stderr.contains("`ml-cache.yaml` is not read; rename it"), "{}", run.stderr);
    let value: Value = run.json();
    assert_eq!(value["reason"], "no-model");
}

#[test]
fn every_file_of_the_documentation_is_accepted() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = tempfile::tempdir().unwrap();
    let accepts = |page: &std::path::Path, file: &str| {
        let found = schema::program_accepts(place.path(), file);
        assert_eq!(found, Ok(()), "{}: {file}", page.display());
    };
    let docs = root.join("docs").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let mut count = 0;
    for page in pages.chain([root.join("README.md")]) {
        let text = std::fs::read_to_string(&page).unwrap();
        for block in text.split("```yaml\n# yaml-language-server: ").skip(1) {
            let (block, _) = block.split_once("\n```").unwrap();
            accepts(&page, &format!("# yaml-language-server: {block}\n"));
            count += 1;
        }
    }
    assert!(count > 8, "{count} files in the documentation");
    let example = root.join("examples/fraud-detection/ml-cache.yml");
    accepts(&example, &std::fs::read_to_string(&example).unwrap());
}

#[test]
fn the_file_names_the_metrics_and_their_demands() {
    let sandbox = project(
        "\
store: file://STORE
defaults: { min-metrics: [auc >= 0.5] }
models:
  fraud:
    working-directory: src
    data: ../data/**
    path: ../models/
    metrics: out/metrics.json
    min-metrics: auc >= trusted - 0.01
",
    );
    let train = |auc: &str| {
        let script = format!(
            "mkdir -p ../models out && echo {auc} > ../models/m && echo '{{\"auc\": {auc}}}' > \
             out/metrics.json"
        );
        sandbox.write("data/new.csv", auc);
        sandbox.raw(["run", "--json", "--", "sh", "-c", &script])
    };
    assert_eq!(train("0.93").json()["metrics"]["auc"], 0.93);
    train("0.4").fails(1, &["`auc >= 0.5`", "`auc >= trusted - 0.01`"]);
    train("0.9").fails(1, &["`auc >= trusted - 0.01`: auc is 0.9"]);
    assert_eq!(train("0.925").json()["saved"], true);
}

#[test]
fn demands_without_metrics_are_told_before_the_training() {
    let sandbox = project(
        "\
store: file://STORE
models:
  fraud:
    data: data/**
    path: models/
    min-metrics: [auc >= 0.5]
",
    );
    let plan = sandbox.raw(["plan", "--json"]);
    plan.json();
    let told = "warning: ml-cache.yml:6: `min-metrics` stands without `metrics`";
    assert!(plan.stderr.contains(told), "{}", plan.stderr);
    sandbox.raw(["run", "--", "touch", "trained"]).fails(2, &["ml-cache.yml:6:", "`min-metrics`"]);
    assert!(!sandbox.path("trained").exists());
}
