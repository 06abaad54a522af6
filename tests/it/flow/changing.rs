//! Files that change while a save or a plan reads them.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::Sandbox;
use crate::support::cli::Run;

const SIZE: usize = 48 << 20;

/// Runs the verb while a thread makes changes, each with another number.
fn during(sandbox: &Sandbox, verb: &str, change: impl Fn(u64) + Send + Sync) -> Run {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !ended.load(Ordering::Relaxed) {
                change(number);
                number += 1;
            }
        });
        let run = sandbox.run(verb, &[]);
        ended.store(true, Ordering::Relaxed);
        run
    })
}

fn large(name: &str) -> (Sandbox, PathBuf) {
    let sandbox = Sandbox::with_project();
    sandbox.write(name, vec![b'o'; SIZE]);
    sandbox.write("models/model.bin", "weights");
    let path = sandbox.path(name);
    (sandbox, path)
}

/// Runs the verb on a large file among changes until a run fails. A busy machine may let a whole
/// run pass without a turn for the thread that makes the changes.
fn refused(name: &str, verb: &str, change: impl Fn(&PathBuf, u64) + Send + Sync) -> (Sandbox, Run) {
    let attempt = |_| {
        let (sandbox, path) = large(name);
        let run = during(&sandbox, verb, |number| change(&path, number));
        (run.code != 0).then_some((sandbox, run))
    };
    (0..20).find_map(attempt).expect("a run among changes fails")
}

fn rewrite(path: &PathBuf, byte: u8) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    // Another byte at each end shows a copy that is half old and half new.
    for at in [0, SIZE as u64 - 1] {
        file.write_all_at(&[byte], at).unwrap();
    }
}

#[test]
fn a_model_that_goes_on_changing_is_not_saved() {
    let (sandbox, save) =
        refused("models/large.bin", "save", |path, number| rewrite(path, number as u8));
    save.fails(1, &["`models/large.bin` changed while it was saved", "hint: end the training"]);
    assert!(sandbox.pointers().is_empty());
}

#[test]
fn a_model_that_changes_once_is_read_again() {
    let (sandbox, path) = large("models/large.bin");
    let blobs = sandbox.store_dir().join("v1/blobs");
    let done = AtomicBool::new(false);
    let save = during(&sandbox, "save", |_| {
        // The first blob is there, so the save has read a part of the file.
        if blobs.exists() && !done.swap(true, Ordering::Relaxed) {
            rewrite(&path, b'n');
        }
        thread::sleep(Duration::from_millis(1));
    });
    assert_eq!(save.json()["saved"], true);
    assert!(done.load(Ordering::Relaxed));
    assert!(save.stderr.contains("reading it again"), "{}", save.stderr);
    let wanted = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    sandbox.run("restore", &[]).json();
    assert!(fs::read(&path).unwrap() == wanted, "the model is the last one, and whole");
}

#[test]
fn files_that_only_get_other_times_are_saved_and_hashed() {
    for (name, verb) in [("models/large.bin", "save"), ("data/large.csv", "plan")] {
        let (sandbox, path) = large(name);
        let run = during(&sandbox, verb, |number| {
            let mode = if number % 2 == 0 { 0o600 } else { 0o644 };
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        });
        assert_eq!(run.json()["reason"], if verb == "save" { "hit" } else { "no-model" });
    }
}

#[test]
fn a_file_that_appears_during_the_save_belongs_to_the_model() {
    let (sandbox, _) = large("models/large.bin");
    let blobs = sandbox.store_dir().join("v1/blobs");
    let late = sandbox.path("models/late.bin");
    let save = during(&sandbox, "save", |_| {
        if blobs.exists() && !late.exists() {
            fs::write(&late, "late").unwrap();
        }
        thread::sleep(Duration::from_millis(1));
    });
    assert_eq!(save.json()["model-files"], 3);
}

#[test]
fn inputs_that_go_on_changing_have_no_fingerprint() {
    let (_, plan) = refused("data/large.csv", "plan", |path, number| rewrite(path, number as u8));
    plan.fails(1, &["`data/large.csv` changed while the inputs were hashed", "hint:"]);

    let (_, plan) = refused("data/large.csv", "plan", |path, number| {
        fs::write(path.with_file_name(format!("new-{number}.csv")), "x").unwrap();
        thread::sleep(Duration::from_millis(1));
    });
    plan.fails(1, &["appeared or vanished while the inputs were hashed", "`data/new-", "hint:"]);
}
