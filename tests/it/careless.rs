//! A store that ignores conditional writes breaks only one promise: that the first save wins.

use std::fs;
use std::process::Stdio;

use crate::support::cli::{Run, Sandbox, assert_same, snapshot};
use crate::support::s3::Server;

const TRAIN: &str = "mkdir -p models; cat ../weights > models/model.bin";

/// A project with a store on this server, and weights for its training.
fn project(server: &Server, weights: &str) -> Sandbox {
    let mut sandbox = Sandbox::with_store("s3://models/cache");
    sandbox.project();
    server.endpoint.env().into_iter().for_each(|(name, value)| sandbox.env(name, value));
    fs::write(sandbox.path("../weights"), weights).unwrap();
    sandbox
}

#[test]
fn a_model_is_trained_once_and_restored() {
    let server = Server::careless();
    let sandbox = project(&server, "weights");
    assert_eq!(sandbox.train(&[], TRAIN).json()["saved"], true);
    let wanted = snapshot(&sandbox.path("models"));
    fs::remove_dir_all(sandbox.path("models")).unwrap();
    assert_eq!(sandbox.train(&[], "exit 9").json()["restored"], true);
    assert_same(&snapshot(&sandbox.path("models")), &wanted, "restored");
    assert_eq!(sandbox.run("verify", &[]).json()["cache-hit"], true);
}

/// A check of the rights, or a training that fails, must not change a stored object.
#[test]
fn a_training_that_fails_leaves_the_stored_model_alone() {
    let server = Server::careless();
    let sandbox = project(&server, "weights");
    assert_eq!(sandbox.train(&[], TRAIN).json()["saved"], true);
    let before =
        server.objects("/pointers/").into_iter().map(|(key, path)| (key, fs::read(path).unwrap()));
    let before: Vec<_> = before.collect();
    sandbox.train(&["--force-retrain"], "exit 9").fails(9, &[]);
    let after =
        server.objects("/pointers/").into_iter().map(|(key, path)| (key, fs::read(path).unwrap()));
    assert_eq!(after.collect::<Vec<_>>(), before);
    assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
    sandbox.write("data/a.csv", "changed");
    sandbox.train(&[], "exit 9").fails(9, &[]);
    assert_eq!(server.objects("/pointers/").len(), 1);
}

#[test]
fn a_forced_training_replaces_the_model() {
    let server = Server::careless();
    let sandbox = project(&server, "weights");
    assert_eq!(sandbox.train(&[], TRAIN).json()["saved"], true);
    fs::write(sandbox.path("../weights"), "better weights").unwrap();
    assert_eq!(sandbox.train(&["--force-retrain"], TRAIN).json()["pointer"]["generation"], 2);
    fs::remove_dir_all(sandbox.path("models")).unwrap();
    assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
    assert_eq!(sandbox.read("models/model.bin"), "better weights");
}

#[test]
fn of_many_saves_one_model_is_there_and_whole() {
    let server = Server::careless();
    let sandboxes: Vec<Sandbox> =
        (0..8).map(|n| project(&server, &format!("trained by {n}"))).collect();
    let begin = |sandbox: &Sandbox| {
        let arguments = Sandbox::arguments("run", &["--", "sh", "-c", TRAIN]);
        sandbox.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = sandboxes.iter().map(begin).collect();
    for child in children {
        Run::of(child.wait_with_output().unwrap()).json();
    }
    let reader = project(&server, "");
    assert_eq!(reader.run("restore", &[]).json()["restored"], true);
    assert!(reader.read("models/model.bin").starts_with("trained by "));
    assert_eq!(reader.run("verify", &[]).json()["cache-hit"], true);
}
