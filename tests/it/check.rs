//! `check`, and what a plan tells at once about its inputs and its connection.

use hyper::Method;

use crate::s3_faults::{MANIFESTS, POINTERS, Scene};
use crate::support::cli::Sandbox;
use crate::support::s3::Fault;

const PROBE: &str = "/probe";
const NOTHING: &str = "`training-paths`: nothing is selected by `nothing/**` (ml-cache.yml:5:16)";
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

/// A file whose every part has a fault, and a pattern that selects nothing.
#[test]
fn faults_of_file_inputs_and_connection_come_together() {
    let scene = Scene::new();
    scene.fault(Method::GET, MANIFESTS, 1.., DENIED);
    let file = "regin: x\nmodels:\n  fraud:\n    data: [data/**]\n    training: [nothing/**]\n    \
                path: models/\n    max-age: soon\n";
    scene.sandbox.write("ml-cache.yml", file);
    for verb in ["check", "plan"] {
        let run = scene.sandbox.raw([verb, "--store", "s3://models/some/prefix"]);
        run.fails(
            2,
            &["ml-cache.yml:1:1: ", "ml-cache.yml:7:14: ", NOTHING, "read `v1/manifests/"],
        );
        assert!(!run.stderr.contains("names no data"), "{}", run.stderr);
        // The model of the file, and no other, names the keys.
        assert!(!run.stderr.contains("/check/"), "{}", run.stderr);
    }
}

#[test]
fn a_plan_whose_pattern_selects_nothing_tells_the_others_too() {
    let scene = Scene::new();
    scene.fault(Method::GET, MANIFESTS, 1.., DENIED);
    let lists = ["--model", "fraud", "--data-paths", "a/**", "--training-paths", "b/**"];
    let store = ["--store", "s3://models/some/prefix"];
    let run = scene.sandbox.raw([&["plan"], &lists[..], &store].concat());
    run.fails(2, &["`a/**`", "`b/**`", "cannot read `v1/manifests/"]);
}

#[test]
fn a_store_that_cannot_be_opened_hides_no_pattern() {
    let sandbox = Sandbox::with_project();
    sandbox.write("file", "");
    let store = format!("file://{}", sandbox.path("file").display());
    let lists = ["--model", "fraud", "--model-path", "m/", "--data-paths", "a/**"];
    let run = sandbox.raw([&["check", "--store", &store], &lists[..]].concat());
    run.fails(2, &["is not a directory", "`a/**`"]);
}

#[test]
fn a_check_is_not_ready_where_a_save_would_fail() {
    let sandbox = Sandbox::with_project();
    let lists = ["--model", "fraud", "--data-paths", "data/**", "--training-paths", "src/**"];
    for (more, told) in [
        (&[][..], "`model-path`"),
        (&["--model-path", "data/"], "the training would be in vain"),
        (&["--model-path", "m/", "--metrics", "src/m.json"], "`src/m.json` of `metrics`"),
    ] {
        sandbox.raw([&["check"], &lists[..], more].concat()).fails(2, &[told]);
        if more.len() > 2 {
            sandbox.raw([&["plan"], &lists[..], more].concat()).fails(2, &[told]);
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let sandbox = Sandbox::with_project();
    let run = sandbox.raw(["plan", "--data-paths", "data/**"]);
    run.fails(2, &["`model`", "hint: or write a file `ml-cache.yml`", "`ml-cache init`"]);
    sandbox.write("ml-cache.yaml", "models: {}\n");
    let run = sandbox.raw(["plan", "--data-paths", "data/**"]);
    run.fails(2, &["hint: `ml-cache.yaml` is not read; rename it to `ml-cache.yml`"]);
}
