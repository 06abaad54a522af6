//! Which files a restore may write: what `model-path` selects, or a directory of its own.

use std::fs;

use ml_cache::format::Digest;
use serde_json::{Value, json};

use super::runner::{Runner, Step};
use crate::support::cli::snapshot;

const CONTENT: &[u8] = b"evil";
const NO_PATHS: [(&str, &str); 3] =
    [("data-paths", ""), ("training-paths", ""), ("model-path", "")];

/// A manifest of files with the bytes [`CONTENT`], and of links.
fn manifest(files: &[&str], links: &[(&str, &str)]) -> Value {
    let part = json!({"blob": Digest::of(CONTENT).hex(), "offset": 0, "length": CONTENT.len()});
    let file =
        |path: &&str| json!({"path": path, "size": CONTENT.len(), "mode": "644", "parts": [part]});
    let link = |(path, target): &(&str, &str)| json!({"path": path, "target": target});
    let files: Vec<Value> = files.iter().map(file).collect();
    let links: Vec<Value> = links.iter().map(link).collect();
    json!({"schema": "ml-cache/manifest/v1", "files": files, "links": links, "dirs": []})
}

/// A later job of a pull request, whose scope has a model.
fn request() -> Runner {
    let trusted = Runner::trained();
    trusted.plant("pr/7");
    let mut job = trusted.next_job();
    job.pull_request("acme/fraud-detection");
    job
}

/// Demands this exit code, these words, and an untouched workspace.
#[track_caller]
fn refuses(job: &Runner, step: impl FnOnce() -> Step, code: i32, needles: &[&str]) {
    let before = snapshot(&job.work());
    step().fails(code, needles);
    assert_eq!(snapshot(&job.work()), before, "{needles:?}");
}

#[test]
fn an_untrusted_model_needs_a_limit_for_its_files() {
    let job = request();
    let pointers = job.pointers();
    let planted = pointers.iter().find(|pointer| pointer["scope"] == "pr/7").unwrap();
    job.write("pointer.json", &planted.to_string());
    let (pointer, fingerprint) = (planted.to_string(), planted["fingerprint"].as_str().unwrap());
    job.write("full/x", "mine");
    let told = ["the untrusted scope `pr/7`", "such as the line `model-path: models/`"];
    for asked in [
        vec![],
        vec![("fingerprint", fingerprint)],
        vec![("pointer", &pointer)],
        vec![("pointer", "pointer.json")],
        vec![("data-paths", "data/**"), ("training-paths", "src/**")],
        vec![("destination", "full")],
        vec![("destination", ".")],
    ] {
        let inputs = [&NO_PATHS[..], &asked].concat();
        refuses(&job, || job.step_with("restore", &inputs), 2, &told);
    }
    let step = job.step_with("restore", &[("model-path", "!models/")]);
    step.fails(2, &["input `model-path`", "it includes nothing"]);

    // Each of these limits suffices, and a plan or a look at the model needs none.
    fs::create_dir(job.path("empty")).unwrap();
    for (asked, place) in [
        (("destination", "empty"), "empty/models/model.bin"),
        (("destination", "new/deep"), "new/deep/models/model.bin"),
        (("model-path", "models/"), "models/model.bin"),
    ] {
        job.step_with("restore", &[&NO_PATHS[..], &[asked]].concat()).succeeds();
        assert_eq!(job.read(place), "weights");
    }
    let asked = [("data-paths", ""), ("training-paths", "")];
    job.step_with("resolve", &asked).succeeds();
    job.step_with("plan", &[("model-path", "")]).succeeds();
    // The same step of the default branch needs no limit.
    let deploy = Runner::trained().next_job();
    deploy.step_with("restore", &NO_PATHS).succeeds();
    assert_eq!(deploy.read("models/model.bin"), "weights");
}

#[test]
fn a_planted_model_writes_nothing_outside_of_model_path() {
    let job = request();
    job.write(".env", "secret");
    for path in [
        "src/train.py",
        "conftest.py",
        "Makefile",
        ".npmrc",
        "scripts/deploy",
        "__pycache__/train.cpython-312.pyc",
        "Models/model.bin",
        "models.pth",
    ] {
        let mut files = ["models/model.bin", path];
        files.sort_unstable();
        job.plant_manifest("v1/untrusted", &manifest(&files, &[]), CONTENT);
        let told = ["the model of the scope `pr/7` has files that `model-path` does not", path];
        for phase in ["restore", "main"] {
            refuses(&job, || job.step(phase), 4, &told);
        }
    }
    job.plant_manifest("v1/untrusted", &manifest(&["models/model.bin"], &[]), CONTENT);
    job.step("restore").succeeds();
    assert_eq!(job.read("models/model.bin"), "evil", "the refusals above are about the paths");
}

#[test]
fn a_planted_link_leads_nowhere_outside_of_model_path() {
    let job = request();
    job.write(".env", "secret");
    for links in [
        &[("models/env", "../.env")][..],
        &[("models/up", "..")],
        &[("models/data", "../data/a.csv")],
        &[("models/key", "private")],
        &[("models/a", "here/private/key"), ("models/here", ".")],
        &[("Makefile", "models/model.bin")],
    ] {
        job.plant_manifest("v1/untrusted", &manifest(&["models/x"], links), CONTENT);
        for phase in ["restore", "main"] {
            let inputs = [("model-path", "models/\n!models/private/")];
            let told = ["`model-path` does not select", links[0].0, "so nothing was restored"];
            refuses(&job, || job.step_with(phase, &inputs), 4, &told);
        }
    }
    let links = [("models/latest", "v1"), ("models/report", "../reports/x")];
    let files = ["models/v1/x", "reports/x"];
    job.plant_manifest("v1/untrusted", &manifest(&files, &links), CONTENT);
    job.step_with("restore", &[("model-path", "models/\nreports/")]).succeeds();
    assert_eq!([job.read("models/latest/x"), job.read("models/report")], ["evil", "evil"]);
}

#[test]
fn a_planted_model_becomes_no_input() {
    let job = request();
    job.plant_manifest("v1/untrusted", &manifest(&["src/sitecustomize.py"], &[]), CONTENT);
    let wide = [("model-path", ".\n!data\n!src/train.py")];
    let told = ["files that this step takes for inputs", "`src/sitecustomize.py`"];
    for phase in ["main", "restore"] {
        refuses(&job, || job.step_with(phase, &wide), 4, &told);
    }
    let told = ["a model must not hold inputs of its training", "`src/train.py`"];
    for phase in ["main", "plan"] {
        refuses(&job, || job.step_with(phase, &[("model-path", ".\n!data")]), 2, &told);
    }
    // The model may be the data of another model, whose step names no inputs.
    let honest = request();
    let inputs = [("data-paths", ""), ("training-paths", ""), ("destination", "data/base")];
    honest.step_with("restore", &inputs).succeeds();
    assert_eq!(honest.read("data/base/models/model.bin"), "weights");
}

#[test]
fn models_of_every_shape_come_back_to_a_pull_request() {
    for (model_path, files) in [
        ("models/\nreports/", &["models/model.bin", "reports/metrics.json"][..]),
        ("model.onnx", &["model.onnx"]),
        ("*.onnx\nmodels/**/*.bin", &["a.onnx", "models/deep/x.bin"]),
        ("models", &["models/model.bin"]),
        ("./models/*\n!models/*.tmp", &["models/model.bin"]),
    ] {
        let mut train = Runner::new();
        train.pull_request("acme/fraud-detection");
        train.input("model-path", model_path);
        let main = train.main();
        main.succeeds();
        files.iter().for_each(|file| train.write(file, file));
        train.post(&main).succeeds();
        for phase in ["main", "restore"] {
            let job = train.next_job();
            let step = job.step(phase);
            step.succeeds();
            assert_eq!(step.output("restored"), "true", "{model_path:?}");
            files.iter().for_each(|file| assert_eq!(job.read(file), *file));
        }
    }
}
