//! Helpers of several tests: the binary, S3 servers, the double of GitHub, trees of files.

pub mod canary;
pub mod cli;
pub mod double;
pub mod listener;
pub mod moments;
pub mod s3;
pub mod zip;

use std::path::PathBuf;

/// Returns the directory in which `scripts/setup` installs the tests' tools.
pub fn lab() -> PathBuf {
    let variable =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    variable("ML_CACHE_LAB")
        .or_else(|| Some(cache()?.join("ml-cache-lab")))
        .expect("ML_CACHE_LAB or HOME is set")
}
