//! S3 services and proxies as users meet them: busy, laconic, rewritten, or no S3 at all.

use std::time::{Duration, Instant};

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use hyper::Method;

use crate::s3_faults::{BLOBS, HEADS, MANIFESTS, POINTERS, Scene, project};
use crate::support::cli::{Sandbox, snapshot};
use crate::support::listener::{Listener, Manner};
use crate::support::s3::{Change, Fault, Server};

#[test]
fn a_throttled_request_is_tried_again_whatever_its_words() {
    for status in [408, 429, 500, 503, 520] {
        let scene = Scene::new();
        for (method, path) in [
            (Method::GET, POINTERS),
            (Method::HEAD, BLOBS),
            (Method::PUT, BLOBS),
            (Method::PUT, POINTERS),
            (Method::PUT, HEADS),
        ] {
            scene.fault(method, path, 1..=2, Fault::Busy(status, 0));
        }
        scene.saves();
    }
}

#[test]
fn the_pause_that_a_service_demands_is_kept() {
    let scene = Scene::saved();
    scene.fault(Method::GET, MANIFESTS, 1..=1, Fault::Busy(429, 3));
    let started = Instant::now();
    scene.restores();
    assert!(started.elapsed() >= Duration::from_secs(3));
}

#[test]
fn what_will_not_pass_is_not_tried_again() {
    for status in [501, 505] {
        let scene = Scene::new();
        scene.fault(Method::PUT, BLOBS, 1.., Fault::Busy(status, 0));
        scene.sandbox.run("save", &[]).fails(1, &[&status.to_string(), "hint:"]);
        let mut tried: Vec<String> = Vec::new();
        for request in scene.server.requests_to(Method::PUT, BLOBS) {
            assert!(!tried.contains(&request.path), "{status}: {tried:?} {request:?}");
            tried.push(request.path);
        }
    }
}

/// A single request of the SDK fails after five attempts.
#[test]
fn a_save_waits_longer_than_a_plan_and_says_so() {
    let scene = Scene::new();
    scene.fault(Method::GET, POINTERS, 1..=12, Fault::Busy(503, 0));
    scene.sandbox.run("plan", &[]).fails(1, &["503"]);
    let save = scene.sandbox.run("save", &[]);
    assert_eq!(save.code, 0, "{}", save.stderr);
    assert!(
        save.stderr.contains("answered 503; each request is tried again for up to 600 seconds"),
        "{}",
        save.stderr
    );
    scene.fault(Method::GET, POINTERS, 1.., Fault::Busy(503, 0));
    scene.sandbox.run("save", &["--save-patience", "0s"]).fails(1, &["503"]);
}

/// An answer that breaks off, and a write that the store could not decide, pass as well.
#[test]
fn a_save_waits_for_broken_answers_and_conflicts() {
    let scene = Scene::saved();
    scene.write_model();
    scene.sandbox.write("models/small.bin", "trained again");
    scene.fault(Method::GET, POINTERS, 1..=2, Fault::Truncate);
    let conflict = Fault::Answer(409, "OperationAborted");
    scene.fault(Method::PUT, BLOBS, 1..=6, conflict);
    let forced = scene.sandbox.run("save", &["--force-retrain", "true"]);
    assert_eq!(forced.json()["pointer"]["generation"], 2, "{}", forced.stderr);
    assert!(forced.stderr.contains("each request is tried again"), "{}", forced.stderr);
}

#[test]
fn a_pointer_that_was_damaged_on_its_way_in_is_sent_again() {
    let scene = Scene::new();
    for path in [POINTERS, HEADS] {
        scene.fault(Method::PUT, path, 1..=2, Fault::Answer(400, "BadDigest"));
    }
    scene.saves();
}

/// Saves under a storm of faults: two models alone, and a third by two runs at once.
#[test]
fn every_save_of_a_storm_succeeds_and_none_twice() {
    let server = Server::start();
    server.storm(30, 20_261_127);
    let names = ["alone", "other", "twice", "twice"];
    let runs: Vec<_> = names
        .map(|name| {
            let sandbox = project(&server.endpoint, "s3://models/p");
            sandbox.write("data/name.csv", name);
            sandbox.write("models/small.bin", name);
            std::thread::spawn(move || (name, sandbox.run("save", &[]).json(), sandbox))
        })
        .into_iter()
        .map(|run| run.join().unwrap())
        .collect();
    assert!(server.calm() >= 5, "there was hardly a fault");
    let paths = ["--data-paths", "data/**", "--training-paths", "src/**"];
    for name in names {
        let all = runs.iter().filter(|(of, ..)| *of == name);
        assert_eq!(all.filter(|(_, run, _)| run["saved"] == true).count(), 1, "{name}");
    }
    for (name, run, sandbox) in &runs {
        assert_eq!(run["pointer"]["generation"], 1, "{name}");
        let before = snapshot(&sandbox.path("models"));
        std::fs::remove_dir_all(sandbox.path("models")).unwrap();
        let restored = sandbox.run("restore", &paths);
        assert_eq!(restored.json()["pointer"]["nonce"], run["pointer"]["nonce"], "{name}");
        assert_eq!(snapshot(&sandbox.path("models")), before, "{name}");
    }
    assert_eq!(server.objects(POINTERS).len(), 3);
    assert_eq!(server.objects("v1/blobs/").len(), 2 + 3, "two chunks, and a pack of each model");
}

/// Some gateways send the document of an error with status 200.
#[test]
fn an_error_with_the_status_of_a_success_is_an_error() {
    let error = || {
        let text = "<Error><Code>SlowDown</Code></Error>".to_owned();
        Fault::Page(200, "application/xml", text)
    };
    let scene = Scene::saved();
    for path in [HEADS, POINTERS, MANIFESTS, BLOBS] {
        scene.fault(Method::GET, path, 1..=1, error());
    }
    scene.restores();
    scene.fault(Method::GET, POINTERS, 1.., error());
    scene.sandbox.run("plan", &[]).fails(1, &["503 SlowDown"]);
}

#[test]
fn a_compressed_answer_is_told_as_that() {
    let scene = Scene::saved();
    let compressed = |by: &str| Fault::Reply(Change::Header("content-encoding", by.to_owned()));
    // A writer of the object may have set this header. So another name may have the content.
    scene.fault(Method::GET, MANIFESTS, 1..=1, compressed("gzip"));
    assert_eq!(scene.sandbox.run("plan", &[]).json()["reason"], "incomplete");
    scene.fault(Method::GET, POINTERS, 1.., compressed("GZIP"));
    let plan = scene.sandbox.run("plan", &[]);
    plan.fails(1, &["the answer is compressed (`content-encoding: GZIP`)", "proxy"]);
    scene.server.reset();
    scene.fault(Method::GET, "/v1/", 1.., compressed("aws-chunked"));
    scene.restores();
}

#[test]
fn a_store_without_entity_tags_is_told_as_that() {
    let bare = Fault::Reply(Change::Without("etag"));
    let empty = Fault::Reply(Change::Header("etag", "\"\"".to_owned()));
    for fault in [bare, empty] {
        let scene = Scene::new();
        for method in [Method::HEAD, Method::GET, Method::PUT] {
            scene.fault(method, "/v1/", 1.., fault.clone());
        }
        assert_eq!(scene.sandbox.run("save", &[]).json()["saved"], true);
        scene.sandbox.write("models/small.bin", "trained again");
        scene
            .sandbox
            .run("save", &["--force-retrain", "true"])
            .fails(1, &["gave no entity tag", "hint:"]);
    }
}

#[test]
fn a_proxy_that_refuses_large_requests_is_told_as_that() {
    let scene = Scene::new();
    for (kind, text) in [("text/html", "<html>413</html>"), ("text/plain", "too large")] {
        scene.fault(Method::PUT, BLOBS, 1..=9, Fault::Page(413, kind, text.to_owned()));
        let save = scene.sandbox.run("save", &[]);
        save.fails(1, &["answered 413", "client_max_body_size"]);
        assert!(!save.stderr.contains("no S3"), "{}", save.stderr);
        scene.server.reset();
    }
}

#[test]
fn headers_of_another_form_do_no_harm() {
    let iso = || "2026-11-27T08:00:00Z".to_owned();
    for change in [Change::Twice("etag"), Change::Header("last-modified", iso())] {
        let scene = Scene::new();
        for method in [Method::HEAD, Method::GET, Method::PUT] {
            scene.fault(method, "/v1/", 1.., Fault::Reply(change.clone()));
        }
        let saved = scene.sandbox.run("save", &[]).json();
        assert_eq!(saved["saved"], true, "{change:?}");
        assert_eq!(scene.sandbox.run("plan", &[]).json()["reason"], "hit", "{change:?}");
        std::fs::remove_dir_all(scene.sandbox.path("models")).unwrap();
        scene.restores();
    }
    let scene = Scene::new();
    let strange = Change::Header("x-amz-server-side-encryption-bucket-key-enabled", iso());
    scene.fault(Method::PUT, BLOBS, 1.., Fault::Reply(strange.clone()));
    // The store did the work, and a look shows it.
    assert_eq!(scene.sandbox.run("save", &[]).json()["saved"], true);
    scene.fault(Method::PUT, POINTERS, 1.., Fault::Reply(strange));
    scene.sandbox.write("data/a.csv", "other");
    scene.sandbox.run("save", &[]).fails(1, &["the answer of the store cannot be read", "hint:"]);
}

#[test]
fn the_region_that_a_service_names_is_in_the_hint() {
    for (method, status) in [(Method::GET, 301), (Method::GET, 307), (Method::HEAD, 400)] {
        let scene = Scene::saved();
        scene.fault(method, "/v1/", 1.., Fault::OfRegion(status, "eu-west-2"));
        scene.sandbox.run("plan", &[]).fails(1, &["set the input `region` to `eu-west-2`"]);
    }
}

#[test]
fn an_unknown_length_is_neither_a_gap_nor_an_error() {
    let scene = Scene::new();
    for method in [Method::HEAD, Method::GET] {
        scene.fault(method, "/v1/", 1.., Fault::Reply(Change::NoLength));
    }
    let saved = scene.sandbox.run("save", &[]).json();
    assert_eq!(saved["saved"], true);
    let plan = scene.sandbox.run("plan", &[]).json();
    assert_eq!(plan["reason"], "hit");
    std::fs::remove_dir_all(scene.sandbox.path("models")).unwrap();
    scene.restores();
}

#[test]
fn a_weak_entity_tag_is_as_good_as_a_strong_one() {
    let scene = Scene::saved();
    for method in [Method::HEAD, Method::GET, Method::PUT] {
        scene.fault(method, "/v1/", 1.., Fault::Reply(Change::WeakTag));
    }
    scene.sandbox.write("models/small.bin", "trained again");
    let forced = scene.sandbox.run("save", &["--force-retrain", "true"]).json();
    assert_eq!(forced["pointer"]["generation"], 2);
}

#[test]
fn a_store_that_does_not_heed_its_own_tags_is_told_as_that() {
    let scene = Scene::saved();
    scene.fault(
        Method::GET,
        POINTERS,
        1..,
        Fault::Reply(Change::Header("etag", "\"0123456789abcdef0123456789abcdef\"".to_owned())),
    );
    scene.sandbox.write("models/small.bin", "trained again");
    scene
        .sandbox
        .run("save", &["--force-retrain", "true"])
        .fails(1, &["does not accept the entity tag that it gave", "hint:"]);
    let puts = scene.server.requests_to(Method::PUT, POINTERS).len();
    assert!(puts <= 2, "nobody changed the pointer, so there is nothing to wait for: {puts}");
}

#[test]
fn a_head_whose_own_tag_is_refused_is_told_as_that() {
    let scene = Scene::saved();
    scene.fault(Method::PUT, HEADS, 1.., Fault::Answer(412, "PreconditionFailed"));
    scene.sandbox.write("models/small.bin", "trained again");
    let saved = scene.sandbox.run("save", &["--force-retrain", "true"]);
    assert_eq!(saved.json()["saved"], true);
    for told in ["cannot record the latest model", "does not accept the entity tag", "hint: "] {
        assert!(saved.stderr.contains(told), "{}", saved.stderr);
    }
    let puts = scene.server.requests_to(Method::PUT, HEADS).len();
    assert!(puts <= 2, "nobody changed the head, so there is nothing to wait for: {puts}");
}

#[test]
fn a_page_of_a_web_console_is_no_store() {
    let html = "<!doctype html><html><body>Console</body></html>";
    let is_page = "answered with a web page";
    for (kind, text, words) in [
        ("text/html; charset=utf-8", html, is_page),
        ("application/xhtml+xml", html, is_page),
        ("application/octet-stream", html, "no document of this program"),
        ("application/json", r#"{"status": "ok"}"#, "no document of this program"),
        ("text/plain", "", "no document of this program"),
    ] {
        let scene = Scene::saved();
        for method in [Method::GET, Method::HEAD, Method::PUT] {
            scene.fault(method, "/models/", 1.., Fault::Page(200, kind, text.to_owned()));
        }
        for verb in ["plan", "restore", "save", "resolve"] {
            let run = scene.sandbox.run(verb, &[]);
            run.fails(1, &[words, "`endpoint-url`"]);
            assert!(!run.stderr.contains("remove that object"), "{}", run.stderr);
        }
    }
}

#[test]
fn an_archived_blob_is_a_gap_and_no_hit() {
    let class = |class: &str| Fault::Reply(Change::Header("x-amz-storage-class", class.to_owned()));
    for (name, reason) in [
        ("GLACIER", "incomplete"),
        ("DEEP_ARCHIVE", "incomplete"),
        ("GLACIER_IR", "hit"),
        ("STANDARD_IA", "hit"),
    ] {
        let scene = Scene::saved();
        scene.fault(Method::HEAD, BLOBS, 1.., class(name));
        let plan = scene.sandbox.run("plan", &[]).json();
        assert_eq!(plan["reason"], reason, "{name}");
    }
}

fn at(endpoint: &str) -> Sandbox {
    let mut sandbox = Sandbox::with_store("s3://models/prefix");
    sandbox.project();
    for (name, value) in [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ] {
        sandbox.env(name, value);
    }
    sandbox
}

#[test]
fn a_dead_proxy_is_named_without_its_password() {
    for (variable, endpoint) in [
        ("HTTP_PROXY", "http://store.invalid:9000"),
        ("https_proxy", "https://store.invalid"),
        ("ALL_PROXY", "https://store.invalid"),
    ] {
        let mut sandbox = at(endpoint);
        sandbox.env(variable, "http://user:canary-7Qx1@127.0.0.1:9");
        let plan = sandbox.run("plan", &[]);
        plan.fails(1, &["through the proxy http://127.0.0.1:9"]);
        assert!(!plan.stderr.contains("canary-7Qx1"), "{}", plan.stderr);
    }
}

#[test]
fn no_proxy_names_a_store_by_star_address_and_port() {
    let scene = Scene::new();
    let proxy = Listener::start(Manner::Refuses);
    let address = scene.server.endpoint.url.strip_prefix("http://").unwrap().to_owned();
    let mut sandbox = at(&scene.server.endpoint.url);
    for (name, value) in scene.server.endpoint.env() {
        sandbox.env(name, value);
    }
    sandbox.env("HTTP_PROXY", &proxy.url);
    sandbox.run("plan", &[]).fails(1, &["403"]);
    assert_eq!(proxy.connections().len(), 1, "without NO_PROXY, the proxy gets the request");
    for rules in ["*", "127.0.0.1", "127.0.0.0/8", &address, "other:80, 10.0.0.1"] {
        sandbox.env("NO_PROXY", rules);
        let plan = sandbox.run("plan", &[]);
        match rules.starts_with("other") {
            true => plan.fails(1, &["403"]),
            false => assert_eq!(plan.json()["reason"], "no-model", "{rules}"),
        }
    }
}

/// An S3 server without any object, behind TLS with a certificate that signs itself.
const TLS_SERVER: &str = r#"
import http.server, ssl, sys
class Empty(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<Error><Code>NoSuchKey</Code></Error>"
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_certificates_of_aws_ca_bundle_are_trusted() {
    let place = tempfile::tempdir().unwrap();
    let (key, certificate) = (place.path().join("key.pem"), place.path().join("cert.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=store", "-addext"])
        .args(["subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let mut server = Running(
        Command::new("python3")
            .args(["-c", TLS_SERVER])
            .args([&certificate, &key])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut port = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut port).unwrap();

    let endpoint = format!("https://127.0.0.1:{}", port.trim());
    at(&endpoint).run("plan", &[]).fails(1, &["certificate"]);
    let mut by_variable = at(&endpoint);
    by_variable.env("AWS_CA_BUNDLE", certificate.to_str().unwrap());
    assert_eq!(by_variable.run("plan", &[]).json()["reason"], "no-model");
    let mut by_profile = at(&endpoint);
    let mut profile = String::from("[default]\n");
    writeln!(profile, "ca_bundle = {}", certificate.display()).unwrap();
    by_profile.write("aws-config", profile);
    let path = by_profile.path("aws-config");
    by_profile.env("AWS_CONFIG_FILE", path.to_str().unwrap());
    assert_eq!(by_profile.run("plan", &[]).json()["reason"], "no-model");
    let mut missing = at(&endpoint);
    missing.env("AWS_CA_BUNDLE", "/nowhere/bundle.pem");
    missing.run("plan", &[]).fails(2, &["/nowhere/bundle.pem", "AWS_CA_BUNDLE", "hint:"]);
}

#[test]
fn every_write_asks_for_the_encryption_that_the_user_names() {
    let scene = Scene::new();
    let flags = ["--sse", "aws:kms", "--sse-kms-key-id", "alias/models"];
    // The server of the tests knows no encryption, so only the requests are compared.
    let _ = scene.sandbox.run("save", &flags);
    let puts = scene.server.requests_to(Method::PUT, "/v1/");
    assert!(!puts.is_empty());
    for put in puts {
        assert_eq!(put.header("x-amz-server-side-encryption"), Some("aws:kms"), "{put:?}");
        let key = put.header("x-amz-server-side-encryption-aws-kms-key-id");
        assert_eq!(key, Some("alias/models"), "{put:?}");
    }
}

#[test]
fn a_closed_pipe_is_no_failure_and_a_full_disk_is() {
    let sandbox = Sandbox::with_project();
    let binary = env!("CARGO_BIN_EXE_ml-cache");
    let store = format!("file://{}", sandbox.store_dir().display());
    let run = |end: &str| {
        let script = format!(
            "set -o pipefail; \"$0\" plan --json --model m --data-paths data --store \"$1\" {end}"
        );
        let output = Command::new("bash")
            .args(["-c", &script, binary, &store])
            .current_dir(sandbox.work())
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, words) = run("| true");
    assert!(code == 0 && !words.contains("error"), "{code} {words}");
    let (code, words) = run(">/dev/full");
    assert!(code == 1 && words.contains("cannot print the result"), "{code} {words}");
    let help = Command::new("bash").args(["-c", "\"$0\" --help >/dev/full", binary]).status();
    assert_eq!(help.unwrap().code(), Some(1));
}
