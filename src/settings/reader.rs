//! Reads each input by itself and collects the faults.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};

use super::table::OMITTED;
use super::target::{Asked, PointerInput, PointerSource};
use super::{INPUTS, RawInputs, Verb, mounts};
use crate::decide::bounds::Bound;
use crate::decide::force::ForceRules;
use crate::environment::Environment;
use crate::error::Error;
use crate::fingerprint::{Patterns, Rules, Sources, WhenEmpty, patterns};
use crate::format::{Fingerprint, ModelName, Namespace, artifact};
use crate::sanitize;
use crate::store::{Credentials, Encryption, Lack, Location, Network, S3Options};
use crate::workflow::{RunContext, short_ref};

/// Reads inputs and collects their faults.
pub(super) struct Reader<'a> {
    pub(super) verb: Verb,
    pub(super) raw: &'a RawInputs,
    faults: Vec<Fault>,
}

/// The reason why a setting cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The input, or the empty text for other parts of the configuration file.
    pub(super) name: String,
    /// Whether the user gave no value.
    pub(super) is_missing: bool,
    pub(super) text: String,
}

impl<'a> Reader<'a> {
    pub(super) fn new(verb: Verb, raw: &'a RawInputs) -> Self {
        let mut reader = Self::bare(verb, raw);
        reader.unknown();
        reader
    }

    /// Returns a reader that accepts every name.
    pub(super) fn bare(verb: Verb, raw: &'a RawInputs) -> Self {
        Self { verb, raw, faults: Vec::new() }
    }
}

impl Reader<'_> {
    /// Returns all faults as one error; `None` if there is no fault. The faults of the
    /// configuration file go first.
    ///
    /// A value that the file has not given may be missing because of a fault in the file.
    pub(super) fn into_faults(self, file: Vec<Fault>) -> Option<Error> {
        const MOST: usize = 50;
        let is_told =
            |fault: &Fault| !file.contains(fault) && (file.is_empty() || !fault.is_missing);
        let own: Vec<Fault> = self.faults.into_iter().filter(is_told).collect();
        let (of_inputs, of_file) = (file.is_empty(), !file.is_empty());
        let texts: Vec<String> = file.into_iter().chain(own).map(|fault| fault.text).collect();
        let message = match texts.as_slice() {
            [] => return None,
            [one] => one.clone(),
            many => {
                let what = if of_inputs { "inputs" } else { "settings" };
                let mut lines = many[..many.len().min(MOST)].join("\n  ");
                if many.len() > MOST {
                    lines.push_str(&format!("\n  and {} more", many.len() - MOST));
                }
                format!("{} {what} cannot be used:\n  {lines}", many.len())
            }
        };
        let error = Error::bad_input(message)
            .hint("see `ml-cache VERB --help` or docs/reference.md for every input");
        Some(match of_file {
            true => error.hint("see docs/configuration.md for every key of the file"),
            false => error,
        })
    }

    /// Returns all faults.
    pub(super) fn faults(self) -> Vec<Fault> {
        self.faults
    }

    pub(super) fn check_workspace(&mut self, real: &Path) {
        if !real.is_dir() {
            let (shown, accepted) = (real.display().to_string(), "a directory that exists");
            self.fault("workspace", &shown, "it is not a directory", accepted);
        }
    }

    /// Reads the sources of the fingerprint.
    pub(super) fn sources(&mut self, workspace: &Path) -> Sources {
        let data = self.patterns("data-paths", workspace);
        let training = self.patterns("training-paths", workspace);
        let extra = self.extra_keys();
        let unreadable =
            ["data-paths", "training-paths", "extra-key"].iter().any(|name| self.has_fault(name));
        let has_any = data.has_includes() || training.has_includes() || !extra.is_empty();
        if self.verb.observes_inputs() && !has_any && !unreadable {
            let value = self.raw.get("data-paths").unwrap_or_default();
            self.fault(
                "data-paths",
                value,
                "a fingerprint needs something to hash, but `data-paths`, `training-paths` and \
                 `extra-key` name nothing",
                "patterns, each on its own line, such as `data/training/**`",
            );
        }
        let default_excludes = self.boolean("default-excludes").unwrap_or(true);
        let exclude = |patterns: Patterns| {
            if default_excludes { patterns.with_default_excludes() } else { patterns }
        };
        Sources { data: exclude(data), training: exclude(training), extra }
    }

    /// Reads the files that the training writes. A restore needs no list, but a list without an
    /// include would not limit it.
    pub(super) fn model_path(&mut self, workspace: &Path) -> Patterns {
        let patterns = self.patterns("model-path", workspace);
        let limits = self.verb == Verb::Restore && self.raw.get("model-path").is_some();
        if (self.verb.saves() || self.verb == Verb::Check || limits)
            && !patterns.has_includes()
            && !self.has_fault("model-path")
        {
            let value = self.raw.get("model-path").unwrap_or_default();
            let accepted = "files and directories that the training writes, each on its own line, \
                            such as `models/`";
            self.fault("model-path", value, "it includes nothing", accepted);
        }
        patterns
    }

    pub(super) fn model(&mut self) -> Option<ModelName> {
        const ACCEPTED: &str = "a name of up to 100 bytes without `/`";
        if self.raw.get("model").is_none() {
            let reason = "it is required; if a variable is behind it, that variable is unset";
            self.fault("model", "", reason, ACCEPTED);
        }
        self.parsed("model", ACCEPTED)
    }

    /// Refuses directories that are lost with the action's container.
    ///
    /// The image sets ML_CACHE_CONTAINER. Outside of a workflow run, the user decides about the
    /// mounts.
    pub(super) fn check_container(
        &mut self,
        run: Option<&RunContext>,
        environment: &Environment,
        store: Option<&Location>,
        destination: &Path,
    ) {
        if run.is_none() || !environment.is_true("ML_CACHE_CONTAINER") {
            return;
        }
        if let Some(Location::Directory(directory)) = store {
            let accepted = "`s3://bucket/prefix`, or a directory below the workspace";
            self.check_outlives("store", directory, accepted);
        }
        if self.raw.get("destination").is_some() {
            let accepted = "a directory below the workspace";
            self.check_outlives("destination", destination, accepted);
        }
    }

    pub(super) fn s3(&mut self, store: Option<&Location>, environment: &Environment) -> S3Options {
        let endpoint_url = self.endpoint_url();
        if let (Some(url), Some(Location::S3 { bucket, .. })) = (&endpoint_url, store)
            && names_bucket(url, bucket)
        {
            self.fault(
                "endpoint-url",
                url,
                "it contains the bucket, which `store` names already",
                "the address of the service alone, such as `https://s3.eu-central-1.amazonaws.com`",
            );
        }
        S3Options {
            endpoint_url,
            region: self.region(),
            force_path_style: self.boolean("force-path-style"),
            credentials: Credentials::default(),
            network: Network::of(|name| environment.get(name)),
            encryption: self.encryption(),
        }
    }

    fn encryption(&mut self) -> Option<Encryption> {
        let kinds = ["AES256", "aws:kms", "aws:kms:dsse"].map(|kind| (kind, kind));
        let kind = self.choice("sse", &kinds);
        let kms_key_id = self.raw.get("sse-kms-key-id").map(str::to_owned);
        if let (Some(key), None | Some("AES256")) = (&kms_key_id, kind) {
            let accepted = "`sse-kms-key-id` together with `sse: aws:kms` or `sse: aws:kms:dsse`";
            self.fault("sse-kms-key-id", key, "`sse` does not ask for a key of KMS", accepted);
        }
        kind.map(|kind| Encryption { kind: kind.to_owned(), kms_key_id })
    }

    pub(super) fn force(&mut self) -> ForceRules {
        ForceRules {
            input: self.boolean("force-retrain").unwrap_or(false),
            message: self.raw.get("force-retrain-message").map(str::to_owned),
            label: self.raw.get("force-retrain-label").map(str::to_owned),
        }
    }

    /// Reads all inputs that say which model to use.
    pub(super) fn asked(
        &mut self,
        run: Option<&RunContext>,
        workspace: &Path,
        sources: &Sources,
        artifact_name: Option<&String>,
    ) -> Asked {
        let fingerprint: Option<Fingerprint> =
            self.parsed("fingerprint", "`sha256:` and 64 lower-case hex digits");
        let pointer = self.pointer(workspace);
        let repository: Option<Namespace> = self.parsed("repository", "`owner/name`");
        let repository = repository.map(|name| name.to_string());
        let run_id = self.parsed("run-id", "the number of a workflow run");
        if matches!(pointer, Some(PointerInput::Given(_))) && run_id.is_some() {
            let value = self.raw.get("run-id").unwrap_or_default();
            let accepted = "`run-id` without `pointer`, or with `pointer: artifact:NAME`";
            self.fault("run-id", value, "`pointer` already says which model to use", accepted);
        }
        if let (Some(PointerInput::Given(PointerSource::Refused { .. })), Some(fingerprint)) =
            (&pointer, &fingerprint)
        {
            let reason = "a refused model belongs to no fingerprint";
            let accepted = "`fingerprint` without `pointer: refused:…`";
            self.fault("fingerprint", &fingerprint.to_string(), reason, accepted);
        }
        let is_own = |name: &String| run.is_some_and(|run| run.is_of(name));
        Asked {
            pointer,
            run_id,
            foreign: repository.clone().filter(|name| !is_own(name)),
            run_repository: repository.or_else(|| run.map(|run| run.repository.clone())),
            fingerprint,
            has_sources: sources.data.has_includes() || sources.training.has_includes(),
            git_ref: self.raw.get("ref").map(|name| short_ref(name).to_owned()),
            artifact_name: artifact_name.cloned(),
        }
    }

    pub(super) fn fault(&mut self, name: &str, value: &str, reason: &str, accepted: &str) {
        let (subject, value) = match self.raw.place_of(name, value) {
            Some(place) => (
                format!("{}:{}: `{}`", place.line, place.column, place.key),
                place.written.as_str(),
            ),
            None => (format!("input `{name}`"), value),
        };
        let shown = sanitize::short(&without_credentials(name, &sanitize::line(value)), 200);
        self.faults.push(Fault {
            name: name.to_owned(),
            is_missing: value.is_empty() && INPUTS.iter().any(|input| input.name == name),
            text: format!("{subject}: `{shown}`: {reason}; accepted: {accepted}"),
        });
    }

    pub(super) fn has_fault(&self, name: &str) -> bool {
        self.faults.iter().any(|fault| fault.name == name)
    }

    /// Returns the value, or the default of the verb; `None` if there is neither.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        let default = || {
            INPUTS.iter().find(|input| input.name == name).map(|input| input.default_for(self.verb))
        };
        self.raw.get(name).or_else(default).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    pub(super) fn lines(&self, name: &str) -> Vec<String> {
        let value = self.raw.get(name).unwrap_or_default();
        value
            .split('\n')
            .map(patterns::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }

    pub(super) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
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

    /// Reads a boolean in the spellings that `getBooleanInput` of actions/toolkit accepts.
    pub(super) fn boolean(&mut self, name: &str) -> Option<bool> {
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

    pub(super) fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let value = self.value(name)?;
        let found = choices.iter().find(|(word, _)| *word == value).map(|(_, choice)| *choice);
        if found.is_none() {
            let accepted: Vec<String> =
                choices.iter().map(|(word, _)| format!("`{word}`")).collect();
            self.fault(name, &value, "it is not an accepted value", &accepted.join(", "));
        }
        found
    }

    pub(super) fn store(
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
                let reason = "it is required in GitHub Actions; if a variable or a secret is \
                              behind it, that variable or secret is unset, or this job cannot see \
                              it";
                self.fault("store", "", reason, ACCEPTED);
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

    pub(super) fn patterns(&mut self, name: &str, workspace: &Path) -> Patterns {
        match Patterns::parse(self.raw.get(name).unwrap_or_default(), workspace) {
            Ok(patterns) => patterns.at(|line| {
                let place = self.raw.place_of(name, line)?;
                Some(format!("{}:{}", place.line, place.column))
            }),
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

    pub(super) fn extra_keys(&mut self) -> BTreeMap<String, String> {
        const ACCEPTED: &str = "lines of the form `name=value`, each name once";
        let mut keys = BTreeMap::new();
        for line in self.lines("extra-key") {
            match line.split_once('=') {
                Some((name, value)) if !name.is_empty() => {
                    if keys.insert(name.to_owned(), value.to_owned()).is_some() {
                        self.fault("extra-key", name, "the name appears twice", ACCEPTED);
                    }
                }
                _ => self.fault("extra-key", &line, "it is not of the form `name=value`", ACCEPTED),
            }
        }
        keys
    }

    pub(super) fn namespace(
        &mut self,
        run: Option<&RunContext>,
        workspace: &Path,
    ) -> Option<Namespace> {
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
                        "the name of the repository is not a valid namespace",
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
                "the name of the workspace cannot be part of a namespace",
                ACCEPTED,
            );
        }
        namespace
    }

    /// Refuses a directory that is lost with the action's container.
    pub(super) fn check_outlives(&mut self, name: &str, directory: &Path, accepted: &str) {
        if !self.has_fault(name) && !mounts::outlives_container(directory) {
            let reason = "the action runs in its own container, and this directory is lost when \
                          the container ends";
            self.fault(name, &directory.display().to_string(), reason, accepted);
        }
    }

    pub(super) fn endpoint_url(&mut self) -> Option<String> {
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
                "it is not a base URL",
                "`https://host` or `http://host:port`, without credentials, query and fragment",
            );
            return None;
        }
        Some(value)
    }

    pub(super) fn region(&mut self) -> Option<String> {
        let value = self.raw.get("region")?.to_owned();
        if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            self.fault(
                "region",
                &value,
                "it is not the name of a region",
                "a name such as `eu-central-1`",
            );
            return None;
        }
        Some(value)
    }

    pub(super) fn pointer(&mut self, workspace: &Path) -> Option<PointerInput> {
        let value = self.raw.get("pointer")?.to_owned();
        if value.starts_with('{') {
            return Some(PointerInput::Given(PointerSource::Json(value)));
        }
        if let Some(refused) = value.strip_prefix("refused:") {
            let found = refused_model(refused);
            if found.is_none() {
                let accepted = "`refused:SCOPE/DIGEST`, as the message of the refused save has it";
                self.fault("pointer", &value, "it names no refused model", accepted);
            }
            return found.map(PointerInput::Given);
        }
        match value.strip_prefix("artifact:").map(str::trim) {
            // The output `artifact-name` is empty if its job was skipped or saved nothing. Without
            // a fingerprint, the command would take the latest model instead.
            Some("") if self.raw.get("fingerprint").is_some() => None,
            Some("") => {
                let accepted = "the JSON, a path, or `artifact:NAME`; after a job that trained \
                                nothing, use `fingerprint` instead";
                self.fault("pointer", &value, "it names no artifact", accepted);
                None
            }
            Some(name) => Some(PointerInput::Artifact(name.to_owned())),
            // The message about a missing file would show the credentials in a URL.
            None if value.contains("://")
                || value.starts_with("http:")
                || value.starts_with("https:") =>
            {
                self.fault(
                    "pointer",
                    &value,
                    "ml-cache never fetches a pointer from a URL",
                    "the JSON, a path, or `artifact:NAME`",
                );
                None
            }
            None => Some(PointerInput::Given(PointerSource::File(workspace.join(value)))),
        }
    }

    /// Refuses names that the artifact service does not accept.
    pub(super) fn artifact_name(&mut self) -> Option<String> {
        let value = self.raw.get("artifact-name")?.to_owned();
        if value.len() > 100 || value.chars().any(|c| c.is_control() || "\":<>|*?\\/".contains(c)) {
            self.fault(
                "artifact-name",
                &value,
                "the artifact service refuses this name",
                "up to 100 bytes without any of `\" : < > | * ? \\ /`",
            );
            return None;
        }
        if self.verb.saves() && artifact::is_adopted(&value) {
            self.fault(
                "artifact-name",
                &value,
                "the save marks a pointer of another run by this ending",
                "a name that does not end with `adopted`, or with `adopted` and numbers",
            );
            return None;
        }
        Some(value)
    }

    /// Accepts 1 to 400 days, the range that GitHub allows. A repository may allow fewer days.
    pub(super) fn retention_days(&mut self) -> Option<u32> {
        let value = self.raw.get("artifact-retention-days")?.to_owned();
        let days = value.parse().ok().filter(|days| (1..=400).contains(days));
        if days.is_none() {
            self.fault(
                "artifact-retention-days",
                &value,
                "it must be 1 to 400 days",
                "a number of days, 1 to 400",
            );
        }
        days
    }

    /// Reads the rules of the walk over the inputs.
    pub(super) fn walk(&mut self) -> Rules {
        const WHEN_EMPTY: &[(&str, WhenEmpty)] =
            &[("error", WhenEmpty::Fail), ("warn", WhenEmpty::Warn), ("ignore", WhenEmpty::Ignore)];
        Rules {
            when_empty: self.choice("if-no-files-found", WHEN_EMPTY).unwrap_or_default(),
            max_linked_entries: self.max_linked_entries(),
        }
    }

    fn max_linked_entries(&mut self) -> u64 {
        const NAME: &str = "max-linked-entries";
        let value = self.value(NAME).unwrap_or_default();
        value.parse().unwrap_or_else(|_| {
            self.fault(NAME, &value, "it is not a number of entries", "a whole number");
            0
        })
    }

    pub(super) fn role(&mut self) -> Option<String> {
        let value = self.raw.get("role-to-assume").filter(|value| *value != OMITTED)?.to_owned();
        let is_arn = value.starts_with("arn:aws")
            && value.contains(":role/")
            && !value.contains(char::is_whitespace);
        if !is_arn {
            self.fault(
                "role-to-assume",
                &value,
                "it is not the ARN of a role",
                "an ARN such as `arn:aws:iam::123456789012:role/name`",
            );
            return None;
        }
        Some(value)
    }

    /// Reads the sources of credentials for a store in S3 and a command without a role.
    ///
    /// An empty `role-to-assume` is often an unset variable. Then no identity of the machine
    /// counts.
    pub(super) fn credentials(
        &mut self,
        store: Option<&Location>,
        has_role: bool,
        environment: &Environment,
    ) -> Credentials {
        const CHOICES: &[(&str, Choice)] =
            &[("auto", Choice::Auto), ("ambient", Choice::Ambient), ("none", Choice::None)];
        let choice = self.choice("credentials", CHOICES).unwrap_or(Choice::Auto);
        let refused = match choice {
            Choice::None if has_role => Some("`role-to-assume` names a role"),
            Choice::None if self.verb.saves() => Some("a save needs credentials"),
            _ => None,
        };
        if let Some(reason) = refused {
            self.fault("credentials", "none", reason, "`auto`, `ambient`");
        }
        if has_role || !matches!(store, Some(Location::S3 { .. })) {
            return Credentials::Usual;
        }
        let is_set = |names: &[&str]| names.iter().any(|name| environment.get(name).is_some());
        let id = is_set(&["AWS_ACCESS_KEY_ID"]);
        // The SDK reads the secret from either variable.
        let secret = is_set(&["AWS_SECRET_ACCESS_KEY", "SECRET_ACCESS_KEY"]);
        let blank = IDENTITIES.iter().find(|name| {
            environment.is_set(name) && environment.get(name).is_none_or(|it| it.trim().is_empty())
        });
        match (choice, id, secret, blank) {
            (Choice::None, ..) => Credentials::Unsigned,
            (Choice::Ambient, ..) => Credentials::Usual,
            (Choice::Auto, true, true, _) => Credentials::Keys,
            (Choice::Auto, true, false, _) => {
                Credentials::Missing(Lack::HalfKey("AWS_SECRET_ACCESS_KEY"))
            }
            (Choice::Auto, false, true, _) => {
                Credentials::Missing(Lack::HalfKey("AWS_ACCESS_KEY_ID"))
            }
            (Choice::Auto, false, false, _) if self.raw.is_given_empty("role-to-assume") => {
                Credentials::Missing(Lack::EmptyRole)
            }
            (Choice::Auto, false, false, Some(name)) => {
                Credentials::Missing(Lack::EmptyVariable(name))
            }
            (Choice::Auto, false, false, None) => Credentials::Usual,
        }
    }

    pub(super) fn max_age(&mut self) -> Option<SignedDuration> {
        let is_positive = |age: &SignedDuration| age.is_positive();
        let accepted = "durations such as `30d`, `12h` or `1w 2d`";
        self.duration("max-age", "it is not a positive duration", accepted, is_positive)
    }

    /// Reads `metrics`: a file within the workspace.
    pub(super) fn metrics(&mut self) -> Option<String> {
        let path = self.value("metrics")?;
        let names = Path::new(&path).components().filter(|it| *it != Component::CurDir);
        let is_within = names.clone().all(|it| matches!(it, Component::Normal(_)));
        if !is_within || names.clone().next().is_none() {
            let accepted = "a file relative to the workspace, such as `metrics.json`";
            self.fault("metrics", &path, "it does not lie within the workspace", accepted);
        }
        Some(names.collect::<PathBuf>().to_string_lossy().into_owned())
    }

    /// Reads `min-metrics`, which need `metrics`. A plan leaves that to the save, whose step may
    /// name the file.
    pub(super) fn min_metrics(&mut self) -> Vec<Bound> {
        let bounds = self.bounds();
        if self.verb == Verb::Plan {
            return bounds;
        }
        if let (Some(bound), None, false) =
            (bounds.first(), self.raw.get("metrics"), self.has_fault("min-metrics"))
        {
            let reason = "the input `metrics` names no file";
            let accepted = "demands beside `metrics: metrics.json`";
            self.fault("min-metrics", &bound.to_string(), reason, accepted);
        }
        bounds
    }

    /// Reads the demands of `min-metrics`, each on its own line.
    pub(super) fn bounds(&mut self) -> Vec<Bound> {
        const ACCEPTED: &str = "lines such as `auc >= 0.9`, `loss < 1e-3` or \
                                `auc >= trusted - 0.005`";
        let lines = self.lines("min-metrics");
        let mut bounds = Vec::new();
        for line in &lines {
            match line.parse() {
                Ok(bound) => bounds.push(bound),
                Err(()) => self.fault("min-metrics", line, "it is no demand", ACCEPTED),
            }
        }
        bounds
    }

    pub(super) fn lock_timeout(&mut self) -> Option<Duration> {
        let is_positive = |timeout: &SignedDuration| timeout.is_positive();
        let accepted = "durations such as `10m` or `30s`";
        let reason = "it is not a positive duration";
        let timeout = self.duration("lock-timeout", reason, accepted, is_positive);
        timeout.map(SignedDuration::unsigned_abs)
    }

    /// Reads `save-patience`: 0 to 6 hours, the longest time of a job on GitHub's runners.
    pub(super) fn save_patience(&mut self) -> Option<Duration> {
        let longest = SignedDuration::from_hours(6);
        let patience = self.duration(
            "save-patience",
            "it is not a duration of at most 6 hours",
            "durations such as `10m`, `1h` or `0s`",
            |given| !given.is_negative() && *given <= longest,
        );
        patience.map(SignedDuration::unsigned_abs)
    }

    fn duration(
        &mut self,
        name: &str,
        reason: &str,
        accepted: &str,
        fits: impl Fn(&SignedDuration) -> bool,
    ) -> Option<SignedDuration> {
        let value = self.value(name)?;
        let parsed = value
            .parse::<Span>()
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
        let duration = parsed.ok().filter(fits);
        if duration.is_none() {
            self.fault(name, &value, reason, accepted);
        }
        duration
    }
}

/// Returns the workspace as the user spells it, and its real path. Absolute patterns may have the
/// user's spelling.
pub(super) fn workspace(workspace: &Path) -> (PathBuf, PathBuf) {
    let given = std::path::absolute(workspace).unwrap_or_else(|_| workspace.to_owned());
    let real = given.canonicalize().unwrap_or_else(|_| given.clone());
    (given, real)
}

/// Returns whether the address of the service contains the bucket, in its host or its path.
fn names_bucket(url: &str, bucket: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let in_host = host.strip_prefix(bucket).is_some_and(|rest| rest.starts_with(".s3"));
    in_host || path.split('/').any(|part| part == bucket)
}

/// Variables of the environment that choose an identity. Given but empty, none of them means the
/// identity of the machine.
const IDENTITIES: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
];

/// The input `credentials`.
#[derive(Clone, Copy)]
enum Choice {
    Auto,
    Ambient,
    None,
}

/// Reads `SCOPE/DIGEST`.
fn refused_model(text: &str) -> Option<PointerSource> {
    let (scope, hex) = text.rsplit_once('/')?;
    let manifest = format!("sha256:{hex}").parse().ok()?;
    Some(PointerSource::Refused { scope: scope.parse().ok()?, manifest })
}

/// Removes credentials from an input's value if the value may be an address.
fn without_credentials(name: &str, value: &str) -> String {
    const ADDRESSES: [&str; 4] = ["endpoint-url", "pointer", "repository", "store"];
    match ADDRESSES.contains(&name) || value.contains(':') {
        true => sanitize::address(value),
        false => value.to_owned(),
    }
}
