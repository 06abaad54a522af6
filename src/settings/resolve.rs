//! Makes the settings of a verb.

use std::path::Path;

use super::file::{self, Around};
use super::reader::{self, Reader};
use super::{OnError, RawInputs, Secret, Settings, StandIns, Verb};
use crate::decide::ReadScopes;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::format::artifact;
use crate::github::oidc::Role;
use crate::store::{Location, S3Options};
use crate::workflow::RunContext;

const READ_SCOPES: &[(&str, ReadScopes)] =
    &[("own", ReadScopes::Own), ("trusted", ReadScopes::Trusted)];
const ON_ERROR: &[(&str, OnError)] = &[("fail", OnError::Fail), ("retrain", OnError::Retrain)];

const STAND_INS: &[(&str, StandIns)] = &[("refuse", StandIns::Refuse), ("allow", StandIns::Allow)];

/// All that the settings of a verb are made of.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The verb.
    pub verb: Verb,
    /// The inputs of the user.
    pub raw: &'a RawInputs,
    /// The environment of the process.
    pub environment: &'a Environment,
    /// The workflow run; `None` outside of GitHub Actions.
    pub run: Option<&'a RunContext>,
    /// The directory to which paths are relative, as the user spells it.
    pub workspace: &'a Path,
}

impl Given<'_> {
    /// Makes the settings.
    ///
    /// # Errors
    /// Any error of [`resolve`].
    pub fn resolve(self) -> Result<Settings> {
        let Given { verb, raw, environment, run, workspace } = self;
        resolve(verb, raw, environment, run, workspace)
    }
}

/// Makes the settings of a verb from its inputs.
///
/// # Errors
/// - Inputs or the configuration file cannot be used. One message names each fault, its place and
///   the accepted forms.
/// - A role has no region.
/// - The environment has AWS credentials that no request can carry.
///
/// These errors come together.
// Over 70 lines: it has a line for each input, to be read from top to bottom.
pub fn resolve(
    verb: Verb,
    raw: &RawInputs,
    environment: &Environment,
    run: Option<&RunContext>,
    workspace: &Path,
) -> Result<Settings> {
    let (given, workspace) = reader::workspace(workspace);
    let around = Around { verb, run, given: &given, workspace: &workspace };
    let mut file = file::load(raw, around);
    let raw = &file.raw;
    let mut reader = Reader::new(verb, raw);
    reader.check_workspace(&workspace);
    let store = reader.store(environment, run, &workspace);
    let sources = reader.sources(&given);
    let model_path = reader.model_path(&given);
    let namespace = reader.namespace(run, &workspace);
    let model = reader.model();
    let (walk, lock_timeout) = (reader.walk(), reader.lock_timeout());
    let on_error = reader.choice("on-error", ON_ERROR);
    let lfs_stand_ins = reader.choice("lfs-stand-ins", STAND_INS);
    let destination = reader.destination(&given, &workspace);
    reader.check_container(run, environment, store.as_ref(), &destination);
    let role = reader.role();
    let credentials = reader.credentials(store.as_ref(), role.is_some(), environment);
    let s3 = S3Options { credentials, ..reader.s3(store.as_ref(), environment) };
    let force = reader.force();
    let max_age = reader.max_age();
    let save_patience = reader.save_patience();
    let (metrics, min_metrics) = (reader.metrics(), reader.min_metrics());
    let comment = reader.comment();
    let promote = reader.choice("promote", &[("never", false), ("merged-pull-request", true)]);
    let read_scopes = reader.choice("read-scopes", READ_SCOPES);
    let fail_on_miss = reader.boolean("fail-on-miss");
    let artifact_name = reader.artifact_name();
    let artifact_retention_days = reader.retention_days();
    let trusted_refs = reader.trusted_refs();
    let mut doubts = reader.doubts(run, namespace.as_ref(), &sources);
    doubts.extend(reader.no_comment(run, comment));
    let asked = reader.asked(run, &workspace, &sources, artifact_name.as_ref());
    let faults = reader.into_faults(std::mem::take(&mut file.faults));
    let odd = check_credentials(store.as_ref(), environment, role.is_some(), s3.region.is_some());
    let role = role.map(|arn| Role::from_environment(&arn, s3.region.as_deref(), environment));
    let (role, unusable) = match role.transpose() {
        Ok(role) => (role, None),
        Err(error) => (None, Some(error)),
    };
    let faults = faults.map(|faults| file.advise(faults, raw.get("model").is_none()));
    if let Some(error) = Error::join([faults, odd.err(), unusable].into_iter().flatten()) {
        return Err(error);
    }
    let (Some(store), Some(namespace), Some(model)) = (store, namespace, model) else {
        return Err(Error::bad_input("an input cannot be used"));
    };
    let prefix = artifact_name.clone().unwrap_or_else(|| artifact::prefix(model.as_str()));
    Ok(Settings {
        store,
        role,
        s3,
        namespace,
        model,
        sources,
        lock_timeout: lock_timeout.unwrap_or_default(),
        walk,
        lfs_stand_ins: lfs_stand_ins.unwrap_or(StandIns::Refuse),
        model_path,
        destination,
        fingerprint: asked.fingerprint,
        foreign: asked.foreign.clone(),
        target: asked.target(verb.only_reads(), prefix),
        github_token: raw.get("github-token").map(|token| Secret(token.to_owned())),
        artifact_name,
        artifact_retention_days,
        force,
        max_age,
        metrics,
        min_metrics,
        comment,
        save_patience: save_patience.unwrap_or_default(),
        promote: promote.unwrap_or(false),
        read_scopes: read_scopes.unwrap_or_default(),
        on_error: on_error.unwrap_or(OnError::Fail),
        fail_on_miss: fail_on_miss.unwrap_or(false),
        trusted_refs,
        origins: file.origins(verb, environment),
        from_file: file.raw.of_file(),
        working_directory: workspace.join(&file.working_directory),
        workspace,
        doubts: [file.doubts, doubts].concat(),
    })
}

/// Refuses credentials that no request can carry, such as a key with the line end of its file.
///
/// A role replaces the keys of the environment. The input `region` replaces the region of the
/// environment.
fn check_credentials(
    store: Option<&Location>,
    environment: &Environment,
    has_role: bool,
    has_region: bool,
) -> Result<()> {
    if !matches!(store, Some(Location::S3 { .. })) {
        return Ok(());
    }
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
        .hint("set it again without line breaks and spaces")),
    }
}
