//! S3 services and proxies as users meet them: busy, laconic, rewritten, or no S3 at all.

use std::time::{Duration, Instant};

use hyper::Method;

use crate::s3_faults::{BLOBS, HEADS, MANIFESTS, POINTERS, Scene};
use crate::support::s3::{Change, Fault};

#[test]
fn a_throttled_request_is_tried_again_whatever_its_words() {
    for status in [429, 500, 502, 503, 504] {
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
        let puts = scene.server.requests_to(Method::PUT, BLOBS).len();
        assert!(puts <= scene.server.requests_to(Method::HEAD, BLOBS).len(), "{puts}");
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
fn a_page_of_a_web_console_is_no_store() {
    let page = || {
        let text = "<!doctype html><html><body>Console</body></html>".to_owned();
        Fault::Reply(Change::Body(200, "text/html; charset=utf-8", text))
    };
    let scene = Scene::saved();
    for method in [Method::GET, Method::HEAD, Method::PUT] {
        scene.fault(method, "/models/", 1.., page());
    }
    for verb in ["plan", "restore", "save", "resolve"] {
        let run = scene.sandbox.run(verb, &[]);
        run.fails(1, &["answered with a web page", "no S3", "`endpoint-url`"]);
        assert!(!run.stderr.contains("remove that object"), "{}", run.stderr);
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
