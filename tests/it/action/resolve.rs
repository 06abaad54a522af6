//! `resolve`: every way to name a model leads to the outputs of exactly that model.
//!
//! The step puts nothing in place and fetches no blob. An incomplete model counts as missing.

use std::fs;

use hyper::Method;
use ml_cache::format::Digest;
use serde_json::{Value, json};

use super::artifacts::{NO_PATHS, REPOSITORY, deployment, in_job, run};
use super::runner::{Runner, Step};
use crate::support::cli::snapshot;
use crate::support::double::Double;
use crate::support::s3::Server;

/// The outputs that identify a model.
const IDENTITY: [&str; 5] =
    ["fingerprint", "manifest-digest", "model-files", "model-bytes", "pointer"];

/// A saved model, and the job that saved it.
struct Saved {
    job: Runner,
    step: Step,
    run: String,
}

impl Saved {
    fn output(&self, name: &str) -> &str {
        self.step.output(name)
    }
}

/// A bucket with three models: `fraud` from two sets of inputs by two runs, and `other` from the
/// first set.
struct Scene {
    double: Double,
    server: Server,
    first: Saved,
    second: Saved,
    other: Saved,
}

impl Scene {
    fn new() -> Self {
        let (double, server) = (Double::start(), Server::start());
        let start = || Runner::on_server(&server);
        let first = save(&double, start(), 1001, "fraud", &["weights"]);
        let mut start_second = start();
        start_second.write("data/a.csv", "of the second run");
        start_second.env("GITHUB_RUN_ID", "1002");
        let second =
            save(&double, start_second, 1002, "fraud", &["weights of the second", "a vocabulary"]);
        let other = save(&double, start(), 1001, "other", &["one", "two", "three"]);
        double.control(
            "state",
            &json!({
                "repositories": {
                    REPOSITORY: {"id": 4242, "default_branch": "main", "private": false},
                },
                "tokens": {
                    "reader": {
                        "kind": "classic", "repositories": "*", "permissions": {"actions": "read"},
                    },
                },
                "runs": [run(json!({})), run(json!({"id": 1002}))],
            }),
        );
        Self { double, server, first, second, other }
    }

    fn all(&self) -> [(&'static str, &Saved); 3] {
        [("fraud", &self.first), ("fraud", &self.second), ("other", &self.other)]
    }

    /// A later job of the run that saved the model. It has an older model, but no file of the
    /// repository.
    fn later_job(&self, of: &Saved) -> Runner {
        let mut job = deployment(&of.job);
        job = in_job(&self.double, job, json!({"run_id": of.run.parse::<u64>().unwrap()}));
        job.train("an older model");
        job
    }

    /// A job of another repository, whose runs know nothing of the first repository.
    fn elsewhere(&self) -> Runner {
        let mut job = self.later_job(&self.first);
        job.env("GITHUB_REPOSITORY", "acme/serving");
        job.env("GITHUB_REPOSITORY_ID", "99");
        job
    }

    /// Demands that `resolve` finds exactly this model, writes nothing and fetches no blob.
    #[track_caller]
    fn resolves(&self, job: &Runner, model: &str, inputs: &[(&str, &str)], wanted: &Saved) {
        let before = (snapshot(&job.work()), snapshot(&job.temp()));
        self.server.reset();
        let step = job.step_with("resolve", &[&NO_PATHS[..], &[("model", model)], inputs].concat());
        step.succeeds();
        assert_eq!(step.pick(IDENTITY), wanted.step.pick(IDENTITY), "{inputs:?} {}", step.log);
        assert_eq!(
            step.pick(["reason", "cache-hit", "retrain-needed"]),
            ["hit", "true", "false"],
            "{}",
            step.log
        );
        assert_eq!(
            step.pick(["restored", "saved", "artifact-name"]),
            ["false", "false", ""],
            "{}",
            step.log
        );
        assert!(
            step.state.is_empty() && step.summary.contains("resolved"),
            "{:?} {}",
            step.state,
            step.summary
        );
        assert_eq!(
            (snapshot(&job.work()), snapshot(&job.temp())),
            before,
            "nothing is put in place"
        );
        assert!(
            !self.server.requests_to(Method::GET, "/pointers/").is_empty(),
            "the store is asked"
        );
        for request in self.server.requests() {
            assert!(
                [Method::GET, Method::HEAD].contains(&request.method),
                "nothing is written: {request:?}"
            );
        }
        assert_eq!(
            self.server.requests_to(Method::GET, "/v1/blobs/").len(),
            0,
            "no blob is fetched"
        );
    }
}

/// Saves a model of these files in a job of this run.
fn save(double: &Double, job: Runner, run: u64, model: &str, files: &[&str]) -> Saved {
    let mut job = in_job(double, job, json!({"run_id": run}));
    job.input("model", model);
    for (n, content) in files.iter().enumerate() {
        job.write(&format!("models/{n}.bin"), content);
    }
    let step = job.step("save");
    step.succeeds();
    let bytes: usize = files.iter().map(|content| content.len()).sum();
    assert_eq!(
        step.pick(["model-files", "model-bytes"]),
        [files.len().to_string(), bytes.to_string()]
    );
    Saved { job, step, run: run.to_string() }
}

/// The other tests rely on this: the outputs of each save match the store, and differ from each
/// other.
#[test]
fn the_models_to_choose_from_are_different_and_lie_in_the_store() {
    let scene = Scene::new();
    for (model, saved) in scene.all() {
        let fingerprint: Digest = saved.output("fingerprint").parse().unwrap();
        let key =
            format!("cache/v1/trusted/{REPOSITORY}/{model}/pointers/{}.json", fingerprint.hex());
        let stored = scene.server.objects(&key);
        assert_eq!(fs::read_to_string(&stored[0].1).unwrap(), saved.output("pointer"));
        let manifest: Digest = saved.output("manifest-digest").parse().unwrap();
        let manifest_key = format!("v1/manifests/{}.json", manifest.hex());
        let bytes = fs::read(&scene.server.objects(&manifest_key)[0].1).unwrap();
        assert_eq!(Digest::of(&bytes), manifest);
    }
    for name in &IDENTITY[1..] {
        let values = scene.all().map(|(_, saved)| saved.output(name));
        assert!(
            values[0] != values[1] && values[1] != values[2] && values[2] != values[0],
            "{name}: {values:?}"
        );
    }
    let fingerprints = scene.all().map(|(_, saved)| saved.output("fingerprint"));
    assert!(
        fingerprints[0] != fingerprints[1] && fingerprints[0] == fingerprints[2],
        "{fingerprints:?}"
    );
}

#[test]
fn by_the_name_of_an_artifact() {
    let scene = Scene::new();
    for (model, saved) in scene.all() {
        let name = format!("artifact:{}", saved.output("artifact-name"));
        scene.resolves(&scene.later_job(saved), model, &[("pointer", &name)], saved);
        // The prefix, without attempt and suffix, still names this run's artifact.
        let prefix = format!("artifact:ml-cache-{model}");
        scene.resolves(&scene.later_job(saved), model, &[("pointer", &prefix)], saved);
    }
}

#[test]
fn by_the_name_of_an_artifact_of_another_run_or_repository() {
    let scene = Scene::new();
    for (model, saved) in scene.all() {
        let name = saved.output("artifact-name");
        scene.resolves(&scene.later_job(saved), model, &[("artifact-name", name)], saved);
        let (name, prefix) = (format!("artifact:{name}"), format!("artifact:ml-cache-{model}"));
        let there = [("repository", REPOSITORY), ("github-token", "reader")];
        for named in [("pointer", name.as_str()), ("artifact-name", saved.output("artifact-name"))]
        {
            scene.resolves(&scene.elsewhere(), model, &[&[named][..], &there].concat(), saved);
        }
        for name in [&name, &prefix] {
            let of_run =
                [&[("pointer", name.as_str()), ("run-id", &saved.run)][..], &there].concat();
            scene.resolves(&scene.elsewhere(), model, &of_run, saved);
        }
    }
}

/// Anybody who can run a workflow can give its artifacts any name.
#[test]
fn a_shared_name_means_the_newest_artifact_of_a_trusted_run() {
    let scene = Scene::new();
    let rivals = [
        json!({"id": 1003}),
        json!({"id": 1004, "head_repository": "evil/fork"}),
        json!({"id": 1005, "head_branch": "feature"}),
        json!({"id": 1006, "event": "pull_request"}),
        json!({"id": 1007, "conclusion": "failure"}),
    ];
    let saved: Vec<Saved> = rivals
        .iter()
        .map(|rival| {
            let run = rival["id"].as_u64().unwrap();
            let mut job = Runner::on_server(&scene.server);
            job.write("data/a.csv", &format!("of run {run}"));
            job.input("artifact-name", "the-model");
            save(&scene.double, job, run, "fraud", &[&format!("weights of run {run}")])
        })
        .collect();
    scene.double.control("state", &json!({"runs": rivals.map(run)}));
    assert!(saved.iter().all(|saved| saved.output("artifact-name") == "the-model"));
    let asked =
        [("pointer", "artifact:the-model"), ("repository", REPOSITORY), ("github-token", "reader")];
    scene.resolves(&scene.elsewhere(), "fraud", &asked, &saved[0]);

    scene
        .double
        .control("state", &json!({"runs": [run(json!({"id": 1003, "event": "workflow_run"}))]}));
    scene.server.reset();
    let asked = [&NO_PATHS[..], &asked].concat();
    let step = scene.elsewhere().step_with("resolve", &asked);
    step.fails(
        1,
        &[
            "no trusted run uploaded the artifact `the-model`",
            "run 1007",
            "has not succeeded",
            "hint:",
        ],
    );
    assert!(scene.server.requests().is_empty(), "nothing is fetched");
}

#[test]
fn a_name_that_no_artifact_has_is_a_miss() {
    let scene = Scene::new();
    let there = [("repository", REPOSITORY), ("github-token", "reader")];
    for (job, where_) in [(scene.later_job(&scene.first), &[][..]), (scene.elsewhere(), &there)] {
        for named in [("pointer", "artifact:other-name"), ("artifact-name", "other-name")] {
            let asked = [&NO_PATHS[..], &[named], where_].concat();
            job.step_with("resolve", &asked).fails(3, &["no artifact `other-name`", "hint:"]);
            let step =
                job.step_with("resolve", &[&asked[..], &[("fail-on-miss", "false")]].concat());
            step.succeeds();
            assert_eq!(
                step.pick(["reason", "cache-hit", "retrain-needed"]),
                ["no-model", "false", "true"]
            );
        }
    }
    let asked =
        [&NO_PATHS[..], &[("pointer", "artifact:other-name"), there[0], ("github-token", "")]]
            .concat();
    scene
        .elsewhere()
        .step_with("resolve", &asked)
        .fails(2, &["`pointer: artifact:NAME` needs a `github-token`"]);
}

#[test]
fn by_a_run_of_another_repository() {
    let scene = Scene::new();
    for (model, saved) in scene.all() {
        let inputs = [
            ("run-id", saved.run.as_str()),
            ("repository", REPOSITORY),
            ("github-token", "reader"),
        ];
        scene.resolves(&scene.elsewhere(), model, &inputs, saved);
        scene.resolves(&scene.later_job(&scene.first), model, &inputs, saved);
    }
}

#[test]
fn a_repository_alone_means_its_default_branch_s_latest_model() {
    let scene = Scene::new();
    for (model, latest) in [("fraud", &scene.second), ("other", &scene.other)] {
        for token in ["", "reader"] {
            let inputs = [("repository", REPOSITORY), ("github-token", token)];
            scene.resolves(&scene.elsewhere(), model, &inputs, latest);
        }
    }
}

#[test]
fn a_namespace_alone_means_the_latest_model_of_main() {
    let scene = Scene::new();
    for (model, latest) in [("fraud", &scene.second), ("other", &scene.other)] {
        let mut job = scene.elsewhere();
        let repository =
            json!({"id": 99, "full_name": "acme/serving", "default_branch": "develop"});
        job.event(&json!({"repository": repository}));
        job.env("GITHUB_REF", "refs/heads/develop");
        scene.resolves(&job, model, &[("namespace", REPOSITORY), ("github-token", "")], latest);
    }
}

#[test]
fn by_the_fingerprint() {
    let scene = Scene::new();
    for (model, saved) in scene.all() {
        let fingerprint = [("fingerprint", saved.output("fingerprint"))];
        scene.resolves(&scene.later_job(&scene.first), model, &fingerprint, saved);
        let there = [fingerprint[0], ("repository", REPOSITORY), ("github-token", "")];
        scene.resolves(&scene.elsewhere(), model, &there, saved);
    }
}

#[test]
fn by_the_pointer_itself() {
    let scene = Scene::new();
    for (model, saved) in scene.all() {
        let job = scene.later_job(&scene.first);
        scene.resolves(&job, model, &[("pointer", saved.output("pointer"))], saved);
        job.write("pointer.json", saved.output("pointer"));
        scene.resolves(&job, model, &[("pointer", "pointer.json")], saved);
    }
}

#[test]
fn the_pointer_of_another_model_is_not_the_one_that_is_meant() {
    let scene = Scene::new();
    let job = scene.later_job(&scene.first);
    for (model, saved, why) in
        [("fraud", &scene.other, "its model is `other`"), ("other", &scene.second, "`fraud`")]
    {
        let inputs =
            [&NO_PATHS[..], &[("model", model), ("pointer", saved.output("pointer"))]].concat();
        let step = job.step_with("resolve", &inputs);
        step.fails(1, &["cannot use the pointer", why]);
        assert_eq!(step.pick(IDENTITY), ["", "", "0", "0", ""]);
    }
    let both = [
        ("pointer", scene.first.output("pointer")),
        ("fingerprint", scene.second.output("fingerprint")),
    ];
    let step = job.step_with("resolve", &[&NO_PATHS[..], &both].concat());
    step.fails(1, &["cannot use the pointer", "fingerprint"]);
    let manifest: Value = serde_json::from_str(scene.other.output("pointer")).unwrap();
    let mut mixed: Value = serde_json::from_str(scene.first.output("pointer")).unwrap();
    mixed["manifest"] = manifest["manifest"].clone();
    let step =
        job.step_with("resolve", &[&NO_PATHS[..], &[("pointer", &mixed.to_string())]].concat());
    step.fails(1, &["cannot use the pointer", "names no manifest"]);
}

#[test]
fn a_model_with_missing_objects_is_not_told_as_one() {
    let scene = Scene::new();
    for part in ["/blobs/", "/manifests/"] {
        for (_, file) in scene.server.objects(part) {
            fs::remove_file(file).unwrap();
        }
        let job = scene.later_job(&scene.first);
        let asked = [&NO_PATHS[..], &[("fingerprint", scene.first.output("fingerprint"))]].concat();
        job.step_with("resolve", &asked).fails(3, &["missing or damaged objects: ", "hint:"]);
        let step = job.step_with("resolve", &[&asked[..], &[("fail-on-miss", "false")]].concat());
        step.succeeds();
        assert_eq!(
            step.pick(["reason", "cache-hit", "retrain-needed"]),
            ["incomplete", "false", "true"]
        );
    }
}
