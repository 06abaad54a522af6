//! A runner without Docker: it does all that GitHub's runner does for a container action, except
//! for the container.
//!
//! Source: actions/runner, src/Runner.Worker: Handlers/ContainerActionHandler.cs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ml_cache::report::outputs;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::protocol::{check_log, declared_inputs, parse_file_command};
use crate::support::cli::{edit_json, files_below, read_json};

/// The state that a main step keeps for its post step.
pub type State = BTreeMap<String, String>;

/// The values of `${{ github.workspace }}` and `${{ runner.temp }}`: paths outside of the
/// container.
pub const HOST_WORKSPACE: &str = "/home/runner/work/fraud-detection/fraud-detection";
pub const HOST_TEMP: &str = "/home/runner/work/_temp";

/// A job of a repository, on a machine of its own. Later jobs share its store.
pub struct Runner {
    place: TempDir,
    env: BTreeMap<String, String>,
    inputs: BTreeMap<String, String>,
    store: PathBuf,
    /// Keeps the store's directory as long as any job uses it.
    shared: std::rc::Rc<TempDir>,
}

/// The result of a step.
#[derive(Debug)]
pub struct Step {
    pub code: i32,
    pub outputs: BTreeMap<String, String>,
    pub state: State,
    pub summary: String,
    /// Standard output and standard error.
    pub log: String,
    /// The files for outputs, state and summary, and the log, all unparsed.
    pub raw: String,
}

impl Runner {
    /// A push to the default branch of a project without a model.
    pub fn new() -> Self {
        let shared = std::rc::Rc::new(tempfile::tempdir().unwrap());
        let mut runner = Self {
            place: tempfile::tempdir().unwrap(),
            env: BTreeMap::new(),
            inputs: BTreeMap::new(),
            store: shared.path().join("store"),
            shared,
        };
        runner.make_directories();
        for (name, value) in [
            ("GITHUB_ACTIONS", "true"),
            ("CI", "true"),
            ("GITHUB_REPOSITORY", "acme/fraud-detection"),
            ("GITHUB_REPOSITORY_ID", "4242"),
            ("GITHUB_REF", "refs/heads/main"),
            ("GITHUB_SHA", "6f1e2d3c4b5a69788796a5b4c3d2e1f001122334"),
            ("GITHUB_EVENT_NAME", "push"),
            (
                "GITHUB_WORKFLOW_REF",
                "acme/fraud-detection/.github/workflows/train.yml@refs/heads/main",
            ),
            ("GITHUB_RUN_ID", "1001"),
            ("GITHUB_RUN_ATTEMPT", "1"),
            ("GITHUB_JOB", "train"),
        ] {
            runner.env(name, value);
        }
        runner.event(&json!({}));
        let store = format!("file://{}", runner.store.display());
        for (name, value) in [
            ("model", "fraud"),
            ("store", &store),
            ("data-paths", "data/**"),
            ("training-paths", "src/**"),
            ("model-path", "models/"),
        ] {
            runner.input(name, value);
        }
        runner.write("data/a.csv", "id,amount\n1,10\n");
        runner.write("data/b.csv", "id,amount\n2,20\n");
        runner.write("src/train.py", "print('train')\n");
        runner
    }

    /// The same job after it trained and saved a model.
    pub fn trained() -> Self {
        let runner = Self::new();
        let main = runner.main();
        runner.train("weights");
        runner.post(&main).succeeds();
        assert_eq!(runner.pointers().len(), 1);
        runner
    }

    /// The job of a later run: a fresh checkout with the same settings and the same store.
    pub fn next_job(&self) -> Self {
        let mut next = Self {
            place: tempfile::tempdir().unwrap(),
            env: self.env.clone(),
            inputs: self.inputs.clone(),
            store: self.store.clone(),
            shared: self.shared.clone(),
        };
        next.make_directories();
        for set in ["data", "src"] {
            for file in files_below(&self.path(set)) {
                let target = next.work().join(file.strip_prefix(self.work()).unwrap());
                fs::create_dir_all(target.parent().unwrap()).unwrap();
                fs::copy(&file, target).unwrap();
            }
        }
        fs::copy(self.place.path().join("event.json"), next.place.path().join("event.json"))
            .unwrap();
        let run_id: u64 = self.env["GITHUB_RUN_ID"].parse().unwrap();
        next.env("GITHUB_RUN_ID", &(run_id + 1).to_string());
        next
    }

    fn make_directories(&mut self) {
        for name in ["work", "temp", "bin", "home"] {
            fs::create_dir(self.place.path().join(name)).unwrap();
        }
        for name in [
            "ml-cache",
            "ml-cache-main",
            "ml-cache-post",
            "ml-cache-plan",
            "ml-cache-resolve",
            "ml-cache-restore",
            "ml-cache-save",
        ] {
            symlink(env!("CARGO_BIN_EXE_ml-cache"), self.place.path().join("bin").join(name))
                .unwrap();
        }
        for (name, value) in [
            ("GITHUB_WORKSPACE", self.work()),
            ("RUNNER_TEMP", self.place.path().join("temp")),
            ("HOME", self.place.path().join("home")),
            ("GITHUB_EVENT_PATH", self.place.path().join("event.json")),
        ] {
            self.env(name, value.to_str().unwrap());
        }
    }

    /// Sets a variable of the job.
    pub fn env(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// Unsets a variable of the job.
    pub fn unset(&mut self, name: &str) {
        self.env.remove(name);
    }

    /// Returns a variable of the job.
    pub fn env_of(&self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }

    /// Sets an input of every later step that has this input.
    pub fn input(&mut self, name: &str, value: &str) {
        self.inputs.insert(name.to_owned(), value.to_owned());
    }

    /// Writes the event's payload: these fields, and the repository that every payload has.
    pub fn event(&mut self, more: &Value) {
        let mut payload = json!({
            "repository": {
                "id": 4242, "full_name": "acme/fraud-detection", "default_branch": "main",
            },
        });
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fs::write(self.place.path().join("event.json"), payload.to_string()).unwrap();
    }

    /// Makes this the run of a pull request whose branch is in the repository `head`.
    pub fn pull_request(&mut self, head: &str) {
        let side = |name: &str| json!({"repo": {"full_name": name}});
        let request =
            json!({"number": 7, "head": side(head), "base": side("acme/fraud-detection")});
        self.event(&json!({"pull_request": request}));
        for (name, value) in [
            ("GITHUB_EVENT_NAME", "pull_request"),
            ("GITHUB_REF", "refs/pull/7/merge"),
            ("GITHUB_HEAD_REF", "better-features"),
            ("GITHUB_BASE_REF", "main"),
        ] {
            self.env(name, value);
        }
    }

    pub fn work(&self) -> PathBuf {
        self.place.path().join("work")
    }

    pub fn temp(&self) -> PathBuf {
        self.place.path().join("temp")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.work().join(name)
    }

    pub fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Does the work of the user's training step.
    pub fn train(&self, weights: &str) {
        self.write("models/model.bin", weights);
    }

    /// Returns the store's files below a directory, each with its path in the store and its digest.
    pub fn objects(&self, below: &str) -> Vec<String> {
        let shown = |path: PathBuf| {
            let digest = ml_cache::format::Digest::of(&fs::read(&path).unwrap());
            format!("{} {digest}", path.strip_prefix(&self.store).unwrap().display())
        };
        files_below(&self.store.join(below)).into_iter().map(shown).collect()
    }

    /// Returns every file of the store with its bytes.
    pub fn stored(&self) -> Vec<(String, Vec<u8>)> {
        let named = |path: PathBuf| (path.display().to_string(), fs::read(&path).unwrap());
        files_below(&self.store).into_iter().map(named).collect()
    }

    pub fn pointers(&self) -> Vec<Value> {
        let files = files_below(&self.store.join("v1"));
        files
            .iter()
            .filter(|path| path.to_string_lossy().contains("/pointers/"))
            .map(|path| read_json(path))
            .collect()
    }

    /// Stores a manifest, and makes the pointers below `scopes` lead to it. Every file of the
    /// manifest holds the bytes `content`.
    pub fn plant_manifest(&self, scopes: &str, manifest: &Value, content: &[u8]) {
        let put = |key: String, bytes: &[u8]| {
            let path = self.store.join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let blob = ml_cache::format::Digest::of(content).hex();
        put(format!("v1/blobs/{}/{blob}", &blob[..2]), content);
        let bytes = manifest.to_string().into_bytes();
        let digest = ml_cache::format::Digest::of(&bytes);
        put(format!("v1/manifests/{}.json", digest.hex()), &bytes);
        let pointers = files_below(&self.store.join(scopes));
        for pointer in pointers.iter().filter(|path| path.to_string_lossy().contains("/pointers/"))
        {
            edit_json(pointer, |pointer| {
                pointer["manifest"] = json!({"digest": digest.to_string(), "size": bytes.len()});
            });
        }
    }

    /// Returns the inputs that the test set.
    pub fn inputs_of(&self) -> BTreeMap<String, String> {
        self.inputs.clone()
    }

    /// Copies the trusted pointer and head into an untrusted scope, as somebody with an untrusted
    /// role could. The planted pointer claims a run of that scope.
    pub fn plant(&self, scope: &str) {
        let (event, git_ref) = match scope.split_once('/').unwrap() {
            ("pr", number) => ("pull_request", format!("refs/pull/{number}/merge")),
            (_, name) if name.starts_with("tags/") => ("push", format!("refs/{name}")),
            (_, name) => ("push", format!("refs/heads/{name}")),
        };
        let key = scope.replace('/', "%2F");
        let trusted = self.store.join("v1/trusted/acme/fraud-detection");
        let planted = self.store.join("v1/untrusted/acme/fraud-detection").join(key);
        for file in files_below(&trusted) {
            let mut target = planted.join(file.strip_prefix(&trusted).unwrap());
            if target.ends_with("head.json") {
                target.set_file_name("heads/main.json");
            }
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            let text = fs::read_to_string(&file).unwrap();
            let planted = text
                .replace(r#""scope":"trusted""#, &format!(r#""scope":"{scope}""#))
                .replace(r#""ref":"refs/heads/main""#, &format!(r#""ref":"{git_ref}""#))
                .replace(r#""event":"push""#, &format!(r#""event":"{event}""#));
            fs::write(target, planted).unwrap();
        }
    }

    /// Flips a bit of a stored blob.
    pub fn damage_a_blob(&self) {
        let blob = &files_below(&self.store.join("v1/blobs"))[0];
        let mut bytes = fs::read(blob).unwrap();
        bytes[0] ^= 1;
        fs::write(blob, bytes).unwrap();
    }

    /// Removes a stored blob.
    pub fn remove_a_blob(&self) {
        fs::remove_file(&files_below(&self.store.join("v1/blobs"))[0]).unwrap();
    }

    /// Edits the store's only pointer.
    pub fn edit_pointer(&self, edit: impl FnOnce(&mut Value)) {
        let files = files_below(&self.store.join("v1"));
        let pointers: Vec<_> =
            files.iter().filter(|path| path.to_string_lossy().contains("/pointers/")).collect();
        assert_eq!(pointers.len(), 1);
        edit_json(pointers[0], edit);
    }

    /// Edits the head of the default branch.
    pub fn edit_head(&self, edit: impl FnOnce(&mut Value)) {
        edit_json(&self.head(), edit);
    }

    /// Gives the head of the default branch the key that versions before the fixed key used.
    pub fn name_the_head_as_before(&self, branch: &str) {
        let head = self.head();
        let old = head.with_file_name("heads").join(format!("{branch}.json"));
        fs::create_dir_all(old.parent().unwrap()).unwrap();
        fs::rename(head, old).unwrap();
    }

    fn head(&self) -> PathBuf {
        let files = files_below(&self.store.join("v1"));
        let heads: Vec<_> = files.iter().filter(|path| path.ends_with("head.json")).collect();
        assert_eq!(heads.len(), 1);
        heads[0].clone()
    }

    /// Replaces the payload by any text, or removes it.
    pub fn replace_event(&self, payload: Option<&str>) {
        let path = self.place.path().join("event.json");
        match payload {
            Some(text) => fs::write(path, text).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
    }

    pub fn main(&self) -> Step {
        self.step("main")
    }

    /// Runs the post step of a main step with its state, as the runner does.
    pub fn post(&self, main: &Step) -> Step {
        self.step_after("post", &main.state)
    }

    pub fn step(&self, phase: &str) -> Step {
        self.step_after(phase, &State::new())
    }

    /// Runs a step with some inputs of its own.
    pub fn step_with(&self, phase: &str, inputs: &[(&str, &str)]) -> Step {
        let declared = declared_inputs(phase);
        for (name, value) in inputs {
            let is_declared = declared.iter().any(|(declared, _)| declared == name);
            assert!(
                is_declared || value.is_empty(),
                "{phase} has no input {name}: the runner would only warn"
            );
        }
        let mut all = self.inputs.clone();
        all.extend(inputs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.run(phase, self.input_variables(phase, &all), &State::new())
    }

    pub fn step_after(&self, phase: &str, state: &State) -> Step {
        self.run(phase, self.input_variables(phase, &self.inputs), state)
    }

    /// Returns `INPUT_*` as the runner makes them.
    ///
    /// Every declared input has a variable, and hyphens stay. The host evaluates expressions in
    /// defaults.
    pub fn input_variables(
        &self,
        phase: &str,
        inputs: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let evaluate = |default: &str| {
            default
                .replace("${{ github.workspace }}", HOST_WORKSPACE)
                .replace("${{ runner.temp }}", HOST_TEMP)
        };
        let value = |name: &str, default: &str| {
            inputs.get(name).cloned().unwrap_or_else(|| evaluate(default))
        };
        let declared = declared_inputs(phase);
        declared
            .iter()
            .map(|(name, default)| (format!("INPUT_{}", name.to_uppercase()), value(name, default)))
            .collect()
    }

    /// Runs a step with exactly these `INPUT_*` variables.
    pub fn run(&self, phase: &str, inputs: BTreeMap<String, String>, state: &State) -> Step {
        let (mut command, files) = self.command(phase, inputs, state);
        let output = command.output().unwrap();
        files.read(output.status.code(), &[output.stdout, output.stderr])
    }

    /// Returns the command of a step, and new files for its outputs, state and summary.
    pub fn command(
        &self,
        phase: &str,
        inputs: BTreeMap<String, String>,
        state: &State,
    ) -> (Command, Files) {
        let files = Files(tempfile::tempdir_in(self.place.path()).unwrap());
        let name =
            if phase.is_empty() { "ml-cache".to_owned() } else { format!("ml-cache-{phase}") };
        let mut command = Command::new(self.place.path().join("bin").join(name));
        command
            .env_clear()
            .envs(&self.env)
            .envs(inputs)
            .current_dir(self.work())
            .stdin(Stdio::null());
        command.envs(state.iter().map(|(name, value)| (format!("STATE_{name}"), value)));
        for (name, file) in [
            ("GITHUB_OUTPUT", "output"),
            ("GITHUB_STATE", "state"),
            ("GITHUB_STEP_SUMMARY", "summary"),
        ] {
            fs::write(files.0.path().join(file), "").unwrap();
            command.env(name, files.0.path().join(file));
        }
        (command, files)
    }
}

/// The files for outputs, state and summary of a step.
pub struct Files(TempDir);

impl Files {
    /// Reads the files as the runner does after the step.
    pub fn read(&self, code: Option<i32>, streams: &[Vec<u8>]) -> Step {
        let read = |name: &str| fs::read_to_string(self.0.path().join(name)).unwrap();
        let log: String =
            streams.iter().map(|stream| std::str::from_utf8(stream).unwrap()).collect();
        check_log(&log);
        let mut outputs = BTreeMap::new();
        for (name, value) in parse_file_command(&read("output")) {
            assert!(outputs.insert(name.clone(), value).is_none(), "{name} is set twice");
        }
        Step {
            code: code.unwrap_or(-1),
            outputs,
            // The runner, too, takes the last value of a name.
            state: parse_file_command(&read("state")).into_iter().collect(),
            summary: read("summary"),
            raw: [read("output"), read("state"), read("summary"), log.clone()].concat(),
            log,
        }
    }
}

impl Step {
    #[track_caller]
    pub fn succeeds(&self) {
        assert_eq!(self.code, 0, "{}", self.log);
        if !self.outputs.is_empty() {
            self.has_all_outputs();
        }
    }

    /// Demands this exit code, and these words in the log.
    #[track_caller]
    pub fn fails(&self, code: i32, needles: &[&str]) {
        assert_eq!(self.code, code, "{}", self.log);
        for needle in needles {
            assert!(self.log.contains(needle), "{needle:?} is not in:\n{}", self.log);
        }
        assert!(!self.log.contains("panicked"), "{}", self.log);
    }

    /// Demands that the step set exactly the documented outputs.
    #[track_caller]
    pub fn has_all_outputs(&self) {
        let mut names: Vec<&str> = outputs::all().map(|output| output.name).collect();
        names.sort_unstable();
        assert_eq!(self.outputs.keys().collect::<Vec<_>>(), names);
        for name in ["retrain-needed", "cache-hit", "restored", "saved"] {
            assert!(
                ["true", "false"].contains(&self.output(name)),
                "{name} is {:?}",
                self.output(name)
            );
        }
    }

    #[track_caller]
    pub fn output(&self, name: &str) -> &str {
        self.outputs
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not in {:?}\n{}", self.outputs, self.log))
    }

    pub fn pick<const N: usize>(&self, names: [&str; N]) -> [&str; N] {
        names.map(|name| self.output(name))
    }
}
