//! Killed restores that left old and new files together, and the next command.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use super::Sandbox;
use crate::support::cli::{Run, assert_same, snapshot};

const STAGE: &str = ".ml-cache-tmp-0123456789abcdef0123456789abcdef";
const TOLD: &str = "a killed restore left old and new files together";
pub(super) const OTHER: u32 = 65534;

/// Makes a directory as a restore leaves it that is killed after the first of two moves.
fn half(base: &Path) {
    let at = |name: &str| base.join(name);
    for path in ["models", STAGE, &format!("{STAGE}/new/models"), &format!("{STAGE}/old")] {
        fs::create_dir_all(at(path)).unwrap();
    }
    fs::write(at("models/a"), "old").unwrap();
    fs::write(at("models/b"), "old").unwrap();
    let inode = |name: &str| fs::metadata(at(name)).unwrap().ino();
    let old = (inode("models/a"), inode("models/b"));
    for name in ["a", "b"] {
        fs::write(at(&format!("{STAGE}/new/models/{name}")), "new").unwrap();
    }
    let new = |name: &str| inode(&format!("{STAGE}/new/models/{name}"));
    let moves = serde_json::json!([
        {"ground": 0, "path": "models/a", "inode": new("a"), "replaces": old.0},
        {"ground": 0, "path": "models/b", "inode": new("b"), "replaces": old.1},
    ]);
    fs::rename(at("models/a"), at(&format!("{STAGE}/old/0"))).unwrap();
    fs::rename(at(&format!("{STAGE}/new/models/a")), at("models/a")).unwrap();
    fs::write(at(&format!("{STAGE}/places")), "[]").unwrap();
    fs::write(at(&format!("{STAGE}/moves")), moves.to_string()).unwrap();
    mark(base);
}

/// Marks the list of moves as complete.
fn mark(base: &Path) {
    let found = fs::metadata(base.join(STAGE).join("moves")).unwrap();
    let mark = format!("{} {} {}\n", found.ino(), found.ctime(), found.ctime_nsec());
    fs::write(base.join(STAGE).join("ready"), mark).unwrap();
}

/// Gives everything below a path to a user.
pub(super) fn give(path: &Path, user: u32) {
    let given = Command::new("chown").args(["-R", &format!("{user}:{user}")]).arg(path).status();
    assert!(given.unwrap().success());
}

/// A workspace with half a model, whose store has the new one.
fn with_half() -> Option<Sandbox> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root may give files away");
        return None;
    }
    let sandbox = Sandbox::with_project();
    for name in ["a", "b"] {
        sandbox.write(&format!("models/{name}"), "new");
    }
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    half(&sandbox.work());
    Some(sandbox)
}

/// Runs a verb as another user, who owns the workspace.
pub(super) fn as_other(sandbox: &Sandbox, verb: &str) -> Option<Run> {
    let own = sandbox.command(Sandbox::arguments(verb, &[]));
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(own.get_program()).args(own.get_args()).env_clear().current_dir(sandbox.work());
    for (name, value) in own.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let run = Run::of(command.output().unwrap());
    if run.stderr.contains("setpriv: failed to execute") {
        println!("skipped: the other user may not run the binary");
        return None;
    }
    Some(run)
}

/// Demands a warning and the same files after a plan, and a whole model after a restore.
#[track_caller]
fn is_told_and_healed(sandbox: &Sandbox) {
    let before = snapshot(&sandbox.work());
    for _ in 0..2 {
        let plan = sandbox.run("plan", &[]);
        assert_eq!(plan.json()["reason"], "hit");
        assert!(plan.stderr.contains(TOLD), "{}", plan.stderr);
        assert_same(&snapshot(&sandbox.work()), &before, "after a plan");
    }
    let restore = sandbox.run("restore", &[]);
    assert_eq!(restore.json()["restored"], true);
    assert!(restore.stderr.contains(TOLD), "{}", restore.stderr);
    assert_eq!([sandbox.read("models/a"), sandbox.read("models/b")], ["new", "new"]);
    assert!(!sandbox.path(STAGE).exists());
    assert!(!sandbox.run("plan", &[]).stderr.contains(TOLD));
}

#[test]
fn the_next_command_completes_the_model() {
    let Some(sandbox) = with_half() else { return };
    let plan = sandbox.run("plan", &[]);
    assert_eq!(plan.json()["reason"], "hit");
    assert!(!plan.stderr.contains(TOLD), "{}", plan.stderr);
    assert_eq!([sandbox.read("models/a"), sandbox.read("models/b")], ["new", "new"]);
    assert!(!sandbox.path(STAGE).exists());
}

#[test]
fn half_a_model_of_another_user_is_told_and_a_restore_heals_it() {
    let Some(sandbox) = with_half() else { return };
    give(&sandbox.path(STAGE), OTHER);
    mark(&sandbox.work());
    chown(sandbox.path(STAGE).join("ready"), Some(OTHER), None).unwrap();
    is_told_and_healed(&sandbox);
}

#[test]
fn half_a_model_with_later_work_is_told_and_a_restore_heals_it() {
    let Some(sandbox) = with_half() else { return };
    fs::remove_file(sandbox.path("models/b")).unwrap();
    sandbox.write("models/b", "later");
    is_told_and_healed(&sandbox);
}

#[test]
fn a_restore_of_another_model_forgets_no_half_model() {
    let Some(sandbox) = with_half() else { return };
    sandbox.write("models/b", "later");
    sandbox.write("models/c", "later");
    fs::remove_file(sandbox.path("models/a")).unwrap();
    let more = ["--model", "other", "--model-path", "models/c"];
    let saved = sandbox.raw([&["save", "--data-paths", "data/**"][..], &more[..]].concat());
    assert_eq!(saved.code, 0, "{}", saved.stderr);
    let restored = sandbox.raw([&["restore"][..], &more[..2]].concat());
    assert_eq!(restored.code, 0, "{}", restored.stderr);
    assert!(sandbox.path(STAGE).exists());
    assert!(sandbox.run("plan", &[]).stderr.contains(TOLD));
}

#[test]
fn another_user_completes_the_moves_of_root_or_tells_of_them() {
    for (mode, is_completed) in [(0o644, true), (0o600, false)] {
        let Some(sandbox) = with_half() else { return };
        let place = sandbox.work().parent().unwrap().to_owned();
        give(&place, OTHER);
        // Root owns only the notes of its restore.
        for name in ["places", "moves"] {
            let path = sandbox.path(STAGE).join(name);
            chown(&path, Some(0), Some(0)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        mark(&sandbox.work());
        let ready = sandbox.path(STAGE).join("ready");
        chown(&ready, Some(0), Some(0)).unwrap();
        fs::set_permissions(&ready, fs::Permissions::from_mode(mode)).unwrap();
        let Some(plan) = as_other(&sandbox, "plan") else { return };
        assert_eq!(plan.json()["reason"], "hit", "{}", plan.stderr);
        assert_eq!(plan.stderr.contains(TOLD), !is_completed, "{}", plan.stderr);
        assert_eq!(sandbox.path(STAGE).exists(), !is_completed);
        assert_eq!(sandbox.read("models/b"), if is_completed { "new" } else { "old" });
        let Some(restore) = as_other(&sandbox, "restore") else { return };
        assert_eq!(restore.json()["restored"], true, "{}", restore.stderr);
        assert_eq!([sandbox.read("models/a"), sandbox.read("models/b")], ["new", "new"]);
    }
}

#[test]
fn a_save_takes_no_half_model_of_another_directory() {
    let Some(sandbox) = with_half() else { return };
    half(&sandbox.path("out"));
    let more = ["--force-retrain", "true", "--model-path", "out/"];
    let arguments =
        [&["save", "--model", "fraud", "--data-paths", "data/**"][..], &more[..]].concat();
    let run = sandbox.raw(&arguments);
    run.fails(2, &[TOLD, &format!("`out/{STAGE}`"), "hint: restore", "hint: if it is still"]);
    // The restore to the same place completes it, and then it can be saved.
    assert_eq!(sandbox.run("restore", &["--destination", "out"]).json()["restored"], true);
    assert!(!sandbox.path("out").join(STAGE).exists());
    let run = sandbox.raw(&arguments);
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[test]
fn no_file_of_a_stage_is_an_input() {
    let sandbox = Sandbox::with_old_tree();
    let inputs = ["--data-paths", "**", "--training-paths", "src/**"];
    let plan = |model: &str| {
        sandbox.raw([&["plan", "--json", "--model", model][..], &inputs[..]].concat())
    };
    let before = plan("x").json()["fingerprint"].clone();
    let told = ["a restore is at work in", &format!("`data/base/{STAGE}`"), "hint:"];
    sandbox.write(&format!("data/base/{STAGE}/new/models/f1"), "new");
    plan("x").fails(2, &told);
    // The same restore again removes what is left before it looks at the inputs.
    let again =
        ["--destination", "data/base", "--data-paths", "data/**", "--training-paths", "src/**"];
    assert_eq!(sandbox.run("restore", &again).code, 0);
    assert!(!sandbox.path("data/base").join(STAGE).exists());
    fs::remove_dir_all(sandbox.path("data/base")).unwrap();
    // A restore of the workspace itself is at work.
    let held = fs::File::open(sandbox.work()).unwrap();
    held.lock().unwrap();
    sandbox.write(&format!("{STAGE}/new/models/f1"), "new");
    assert_eq!(plan("x").json()["fingerprint"], before);
    drop(held);
}
