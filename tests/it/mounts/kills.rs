//! Kills while files move one by one, because the model spans two mounts.

use std::fs;
use std::process::Stdio;
use std::time::Instant;

use super::Mounted;
use crate::support::cli::{Sandbox, assert_same, snapshot};
use crate::support::moments::Moments;

const KILLS: usize = 20;
const FILES: usize = 600;

/// Writes a model of many small files, in two directories.
fn many(sandbox: &Sandbox, version: usize) {
    for n in 0..FILES {
        let place = if n % 2 == 0 { "one" } else { "vol/two" };
        sandbox.write(&format!("models/{place}/{n}"), format!("version {version} of {n}"));
    }
}

#[test]
fn a_kill_between_two_mounts_leaves_no_half_model() {
    let sandbox = Sandbox::with_project();
    let trees: Vec<Vec<String>> = (0..2)
        .map(|version| {
            sandbox.write("data/a.csv", format!("version {version}"));
            many(&sandbox, version);
            assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
            snapshot(&sandbox.path("models"))
        })
        .collect();
    fs::remove_dir_all(sandbox.path("models/vol/two")).unwrap();
    let Some(mounted) = Mounted::new(sandbox, "mount -t tmpfs none models/vol") else { return };
    let inputs = ["--data-paths", "data/**", "--training-paths", "src/**"];
    let tree = || {
        let mut tree = snapshot(&mounted.path("models"));
        tree.retain(|entry| !entry.contains(".ml-cache-tmp-"));
        tree
    };
    let restore = |version: usize| {
        fs::write(mounted.path("data/a.csv"), format!("version {version}")).unwrap();
        let began = Instant::now();
        assert_eq!(mounted.run("restore", &inputs).json()["restored"], true);
        assert_same(&tree(), &trees[version], "restored");
        mounted.is_tidy();
        began.elapsed()
    };
    restore(1);
    // The last part of the time is the most interesting, because files move there.
    let mut moments = Moments::within(restore(0), 0.3..1.0, KILLS);
    let (mut present, mut completed) = (0, 0);
    while moments.are_left() {
        let wanted = 1 - present;
        fs::write(mounted.path("data/a.csv"), format!("version {wanted}")).unwrap();
        let mut command = mounted.command(&Sandbox::arguments("restore", &inputs));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moment = moments.kill_next(child);
        let between = tree();
        mounted.run("plan", &[]).json();
        mounted.is_tidy();
        let found = tree();
        assert!(found == trees[0] || found == trees[1], "killed after {moment:?}: neither model");
        completed += usize::from(between != found);
        restore(wanted);
        present = wanted;
    }
    println!("{completed} of {KILLS} killed restores were completed");
}
