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
