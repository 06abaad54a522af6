//! The inputs of a step, from the variables that the runner sets.

use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::settings::host_paths::HostPaths;
use crate::settings::{INPUTS, RawInputs};

/// Variables `INPUT_*` that are no inputs: the runner makes two of them of `with: entrypoint` and
/// `with: args`, and the action files set the third.
const RUNNERS: &[&str] = &["entrypoint", "args", "host-paths"];

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
/// The runner keeps the hyphens of an input's name, and sets each declared input, even to the empty
/// text. Some other tools write underscores. That spelling counts only without the runner's own:
/// every job may set such a variable, and it must not fill an input that the step left empty.
///
/// A variable that is no input of any action becomes an unknown input, under the variable's own
/// name. So does a spelling that the runner never writes.
pub fn raw_inputs(environment: &Environment, workspace: &Path) -> RawInputs {
    let value = |name: &str| {
        let hyphens = format!("INPUT_{}", name.to_uppercase());
        let name = match environment.is_set(&hyphens) {
            true => hyphens,
            false => hyphens.replace('-', "_"),
        };
        environment.is_set(&name).then(|| environment.get(&name).unwrap_or_default())
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
    for (variable, _) in environment.iter() {
        let Some(name) = variable.strip_prefix("INPUT_") else { continue };
        let is_known = |known: &str| {
            let known = known.to_uppercase();
            known == name || known.replace('-', "_") == name
        };
        let mut known = INPUTS.iter().map(|input| input.name).chain(RUNNERS.iter().copied());
        if !known.any(is_known) {
            raw.set(variable, "");
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
            ("INPUT_TRUSTED-REFS", ""),
            ("INPUT_TRUSTED_REFS", "evil"),
            ("INPUT_DATA_PATH", ""),
            ("INPUT_ENTRYPOINT", "x"),
            ("INPUT_read-scopes", "trusted"),
        ]
        .into_iter()
        .collect();
        let raw = raw_inputs(&environment, Path::new("/github/workspace"));
        assert_eq!(raw.get("data-paths"), Some("a\n/github/workspace/b"));
        assert_eq!(raw.get("model-path"), Some("models/"));
        assert_eq!(raw.get("model"), None);
        assert_eq!(raw.get("trusted-refs"), None, "a job's variable must not fill an empty input");
        let names: Vec<&str> = raw.names().collect();
        let unknown = ["INPUT_DATA_PATH", "INPUT_read-scopes"];
        assert_eq!(
            names,
            [&unknown[..], &["data-paths", "model", "model-path", "trusted-refs"]].concat()
        );
        assert_eq!(raw.get("read-scopes"), None);
        let mut raw = raw;
        assert_eq!(raw.take_unknown(), unknown);
        assert_eq!(raw.names().next(), Some("data-paths"));
    }
}
