//! Running the binary with a clean environment in a throw-away workspace.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A workspace named `work`, and a store beside it, in a temporary directory.
pub struct Sandbox {
    place: TempDir,
    env: Vec<(String, String)>,
    store: String,
}

/// What a run of the binary printed, and its exit code.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    /// Makes an empty workspace whose store is a directory.
    pub fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("work")).unwrap();
        let store = format!("file://{}", place.path().join("store").display());
        Self { place, env: Vec::new(), store }
    }

    /// The same with another store.
    pub fn with_store(store: &str) -> Self {
        Self { store: store.to_owned(), ..Self::new() }
    }

    /// A workspace with `data/a.csv`, `data/b.csv` and `src/train.py`.
    pub fn with_project() -> Self {
        let sandbox = Self::new();
        sandbox.project();
        sandbox
    }

    pub fn project(&self) {
        self.write("data/a.csv", "id,amount\n1,10\n");
        self.write("data/b.csv", "id,amount\n2,20\n");
        self.write("src/train.py", "print('train')\n");
    }

    /// Adds an environment variable for every later run.
    pub fn env(&mut self, name: &str, value: impl Into<String>) {
        self.env.push((name.to_owned(), value.into()));
    }

    pub fn work(&self) -> PathBuf {
        self.place.path().join("work")
    }

    /// The directory of the store, where it is one.
    pub fn store_dir(&self) -> PathBuf {
        self.place.path().join("store")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.work().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A command of the binary with nothing of this process's environment in it, in the workspace.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ml-cache"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.place.path())
            .env("ML_CACHE_STORE", &self.store)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(self.work())
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary with exactly these arguments.
    #[must_use]
    pub fn raw<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        Run::of(self.command(arguments).output().unwrap())
    }

    /// The usual flags of a verb for [`Sandbox::with_project`], and some more.
    pub fn arguments(verb: &str, more: &[&str]) -> Vec<String> {
        let mut arguments = vec![verb, "--json", "--model", "fraud"];
        if verb != "restore" && verb != "verify" {
            arguments.extend(["--data-paths", "data/**", "--training-paths", "src/**"]);
        }
        if verb == "save" || verb == "run" {
            arguments.extend(["--model-path", "models/"]);
        }
        arguments.extend(more);
        arguments.into_iter().map(str::to_owned).collect()
    }

    /// Runs a verb with the usual flags.
    #[must_use]
    pub fn run(&self, verb: &str, more: &[&str]) -> Run {
        self.raw(Self::arguments(verb, more))
    }

    /// `run` with a shell command as the training.
    #[must_use]
    pub fn train(&self, more: &[&str], script: &str) -> Run {
        let mut more = more.to_vec();
        more.extend(["--", "sh", "-c", script]);
        self.run("run", &more)
    }
}

impl Run {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Demands success and returns the JSON object that was printed.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// Demands an exit code and text in the message, and that nothing panicked.
    #[track_caller]
    pub fn fails(&self, code: i32, needles: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        for needle in needles {
            assert!(self.stderr.contains(needle), "{needle:?} is not in:\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked") && !self.stderr.contains("RUST_BACKTRACE"), "{}", self.stderr);
        assert_eq!(self.stdout, "", "a failure prints no result");
    }
}

/// Every file, link and empty directory below a path, with mode and content, to compare trees.
pub fn snapshot(root: &Path) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut entries = Vec::new();
    let mut stack = vec![root.to_owned()];
    while let Some(directory) = stack.pop() {
        let mut count = 0;
        for entry in fs::read_dir(&directory).unwrap() {
            count += 1;
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let found = fs::symlink_metadata(&path).unwrap();
            if found.is_symlink() {
                entries.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
            } else if found.is_dir() {
                stack.push(path);
            } else {
                let digest = ml_cache::format::Digest::of(&fs::read(&path).unwrap());
                entries.push(format!("{name} {:o} {digest}", found.permissions().mode() & 0o777));
            }
        }
        if count == 0 {
            entries.push(format!("{}/", directory.strip_prefix(root).unwrap().display()));
        }
    }
    entries.sort();
    entries
}
