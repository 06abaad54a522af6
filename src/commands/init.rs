//! Writes a first configuration file from the files that Git has.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{AtFlags, Mode};

use crate::beneath::{self, Beneath};
use crate::error::{Error, IoContext as _, Result, describe_io};
use crate::format::ModelName;
use crate::ownership::Owner;
use crate::report::Report;
use crate::settings::file::NAME;
use crate::store::Location;

/// The line by which editors find the schema.
const SCHEMA: &str = "# yaml-language-server: $schema=https://raw.githubusercontent.com/org/\
                      ml-cache-action/main/docs/ml-cache.schema.json\n";
/// Directories that hold data, by their usual names.
const DATA: &[&str] = &["data", "dataset", "datasets", "raw", "corpus"];
/// Directories that hold training code and its configuration, by their usual names.
const TRAINING: &[&str] =
    &["src", "train", "training", "pipeline", "pipelines", "config", "configs", "conf", "params"];
/// Files that decide about a training, by their usual names.
const FILES: &[&str] = &[
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "uv.lock",
    "poetry.lock",
    "Pipfile.lock",
    "environment.yml",
    "environment.yaml",
    "conda-lock.yml",
    "params.yaml",
    ".python-version",
];
/// Directories into which a training writes its model, by their usual names.
const MODELS: &[&str] = &["models", "model", "artifacts", "checkpoints", "weights", "output"];

/// Writes the file, and names what it could not find.
///
/// # Errors
/// - The file exists.
/// - The directory is no checkout of Git.
/// - `store` names no store.
/// - The file cannot be written.
pub fn execute(workspace: &Path, store: Option<&str>, report: Report) -> Result<()> {
    if let Some(store) = store
        && let Err(reason) = store.parse::<Location>()
    {
        let accepted = "`s3://bucket/prefix` or `file:///directory`";
        let text = format!("input `store`: `{store}`: {reason}; accepted: {accepted}");
        return Err(Error::bad_input(text));
    }
    let real = workspace.canonicalize().on("cannot find", workspace)?;
    let root = Beneath::open_real(&real).on("cannot open", &real)?;
    for name in [NAME.to_owned(), NAME.replace(".yml", ".yaml")] {
        if root.look(&name).on("cannot look at", &real.join(&name))?.is_some() {
            return Err(exists(&name));
        }
    }
    let name = real.file_name().map(|name| name.to_string_lossy().into_owned());
    let found = Found {
        name: name.unwrap_or_default(),
        files: git(&real, &["ls-files", "-z"])?,
        ignored: git(
            &real,
            &["ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory"],
        )?,
    };
    // Git ends this line with its line end.
    let above = git(&real, &["rev-parse", "--show-prefix"])?.concat();
    let draft = found.draft(store);
    write(&root, &real, &draft.text)?;
    report.info(&format!("wrote `{}`", real.join(NAME).display()));
    for missing in &draft.missing {
        report.warn(missing);
    }
    if !above.trim_end().is_empty() {
        report.warn(&format!(
            "this directory is not the root of the repository, where a job looks for `{NAME}`; \
             move the file there, and set `working-directory: {}` in the model",
            above.trim_end().trim_end_matches('/')
        ));
    }
    report.info("next: complete the file, then see what `ml-cache check` says");
    Ok(())
}

fn exists(name: &str) -> Error {
    let error = Error::bad_input(format!("`{name}` exists, and `init` overwrites nothing"));
    match name == NAME {
        true => error.hint("edit the file, or remove it first"),
        false => error.hint(format!("rename it to `{NAME}`, the only name that is read by itself")),
    }
}

/// Returns the paths that Git prints, relative to the workspace.
fn git(workspace: &Path, arguments: &[&str]) -> Result<Vec<String>> {
    let mut command = Command::new("git");
    command.arg("-C").arg(workspace).args(arguments).stdin(Stdio::null());
    let output = command.output().map_err(|error| {
        Error::failed(format!("cannot run `git`: {}", describe_io(&error)))
            .hint("install Git, or write the file by hand as docs/configuration.md shows")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("no reason").to_owned();
        return Err(Error::failed(format!("`git` cannot list the files: {said}"))
            .hint("run `ml-cache init` in a checkout of Git, or name it by `--workspace`"));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

fn write(root: &Beneath, workspace: &Path, text: &str) -> Result<()> {
    let path = workspace.join(NAME);
    let create = || -> io::Result<()> {
        let mut file = beneath::create(root, NAME)?;
        let written = (|| {
            Owner::of_open(root)?.adopt_file(&file)?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
            file.write_all(text.as_bytes())
        })();
        if written.is_err() {
            let _ = rustix::fs::unlinkat(root, NAME, AtFlags::empty());
        }
        written
    };
    match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(NAME)),
        written => written.on("cannot write", &path),
    }
}

/// What Git and the workspace say.
struct Found {
    /// The name of the workspace.
    name: String,
    files: Vec<String>,
    /// Directories and files that Git ignores. A directory ends with a slash.
    ignored: Vec<String>,
}

/// The text of the file, and sentences about what it lacks.
struct Draft {
    text: String,
    missing: Vec<String>,
}

impl Found {
    fn draft(&self, store: Option<&str>) -> Draft {
        let data = self.data();
        let training = self.training();
        let model = self
            .name
            .parse::<ModelName>()
            .map_or_else(|_| "model".to_owned(), |name| name.as_str().trim().to_owned());
        let mut missing = Vec::new();
        let mut text = SCHEMA.to_owned();
        text.push_str("# docs/configuration.md of ml-cache-action has all keys.\n");
        match store {
            Some(store) => text.push_str(&format!("store: {}\n", scalar(store))),
            None => {
                text.push_str("# store: s3://my-bucket/ml-cache\n");
                missing.push("the file names no `store`; a workflow needs it".to_owned());
            }
        }
        text.push_str(&format!("models:\n  {}:\n", scalar(&model)));
        for (key, patterns, example) in [
            ("data", &data, "data/**"),
            ("training", &training, "src/**"),
            ("path", &vec![self.model()], ""),
        ] {
            if patterns.is_empty() {
                text.push_str(&format!("    # {key}: [{example}]\n"));
                missing.push(format!("Git has no file that looks like `{key}`; name it"));
                continue;
            }
            text.push_str(&format!("    {key}:\n"));
            for pattern in patterns {
                text.push_str(&format!("      - {}\n", scalar(pattern)));
            }
        }
        Draft { text, missing }
    }

    /// Returns the patterns of the directories at the top that have a name of this list.
    fn directories(&self, names: &[&str]) -> Vec<String> {
        let tops: BTreeSet<&str> =
            self.files.iter().filter_map(|path| Some(path.split_once('/')?.0)).collect();
        let known = tops.into_iter().filter(|top| names.contains(&top.to_lowercase().as_str()));
        known.map(|top| format!("{top}/**")).collect()
    }

    fn data(&self) -> Vec<String> {
        let mut patterns = self.directories(DATA);
        let taken: Vec<String> =
            patterns.iter().map(|pattern| pattern.trim_end_matches("**").to_owned()).collect();
        // A file of DVC stands for its data.
        let is_new = |path: &&String| !taken.iter().any(|above| path.starts_with(above.as_str()));
        let of_dvc = self.files.iter().filter(|path| path.ends_with(".dvc")).filter(is_new);
        patterns.extend(of_dvc.filter(|path| is_simple(path)).take(20).cloned());
        patterns
    }

    fn training(&self) -> Vec<String> {
        let mut patterns = self.directories(TRAINING);
        let is_training = |path: &&String| {
            let is_script = path.starts_with("train") && path.ends_with(".py");
            let is_list = path.starts_with("requirements") && path.ends_with(".txt");
            !path.contains('/') && (is_script || is_list || FILES.contains(&path.as_str()))
        };
        let files = self.files.iter().filter(is_training).filter(|path| is_simple(path));
        patterns.extend(files.take(20).cloned());
        patterns
    }

    /// Returns the directory of the model: a directory that Git ignores, if there is such a name.
    fn model(&self) -> String {
        let is_there = |name: &&&str| self.ignored.iter().any(|path| path == &format!("{name}/"));
        let name = MODELS.iter().find(is_there).unwrap_or(&"models");
        format!("{name}/")
    }
}

/// Returns whether the path means itself as a pattern.
fn is_simple(path: &str) -> bool {
    !path.contains(['*', '?', '[', ']', '\\']) && !path.starts_with(['!', '#', '~', ' '])
}

/// Returns the text as a scalar of YAML, without quotes where it needs none.
fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/*".contains(c))
        && !["true", "false", "null"].contains(&text.to_lowercase().as_str());
    match is_plain || text.parse::<Location>().is_ok_and(|_| !text.contains([' ', '#'])) {
        true => text.to_owned(),
        false => serde_json::to_string(text).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(files: &[&str], ignored: &[&str], store: Option<&str>) -> Draft {
        let own = |paths: &[&str]| paths.iter().map(|&path| path.to_owned()).collect();
        Found { name: "fraud-detection".into(), files: own(files), ignored: own(ignored) }
            .draft(store)
    }

    #[test]
    fn what_git_has_decides_about_the_draft() {
        let files = [
            ".python-version",
            "README.md",
            "configs/a.yaml",
            "data/a.csv",
            "data/b.csv.dvc",
            "images.dvc",
            "requirements-dev.txt",
            "requirements.txt",
            "src/train.py",
            "tests/test_x.py",
            "train_all.py",
        ];
        let found = draft(&files, &["weights/", ".venv/"], Some("s3://ml-models/cache"));
        let wanted = "\
store: s3://ml-models/cache
models:
  fraud-detection:
    data:
      - data/**
      - images.dvc
    training:
      - configs/**
      - src/**
      - \".python-version\"
      - requirements-dev.txt
      - requirements.txt
      - train_all.py
    path:
      - weights/
";
        assert!(found.text.ends_with(wanted), "{}", found.text);
        assert_eq!(found.missing, Vec::<String>::new());
        let empty = draft(&["README.md"], &[], None);
        assert_eq!(empty.missing.len(), 3, "{:?}", empty.missing);
        assert!(empty.text.contains("    # data: [data/**]\n"), "{}", empty.text);
    }

    #[test]
    fn only_what_needs_quotes_has_quotes() {
        for (text, wanted) in [
            ("src/**", "src/**"),
            ("a b", "\"a b\""),
            ("true", "\"true\""),
            ("2024", "\"2024\""),
            ("file:///a b", "\"file:///a b\""),
            ("s3://ml-models/x", "s3://ml-models/x"),
            ("it's", "\"it's\""),
        ] {
            assert_eq!(scalar(text), wanted);
        }
    }
}
