//! Runs the binary with a clean environment in a throw-away workspace.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A temporary directory with a workspace `work` and a store beside it.
pub struct Sandbox {
    place: TempDir,
    env: Vec<(String, String)>,
    store: String,
}

/// The output of the binary, and its exit code.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    /// An empty workspace whose store is a directory.
    pub fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("work")).unwrap();
        let store = format!("file://{}", place.path().join("store").display());
        Self { place, env: Vec::new(), store }
    }

    /// An empty workspace with another store.
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

    /// Sets an environment variable for every later run.
    pub fn env(&mut self, name: &str, value: impl Into<String>) {
        self.env.push((name.to_owned(), value.into()));
    }

    pub fn work(&self) -> PathBuf {
        self.place.path().join("work")
    }

    /// Returns the directory of the store that [`Sandbox::new`] chooses.
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

    /// Returns every file below a directory of the store, such as `v1/blobs`, sorted.
    pub fn objects(&self, below: &str) -> Vec<PathBuf> {
        files_below(&self.store_dir().join(below))
    }

    /// Returns the store's pointers of all scopes.
    pub fn pointers(&self) -> Vec<serde_json::Value> {
        let is_pointer =
            |path: &PathBuf| path.parent().is_some_and(|parent| parent.ends_with("pointers"));
        self.objects("v1")
            .iter()
            .filter(|path| is_pointer(path))
            .map(|path| read_json(path))
            .collect()
    }

    /// Returns a command of the binary in the workspace. Of this process's environment it keeps
    /// only `PATH`.
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

    /// Returns the usual flags of a verb for [`Sandbox::with_project`], and the flags `more`.
    pub fn arguments(verb: &str, more: &[&str]) -> Vec<String> {
        let mut arguments = vec![verb, "--json", "--model", "fraud"];
        if verb != "restore" && verb != "verify" {
            arguments.extend(["--data-paths", "data/**", "--training-paths", "src/**"]);
        }
        if ["check", "save", "run"].contains(&verb) {
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

    /// Runs the verb `run` with a shell script as the training.
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

    /// Demands success, and returns the JSON object from standard output.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// Demands this exit code, these words in the message, no result, and no panic.
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

/// Returns every file, link and empty directory below a path, with mode and digest.
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

/// Demands that two snapshots are equal. On failure it shows only the differences.
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

/// Returns every file below a path, sorted; nothing if there is no such directory.
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

/// Edits a JSON file, as if another writer had written it.
pub fn edit_json(path: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let mut value = read_json(path);
    edit(&mut value);
    fs::write(path, serde_json::to_vec(&value).unwrap()).unwrap();
}

/// Returns bytes that look random, and are equal for equal seeds.
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

/// Returns the Git LFS stand-in of a content.
pub fn stand_in(content: &str) -> String {
    let oid = ml_cache::format::Digest::of(content.as_bytes()).hex();
    let size = content.len();
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n")
}

/// Waits up to two minutes until the condition holds. Normally that takes moments.
#[track_caller]
pub fn wait_until(mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(120), "it never came to that");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns whether a process runs. A zombie, which its parent has not reaped, does not run.
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
