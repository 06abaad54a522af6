//! Models in a workspace with volumes, bind mounts and other processes that write there.
//!
//! Each test has a mount namespace of its own, so that nothing is mounted for other tests.

mod fixed;
mod kills;
mod links;
mod locks;
mod space;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::support::cli::{Run, Sandbox, assert_same, noise, snapshot};

/// A sandbox whose commands run in a mount namespace.
struct Mounted {
    sandbox: Sandbox,
    shell: Child,
    input: Option<ChildStdin>,
}

impl Mounted {
    /// Opens a namespace, and runs a script there, with the workspace as its directory.
    ///
    /// Returns `None` where the machine permits no namespace.
    fn new(sandbox: Sandbox, script: &str) -> Option<Self> {
        if !Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|it| it.success()) {
            println!("skipped: `unshare -m` is refused here");
            return None;
        }
        let script = format!("set -eu\n{script}\necho ready\nread -r _ || :");
        let mut shell = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .current_dir(sandbox.work())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{script}");
        let input = shell.stdin.take();
        Some(Self { sandbox, shell, input })
    }

    /// Returns the path of a file in the workspace, as the namespace shows it.
    fn path(&self, name: &str) -> PathBuf {
        let work = self.sandbox.work();
        let below = work.strip_prefix("/").unwrap();
        Path::new(&format!("/proc/{}/root", self.shell.id())).join(below).join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    fn command(&self, arguments: &[String]) -> Command {
        self.command_by(&[], arguments)
    }

    /// Returns a command of the binary, behind another program that starts it.
    fn command_by(&self, starter: &[&str], arguments: &[String]) -> Command {
        let own = self.sandbox.command(arguments);
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.shell.id().to_string(), "-m", "sh", "-c"]);
        command.arg("cd \"$1\" && shift && exec \"$@\"").arg("sh").arg(self.sandbox.work());
        command.args(starter).arg(own.get_program()).args(own.get_args()).env_clear();
        for (name, value) in own.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, verb: &str, more: &[&str]) -> Run {
        let arguments = Sandbox::arguments(verb, more);
        Run::of(self.command(&arguments).output().unwrap())
    }

    /// Runs a verb as another user. Returns `None` if that user may not run the binary.
    fn run_as_other(&self, verb: &str) -> Option<Run> {
        let other = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
        let arguments = Sandbox::arguments(verb, &[]);
        let run = Run::of(self.command_by(&other, &arguments).output().unwrap());
        if run.stderr.contains("setpriv: failed to execute") {
            println!("skipped: the other user may not run the binary");
            return None;
        }
        Some(run)
    }

    fn shell(&self, script: &str) {
        let status = Command::new("nsenter")
            .args(["-t", &self.shell.id().to_string(), "-m", "sh", "-euc"])
            .arg(format!("cd \"$1\"\n{script}"))
            .arg("sh")
            .arg(self.sandbox.work())
            .status();
        assert!(status.unwrap().success(), "{script}");
    }

    /// Demands that no stage is left anywhere in the workspace.
    #[track_caller]
    fn is_tidy(&self) {
        let left: Vec<String> = snapshot(&self.path(""))
            .into_iter()
            .filter(|entry| entry.contains(".ml-cache-tmp-"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(mut input) = self.input.take() {
            let _ = input.write_all(b"\n");
        }
        let _ = self.shell.wait();
    }
}

/// A project with a stored model of small files. The workspace holds an older one.
fn stored() -> Sandbox {
    let sandbox = Sandbox::with_project();
    let write = |content: &str| {
        for name in ["a", "b", "sub/c", "vol/d"] {
            sandbox.write(&format!("models/{name}"), content);
        }
    };
    write("new");
    std::os::unix::fs::symlink("a", sandbox.path("models/link")).unwrap();
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    fs::remove_file(sandbox.path("models/link")).unwrap();
    write("old");
    sandbox
}

/// Ways to mount something at `models/vol`, where it shows a file `keep`.
const VOLUMES: [&str; 3] = [
    "mount -t tmpfs none models/vol",
    "mkdir ../volume && mount --bind ../volume models/vol",
    "mkdir -p ../volume/in\nmount --bind ../volume models/vol\nmount -t tmpfs none models/vol/in",
];

#[test]
fn a_volume_in_a_model_stays_in_place() {
    for mount in VOLUMES {
        let script = format!("{mount}\necho mine > models/vol/keep");
        let Some(mounted) = Mounted::new(stored(), &script) else { return };
        for round in 0..2 {
            assert_eq!(mounted.run("restore", &[]).json()["restored"], true, "{mount}");
            mounted.shell("mountpoint -q models/vol");
            assert_eq!(mounted.read("models/vol/keep"), "mine\n", "{mount}");
            for name in ["a", "b", "sub/c", "vol/d", "link"] {
                assert_eq!(mounted.read(&format!("models/{name}")), "new", "{mount}, {name}");
            }
            fs::write(mounted.path("models/vol/later"), "later").unwrap();
            mounted.run("plan", &[]).json();
            assert_eq!(mounted.read("models/vol/later"), "later", "{mount}");
            mounted.is_tidy();
            if round == 0 {
                mounted.shell("echo old > models/a; rm models/vol/d models/link");
            }
        }
    }
}

#[test]
fn a_volume_that_the_model_does_not_know_stays_in_place() {
    for mount in VOLUMES.map(|mount| mount.replace("models/vol", "models/other")) {
        let script = format!("mkdir models/other\n{mount}\necho mine > models/other/keep");
        let Some(mounted) = Mounted::new(stored(), &script) else { return };
        assert_eq!(mounted.run("restore", &[]).json()["restored"], true, "{mount}");
        mounted.shell("mountpoint -q models/other");
        mounted.run("plan", &[]).json();
        assert_eq!(mounted.read("models/other/keep"), "mine\n", "{mount}");
        assert_eq!(mounted.read("models/a"), "new", "{mount}");
        mounted.is_tidy();
    }
}

#[test]
fn a_volume_that_holds_the_whole_model() {
    let script = "mount -t tmpfs none models\nmkdir models/sub\necho old > models/sub/c";
    let Some(mounted) = Mounted::new(stored(), script) else { return };
    assert_eq!(mounted.run("restore", &[]).json()["restored"], true);
    for name in ["a", "b", "sub/c", "vol/d", "link"] {
        assert_eq!(mounted.read(&format!("models/{name}")), "new", "{name}");
    }
    mounted.shell("mountpoint -q models; rm -r models/vol");
    assert_eq!(mounted.run("restore", &[]).json()["restored"], true);
    assert_eq!(mounted.read("models/vol/d"), "new");
    mounted.is_tidy();
}

#[test]
fn a_file_that_is_a_mount_is_not_replaced_and_nothing_else_is() {
    for directory in ["models", "models/sub"] {
        let script = format!(
            "echo mine > ../file\n: > {directory}/other\nmount --bind ../file {directory}/other\n\
             mount --bind ../file models/b"
        );
        let Some(mounted) = Mounted::new(stored(), &script) else { return };
        let before = snapshot(&mounted.path("models"));
        mounted.run("restore", &[]).fails(1, &["cannot put in place", "models/b", "hint:"]);
        assert_same(&snapshot(&mounted.path("models")), &before, "after the failure");
        mounted.is_tidy();
        mounted.shell("umount models/b");
        assert_eq!(mounted.run("restore", &[]).json()["restored"], true);
        mounted.shell(&format!("mountpoint -q {directory}/other"));
        assert_eq!(mounted.read("models/b"), "new");
        assert_eq!(mounted.read(&format!("{directory}/other")), "mine\n");
    }
}

#[test]
fn a_volume_in_an_abandoned_stage_is_not_emptied() {
    for mount in ["mount -t tmpfs none", "mkdir ../volume && mount --bind ../volume"] {
        let stage = ".ml-cache-tmp-left";
        let script = format!(
            "mkdir -p {stage}/models/vol\necho x > {stage}/models/a\n{mount} {stage}/models/vol\n\
             echo mine > {stage}/models/vol/keep"
        );
        let Some(mounted) = Mounted::new(stored(), &script) else { return };
        mounted.run("plan", &[]).json();
        mounted.run("restore", &[]).json();
        assert_eq!(mounted.read(&format!("{stage}/models/vol/keep")), "mine\n");
        assert!(!mounted.path(&format!("{stage}/models/a")).exists());
    }
}

#[test]
fn a_model_without_rights_of_root_goes_to_a_volume_too() {
    let script = "mount -t tmpfs -o mode=777 none models/vol\nchmod 755 .. && chmod -R a+rwX ..";
    let Some(mounted) = Mounted::new(stored(), script) else { return };
    let Some(run) = mounted.run_as_other("restore") else { return };
    assert_eq!(run.json()["restored"], true, "{}", run.stderr);
    assert_eq!(mounted.read("models/vol/d"), "new");
    mounted.is_tidy();
}

/// Writes a model of large files, which differ in each version.
fn large(sandbox: &Sandbox, version: u64, size: usize) {
    for n in 0..3 {
        sandbox.write(&format!("models/{n}.bin"), noise(version * 10 + n, size));
    }
}
