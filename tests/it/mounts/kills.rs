//! Kills while files move one by one, because the model spans two mounts.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use super::Mounted;
use crate::support::cli::{Sandbox, assert_same, snapshot};

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
    let mut longest = restore(0);
    let (mut present, mut completed, mut killed) = (0, 0, 0);
    while killed < KILLS {
        let wanted = 1 - present;
        fs::write(mounted.path("data/a.csv"), format!("version {wanted}")).unwrap();
        let mut command = mounted.command(&Sandbox::arguments("restore", &inputs));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The last part of the time is the most interesting, because files move there.
        let at = rand::random_range(0.3..1.0);
        let moment = longest.mul_f64(at).max(Duration::from_millis(1));
        thread::sleep(moment);
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            // The machine was busier when the longest was measured.
            longest = moment;
        } else {
            killed += 1;
        }
        let between = tree();
        mounted.run("plan", &[]).json();
        mounted.is_tidy();
        let found = tree();
        assert!(found == trees[0] || found == trees[1], "killed at {at}: neither model");
        completed += usize::from(between != found);
        restore(wanted);
        present = wanted;
    }
    println!("{completed} of {killed} killed restores were completed");
}
