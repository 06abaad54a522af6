//! Other processes that hold locks of a store.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::time::{Duration, Instant};

use super::TRAIN;
use crate::support::cli::Sandbox;

/// Locks all lock files, or the directory of temporary files.
fn hold(sandbox: &Sandbox, name: &str) -> Vec<File> {
    let path = sandbox.store_dir().join(name);
    let paths = match name {
        "locks" => (0..256).map(|number| path.join(format!("{number:02x}"))).collect(),
        _ => vec![path],
    };
    let lock = |path| {
        let options = || File::options().create(true).append(true).open(&path);
        let file = if fs::metadata(&path).is_ok() { File::open(&path) } else { options() }.unwrap();
        file.lock().unwrap();
        file
    };
    paths.into_iter().map(lock).collect()
}

#[test]
fn a_lock_that_another_process_keeps_ends_the_wait() {
    for name in ["locks", "incoming"] {
        let sandbox = Sandbox::stored();
        let _held = hold(&sandbox, name);
        assert_eq!(sandbox.run("plan", &[]).json()["reason"], "hit", "a plan needs no lock");
        let began = Instant::now();
        let run = sandbox.run("save", &["--force-retrain", "true", "--lock-timeout", "2s"]);
        run.fails(
            1,
            &[
                "waiting for another process, which has locked `",
                &format!("store/{name}"),
                "another process has held the lock of `",
                "for 2 s",
                "hint: end the other process, or raise `lock-timeout`",
            ],
        );
        assert!(began.elapsed() >= Duration::from_secs(2), "{name}");
    }
}

#[test]
fn a_short_wait_is_silent_and_succeeds() {
    let sandbox = Sandbox::stored();
    let held = hold(&sandbox, "incoming");
    sandbox.write("data/a.csv", "new");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            drop(held);
        });
        assert_eq!(sandbox.train(&[], TRAIN).json()["saved"], true);
    });
}

#[test]
fn a_limit_that_is_no_duration() {
    for limit in ["0s", "-1m", "soon"] {
        let run = Sandbox::with_project()
            .raw(Sandbox::arguments("plan", &[&format!("--lock-timeout={limit}")]));
        run.fails(2, &["input `lock-timeout`", "it is not a positive duration"]);
    }
}

#[test]
fn a_lock_file_that_is_there_keeps_its_owner() {
    let sandbox = Sandbox::stored();
    let file = sandbox.work().join("../of-somebody");
    fs::write(&file, "").unwrap();
    if chown(&file, Some(12), Some(34)).is_err() {
        println!("skipped: only root may give files away");
        return;
    }
    let locks = sandbox.store_dir().join("locks");
    for number in 0..256 {
        let lock = locks.join(format!("{number:02x}"));
        let _ = fs::remove_file(&lock);
        fs::hard_link(&file, lock).unwrap();
    }
    sandbox.write("models/a", "weights");
    assert_eq!(sandbox.run("save", &["--force-retrain", "true"]).json()["saved"], true);
    let found = fs::metadata(file).unwrap();
    assert_eq!((found.uid(), found.gid()), (12, 34));
}
