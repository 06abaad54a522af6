//! What jobs and scripts install is compared with hashes, and a dependency that nobody could check
//! fails where it can be checked.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the commands of a file that install something, each on one line.
fn installing(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let installs = |line: &&str| {
        let words: Vec<&str> =
            line.split([' ', '"', '/', '(', '[', '\'']).filter(|word| !word.is_empty()).collect();
        let has = |tool: &str, verb: &str| {
            let after = words.iter().skip_while(|word| **word != tool).skip(1);
            after.take(6).any(|word| *word == verb)
        };
        ["install", "download"].iter().any(|verb| has("pip", verb))
            || ["install", "i", "add"].iter().any(|verb| has("npm", verb))
            || has("cargo", "install")
    };
    let code = |line: &&str| !line.trim_start().starts_with('#');
    text.lines().filter(code).filter(installs).map(str::to_owned).collect()
}

/// Returns whether a command compares what it installs.
fn compares(command: &str) -> bool {
    command.contains("--require-hashes")
        || command.contains("cargo install") && command.contains("--locked")
}

#[test]
fn every_install_of_a_job_or_script_compares_hashes() {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "--"])
        .args([".github", ".ci", "scripts", "Dockerfile", "Makefile", "examples", "tests/e2e"])
        .current_dir(root())
        .output()
        .unwrap();
    let names = String::from_utf8(listed.stdout).unwrap();
    let mut found = 0;
    for name in names.lines() {
        // Prose, lists and tests; the stand-in passes on the words of its caller.
        let prose = [".md", ".txt", ".csv", ".py", ".json"];
        let skipped = prose.iter().any(|end| name.ends_with(end));
        if skipped || name.contains("stand-ins/") || name == "tests/e2e/role/run" {
            continue;
        }
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        for command in installing(&text) {
            found += 1;
            assert!(compares(&command), "{name}: {}", command.trim());
        }
    }
    assert!(found >= 15, "only {found} commands were found");
}

#[test]
fn an_install_without_hashes_is_found() {
    for command in [
        "run: pip install -r requirements.txt",
        "\"$venv/bin/pip\" install --quiet \\\n  --no-deps ruff==1",
        "alone npm npm install --no-save @actions/glob@0.7.0",
        "RUN python -m pip install flask",
        "cargo install cargo-mutants",
    ] {
        let found = installing(command);
        assert!(found.len() == 1 && !compares(&found[0]), "{command}: {found:?}");
    }
    for command in ["npm ci --ignore-scripts", "# pip install x", "cargo build --locked"] {
        assert_eq!(installing(command), [""; 0], "{command}");
    }
}

/// Runs the check of the dependencies with a `cargo` that cannot fetch the advisories.
fn without_advisories(ci: &str) -> Output {
    let place = tempfile::tempdir().unwrap();
    let cargo = place.path().join("cargo");
    fs::write(&cargo, "#!/bin/sh\ncase \"$*\" in *fetch*) echo 'no network'; exit 1;; esac\n")
        .unwrap();
    Command::new("chmod").arg("+x").arg(&cargo).status().unwrap();
    let path = format!("{}:{}", place.path().display(), std::env::var("PATH").unwrap());
    Command::new(root().join("scripts/lint-dependencies"))
        .env("ML_CACHE_LAB", place.path().join("lab"))
        .envs([("PATH", path.as_str()), ("GITHUB_ACTIONS", ci)])
        .output()
        .unwrap()
}

#[test]
fn unchecked_advisories_fail_in_githubs_ci_alone() {
    let here = without_advisories("");
    assert!(here.status.success(), "{here:?}");
    assert!(String::from_utf8_lossy(&here.stderr).contains("warning: advisories were not checked"));
    let there = without_advisories("true");
    assert!(!there.status.success(), "{there:?}");
    assert!(String::from_utf8_lossy(&there.stderr).contains("no network"));
    let rules = fs::read_to_string(root().join("deny.toml")).unwrap();
    assert!(rules.contains("\nyanked = \"deny\"\n"));
}
