//! Pointers from outside that contradict the store, or say more than the store.
//!
//! Every way to hand over such a pointer ends in a refusal with one message. The step fetches and
//! writes nothing, and contacts no other host.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use serde_json::{Value, json};

use super::artifacts::{
    NO_PATHS, REPOSITORY, deployment, in_job, job, refuses, restores, run, saved,
};
use super::runner::{Runner, Step};
use crate::support::double::Double;
use crate::support::listener::{Listener, Manner};
use crate::support::s3::Server;

/// The way to hand over a pointer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Means {
    Text,
    File,
    Artifact,
    Run,
}

/// A stored model, the job that trained it, and two hosts that no step may contact. Pointers name
/// the first host. The second is the proxy for all other hosts.
pub(super) struct Scene {
    double: Double,
    server: Server,
    runner: Runner,
    pub pointer: Value,
    pub other: Value,
    named: Listener,
    proxy: Listener,
}

impl Scene {
    pub fn new() -> Self {
        let (double, server) = (Double::start(), Server::start());
        let mut runner = Runner::on_server(&server);
        runner = in_job(&double, runner, json!({}));
        let pointer = serde_json::from_str(saved(&runner).output("pointer")).unwrap();
        let mut other = runner.next_job();
        other.input("model", "other");
        other.train("another model");
        let other = other.step("save");
        other.succeeds();
        let other = serde_json::from_str(other.output("pointer")).unwrap();
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
                "runs": [run(json!({}))],
            }),
        );
        let (named, proxy) = (Listener::start(Manner::Refuses), Listener::start(Manner::Refuses));
        for name in
            ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"]
        {
            runner.env(name, &proxy.url);
        }
        runner.env("NO_PROXY", "127.0.0.1");
        Self { double, server, runner, pointer, other, named, proxy }
    }

    /// A URL of the forbidden host, for fields of a pointer.
    pub fn url(&self) -> String {
        format!("{}/bucket", self.named.url)
    }

    pub fn edited(&self, edit: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut pointer = self.pointer.clone();
        edit(&mut pointer);
        pointer.to_string().into_bytes()
    }

    /// Hands over a pointer, and returns a job and the inputs that name the pointer. As an
    /// artifact, `bytes` are the whole archive.
    fn hand_over(&self, means: Means, bytes: &[u8]) -> (Runner, Vec<(&'static str, String)>) {
        let deploy = deployment(&self.runner);
        let name = format!("ml-cache-fraud-{:08x}", rand::random::<u32>());
        let inputs = match means {
            Means::Text => vec![("pointer", String::from_utf8_lossy(bytes).into_owned())],
            Means::File => {
                std::fs::write(deploy.path("pointer.json"), bytes).unwrap();
                vec![("pointer", "pointer.json".to_owned())]
            }
            Means::Artifact => vec![("pointer", format!("artifact:{name}"))],
            // The artifact needs its own name, because the run has other artifacts.
            Means::Run => {
                let run =
                    [("run-id", "1001"), ("repository", REPOSITORY), ("github-token", "reader")];
                run.into_iter()
                    .chain([("artifact-name", &*name)])
                    .map(|(name, value)| (name, value.to_owned()))
                    .collect()
            }
        };
        let artifact = json!({
            "repository": REPOSITORY, "run_id": 1001, "name": name,
            "content_base64": STANDARD.encode(bytes),
        });
        self.double.control("state", &json!({"artifacts": [artifact]}));
        (deploy, inputs)
    }

    /// Runs an action with these inputs, and demands that it contacts no other host.
    fn step(&self, verb: &str, deploy: &Runner, inputs: &[(&'static str, String)]) -> Step {
        let inputs: Vec<_> = inputs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.server.reset();
        let step = deploy.step_with(verb, &[&NO_PATHS[..], &inputs].concat());
        assert_eq!(self.named.connections(), [] as [String; 0], "{verb} {inputs:?}");
        assert_eq!(self.proxy.connections(), [] as [String; 0], "{verb} {inputs:?}");
        step
    }

    /// Demands that every action with an input `pointer` refuses it for one of these reasons, and
    /// fetches nothing.
    #[track_caller]
    pub fn refuses(&self, means: Means, bytes: &[u8], needles: &[&str]) {
        let (deploy, inputs) = self.hand_over(means, bytes);
        for verb in ["restore", "resolve"] {
            let step = self.step(verb, &deploy, &inputs);
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
            let what = format!("{verb} {means:?} {shown}\n{}", step.log);
            assert!(!deploy.path("models").exists(), "{what}");
            self.is_refusal(&step, &what, needles);
        }
    }

    #[track_caller]
    fn is_refusal(&self, step: &Step, what: &str, needles: &[&str]) {
        assert!([1, 2].contains(&step.code), "{what}");
        assert!(
            needles.is_empty() || needles.iter().any(|needle| step.log.contains(needle)),
            "{needles:?}: {what}"
        );
        assert_eq!(
            step.log.lines().filter(|line| line.starts_with("::error::")).count(),
            1,
            "{what}"
        );
        assert!(step.log.len() < 2000, "that is no clear message: {}", step.log.len());
        assert!(!step.log.contains("panicked") && !step.log.contains("caused by"), "{what}");
        assert_eq!(step.pick(["restored", "cache-hit", "pointer"]), ["false", "false", ""]);
        for request in self.server.requests() {
            assert_eq!(request.method, Method::GET, "nothing is written: {request:?}");
            assert!(request.path.contains("/pointers/"), "nothing else is read: {request:?}");
        }
    }
}

impl Runner {
    /// A job whose store is the bucket of a server in this process.
    pub(super) fn on_server(server: &Server) -> Self {
        let mut runner = Self::new();
        for (name, value) in [
            ("store", "s3://models/cache"),
            ("endpoint-url", &server.endpoint.url),
            ("region", "us-east-1"),
        ] {
            runner.input(name, value);
        }
        runner.env("AWS_ACCESS_KEY_ID", &server.endpoint.access_key);
        runner.env("AWS_SECRET_ACCESS_KEY", &server.endpoint.secret_key);
        runner.env("AWS_EC2_METADATA_DISABLED", "true");
        runner
    }
}

/// The ways in two halves, so that similar cases alternate between the halves.
const HALVES: [[Means; 2]; 2] = [[Means::Text, Means::Run], [Means::File, Means::Artifact]];
const EVERY: [Means; 4] = [Means::Text, Means::File, Means::Artifact, Means::Run];

#[test]
fn pointers_to_something_else_are_refused() {
    let scene = Scene::new();
    let digest = format!("sha256:{}", "ab".repeat(32));
    for (bytes, why) in [
        (scene.edited(|p| p["schema"] = json!("ml-cache/pointer/v9")), "schema"),
        (scene.edited(|p| p["namespace"] = json!("evil/models")), "its namespace is `evil/models`"),
        (scene.edited(|p| p["model"] = json!("other")), "its model is `other`"),
        (scene.edited(|p| p["scope"] = json!("pr/7")), "may not read the pointer's scope `pr/7`"),
        (
            scene.edited(|p| p["scope"] = json!("branch/feature")),
            "may not read the pointer's scope `branch/feature`",
        ),
        (
            scene.edited(|p| p["fingerprint"] = json!(digest)),
            "the store has no pointer for this scope and fingerprint",
        ),
        (scene.edited(|p| p["manifest"]["digest"] = json!(digest)), "names no manifest"),
        // This manifest exists, but it belongs to another model.
        (scene.edited(|p| p["manifest"] = scene.other["manifest"].clone()), "names no manifest"),
        (
            scene.edited(|p| {
                p["generation"] = json!(9);
                p["manifest"] = scene.other["manifest"].clone();
                p["previous"] =
                    json!([{"generation": 1, "manifest": scene.pointer["manifest"]["digest"]}]);
            }),
            "names no manifest",
        ),
    ] {
        for means in EVERY {
            scene.refuses(means, &bytes, &[why]);
        }
    }
}

#[test]
fn pointers_that_name_another_place_are_refused() {
    let scene = Scene::new();
    let url = scene.url();
    let pointers = [
        scene.edited(|p| p["endpoint"] = json!(url)),
        scene.edited(|p| p["endpoint-url"] = json!(url)),
        scene.edited(|p| p["store"] = json!("s3://evil/cache")),
        scene.edited(|p| p["bucket"] = json!("evil")),
        scene.edited(|p| p["manifest"]["url"] = json!(url)),
        scene.edited(|p| p["producer"]["server_url"] = json!(url)),
        scene.edited(|p| p["manifest"]["digest"] = json!(url)),
        scene.edited(|p| p["manifest"]["digest"] = json!("sha256:../../../evil")),
        scene.edited(|p| p["namespace"] = json!(url)),
        scene.edited(|p| p["namespace"] = json!("../evil")),
        scene.edited(|p| p["model"] = json!(url)),
        scene.edited(|p| p["model"] = json!("..")),
        scene.edited(|p| p["scope"] = json!(format!("branch/{url}"))),
        scene.edited(|p| p["scope"] = json!(url)),
        scene.edited(|p| p["fingerprint"] = json!(url)),
        scene.edited(|p| p["schema"] = json!(url)),
    ];
    for (bytes, means) in pointers.iter().zip(HALVES.iter().cycle()) {
        means.iter().for_each(|means| scene.refuses(*means, bytes, &["cannot use the pointer"]));
    }
    for text in
        [&scene.url(), "s3://evil/cache/v1/manifests/x.json", "//evil.invalid/pointer", "artifact:"]
    {
        scene.refuses(Means::Text, text.as_bytes(), &[]);
    }
}

#[test]
fn names_in_a_pointer_are_told_and_nothing_else() {
    let scene = Scene::new();
    let url = scene.url();
    let bytes = scene.edited(|p| {
        for field in ["repository", "ref", "event", "workflow_ref", "job"] {
            p["producer"][field] = json!(url);
        }
        p["nonce"] = json!("0".repeat(32));
        p["bytes"] = json!((1_u64 << 53) - 1);
        p["inputs"]["size"] = json!((1_u64 << 53) - 1);
    });
    for means in EVERY {
        let (deploy, inputs) = scene.hand_over(means, &bytes);
        for (verb, restored) in [("resolve", false), ("restore", true)] {
            let step = scene.step(verb, &deploy, &inputs);
            step.succeeds();
            assert_eq!(deploy.path("models/model.bin").exists(), restored, "{verb}");
            // Only the store's own pointer counts.
            assert_eq!(
                serde_json::from_str::<Value>(step.output("pointer")).unwrap(),
                scene.pointer,
                "{means:?}"
            );
            assert!(!step.raw.contains(&url), "{}", step.raw);
        }
        assert_eq!(deploy.read("models/model.bin"), "weights");
    }
}

#[test]
fn pointers_that_are_none_are_refused() {
    let scene = Scene::new();
    let good = scene.pointer.to_string();
    let twice = |field: &str| format!("{{{field},{}", &good[1..]);
    let pointers = [
        "{".to_owned(),
        "{}".to_owned(),
        "{\"schema\":\"ml-cache/pointer/v1\"}".to_owned(),
        format!("{good}{good}"),
        format!("{good} x"),
        format!("{{\"schema\":{}", "[".repeat(30_000)),
        format!("{}{}", "{\"manifest\":".repeat(3_000), "}".repeat(3_000)),
        scene.pointer.to_string().replace("\"generation\":1", "\"generation\":1e99"),
        scene.pointer.to_string().replace("\"generation\":1", "\"generation\":-1"),
        twice(&format!("\"manifest\":{}", scene.other["manifest"])),
        twice("\"scope\":\"trusted\""),
        twice("\"generation\":1"),
        String::from_utf8(scene.edited(|p| p["nonce"] = json!("x".repeat(70_000)))).unwrap(),
        String::from_utf8(scene.edited(|p| {
            p["previous"] = json!(vec![
                json!({"generation": 1, "manifest": format!("sha256:{}", "a".repeat(64))});
                400
            ]);
        }))
        .unwrap(),
    ];
    for (text, means) in pointers.iter().zip(HALVES.iter().cycle()) {
        let why = ["cannot use the pointer", "too many for a pointer"];
        means.iter().for_each(|means| scene.refuses(*means, text.as_bytes(), &why));
    }
    let mut not_text = good.clone().into_bytes();
    let at = good.find("fraud").unwrap();
    not_text[at] = 0xff;
    for means in [Means::File, Means::Artifact, Means::Run] {
        scene.refuses(means, &not_text, &["cannot use the pointer"]);
    }
    // Too large to be parsed at all.
    for means in [Means::File, Means::Artifact, Means::Run] {
        let huge = [good.as_bytes(), &vec![b' '; 20 << 20]].concat();
        scene.refuses(means, &huge, &["too many for a pointer", "too large to hold a pointer"]);
    }
}

#[test]
fn a_pointer_is_read_only_from_a_regular_file_of_limited_size() {
    let (_double, runner) = job();
    let pointer = saved(&runner).output("pointer").to_owned();
    let deploy = deployment(&runner);
    deploy.write("large.json", &" ".repeat(70_000));
    assert!(Command::new("mkfifo").arg(deploy.path("pipe")).status().unwrap().success());
    for (path, why) in [
        ("/dev/zero", "is not a regular file"),
        ("pipe", "is not a regular file"),
        ("models-to-come", "cannot read the pointer"),
        (".", "is not a regular file"),
        ("large.json", "too many for a pointer"),
    ] {
        refuses(&deploy, &[("pointer", path)], &["::error::", path, why]);
    }
    deploy.write("pointer.json", &pointer);
    std::os::unix::fs::symlink("pointer.json", deploy.path("link.json")).unwrap();
    restores(&deploy, &[("pointer", "link.json")]);
}
