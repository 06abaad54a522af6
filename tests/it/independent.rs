//! Independent programs in Python, written from docs/formats.md alone, agree with ours.
//!
//! The trees are made to be misread. The examples in the document agree too.

mod document;
mod fingerprint;
mod manifest;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::cli::Run;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a script of tests/independent.
fn python(script: &str, arguments: &[String]) -> Run {
    let mut command = Command::new("python3");
    command.arg("-B").arg(repository("tests/independent").join(script)).args(arguments);
    Run::of(command.output().expect("python3 runs"))
}

/// The package for MLflow reads what this program writes, and refuses it with a wrong byte.
///
/// Without MLflow, which `python3` does not have, and so without the tests of its repository.
#[test]
fn the_package_for_mlflow_reads_our_stores() {
    let package = repository("python/mlflow-ml-cache");
    let mut command = Command::new("python3");
    command.args(["-B", "-W", "error", "-m", "unittest", "discover", "-s", "tests"]);
    command.env("ML_CACHE", env!("CARGO_BIN_EXE_ml-cache")).env("PYTHONPATH", "src:tests");
    let run = Run::of(command.current_dir(package).output().expect("python3 runs"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!run.stderr.contains("Ran 0 tests"), "{}", run.stderr);
}
