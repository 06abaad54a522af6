//! `check`, and what a plan tells at once about its inputs and its connection.

use hyper::Method;

use crate::s3_faults::{MANIFESTS, POINTERS, Scene};
use crate::support::cli::Sandbox;
use crate::support::s3::Fault;

const PROBE: &str = "/probe";
const DENIED: Fault = Fault::Answer(403, "AccessDenied");

#[test]
fn a_check_of_a_sound_project_changes_nothing() {
    let sandbox = Sandbox::with_project();
    let run = sandbox.run("check", &[]);
    run.json();
    let told = "fraud: ready\n  the inputs are there, and the store can be read and written\n";
    assert!(run.stderr.contains(told), "{}", run.stderr);
    assert_eq!(sandbox.objects(""), Vec::<std::path::PathBuf>::new());

    let scene = Scene::new();
    let run = scene.sandbox.run("check", &[]);
    run.json();
    for told in [told, "credentials: "] {
        assert!(run.stderr.contains(told), "{}", run.stderr);
    }
    assert_eq!(scene.server.objects("").len(), 0);
}

#[test]
fn a_check_tells_every_fault_with_its_remedy() {
    let scene = Scene::new();
    scene.fault(Method::GET, POINTERS, 1.., DENIED);
    scene.fault(Method::PUT, PROBE, 1.., DENIED);
    let arguments = [&Sandbox::arguments("check", &[])[..], &["--data-paths".into()]].concat();
    let run = scene.sandbox.raw([&arguments[..], &["nothing/**".into()]].concat());
    run.fails(2, &[]);
    let faults: Vec<&str> = run.stderr.split("error: ").skip(1).collect();
    let wanted = ["`data-paths`", "cannot read", "cannot write"];
    assert_eq!(faults.len(), wanted.len(), "{}", run.stderr);
    for (fault, wanted) in faults.iter().zip(wanted) {
        assert!(fault.contains(wanted) && fault.contains("\nhint: "), "{fault}");
    }
}

#[test]
fn a_failure_of_every_request_is_told_once() {
    let scene = Scene::new();
    scene.fault(Method::GET, "/", 1.., Fault::Answer(404, "NoSuchBucket"));
    scene.fault(Method::PUT, "/", 1.., Fault::Answer(404, "NoSuchBucket"));
    let run = scene.sandbox.run("check", &[]);
    run.fails(1, &["hint: "]);
    assert_eq!(run.stderr.matches("error: ").count(), 1, "{}", run.stderr);
}

#[test]
fn a_plan_with_bad_inputs_tells_of_the_connection_too() {
    let scene = Scene::new();
    scene.fault(Method::GET, MANIFESTS, 1.., DENIED);
    scene.fault(Method::PUT, PROBE, 1.., DENIED);
    for verb in ["plan", "check"] {
        let run = scene.sandbox.run(verb, &["--max-age", "soon"]);
        run.fails(2, &["`max-age`", "cannot read `v1/manifests/", "cannot write `v1/trusted/"]);
        assert_eq!(run.stderr.matches("error: ").count(), 3, "{}", run.stderr);
    }
    // A command that plans nothing needs no such look.
    let run = scene.sandbox.run("restore", &["--if-no-files-found", "x"]);
    run.fails(2, &["`if-no-files-found`"]);
    assert!(!run.stderr.contains("manifests"), "{}", run.stderr);
}

#[test]
fn a_plan_warns_of_a_store_that_refuses_writes() {
    let scene = Scene::new();
    scene.fault(Method::PUT, PROBE, 1.., DENIED);
    let plan = scene.sandbox.run("plan", &[]);
    assert_eq!(plan.json()["retrain-needed"], true);
    let told = "warning: a save with the credentials of this step would fail: cannot write";
    assert!(plan.stderr.contains(told), "{}", plan.stderr);

    let scene = Scene::saved();
    scene.fault(Method::PUT, PROBE, 1.., DENIED);
    assert_eq!(scene.sandbox.run("plan", &[]).json()["cache-hit"], true);
    assert!(scene.server.requests_to(Method::PUT, PROBE).is_empty(), "a hit needs no such look");
}
