//! S3 servers that fail, break off, damage bytes or lose an answer. Also the requests to a sound
//! server.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;

use crate::support::cli::{Run, Sandbox, snapshot, wait_until};
use crate::support::listener::{Listener, Manner};
use crate::support::s3::{Endpoint, Fault, Server};

pub(crate) const BLOBS: &str = "/v1/blobs/";
pub(crate) const MANIFESTS: &str = "/v1/manifests/";
pub(crate) const INPUTS: &str = "/v1/inputs/";
pub(crate) const POINTERS: &str = "/pointers/";
pub(crate) const HEADS: &str = "/heads/";

/// A server, and a project that keeps its models there.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) sandbox: Sandbox,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let server = Server::start();
        let sandbox = project(&server.endpoint, "s3://models/some/prefix");
        Self { server, sandbox }
    }

    /// A scene whose model is in the store, and no longer in the workspace.
    pub(crate) fn saved() -> Self {
        let scene = Self::new();
        scene.sandbox.run("save", &[]).json();
        scene.server.reset();
        std::fs::remove_dir_all(scene.sandbox.path("models")).unwrap();
        scene
    }

    pub(crate) fn fault(
        &self,
        method: Method,
        path: &str,
        times: impl std::ops::RangeBounds<u32>,
        fault: Fault,
    ) {
        self.server.fault(method, path, times, fault);
    }

    /// Saves, and demands that the faults left exactly one stored model.
    #[track_caller]
    pub(crate) fn saves(&self) {
        let output = self.sandbox.run("save", &[]).json();
        assert_eq!(output["saved"], true, "{output}");
        assert_eq!(output["pointer"]["generation"], 1, "{output}");
        assert_eq!(self.server.objects(POINTERS).len(), 1);
        assert_eq!(self.server.objects(HEADS).len(), 1);
        self.server.reset();
        let verified = self.sandbox.run("verify", &[]).json();
        assert_eq!(verified["cache-hit"], true, "{verified}");
    }

    pub(crate) fn write_model(&self) {
        write_model(&self.sandbox.path("models"));
    }

    /// Restores, and demands every byte of the model.
    #[track_caller]
    pub(crate) fn restores(&self) {
        let output = self.sandbox.run("restore", &[]).json();
        assert_eq!(output["restored"], true, "{output}");
        assert_eq!(snapshot(&self.sandbox.path("models")), model());
    }
}

pub(crate) fn project(endpoint: &Endpoint, store: &str) -> Sandbox {
    let mut sandbox = Sandbox::with_store(store);
    sandbox.project();
    for (name, value) in endpoint.env() {
        sandbox.env(name, value);
    }
    write_model(&sandbox.path("models"));
    sandbox
}

/// Writes a file that becomes two chunks, and two files that become a pack.
fn write_model(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    let large: Vec<u8> = (0..9_u32 << 20).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
    std::fs::write(directory.join("large.bin"), large).unwrap();
    std::fs::write(directory.join("small.bin"), "weights").unwrap();
    std::fs::write(directory.join("vocabulary.txt"), "a\nb\n").unwrap();
}

fn model() -> Vec<String> {
    let place = tempfile::tempdir().unwrap();
    write_model(place.path());
    snapshot(place.path())
}

/// Counts the PUTs to blobs, pointers and heads, whatever their answers.
fn puts(server: &Server) -> [usize; 3] {
    let count = |path: &str| server.requests_to(Method::PUT, path).len();
    [count(BLOBS), count(POINTERS), count(HEADS)]
}

#[test]
fn errors_of_the_server_are_waited_out_while_saving() {
    let scene = Scene::new();
    scene.fault(Method::GET, POINTERS, 1..=1, Fault::Answer(500, "InternalError"));
    scene.fault(Method::HEAD, BLOBS, 1..=1, Fault::Answer(503, "SlowDown"));
    scene.fault(Method::PUT, BLOBS, 1..=2, Fault::Answer(503, "SlowDown"));
    scene.fault(Method::PUT, MANIFESTS, 1..=1, Fault::Answer(500, "InternalError"));
    scene.fault(Method::PUT, POINTERS, 1..=1, Fault::Answer(500, "InternalError"));
    scene.fault(Method::PUT, HEADS, 1..=1, Fault::Answer(503, "SlowDown"));
    scene.saves();
}

#[test]
fn errors_of_the_server_are_waited_out_while_restoring() {
    let scene = Scene::saved();
    scene.fault(Method::GET, HEADS, 1..=1, Fault::Answer(500, "InternalError"));
    scene.fault(Method::GET, POINTERS, 1..=1, Fault::Answer(503, "SlowDown"));
    scene.fault(Method::GET, MANIFESTS, 1..=1, Fault::Answer(500, "InternalError"));
    scene.fault(Method::GET, BLOBS, 1..=2, Fault::Answer(503, "SlowDown"));
    scene.restores();
}

#[test]
fn a_write_that_the_store_could_not_decide_is_tried_again() {
    let scene = Scene::new();
    for path in [BLOBS, MANIFESTS, POINTERS, HEADS] {
        scene.fault(Method::PUT, path, 1..=1, Fault::Answer(409, "ConditionalRequestConflict"));
    }
    scene.saves();
}

#[test]
fn bytes_that_were_damaged_on_their_way_in_are_sent_again() {
    let scene = Scene::new();
    scene.fault(Method::PUT, BLOBS, 1..=1, Fault::Answer(400, "BadDigest"));
    scene.saves();
}

#[test]
fn a_connection_that_is_reset_while_saving_is_made_again() {
    let scene = Scene::new();
    for path in [BLOBS, MANIFESTS, POINTERS, HEADS] {
        scene.fault(Method::PUT, path, 1..=1, Fault::Reset);
    }
    scene.saves();
}

#[test]
fn a_connection_that_is_reset_while_restoring_is_made_again() {
    let scene = Scene::saved();
    for path in [HEADS, POINTERS, MANIFESTS, BLOBS] {
        scene.fault(Method::GET, path, 1..=1, Fault::Reset);
    }
    scene.restores();
}

#[test]
fn a_body_that_ends_early_is_read_again() {
    let scene = Scene::saved();
    for path in [HEADS, POINTERS, MANIFESTS, BLOBS] {
        scene.fault(Method::GET, path, 1..=1, Fault::Truncate);
    }
    scene.restores();
}

#[test]
fn a_body_that_always_ends_early_fails_and_leaves_the_old_files() {
    let scene = Scene::saved();
    scene.sandbox.write("models/small.bin", "the old model");
    let before = snapshot(&scene.sandbox.work());
    scene.fault(Method::GET, BLOBS, 1.., Fault::Truncate);
    scene.sandbox.run("restore", &[]).fails(1, &["broke off"]);
    assert_eq!(snapshot(&scene.sandbox.work()), before);
}

#[test]
fn one_flipped_byte_is_noticed_and_fetched_again() {
    let scene = Scene::saved();
    scene.fault(Method::GET, BLOBS, 1..=1, Fault::Flip);
    scene.restores();
    let fetched = scene.server.requests_to(Method::GET, BLOBS);
    assert_eq!(
        fetched.len(),
        scene.server.objects("v1/blobs/").len() + 1,
        "one blob was fetched twice"
    );
}

#[test]
fn bytes_that_stay_damaged_fail_with_4_and_leave_the_old_files() {
    for path in [BLOBS, MANIFESTS] {
        let scene = Scene::saved();
        scene.sandbox.write("models/small.bin", "the old model");
        scene.sandbox.write("models/other.bin", "of another model");
        let before = snapshot(&scene.sandbox.work());
        scene.fault(Method::GET, path, 1.., Fault::Flip);
        scene.sandbox.run("restore", &[]).fails(4, &[path.trim_start_matches('/')]);
        assert_eq!(snapshot(&scene.sandbox.work()), before, "{path}");
    }
}

#[test]
fn a_lost_reply_to_the_pointer_is_recognised_by_its_nonce() {
    let scene = Scene::new();
    scene.fault(Method::PUT, POINTERS, 1..=1, Fault::LoseReply);
    scene.saves();
}

#[test]
fn a_lost_reply_to_a_replacement_makes_a_single_generation() {
    let scene = Scene::saved();
    write_model(&scene.sandbox.path("models"));
    scene.sandbox.write("models/small.bin", "trained anew");
    scene.fault(Method::PUT, POINTERS, 1..=1, Fault::LoseReply);
    let output = scene.sandbox.run("save", &["--force-retrain"]).json();
    assert_eq!(
        (&output["saved"], &output["pointer"]["generation"]),
        (&true.into(), &2.into()),
        "{output}"
    );
    assert_eq!(output["pointer"]["previous"].as_array().unwrap().len(), 1, "{output}");
    assert!(puts(&scene.server)[1] >= 2, "the reply was lost, so the SDK must have asked again");
}

#[test]
fn lost_replies_to_anything_else_do_no_harm() {
    let scene = Scene::new();
    for path in [BLOBS, MANIFESTS, "/v1/inputs/", HEADS] {
        scene.fault(Method::PUT, path, 1..=1, Fault::LoseReply);
    }
    scene.saves();
}

/// Demands that every verb reports the failed look-up, and never claims that there is no model.
#[track_caller]
fn could_not_look(sandbox: &Sandbox, needles: &[&str]) {
    for verb in ["plan", "restore", "save"] {
        let run: Run = sandbox.run(verb, &[]);
        run.fails(1, needles);
        assert!(!run.stderr.contains("no-model"), "{verb}: {}", run.stderr);
    }
    let output = sandbox.run("plan", &["--on-error", "retrain"]).json();
    assert_eq!(
        (&output["retrain-needed"], &output["reason"]),
        (&true.into(), &"store-unavailable".into()),
        "{output}"
    );
}

#[test]
fn a_denied_pointer_is_not_a_missing_one() {
    let scene = Scene::new();
    scene.fault(Method::GET, POINTERS, 1.., Fault::Answer(403, "AccessDenied"));
    scene.fault(Method::GET, HEADS, 1.., Fault::Answer(403, "AccessDenied"));
    could_not_look(
        &scene.sandbox,
        &["cannot read", "AccessDenied", "s3:GetObject", "s3:ListBucket"],
    );
}

#[test]
fn a_denied_write_fails_and_nothing_is_visible() {
    let scene = Scene::new();
    scene.fault(Method::PUT, BLOBS, 1.., Fault::Answer(403, "AccessDenied"));
    scene.sandbox.run("save", &[]).fails(1, &["cannot write", "AccessDenied", "s3:PutObject"]);
    assert_eq!(scene.server.objects(POINTERS), []);
    assert_eq!(scene.server.objects("manifests"), []);
}

#[test]
fn a_denied_write_is_noticed_before_the_training() {
    let scene = Scene::new();
    scene.fault(Method::PUT, "/probe", 1.., Fault::Answer(403, "AccessDenied"));
    let run = scene.sandbox.train(&[], "touch trained");
    run.fails(1, &["cannot write", "AccessDenied", "it stopped before the training"]);
    assert!(!scene.sandbox.path("trained").exists());
}

#[test]
fn a_long_message_of_the_store_is_cut() {
    let scene = Scene::new();
    scene.fault(Method::GET, POINTERS, 1.., Fault::Says("no ".repeat(1 << 20)));
    let run = scene.sandbox.run("plan", &[]);
    run.fails(1, &["403 AccessDenied: no no no", "…", "hint:"]);
    assert!(run.stderr.len() < 2000, "{} bytes", run.stderr.len());
}

#[test]
fn a_wrong_secret_key_is_told_as_that() {
    let mut scene = Scene::new();
    scene.sandbox.env("AWS_SECRET_ACCESS_KEY", "another");
    could_not_look(&scene.sandbox, &["SignatureDoesNotMatch", "does not accept these credentials"]);
}

#[test]
fn a_missing_bucket_is_not_a_missing_model() {
    let server = Server::start();
    could_not_look(
        &project(&server.endpoint, "s3://no-such-bucket/x"),
        &["bucket `no-such-bucket` does not exist"],
    );
}

#[test]
fn a_missing_bucket_is_not_a_missing_model_on_seaweedfs() {
    let sandbox = project(&Endpoint::seaweedfs(), "s3://no-such-bucket/x");
    could_not_look(&sandbox, &["bucket `no-such-bucket` does not exist"]);
}

#[test]
fn an_outage_is_not_a_missing_model() {
    let scene = Scene::new();
    scene.fault(Method::GET, POINTERS, 1.., Fault::Answer(503, "SlowDown"));
    let run = scene.sandbox.run("plan", &[]);
    run.fails(1, &["503 SlowDown"]);
    assert!(!run.stderr.contains("no-model"), "{}", run.stderr);
}

#[test]
fn every_write_carries_its_digest_and_its_condition() {
    let scene = Scene::new();
    scene.sandbox.run("save", &[]).json();
    let requests = scene.server.requests_to(Method::PUT, "/");
    assert_eq!(puts(&scene.server), [3, 1, 1], "two chunks and a pack, a pointer, a head");
    assert_eq!(requests.len(), 7, "those, a manifest and an inputs document");
    for request in &requests {
        let body = request.body.unwrap();
        let base64 = STANDARD.encode(hex::decode(body.hex()).unwrap());
        assert_eq!(request.header("x-amz-checksum-sha256"), Some(base64.as_str()), "{request:?}");
        assert_eq!(
            request.header("x-amz-content-sha256"),
            Some(body.hex().as_str()),
            "{request:?}"
        );
        assert_eq!(request.header("if-none-match"), Some("*"), "{request:?}");
        for absent in [
            "content-encoding",
            "x-amz-decoded-content-length",
            "x-amz-trailer",
            "transfer-encoding",
        ] {
            assert_eq!(request.header(absent), None, "{request:?}");
        }
        if request.path.contains(BLOBS) || request.path.contains(MANIFESTS) {
            let name = request.path.rsplit('/').next().unwrap().trim_end_matches(".json");
            assert_eq!(name, body.hex(), "{request:?}");
        }
    }
}

#[test]
fn a_new_blob_costs_a_single_request() {
    let scene = Scene::new();
    scene.sandbox.run("save", &[]).json();
    let count = |method, path| scene.server.requests_to(method, path).len();
    assert_eq!(count(Method::PUT, BLOBS), 3);
    assert_eq!(count(Method::HEAD, BLOBS) + count(Method::GET, BLOBS), 0);
    let others = scene.server.requests().len() - 3;
    assert!(others <= 9, "{others}");
}

#[test]
fn a_replacement_names_the_version_that_it_replaces() {
    let scene = Scene::saved();
    write_model(&scene.sandbox.path("models"));
    scene.sandbox.write("models/small.bin", "trained anew");
    scene.sandbox.run("save", &["--force-retrain"]).json();
    for path in [POINTERS, HEADS] {
        let [request] = scene.server.requests_to(Method::PUT, path).try_into().unwrap();
        assert!(request.header("if-match").is_some_and(|tag| tag != "*"), "{request:?}");
        assert_eq!(request.header("if-none-match"), None, "{request:?}");
    }
    assert_eq!(puts(&scene.server)[0], 1, "only the pack is another");
}

#[test]
fn saving_the_same_again_sends_nothing() {
    let scene = Scene::saved();
    write_model(&scene.sandbox.path("models"));
    let output = scene.sandbox.run("save", &[]).json();
    assert_eq!(output["saved"], false, "{output}");
    let sent: Vec<String> = scene
        .server
        .requests_to(Method::PUT, "/")
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(sent, [] as [String; 0]);
    // The pointer is read before the work and at the commit. One look at each other document.
    let count = |method, path| scene.server.requests_to(method, path).len();
    assert_eq!(count(Method::GET, POINTERS), 2);
    assert_eq!(count(Method::GET, HEADS), 1);
    assert_eq!([count(Method::GET, MANIFESTS), count(Method::HEAD, MANIFESTS)], [1, 0]);
    assert_eq!([count(Method::GET, INPUTS), count(Method::HEAD, INPUTS)], [0, 1]);
    assert_eq!([count(Method::GET, BLOBS), count(Method::HEAD, BLOBS)], [0, 3]);
}

/// Somebody removes objects while a save of the same model is at work.
#[test]
fn a_manifest_is_looked_at_again_where_blobs_were_gone() {
    let scene = Scene::saved();
    write_model(&scene.sandbox.path("models"));
    let blob = scene.server.objects(BLOBS).swap_remove(0).1;
    std::fs::remove_file(blob).unwrap();
    scene.sandbox.run("save", &[]).json();
    assert_eq!(scene.server.requests_to(Method::HEAD, MANIFESTS).len(), 1);
    scene.restores();
}

#[test]
fn a_head_that_moves_during_a_save_is_read_again() {
    let scene = Scene::saved();
    write_model(&scene.sandbox.path("models"));
    scene.sandbox.write("models/small.bin", "trained again");
    scene.sandbox.write("data/new.csv", "id\n9\n");
    let (key, head) = scene.server.objects(HEADS).swap_remove(0);
    let text = std::fs::read_to_string(&head).unwrap();
    let nonce = serde_json::from_str::<serde_json::Value>(&text).unwrap()["nonce"].to_string();
    let others = text.replace(&nonce, "\"ffffffffffffffffffffffffffffffff\"");
    scene.fault(Method::PUT, BLOBS, 1.., Fault::Delay(Duration::from_secs(4)));
    let saved = std::thread::scope(|scope| {
        let save = scope.spawn(|| scene.sandbox.run("save", &[]));
        // The save has read the head, and its blobs are on their way.
        wait_until(|| !scene.server.requests_to(Method::PUT, BLOBS).is_empty());
        wait_until(|| !scene.server.requests_to(Method::GET, HEADS).is_empty());
        scene.server.overwrite(&key, others.as_bytes());
        save.join().unwrap()
    });
    let pointer = saved.json()["pointer"].clone();
    assert!(!saved.stderr.contains("warning"), "{}", saved.stderr);
    // The other run's write, the refused write, and the second attempt.
    assert_eq!(scene.server.requests_to(Method::PUT, HEADS).len(), 3);
    let moved: serde_json::Value = serde_json::from_slice(&std::fs::read(&head).unwrap()).unwrap();
    assert_eq!(moved["fingerprint"], pointer["fingerprint"]);
}

#[test]
fn restoring_what_is_there_fetches_no_blob() {
    let scene = Scene::saved();
    write_model(&scene.sandbox.path("models"));
    scene.restores();
    assert_eq!(scene.server.requests_to(Method::GET, BLOBS).len(), 0);
}

#[test]
fn a_store_leads_no_signed_request_elsewhere() {
    let elsewhere = Listener::start(Manner::Refuses);
    for status in [301, 302, 307, 308] {
        for (verb, method, path) in [
            ("plan", Method::GET, POINTERS),
            ("restore", Method::GET, MANIFESTS),
            ("restore", Method::GET, BLOBS),
            ("save", Method::HEAD, BLOBS),
            ("save", Method::PUT, POINTERS),
        ] {
            let scene = Scene::saved();
            if verb == "save" {
                scene.sandbox.write("data/new.csv", "changed");
                write_model(&scene.sandbox.path("models"));
            }
            scene.fault(method.clone(), path, 1.., Fault::Moved(status, elsewhere.url.clone()));
            scene.sandbox.run(verb, &[]).fails(1, &[&status.to_string()]);
            assert!(!scene.server.requests_to(method, path).is_empty(), "{verb} {status}");
        }
    }
    assert_eq!(elsewhere.connections(), [] as [String; 0]);
}

#[test]
fn no_other_host_is_spoken_to() {
    // As the proxy, the server sees every request of the process. The endpoint's name does not
    // exist, so a request around the proxy would fail.
    let server = Server::start();
    let mut sandbox = project(&server.endpoint, "s3://models/x");
    sandbox.env("AWS_ENDPOINT_URL", "http://storage.invalid");
    sandbox.env("HTTP_PROXY", &server.endpoint.url);
    sandbox.env("HTTPS_PROXY", &server.endpoint.url);
    sandbox.run("plan", &[]).json();
    sandbox.run("save", &[]).json();
    std::fs::remove_dir_all(sandbox.path("models")).unwrap();
    sandbox.run("restore", &[]).json();
    sandbox.run("verify", &[]).json();
    let mut hosts: Vec<String> =
        server.requests().iter().map(|request| request.host().to_owned()).collect();
    assert!(hosts.len() > 10, "{hosts:?}");
    hosts.dedup();
    assert_eq!(hosts, ["storage.invalid"]);
}
