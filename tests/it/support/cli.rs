//! Running the binary with a clean environment in a throw-away workspace.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

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

    /// Every file below a directory of the store, such as `v1/blobs`, sorted.
    pub fn objects(&self, below: &str) -> Vec<PathBuf> {
        files_below(&self.store_dir().join(below))
    }

    /// The pointers that the store holds, in any scope.
    pub fn pointers(&self) -> Vec<serde_json::Value> {
        let is_pointer =
            |path: &PathBuf| path.parent().is_some_and(|parent| parent.ends_with("pointers"));
        self.objects("v1")
            .iter()
            .filter(|path| is_pointer(path))
            .map(|path| read_json(path))
            .collect()
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
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// Demands an exit code and text in the message, and that nothing panicked.
    #[track_caller]
    pub fn fails(&self, code: i32, needles: &[&str]) {
        assert_eq!(self.code, code, "{}", self.stderr);
        for needle in needles {
            assert!(self.stderr.contains(needle), "{needle:?} is not in:\n{}", self.stderr);
        }
        for word in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
            assert!(!self.stderr.contains(word), "{}", self.stderr);
        }
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

/// Demands that two snapshots are equal, and shows no more than how they differ.
#[track_caller]
pub fn assert_same(found: &[String], wanted: &[String], when: &str) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|entry| !those.contains(entry)).take(5).cloned().collect()
    };
    let (more, less) = (only(found, wanted), only(wanted, found));
    assert!(
        found == wanted,
        "{when}:\nthere is, among others, {more:#?}\nbut there should be {less:#?}"
    );
}

/// Every file below a path, sorted; none where there is no such directory.
pub fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut stack = vec![root.to_owned()];
    while let Some(directory) = stack.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() && !path.is_symlink() { stack.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

pub fn read_json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Changes fields of a JSON file, as a reader of the format may see them from another writer.
pub fn edit_json(path: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let mut value = read_json(path);
    edit(&mut value);
    fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
}

/// Bytes that look random and are the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Waits until something is so, which happens within moments unless something is broken.
#[track_caller]
pub fn wait_until(mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(120), "it never came to that");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether a process is there and at work; one that nobody has waited for yet is not.
pub fn is_running(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Waits until a process handles SIGINT and SIGTERM, or has ended.
pub fn wait_until_stoppable(child: &Child) {
    wait_until(|| handles_signals(child) || !is_running(child.id()));
}

fn handles_signals(child: &Child) -> bool {
    const BOTH: u64 = 1 << (2 - 1) | 1 << (15 - 1);
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).unwrap_or("0");
    u64::from_str_radix(caught.trim(), 16).unwrap() & BOTH == BOTH
}
