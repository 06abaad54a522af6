//! Directories as stores: foreign files, links, special files, and other processes.

mod locks;
mod race;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::cli::{Run, Sandbox, files_below, snapshot};

const TRAIN: &str = "mkdir -p models; echo weights > models/a; touch ../trained";

/// A name as the program gives it to its temporary files.
fn left_over() -> String {
    format!("ml-cache-{:032x}.part", 7)
}

impl Sandbox {
    /// A project with a stored model.
    fn stored() -> Self {
        let sandbox = Self::with_project();
        assert_eq!(sandbox.train(&[], TRAIN).json()["saved"], true);
        sandbox
    }

    /// A directory beside the workspace and the store, with files in it.
    fn outside(&self) -> PathBuf {
        let path = self.work().join("../elsewhere");
        fs::create_dir_all(path.join("sub")).unwrap();
        for name in ["precious", &left_over(), ".tmpAbC123", "sub/file"] {
            fs::write(path.join(name), "precious").unwrap();
        }
        path
    }

    /// Runs each verb that opens the store, and returns the runs.
    fn every_verb(&self) -> Vec<Run> {
        self.write("models/a", "weights");
        let mut runs: Vec<Run> =
            ["plan", "restore", "resolve", "verify", "save"].map(|verb| self.run(verb, &[])).into();
        runs.push(self.train(&[], TRAIN));
        runs
    }
}

#[test]
fn a_directory_with_other_files_keeps_them_and_becomes_no_store() {
    for names in [
        ["incoming/mail", "locks/door"],
        ["notes", "incoming/.tmpAbC123"],
        ["v2/x", "y"],
        ["v1/openapi.yaml", "v1/models/x"],
    ] {
        let sandbox = Sandbox::with_project();
        for name in names {
            let path = sandbox.store_dir().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "mine").unwrap();
        }
        for name in ["incoming", "v1"] {
            fs::create_dir_all(sandbox.store_dir().join(name)).unwrap();
        }
        fs::write(sandbox.store_dir().join("incoming").join(left_over()), "mine").unwrap();
        let before = snapshot(&sandbox.store_dir());
        let runs = sandbox.every_verb();
        assert_eq!(snapshot(&sandbox.store_dir()), before, "{names:?}");
        assert_eq!(runs[0].json()["reason"], "no-model", "a plan finds nothing");
        assert!(runs[0].stderr.contains("the save will refuse this store"), "{}", runs[0].stderr);
        let needles = ["has other files in it and is no store", "hint: set `store` to"];
        runs[4].fails(2, &needles);
        runs[5].fails(2, &needles);
        assert!(!sandbox.work().join("../trained").exists(), "it fails before the training");
    }
}

#[test]
fn empty_directories_and_stores_of_every_version_are_used() {
    let prepare: [fn(&Path); 7] = [
        |_| {},
        |store| fs::create_dir(store).unwrap(),
        |store| fs::create_dir_all(store.join("lost+found")).unwrap(),
        |store| {
            fs::create_dir(store).unwrap();
            fs::write(store.join(".gitignore"), "*").unwrap();
        },
        // The beginnings of a store, as earlier versions made it.
        |store| fs::create_dir_all(store.join("incoming")).unwrap(),
        |store| fs::create_dir_all(store.join("v1")).unwrap(),
        |store| {
            fs::create_dir_all(store.join("v1/blobs")).unwrap();
            fs::write(store.join("README"), "mine").unwrap();
        },
    ];
    for (number, prepare) in prepare.into_iter().enumerate() {
        let sandbox = Sandbox::with_project();
        prepare(&sandbox.store_dir());
        let plan = sandbox.run("plan", &[]);
        assert_eq!(plan.json()["reason"], "no-model", "{number}");
        assert!(!plan.stderr.contains("warning"), "{number}: {}", plan.stderr);
        assert_eq!(sandbox.train(&[], TRAIN).json()["saved"], true, "{number}");
        assert_eq!(sandbox.run("plan", &[]).json()["reason"], "hit", "{number}");
    }
}

#[test]
fn a_store_of_an_earlier_version_without_the_mark_goes_on() {
    let sandbox = Sandbox::stored();
    fs::remove_file(sandbox.store_dir().join(".ml-cache-store")).unwrap();
    assert_eq!(sandbox.run("plan", &[]).json()["reason"], "hit");
    sandbox.write("data/a.csv", "new");
    assert_eq!(sandbox.train(&[], TRAIN).json()["saved"], true);
}

#[test]
fn a_sweep_removes_our_left_overs_alone() {
    let sandbox = Sandbox::stored();
    let incoming = sandbox.store_dir().join("incoming");
    let elsewhere = sandbox.outside();
    for name in [&left_over(), "mail", ".tmpAbC123", "ml-cache-x.part", "ml-cache-.part"] {
        fs::write(incoming.join(name), "x").unwrap();
    }
    let named = |number: u8| format!("ml-cache-{number:032x}.part");
    symlink(elsewhere.join("precious"), incoming.join(named(1))).unwrap();
    fs::create_dir(incoming.join(named(2))).unwrap();
    fs::write(incoming.join(named(2)).join("x"), "x").unwrap();
    assert_eq!(sandbox.run("plan", &[]).json()["reason"], "hit");
    assert!(!incoming.join(left_over()).exists());
    let kept = ["mail", ".tmpAbC123", "ml-cache-x.part", "ml-cache-.part"];
    assert!(kept.iter().all(|name| incoming.join(name).exists()));
    assert_eq!(files_below(&elsewhere).len(), 4);
    assert!(incoming.join(named(2)).join("x").exists());
}

#[test]
fn links_below_a_store_are_not_followed() {
    for name in ["incoming", "locks", "v1", "v1/blobs", "v1/trusted", "v1/manifests"] {
        let sandbox = Sandbox::stored();
        let elsewhere = sandbox.outside();
        let path = sandbox.store_dir().join(name);
        let moved = sandbox.work().join("../moved");
        fs::rename(&path, &moved).unwrap();
        symlink(&elsewhere, &path).unwrap();
        let before = snapshot(&elsewhere);
        // New inputs, so that each kind of object is written.
        sandbox.write("data/a.csv", name);
        sandbox.write("models/a", "other weights");
        let runs = sandbox.every_verb();
        assert_eq!(snapshot(&elsewhere), before, "{name}");
        for run in [&runs[4], &runs[5]] {
            run.fails(1, &["is a link, and nothing below", "hint: put the directory itself there"]);
        }
        // Nor may the store lie elsewhere in parts.
        fs::remove_file(&path).unwrap();
        fs::rename(&moved, &path).unwrap();
        assert_eq!(sandbox.train(&[], TRAIN).json()["saved"], true, "{name}");
    }
}

#[test]
fn the_directory_of_a_store_may_be_reached_through_links() {
    let sandbox = Sandbox::with_project();
    let real = sandbox.work().join("../disk/cache");
    fs::create_dir_all(&real).unwrap();
    symlink("disk/cache", sandbox.store_dir()).unwrap();
    assert_eq!(sandbox.train(&[], TRAIN).json()["saved"], true);
    assert_eq!(sandbox.run("plan", &[]).json()["reason"], "hit");
    assert!(real.join("v1/blobs").is_dir());
}

#[test]
fn an_object_that_is_a_link_is_not_read() {
    let sandbox = Sandbox::stored();
    let pointer = sandbox.objects("v1/trusted").into_iter().next().unwrap();
    let moved = sandbox.work().join("../pointer");
    for pointer in sandbox.objects("v1/trusted") {
        fs::rename(&pointer, &moved).unwrap();
        symlink(&moved, &pointer).unwrap();
    }
    assert!(pointer.is_symlink());
    sandbox.run("plan", &[]).fails(1, &["is a link"]);
}

/// Makes a pipe at a path.
fn pipe(path: &Path) {
    let _ = fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    assert!(fs::symlink_metadata(path).unwrap().file_type().is_fifo());
}

/// Makes a socket at a path. The path of a new socket must be short, so it moves there.
fn socket(path: &Path) {
    let short = tempfile::tempdir_in("/tmp").unwrap();
    std::os::unix::net::UnixListener::bind(short.path().join("s")).unwrap();
    let _ = fs::remove_file(path);
    fs::rename(short.path().join("s"), path).unwrap();
}

#[test]
fn pipes_and_sockets_are_refused_at_once() {
    for make in [pipe, socket] {
        // Blobs, manifests, inputs, pointers and heads.
        for below in ["v1/blobs", "v1/manifests", "v1/inputs", "v1/trusted"] {
            let sandbox = Sandbox::stored();
            for object in sandbox.objects(below) {
                make(&object);
            }
            let began = std::time::Instant::now();
            let runs = sandbox.every_verb();
            // A plan without an inputs document explains less, and a save replaces it.
            let fails = runs.iter().any(|run| run.code != 0);
            assert_eq!(fails, below != "v1/inputs", "{below}");
            assert!(began.elapsed().as_secs() < 60, "{below}");
        }
        let sandbox = Sandbox::stored();
        sandbox.objects("locks").iter().for_each(|lock| make(lock));
        sandbox.write("models/a", "weights");
        sandbox.run("save", &["--force-retrain", "true"]).fails(1, &["it is not a regular file"]);
        for name in ["incoming", "locks"] {
            let sandbox = Sandbox::stored();
            fs::remove_dir_all(sandbox.store_dir().join(name)).unwrap();
            make(&sandbox.store_dir().join(name));
            sandbox.write("data/a.csv", "new");
            sandbox.train(&[], TRAIN).fails(1, &["Not a directory"]);
        }
        let sandbox = Sandbox::with_project();
        fs::create_dir(sandbox.store_dir()).unwrap();
        make(&sandbox.store_dir().join(".ml-cache-store"));
        sandbox.train(&[], TRAIN).fails(2, &["is no store"]);
    }
}
