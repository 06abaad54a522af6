//! Typed settings, resolved from raw inputs, the environment and the run.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use jiff::{SignedDuration, Span, SpanRelativeTo};

use super::{INPUTS, RawInputs, Verb, mounts};
use crate::decide::force::ForceRules;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::fingerprint::{Patterns, Sources, WhenEmpty, patterns};
use crate::format::{Digest, ModelName, Namespace, artifact};
use crate::github::oidc::Role;
use crate::sanitize;
use crate::store::{Location, S3Options};
use crate::workflow::{RunContext, short_ref};

/// Everything a command needs to know; nothing after this sees a raw string.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory that all paths are relative to.
    pub workspace: PathBuf,
    /// Where models are kept.
    pub store: Location,
    /// How to reach S3.
    pub s3: S3Options,
    /// The AWS role to assume; other credentials come from the usual AWS sources.
    pub role: Option<Role>,
    /// Whose models.
    pub namespace: Namespace,
    /// Which model.
    pub model: ModelName,
    /// What the fingerprint is made of.
    pub sources: Sources,
    /// What to do about patterns that select nothing.
    pub when_empty: WhenEmpty,
    /// What the training writes.
    pub model_path: Patterns,
    /// Where a model is restored.
    pub destination: PathBuf,
    /// The fingerprint that the user gave.
    pub fingerprint: Option<Digest>,
    /// The pointer that somebody handed over.
    pub pointer: Option<PointerSource>,
    /// Another repository whose models are meant.
    pub repository: Option<String>,
    /// The run whose model is meant.
    pub run_id: Option<u64>,
    /// The ref whose latest model is meant.
    pub git_ref: Option<String>,
    /// The token for GitHub's API.
    pub github_token: Option<Secret>,
    /// The name that the user gave the pointer's artifact.
    pub artifact_name: Option<String>,
    /// How many days the artifact is kept.
    pub artifact_retention_days: Option<u32>,
    /// What may force a training.
    pub force: ForceRules,
    /// The age from which a model is trained again.
    pub max_age: Option<SignedDuration>,
    /// Whether to take over the models of merged pull requests.
    pub promote: bool,
    /// What to do when the store cannot be looked at.
    pub on_error: OnError,
    /// Whether a missing model is a failure.
    pub fail_on_miss: bool,
    /// Refs that are as trusted as the default branch.
    pub trusted_refs: Vec<String>,
}

/// Where a pointer comes from; its content is foreign in every case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PointerSource {
    /// The JSON itself.
    Json(String),
    /// A file.
    File(PathBuf),
    /// An artifact by name: of this run, of the run that is named besides, or of the other
    /// repository that is.
    Artifact(String),
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Settings {
    /// Returns whether it is said which model is meant, by a pointer, a run, a fingerprint or
    /// inputs; if not, the latest one is.
    pub fn names_a_model(&self) -> bool {
        self.pointer.is_some()
            || self.run_id.is_some()
            || self.fingerprint.is_some()
            || self.has_sources()
    }

    /// Returns whether there are inputs to compute a fingerprint from.
    pub fn has_sources(&self) -> bool {
        self.sources.data.has_includes() || self.sources.training.has_includes()
    }

    /// Returns what the names of this model's artifacts begin with.
    pub fn artifact_prefix(&self) -> String {
        self.artifact_name.clone().unwrap_or_else(|| artifact::prefix(self.model.as_str()))
    }
}

/// What to do when the store cannot be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Fail the step.
    Fail,
    /// Train, and say that it is because of the store.
    Retrain,
}

/// Resolves the inputs of a verb.
///
/// # Errors
/// One message that names every input that cannot be used, with its value and the accepted forms.
pub fn resolve(
    verb: Verb,
    raw: &RawInputs,
    environment: &Environment,
    run: Option<&RunContext>,
    workspace: &Path,
) -> Result<Settings> {
    let mut reader = Reader { verb, raw, faults: Vec::new() };
    // Patterns may spell the workspace as it was given; everything else uses its real path.
    let given = std::path::absolute(workspace).unwrap_or_else(|_| workspace.to_owned());
    let workspace = given.canonicalize().unwrap_or_else(|_| given.clone());
    if !workspace.is_dir() {
        reader.fault(
            "workspace",
            &workspace.display().to_string(),
            "it is not a directory",
            "a directory that exists",
        );
    }
    let store = reader.store(environment, run, &workspace);
    let default_excludes = reader.boolean("default-excludes").unwrap_or(true);
    let data = reader.patterns("data-paths", &given);
    let training = reader.patterns("training-paths", &given);
    let model_path = reader.patterns("model-path", &given);
    let extra = reader.extra_keys();
    let unreadable = reader.has_fault("data-paths") || reader.has_fault("training-paths");
    if verb.observes_inputs() && !data.has_includes() && !training.has_includes() && !unreadable {
        reader.fault(
            "data-paths",
            raw.get("data-paths").unwrap_or_default(),
            "nothing is left to decide by: neither `data-paths` nor `training-paths` includes \
             anything",
            "patterns, one a line, such as `data/training/**`",
        );
    }
    if verb.saves() && !model_path.has_includes() && !reader.has_fault("model-path") {
        reader.fault(
            "model-path",
            raw.get("model-path").unwrap_or_default(),
            "it includes nothing",
            "what the training writes, one a line, such as `models/`",
        );
    }
    let exclude = |patterns: Patterns| {
        if default_excludes { patterns.with_default_excludes() } else { patterns }
    };
    let namespace = reader.namespace(run, &workspace);
    let model = reader.parsed("model", "a name of up to 100 bytes without `/`");
    if raw.get("model").is_none() {
        reader.fault("model", "", "it is required", "a name of up to 100 bytes without `/`");
    }
    let when_empty = reader.choice(
        "if-no-files-found",
        &[("error", WhenEmpty::Fail), ("warn", WhenEmpty::Warn), ("ignore", WhenEmpty::Ignore)],
    );
    let on_error =
        reader.choice("on-error", &[("fail", OnError::Fail), ("retrain", OnError::Retrain)]);
    let destination = reader.destination(&workspace);
    // The image says that it is one. What somebody does with it by hand is their own business.
    if run.is_some() && environment.is_true("ML_CACHE_CONTAINER") {
        if let Some(Location::Directory(directory)) = &store {
            reader.check_outlives(
                "store",
                directory,
                "`s3://bucket/prefix`, or a directory below the workspace",
            );
        }
        if raw.get("destination").is_some() {
            reader.check_outlives("destination", &destination, "a directory below the workspace");
        }
    }
    let endpoint_url = reader.endpoint_url();
    let region = reader.region();
    let s3 =
        S3Options { region, endpoint_url, force_path_style: reader.boolean("force-path-style") };
    let role_arn = reader.role();
    let force = ForceRules {
        input: reader.boolean("force-retrain").unwrap_or(false),
        message: raw.get("force-retrain-message").map(str::to_owned),
        label: raw.get("force-retrain-label").map(str::to_owned),
    };
    let max_age = reader.max_age();
    let promote = reader
        .choice("promote", &[("never", false), ("merged-pull-request", true)])
        .unwrap_or(false);
    let fail_on_miss = reader.boolean("fail-on-miss").unwrap_or(false);
    let fingerprint = reader.parsed("fingerprint", "`sha256:` and 64 lower-case hex digits");
    let trusted_refs = reader.lines("trusted-refs");
    let pointer = reader.pointer(&workspace);
    let repository =
        reader.parsed::<Namespace>("repository", "`owner/name`").map(|name| name.to_string());
    let run_id = reader.parsed("run-id", "the number of a workflow run");
    let artifact_name = reader.artifact_name();
    let artifact_retention_days = reader.retention_days();
    if pointer.as_ref().is_some_and(|pointer| !matches!(pointer, PointerSource::Artifact(_)))
        && run_id.is_some()
    {
        reader.fault(
            "run-id",
            raw.get("run-id").unwrap_or_default(),
            "`pointer` says already which model",
            "one of the two, or `pointer: artifact:NAME` besides",
        );
    }

    let Reader { faults, .. } = reader;
    if faults.is_empty() && matches!(store, Some(Location::S3 { .. })) {
        check_credentials(environment, role_arn.is_some(), s3.region.is_some())?;
    }
    match (store, namespace, model) {
        (Some(store), Some(namespace), Some(model)) if faults.is_empty() => {
            let mut settings = Settings {
                store,
                workspace,
                role: role_arn
                    .map(|arn| Role::from_environment(&arn, s3.region.as_deref(), environment))
                    .transpose()?,
                s3,
                namespace,
                model,
                sources: Sources { data: exclude(data), training: exclude(training), extra },
                when_empty: when_empty.unwrap_or_default(),
                model_path,
                destination,
                fingerprint,
                pointer,
                repository: repository
                    .or_else(|| run.filter(|_| run_id.is_some()).map(|run| run.repository.clone())),
                run_id,
                git_ref: raw.get("ref").map(|name| short_ref(name).to_owned()),
                github_token: raw.get("github-token").map(|token| Secret(token.to_owned())),
                artifact_name,
                artifact_retention_days,
                force,
                max_age,
                promote,
                on_error: on_error.unwrap_or(OnError::Fail),
                fail_on_miss,
                trusted_refs,
            };
            // Where nothing is saved, a name for the artifact can only say which one is meant.
            if verb.only_reads() && !settings.names_a_model() {
                settings.pointer = settings.artifact_name.clone().map(PointerSource::Artifact);
            }
            Ok(settings)
        }
        _ => Err(complain(&faults)),
    }
}

fn complain(faults: &[String]) -> Error {
    let message = match faults {
        [one] => one.clone(),
        many => format!("{} inputs cannot be used:\n  {}", many.len(), many.join("\n  ")),
    };
    Error::bad_input(message).hint("`ml-cache VERB --help` and the README list every input")
}

/// Refuses credentials that no request could carry, such as a key with a line end from a file.
/// Where the inputs name a role or a region, the environment's is not used.
fn check_credentials(environment: &Environment, has_role: bool, has_region: bool) -> Result<()> {
    let keys: &[&str] = &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
    let regions: &[&str] = &["AWS_REGION", "AWS_DEFAULT_REGION"];
    let names =
        [if has_role { &[] } else { keys }, if has_region { &[] } else { regions }].concat();
    let odd = |name: &&str| {
        environment
            .get(name)
            .is_some_and(|value| !value.bytes().all(|byte| byte.is_ascii_graphic()))
    };
    match names.iter().find(|name| odd(name)) {
        None => Ok(()),
        Some(name) => Err(Error::failed(format!(
            "the environment variable {name} holds characters that no request can carry"
        ))
        .hint("it may end in a line break or contain a space: set it again, without")),
    }
}

struct Reader<'a> {
    verb: Verb,
    raw: &'a RawInputs,
    faults: Vec<String>,
}

impl Reader<'_> {
    fn fault(&mut self, name: &str, value: &str, reason: &str, accepted: &str) {
        let shown = sanitize::short(&without_credentials(name, &sanitize::line(value)), 200);
        self.faults.push(format!("input `{name}`: `{shown}`: {reason}; accepted: {accepted}"));
    }

    fn has_fault(&self, name: &str) -> bool {
        self.faults.iter().any(|fault| fault.starts_with(&format!("input `{name}`")))
    }

    /// Returns the value, or the verb's default, `None` where there is neither.
    fn value(&self, name: &str) -> Option<String> {
        let default = || {
            INPUTS.iter().find(|input| input.name == name).map(|input| input.default_for(self.verb))
        };
        self.raw.get(name).or_else(default).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let value = self.raw.get(name).unwrap_or_default();
        value
            .split('\n')
            .map(patterns::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
        &mut self,
        name: &str,
        accepted: &str,
    ) -> Option<T> {
        let value = self.raw.get(name)?.to_owned();
        match value.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.fault(name, &value, &error.to_string(), accepted);
                None
            }
        }
    }

    /// Reads the spellings that the runner's toolkit accepts.
    fn boolean(&mut self, name: &str) -> Option<bool> {
        let value = self.value(name)?;
        match value.as_str() {
            "true" | "True" | "TRUE" => Some(true),
            "false" | "False" | "FALSE" => Some(false),
            _ => {
                self.fault(name, &value, "it is neither true nor false", "`true` or `false`");
                None
            }
        }
    }

    fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.value(name)?;
        let found = choices.iter().find(|(word, _)| *word == value).map(|(_, choice)| *choice);
        if found.is_none() {
            let accepted: Vec<String> =
                choices.iter().map(|(word, _)| format!("`{word}`")).collect();
            self.fault(name, &value, "it is not one of the choices", &accepted.join(", "));
        }
        found
    }

    fn store(
        &mut self,
        environment: &Environment,
        run: Option<&RunContext>,
        workspace: &Path,
    ) -> Option<Location> {
        const ACCEPTED: &str = "`s3://bucket/prefix` or `file:///directory`";
        let given =
            self.raw.get("store").or_else(|| environment.get("ML_CACHE_STORE")).map(str::to_owned);
        match given {
            Some(text) => match text.parse() {
                Ok(location) => Some(location),
                Err(reason) => {
                    self.fault("store", &text, &reason, ACCEPTED);
                    None
                }
            },
            // A directory inside a job's container would be lost with the job.
            None if run.is_some() => {
                self.fault("store", "", "it is required in GitHub Actions", ACCEPTED);
                None
            }
            None => {
                let cache = environment.get("XDG_CACHE_HOME").map(PathBuf::from);
                let home = || environment.get("HOME").map(|home| Path::new(home).join(".cache"));
                Some(Location::Directory(
                    cache.or_else(home).unwrap_or_else(|| workspace.to_owned()).join("ml-cache"),
                ))
            }
        }
    }

    fn patterns(&mut self, name: &str, workspace: &Path) -> Patterns {
        match Patterns::parse(self.raw.get(name).unwrap_or_default(), workspace) {
            Ok(patterns) => patterns,
            Err(faults) => {
                for fault in faults {
                    self.fault(
                        name,
                        &fault.text,
                        fault.reason,
                        "patterns relative to the workspace, such as `src/**/*.py`",
                    );
                }
                Patterns::default()
            }
        }
    }

    fn extra_keys(&mut self) -> BTreeMap<String, String> {
        const ACCEPTED: &str = "lines of the form `name=value`, each name once";
        let mut keys = BTreeMap::new();
        for line in self.lines("extra-key") {
            match line.split_once('=') {
                Some((name, value)) if !name.is_empty() => {
                    if keys.insert(name.to_owned(), value.to_owned()).is_some() {
                        self.fault("extra-key", name, "the name stands there twice", ACCEPTED);
                    }
                }
                _ => self.fault("extra-key", &line, "it is not of the form `name=value`", ACCEPTED),
            }
        }
        keys
    }

    fn namespace(&mut self, run: Option<&RunContext>, workspace: &Path) -> Option<Namespace> {
        const ACCEPTED: &str = "`owner/name`";
        if self.raw.get("namespace").is_some() {
            return self.parsed("namespace", ACCEPTED);
        }
        if let Some(name) =
            self.raw.get("repository").filter(|name| !run.is_some_and(|run| run.is_of(name)))
        {
            return name.parse().ok();
        }
        if let Some(run) = run.filter(|run| !run.repository.is_empty()) {
            return run
                .repository
                .parse()
                .map_err(|_| {
                    self.fault(
                        "namespace",
                        &run.repository,
                        "the repository is no namespace",
                        ACCEPTED,
                    )
                })
                .ok();
        }
        let name = workspace
            .file_name()
            .map_or_else(|| "workspace".to_owned(), |name| name.to_string_lossy().into_owned());
        let namespace: Option<Namespace> = format!("local/{name}").parse().ok();
        if namespace.is_none() {
            self.fault(
                "namespace",
                &name,
                "the workspace's name is no name for a namespace",
                ACCEPTED,
            );
        }
        namespace
    }

    fn destination(&mut self, workspace: &Path) -> PathBuf {
        let Some(value) = self.raw.get("destination").map(str::to_owned) else {
            return workspace.to_owned();
        };
        let path = Path::new(&value);
        if path.components().any(|component| component == Component::ParentDir) {
            self.fault(
                "destination",
                &value,
                "`..` is not allowed",
                "a directory, relative to the workspace or absolute",
            );
        }
        workspace.join(path)
    }

    /// Refuses a directory that nobody would ever see.
    fn check_outlives(&mut self, name: &str, directory: &Path, accepted: &str) {
        if !self.has_fault(name) && !mounts::outlives_container(directory) {
            let reason = "the action runs in a container of its own, and this directory is gone \
                          when it ends";
            self.fault(name, &directory.display().to_string(), reason, accepted);
        }
    }

    fn endpoint_url(&mut self) -> Option<String> {
        let value = self.raw.get("endpoint-url")?.to_owned();
        let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
        let is_odd = |c: char| c.is_whitespace() || matches!(c, '@' | '?' | '#');
        // An escape in a host's name may stand for the `@` behind credentials.
        let has_host = |rest: &str| {
            rest.split('/').next().is_some_and(|host| !host.is_empty() && !host.contains('%'))
        };
        if rest.is_none_or(|rest| !has_host(rest) || rest.contains(is_odd)) {
            self.fault(
                "endpoint-url",
                &value,
                "it is no base URL",
                "`https://host` or `http://host:port`, without credentials, query and fragment",
            );
            return None;
        }
        Some(value)
    }

    fn region(&mut self) -> Option<String> {
        let value = self.raw.get("region")?.to_owned();
        if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            self.fault("region", &value, "it is no name of a region", "such as `eu-central-1`");
            return None;
        }
        Some(value)
    }

    fn pointer(&mut self, workspace: &Path) -> Option<PointerSource> {
        let value = self.raw.get("pointer")?.to_owned();
        if value.starts_with('{') {
            return Some(PointerSource::Json(value));
        }
        match value.strip_prefix("artifact:").map(str::trim) {
            // The output `artifact-name` of a job that was skipped, or saved nothing. Without more
            // to go by, the latest model would be taken in its place.
            Some("") if self.raw.get("fingerprint").is_some() => None,
            Some("") => {
                let accepted = "the JSON, a path, or `artifact:NAME`; or `fingerprint`, which a \
                                job that trained nothing has, too";
                self.fault("pointer", &value, "it names no artifact", accepted);
                None
            }
            Some(name) => Some(PointerSource::Artifact(name.to_owned())),
            // As a path, it would be shown with its credentials.
            None if value.contains("://")
                || value.starts_with("http:")
                || value.starts_with("https:") =>
            {
                self.fault(
                    "pointer",
                    &value,
                    "no URL is fetched",
                    "the JSON, a path, or `artifact:NAME`",
                );
                None
            }
            None => Some(PointerSource::File(workspace.join(value))),
        }
    }

    /// Names that the artifact service accepts.
    fn artifact_name(&mut self) -> Option<String> {
        let value = self.raw.get("artifact-name")?.to_owned();
        if value.len() > 100 || value.chars().any(|c| c.is_control() || "\":<>|*?\\/".contains(c)) {
            self.fault(
                "artifact-name",
                &value,
                "the artifact service refuses it",
                "up to 100 bytes without any of `\" : < > | * ? \\ /`",
            );
            return None;
        }
        Some(value)
    }

    /// As long as GitHub keeps any artifact; what a repository allows may be less.
    fn retention_days(&mut self) -> Option<u32> {
        let value = self.raw.get("artifact-retention-days")?.to_owned();
        let days = value.parse().ok().filter(|days| (1..=400).contains(days));
        if days.is_none() {
            self.fault(
                "artifact-retention-days",
                &value,
                "nothing is kept for so long",
                "a number of days, 1 to 400",
            );
        }
        days
    }

    fn role(&mut self) -> Option<String> {
        let value = self.raw.get("role-to-assume")?.to_owned();
        let is_arn = value.starts_with("arn:aws")
            && value.contains(":role/")
            && !value.contains(char::is_whitespace);
        if !is_arn {
            self.fault(
                "role-to-assume",
                &value,
                "it is no ARN of a role",
                "`arn:aws:iam::123456789012:role/name`",
            );
            return None;
        }
        Some(value)
    }

    fn max_age(&mut self) -> Option<SignedDuration> {
        let value = self.raw.get("max-age")?.to_owned();
        let parsed = value
            .parse::<Span>()
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
        match parsed {
            Ok(duration) if duration.is_positive() => Some(duration),
            _ => {
                self.fault(
                    "max-age",
                    &value,
                    "it is no positive duration",
                    "such as `30d`, `12h` or `1w 2d`",
                );
                None
            }
        }
    }
}

/// Returns an input's value without what may be a credential, where it may be an address.
fn without_credentials(name: &str, value: &str) -> String {
    const ADDRESSES: [&str; 4] = ["endpoint-url", "pointer", "repository", "store"];
    match ADDRESSES.contains(&name) || value.contains(':') {
        true => sanitize::address(value),
        false => value.to_owned(),
    }
}

#[cfg(test)]
mod tests;
