//! `ml-cache init` writes a first configuration file.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::process::Command;

use crate::support::cli::Sandbox;

fn git(sandbox: &Sandbox, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "safe.directory=*"]);
    let output = command.args(arguments).current_dir(sandbox.work()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn checkout() -> Sandbox {
    let sandbox = Sandbox::with_project();
    sandbox.write(".gitignore", "weights/\n");
    sandbox.write("weights/m", "old");
    sandbox.write("src/not-in-git.pyc", "x");
    git(&sandbox, &["init", "-q"]);
    git(&sandbox, &["add", ".gitignore", "data", "src/train.py"]);
    sandbox
}

#[test]
fn the_first_file_is_complete() {
    let sandbox = checkout();
    let store = format!("file://{}", sandbox.store_dir().display());
    let run = sandbox.raw(["init", "--store", &store]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let text = sandbox.read("ml-cache.yml");
    let schema = "# yaml-language-server: $schema=https://raw.githubusercontent.com/org/\
                  ml-cache-action/main/docs/ml-cache.schema.json\n";
    assert!(text.starts_with(schema), "{text}");
    for line in ["  work:\n", "- data/**\n", "- src/**\n", "- weights/\n"] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let found = fs::metadata(sandbox.path("ml-cache.yml")).unwrap();
    assert_eq!(found.permissions().mode() & 0o777, 0o644);
    let script = "mkdir -p weights && echo w > weights/m";
    let trained = sandbox.raw(["run", "--json", "--", "sh", "-c", script]);
    assert_eq!(trained.json()["saved"], true);
    assert_eq!(sandbox.raw(["plan", "--json"]).json()["reason"], "hit");
}

#[test]
fn a_file_below_the_root_is_doubted() {
    let sandbox = checkout();
    let run = sandbox.raw(["init", "--workspace", sandbox.path("src").to_str().unwrap()]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("set `working-directory: src` in the model"), "{}", run.stderr);
    assert!(!sandbox.raw(["init"]).stderr.contains("root of the repository"));
}

#[test]
fn no_file_is_overwritten() {
    for name in ["ml-cache.yml", "ml-cache.yaml"] {
        let sandbox = checkout();
        sandbox.write(name, "# mine\n");
        let remedy = match name {
            "ml-cache.yml" => "hint: edit the file",
            _ => "hint: rename it to `ml-cache.yml`",
        };
        sandbox.raw(["init"]).fails(2, &[&format!("`{name}` exists"), remedy]);
        assert_eq!(sandbox.read(name), "# mine\n");
        fs::remove_file(sandbox.path(name)).unwrap();
        symlink("elsewhere", sandbox.path(name)).unwrap();
        sandbox.raw(["init"]).fails(2, &["exists, and `init` overwrites nothing"]);
        assert!(!sandbox.path("elsewhere").exists());
    }
}

#[test]
fn without_git_or_with_a_bad_store_nothing_is_written() {
    let sandbox = Sandbox::with_project();
    sandbox.raw(["init"]).fails(1, &["`git` cannot list the files", "hint:"]);
    let sandbox = checkout();
    sandbox.raw(["init", "--store", "gs://x"]).fails(2, &["input `store`: `gs://x`"]);
    sandbox.raw(["init", "--workspace", "none"]).fails(1, &["cannot find `none`"]);
    assert!(!sandbox.path("ml-cache.yml").exists());
}

#[test]
fn the_file_belongs_to_the_owner_of_the_workspace() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can give a file to another user");
    }
    let mut sandbox = checkout();
    sandbox.env("GIT_CONFIG_COUNT", "1");
    sandbox.env("GIT_CONFIG_KEY_0", "safe.directory");
    sandbox.env("GIT_CONFIG_VALUE_0", "*");
    chown(sandbox.work(), Some(65_534), Some(65_534)).unwrap();
    let run = sandbox.raw(["init"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("names no `store`"), "{}", run.stderr);
    assert_eq!(fs::metadata(sandbox.path("ml-cache.yml")).unwrap().uid(), 65_534);
}
