//! Our patterns select the same files as the runner's own `hashFiles` code, in every case.
//!
//! The cases are in tests/independent/glob/cases.json. `scripts/setup glob` installs the runner's
//! code, npm's `@actions/glob`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use ml_cache::fingerprint::walk::select;
use ml_cache::fingerprint::{Patterns, Rules, WhenEmpty};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::lab;

fn glob_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/independent/glob")
}

/// Returns the directory in which `scripts/setup glob` puts the runner's code.
fn glob_modules() -> PathBuf {
    let modules = lab().join("glob");
    assert!(
        modules.join("node_modules/@actions/glob/package.json").is_file(),
        "@actions/glob is not in {}: run `scripts/setup glob`",
        modules.display()
    );
    modules
}

/// Runs compare.mjs, and returns its output.
fn compare(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("node")
        .arg(glob_directory().join("compare.mjs"))
        .args(arguments)
        .env("GLOB_MODULES", glob_modules())
        .output()
        .expect("node runs");
    assert!(
        output.status.success(),
        "compare.mjs {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Makes the tree of the cases, and returns its path.
fn tree() -> (TempDir, String) {
    let place = tempfile::tempdir().unwrap();
    let workspace = place.path().canonicalize().unwrap().join("work");
    let workspace = workspace.to_str().unwrap().to_owned();
    compare(&["--make-tree", &workspace]);
    (place, workspace)
}

/// Returns the name, patterns and expected answer of the cases in a list.
fn cases(list: &str, workspace: &str) -> Vec<(String, String, Value)> {
    let text = std::fs::read_to_string(glob_directory().join("cases.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let text =
        |case: &Value, name: &str| case[name].as_str().unwrap().replace("@@WORKSPACE@@", workspace);
    let cases = document[list].as_array().unwrap();
    cases
        .iter()
        .map(|case| (text(case, "name"), text(case, "patterns"), case["expected"].clone()))
        .collect()
}

/// Returns the files that our patterns select, or the reason for a refusal.
fn ours(workspace: &str, patterns: &str) -> Result<Vec<String>, String> {
    let workspace = Path::new(workspace);
    let patterns = Patterns::parse(patterns, workspace).map_err(|faults| format!("{faults:?}"))?;
    let rules = Rules { when_empty: WhenEmpty::Ignore, max_linked_entries: u64::MAX };
    let selection =
        select(workspace, &patterns, "data-paths", rules).map_err(|error| error.render())?;
    Ok(selection.files.into_iter().map(|(path, _)| path).collect())
}

fn strings(list: &Value) -> Result<Vec<String>, String> {
    serde_json::from_value(list.clone()).map_err(|_| list.to_string())
}

#[test]
fn every_case_selects_what_hash_files_selects() {
    let (_place, workspace) = tree();
    let answers: BTreeMap<String, Value> =
        serde_json::from_slice(&compare(&["--workspace", &workspace])).unwrap();
    let cases = cases("cases", &workspace);
    assert!(
        cases.len() > 150 && answers.len() == cases.len(),
        "{} cases, {} answers",
        cases.len(),
        answers.len()
    );
    let differences: Vec<String> = cases
        .iter()
        .map(|(name, patterns, _)| {
            (name, patterns, ours(&workspace, patterns), strings(&answers[name]))
        })
        .filter(|(_, _, ours, theirs)| ours != theirs || ours.is_err())
        .map(|(name, patterns, ours, theirs)| {
            format!("{name} {patterns:?}:\n  ours   {ours:?}\n  theirs {theirs:?}")
        })
        .collect();
    assert!(
        differences.is_empty(),
        "{} of {} differ:\n{}",
        differences.len(),
        cases.len(),
        differences.join("\n")
    );
}

#[test]
fn the_cases_tell_patterns_apart() {
    let (_place, workspace) = tree();
    let selections: std::collections::BTreeSet<_> = cases("cases", &workspace)
        .iter()
        .map(|(_, patterns, _)| ours(&workspace, patterns).unwrap())
        .collect();
    assert!(selections.len() > 80, "only {} different selections", selections.len());
}

#[test]
fn what_the_engines_disagree_on_is_refused() {
    let (_place, workspace) = tree();
    for (name, patterns, _) in cases("refused", &workspace) {
        let parsed = Patterns::parse(&patterns, Path::new(&workspace));
        assert!(parsed.is_err(), "{name} {patterns:?} is accepted: {parsed:?}");
    }
}

#[test]
fn where_an_engine_has_a_defect_the_rules_hold() {
    let (_place, workspace) = tree();
    for (name, patterns, expected) in cases("beyond", &workspace) {
        assert_eq!(
            ours(&workspace, &patterns),
            Ok(strings(&expected).unwrap()),
            "{name} {patterns:?}"
        );
    }
}
