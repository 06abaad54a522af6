//! Destinations that would lead a restore astray.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::Sandbox;
use crate::support::cli::snapshot;

impl Sandbox {
    /// Makes a directory beside the workspace, with a file in it.
    fn elsewhere(&self) -> PathBuf {
        let elsewhere = self.work().parent().unwrap().join("elsewhere");
        fs::create_dir_all(elsewhere.join("sub")).unwrap();
        fs::write(elsewhere.join("secret"), "secret").unwrap();
        elsewhere
    }
}

#[test]
fn a_model_is_not_restored_through_a_planted_link() {
    for planted in ["models", "models/sub"] {
        let sandbox = Sandbox::with_old_tree();
        let elsewhere = sandbox.elsewhere();
        let before = snapshot(&elsewhere);
        fs::remove_dir_all(sandbox.path(planted)).unwrap();
        symlink(&elsewhere, sandbox.path(planted)).unwrap();
        let run = sandbox.restore_leaves_all_as_it_was();
        run.fails(1, &[planted, "is a link", "hint:"]);
        assert_eq!(snapshot(&elsewhere), before);
    }
}

#[test]
fn a_link_in_place_of_a_file_is_replaced_and_not_followed() {
    let sandbox = Sandbox::with_old_tree();
    let secret = sandbox.elsewhere().join("secret");
    fs::remove_file(sandbox.path("models/config.json")).unwrap();
    symlink(&secret, sandbox.path("models/config.json")).unwrap();
    assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
    assert!(fs::symlink_metadata(sandbox.path("models/config.json")).unwrap().is_file());
    assert_eq!(fs::read_to_string(secret).unwrap(), "secret");
}

#[test]
fn a_link_to_the_same_bytes_is_no_file_of_the_model() {
    let sandbox = Sandbox::with_old_tree();
    sandbox.run("restore", &[]).json();
    let outside = sandbox.elsewhere().join("a.bin");
    fs::rename(sandbox.path("models/a.bin"), &outside).unwrap();
    symlink(&outside, sandbox.path("models/a.bin")).unwrap();
    sandbox.run("restore", &[]).json();
    assert!(fs::symlink_metadata(sandbox.path("models/a.bin")).unwrap().is_file());
}

#[test]
fn a_file_in_the_way_of_a_directory_is_named() {
    for in_the_way in ["models", "models/sub"] {
        let sandbox = Sandbox::with_old_tree();
        fs::remove_dir_all(sandbox.path(in_the_way)).unwrap();
        sandbox.write(in_the_way, "a file");
        sandbox.restore_leaves_all_as_it_was().fails(1, &[in_the_way, "is in the way", "hint:"]);
    }
}

#[test]
fn a_directory_in_the_way_of_a_file_is_named() {
    for content in [None, Some("models/config.json/precious")] {
        let sandbox = Sandbox::with_old_tree();
        fs::remove_file(sandbox.path("models/config.json")).unwrap();
        fs::create_dir(sandbox.path("models/config.json")).unwrap();
        if let Some(name) = content {
            sandbox.write(name, "mine");
        }
        sandbox
            .restore_leaves_all_as_it_was()
            .fails(1, &["models/config.json", "is in the way", "hint:"]);
    }
}

/// A pull request may commit such a directory, which looks like an abandoned stage.
#[test]
fn a_planted_stage_takes_nothing_from_elsewhere() {
    let sandbox = Sandbox::with_old_tree();
    let elsewhere = sandbox.elsewhere();
    let before = snapshot(&elsewhere);
    sandbox.write(".ml-cache-tmp-planted/ready", "");
    symlink("../../elsewhere", sandbox.path(".ml-cache-tmp-planted/tree")).unwrap();
    let _ = sandbox.run("plan", &[]);
    assert_eq!(snapshot(&elsewhere), before);
    assert!(!sandbox.path("secret").exists());
}

#[test]
fn files_of_a_planted_stage_are_never_used() {
    let sandbox = Sandbox::with_old_tree();
    sandbox.run("restore", &[]).json();
    let wanted = snapshot(&sandbox.path("models"));
    // These files have the model's lengths, so only their bytes differ.
    for name in ["a.bin", "b.bin", "config.json", "sub/labels.txt"] {
        let path = format!("models/{name}");
        let planted = vec![b'x'; fs::read(sandbox.path(&path)).unwrap().len()];
        for stage in [".ml-cache-tmp-planted", ".ml-cache-tmp-00000000000000000000000000000000"] {
            for inside in ["", "tree/"] {
                sandbox.write(&format!("{stage}/{inside}{path}"), &planted);
            }
            sandbox.write(&format!("{stage}/ready"), "");
        }
    }
    fs::remove_dir_all(sandbox.path("models")).unwrap();
    assert_eq!(sandbox.run("restore", &[]).json()["restored"], true);
    assert_eq!(snapshot(&sandbox.path("models")), wanted);
    assert!(!sandbox.path(".ml-cache-tmp-planted").exists(), "it counts as abandoned");

    // A restore does not use them even if the store has lost the bytes.
    fs::remove_dir_all(sandbox.path("models")).unwrap();
    sandbox.write(
        ".ml-cache-tmp-planted/models/config.json",
        fs::read(sandbox.blob_of("models/config.json")).unwrap(),
    );
    fs::remove_file(sandbox.blob_of("models/config.json")).unwrap();
    assert_ne!(sandbox.run("restore", &[]).code, 0);
    assert!(!sandbox.path("models").exists());
}

#[test]
fn a_destination_that_is_a_link_or_steers_git_is_refused() {
    let sandbox = Sandbox::with_old_tree();
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), sandbox.path("link")).unwrap();
    symlink(".git", sandbox.path("alias")).unwrap();
    fs::create_dir_all(sandbox.path(".git/hooks")).unwrap();
    let absolute = sandbox.path("link").display().to_string();
    for destination in ["link", "link/", "link/new", "alias", &absolute] {
        let more = ["--destination", destination];
        sandbox.run("restore", &more).fails(2, &["input `destination`", "follows no links"]);
        let more = [&more[..], &["--", "touch", "ran"]].concat();
        sandbox.run("run", &more).fails(2, &["input `destination`"]);
    }
    for destination in [".git", ".git/hooks", ".GitHub/workflows", "new/.git"] {
        let told = ["input `destination`", "must not write into `.git` or `.github`"];
        sandbox.run("restore", &["--destination", destination]).fails(2, &told);
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(fs::read_dir(sandbox.path(".git/hooks")).unwrap().count(), 0);
    // The target of the link, given by its own path, is a destination like any other.
    let target = outside.path().join("served").display().to_string();
    assert_eq!(sandbox.run("restore", &["--destination", &target]).json()["restored"], true);
}
