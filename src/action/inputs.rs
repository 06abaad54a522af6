//! The inputs of a step, from the variables that the runner sets.

use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::settings::host_paths::HostPaths;
use crate::settings::{INPUTS, RawInputs};

/// Returns the workspace. Some runners name a directory that exists only on their host. The current
/// directory is then the workspace.
///
/// # Errors
/// There is no current directory.
pub fn workspace(environment: &Environment) -> Result<PathBuf> {
    let named = environment.get("GITHUB_WORKSPACE").map(PathBuf::from).filter(|path| path.is_dir());
    match named {
        Some(path) => Ok(path),
        None => std::env::current_dir().map_err(|error| {
            Error::failed(
                "cannot find the workspace: GITHUB_WORKSPACE names no directory, and the current \
                 directory cannot be read",
            )
            .caused_by(error)
        }),
    }
}

/// Collects the inputs, and maps the host's paths in them to paths of the container.
///
/// The runner keeps the hyphens of an input's name. Some other tools write underscores.
pub fn raw_inputs(environment: &Environment, workspace: &Path) -> RawInputs {
    let value = |name: &str| {
        let upper = name.to_uppercase();
        environment
            .get(&format!("INPUT_{upper}"))
            .or_else(|| environment.get(&format!("INPUT_{}", upper.replace('-', "_"))))
    };
    let here = workspace.to_string_lossy();
    let temp = environment.get("RUNNER_TEMP").unwrap_or_default();
    let paths = HostPaths::parse(value("host-paths").unwrap_or_default(), &here, temp);
    let mut raw = RawInputs::default();
    for input in INPUTS {
        if let Some(value) = value(input.name) {
            raw.set(input.name, paths.rewrite(value));
        }
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_found_in_both_spellings_and_host_paths_are_mapped() {
        let environment: Environment = [
            ("INPUT_DATA-PATHS", "a\n/home/runner/work/r/r/b"),
            ("INPUT_MODEL_PATH", "models/"),
            ("INPUT_HOST-PATHS", "v1|/home/runner/work/r/r|/home/runner/work/_temp"),
            ("INPUT_MODEL", ""),
        ]
        .into_iter()
        .collect();
        let raw = raw_inputs(&environment, Path::new("/github/workspace"));
        assert_eq!(raw.get("data-paths"), Some("a\n/github/workspace/b"));
        assert_eq!(raw.get("model-path"), Some("models/"));
        assert_eq!(raw.get("model"), None);
    }
}
