//! Files that cannot be hashed, saved or found.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use super::Sandbox;
use crate::support::cli::Run;

/// The number of the user and group `nobody`, which own no files.
const NOBODY: u32 = 65534;

impl Sandbox {
    /// Runs a verb without root's rights, because permissions do not stop root.
    fn run_unprivileged(&self, verb: &str, more: &[&str]) -> Run {
        let command = self.command(Sandbox::arguments(verb, more));
        let place = self.work().parent().unwrap().to_owned();
        // The original may be in a directory that only its owner can enter.
        let binary = place.join("ml-cache-under-test");
        fs::copy(command.get_program(), &binary).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
        let mut unprivileged = Command::new(binary);
        unprivileged.args(command.get_args()).env_clear().current_dir(self.work());
        unprivileged.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if is_root() {
            unprivileged.uid(NOBODY).gid(NOBODY);
        }
        Run::of(unprivileged.output().unwrap())
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Runs a plan while the path has no permissions at all.
fn plan_without(sandbox: &Sandbox, path: &str) -> Run {
    let set =
        |mode| fs::set_permissions(sandbox.path(path), fs::Permissions::from_mode(mode)).unwrap();
    set(0o000);
    let run = sandbox.run_unprivileged("plan", &[]);
    set(0o755);
    run
}

/// Demands that a plan refuses the data because of `data/bad`.
#[track_caller]
fn plan_refuses(sandbox: &Sandbox, needles: &[&str]) {
    sandbox.run("plan", &[]).fails(2, needles);
    // If no pattern selects the bad path, the plan succeeds.
    let mut arguments = Sandbox::arguments("plan", &[]);
    let data = arguments.iter().position(|argument| argument == "data/**").unwrap();
    arguments[data] = "data/**\n!data/bad*".to_owned();
    assert_eq!(sandbox.raw(&arguments).json()["reason"], "no-model");
}

/// Demands that a save refuses the model.
#[track_caller]
fn save_refuses(sandbox: &Sandbox, needles: &[&str]) {
    sandbox.write("models/good", "good");
    sandbox.run("save", &[]).fails(2, needles);
    assert!(sandbox.pointers().is_empty());
}

#[test]
fn patterns_that_select_nothing() {
    let sandbox = Sandbox::strict();
    let mut arguments = Sandbox::arguments("plan", &["--data-paths", "typo/**"]);
    sandbox
        .raw(&arguments)
        .fails(2, &["`data-paths`", "nothing is selected by `typo/**`", "hint:"]);
    arguments.push("--if-no-files-found=warn".to_owned());
    let warned = sandbox.raw(&arguments);
    assert_eq!(warned.json()["retrain-needed"], true);
    assert!(
        warned.stderr.contains("warning: `data-paths`: nothing is selected by `typo/**`"),
        "{}",
        warned.stderr
    );
    *arguments.last_mut().unwrap() = "--if-no-files-found=ignore".to_owned();
    let ignored = sandbox.raw(&arguments);
    assert_eq!(ignored.json()["fingerprint"], warned.json()["fingerprint"]);
    assert!(!ignored.stderr.contains("typo"), "{}", ignored.stderr);
}

#[test]
fn a_broken_link() {
    let sandbox = Sandbox::strict();
    symlink("nowhere", sandbox.path("data/bad")).unwrap();
    plan_refuses(&sandbox, &["`data-paths`", "the link `data/bad` is broken", "hint:"]);
}

#[test]
fn a_link_that_leads_outside() {
    for target in ["/etc/hostname", "../..", "/"] {
        let sandbox = Sandbox::strict();
        symlink(target, sandbox.path("data/bad")).unwrap();
        plan_refuses(&sandbox, &["the link `data/bad` leads outside the workspace", "hint:"]);
    }
    let sandbox = Sandbox::strict();
    fs::create_dir(sandbox.path("models")).unwrap();
    symlink("/etc/hostname", sandbox.path("models/bad")).unwrap();
    save_refuses(
        &sandbox,
        &["`model-path`", "`models/bad`", "the target must be relative", "hint:"],
    );
}

#[test]
fn a_special_file() {
    for make in [pipe, socket] {
        let sandbox = Sandbox::strict();
        let kept = make(&sandbox.path("data/bad"));
        plan_refuses(&sandbox, &["`data/bad` is neither a file nor a directory", "hint:"]);
        drop(kept);
        let sandbox = Sandbox::strict();
        fs::create_dir(sandbox.path("models")).unwrap();
        let _kept = make(&sandbox.path("models/bad"));
        save_refuses(
            &sandbox,
            &["`models/bad`", "neither a file, a link nor a directory", "hint:"],
        );
    }
}

fn pipe(path: &Path) -> Option<UnixListener> {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    None
}

fn socket(path: &Path) -> Option<UnixListener> {
    // The path of a new socket must be short, so it moves into place afterwards.
    let short = tempfile::tempdir_in("/tmp").unwrap();
    let listener = UnixListener::bind(short.path().join("s")).unwrap();
    fs::rename(short.path().join("s"), path).unwrap();
    Some(listener)
}

#[test]
fn a_name_that_is_not_utf_8() {
    let name = OsStr::from_bytes(b"bad\xff.csv");
    let sandbox = Sandbox::strict();
    fs::write(sandbox.path("data").join(name), "x").unwrap();
    plan_refuses(&sandbox, &["`data-paths`", "data/bad\u{fffd}.csv", "is not UTF-8", "hint:"]);
    let sandbox = Sandbox::strict();
    fs::create_dir(sandbox.path("models")).unwrap();
    fs::write(sandbox.path("models").join(name), "x").unwrap();
    save_refuses(&sandbox, &["`model-path`", "not UTF-8", "hint:"]);
}

#[test]
fn a_model_that_would_steer_git() {
    for name in ["models/.github/workflows/x.yml", "models/sub/.GitHub/workflows/x.yml"] {
        let sandbox = Sandbox::strict();
        sandbox.write(name, "x");
        save_refuses(&sandbox, &[name, "must not contain `.git` or `.github`", "hint:"]);
    }
    let sandbox = Sandbox::strict();
    sandbox.write("models/.git/config", "x");
    sandbox.write("models/good", "good");
    let save = sandbox.run("save", &[]);
    assert_eq!(save.json()["model-files"], 1);
    assert!(save.stderr.contains("are left out: `models/.git`\n"), "{}", save.stderr);
}

#[test]
fn a_file_that_may_not_be_read() {
    let sandbox = Sandbox::strict();
    fs::create_dir(sandbox.path("data/closed")).unwrap();
    for path in ["data/b.csv", "src/train.py", "data/closed"] {
        plan_without(&sandbox, path).fails(1, &[path, "Permission denied"]);
    }
}

#[test]
fn places_that_may_not_be_written() {
    let sandbox = Sandbox::strict();
    sandbox.write("models/model.bin", "weights");
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    let closed = sandbox.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let store = format!("file://{}/store", closed.display());
    sandbox
        .run_unprivileged("save", &["--store", &store])
        .fails(1, &["cannot write `v1/", "Permission denied"]);
    let restore = sandbox.run_unprivileged("restore", &["--destination", "closed"]);
    restore.fails(1, &["cannot write to", "closed", "Permission denied", "hint:"]);
    let restore = sandbox.run_unprivileged("restore", &["--destination", "closed/new"]);
    restore.fails(1, &["closed/new", "Permission denied"]);
}
