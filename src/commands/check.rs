//! `check`: looks for all that would stop a plan or a save, and tells it at once.

use std::time::Duration;

use super::Context;
use crate::error::{Error, Result};
use crate::fingerprint::walk;
use crate::format::ModelName;
use crate::outcome::{Ending, Outcome, Writes};
use crate::report::Report;
use crate::settings::{Given, Settings};

/// The inputs that decide about the connection to the store.
const CONNECTION: &[&str] = &[
    "config",
    "credentials",
    "endpoint-url",
    "force-path-style",
    "namespace",
    "read-scopes",
    "region",
    "role-to-assume",
    "sse",
    "sse-kms-key-id",
    "store",
    "trusted-refs",
];
/// The longest look at the connection after the inputs have failed. The inputs fail the step
/// anyway.
const PATIENCE: Duration = Duration::from_secs(5);

/// Checks the inputs of the training, the credentials, and the rights to the store.
///
/// It hashes no file, and writes no object that a reader could see.
///
/// # Errors
/// All faults, joined.
pub async fn execute(ctx: &Context) -> Result<Outcome> {
    let (settings, report) = (ctx.settings.clone(), ctx.report);
    let inputs = tokio::task::spawn_blocking(move || select(&settings, report)).await;
    let inputs = inputs.unwrap_or_else(|error| {
        vec![Error::failed("cannot look for the inputs: the task was interrupted").caused_by(error)]
    });
    if let Some(error) = Error::join(inputs.into_iter().chain(access(ctx).await)) {
        return Err(error);
    }
    let (may, writes) = match &ctx.access.read_only {
        None => ("can be read and written".to_owned(), Writes::To(ctx.access.own.clone())),
        Some(why) => {
            (format!("can be read; this run does not write, because {why}"), Writes::Nowhere)
        }
    };
    let outcome = Outcome {
        explanation: format!("the inputs are there, and the store {may}"),
        writes: Some(writes),
        credentials: ctx.store.credentials(),
        ..ctx.outcome(Ending::Ready)
    };
    report.tell(&outcome);
    Ok(outcome)
}

/// Makes the settings. If they have faults, it also looks at the connection to the store, so that
/// the user can mend everything at once.
///
/// # Errors
/// The faults of the settings, joined with those of the connection.
pub async fn settings(given: Given<'_>, report: Report) -> Result<Settings> {
    let error = match given.resolve() {
        Ok(settings) => return Ok(settings),
        Err(error) => error,
    };
    if !given.verb.plans() {
        return Err(error);
    }
    let faults = tokio::time::timeout(PATIENCE, connection(given, report)).await;
    let faults = faults.unwrap_or_default();
    Err(error.beside(faults))
}

/// Returns the faults of the connection, whatever the other inputs are.
async fn connection(given: Given<'_>, report: Report) -> Vec<Error> {
    let mut raw = given.raw.only(CONNECTION);
    let model = given.raw.get("model").filter(|name| name.parse::<ModelName>().is_ok());
    raw.set("model", model.unwrap_or("check"));
    // A plan needs something to hash and a save needs a model, but this look reads neither.
    raw.set("data-paths", "check");
    raw.set("model-path", "check");
    let given = Given { raw: &raw, ..given };
    // These faults are told already.
    let Ok(mut settings) = given.resolve() else { return Vec::new() };
    (settings.doubts, settings.origins) = (Vec::new(), None);
    let run = given.run.cloned();
    match Context::open(given.verb, settings, run, None, report, given.environment).await {
        Ok(ctx) => access(&ctx).await,
        Err(error) => vec![error],
    }
}

/// Looks for the inputs, without reading them.
fn select(settings: &Settings, report: Report) -> Vec<Error> {
    let Settings { workspace, sources, walk, .. } = settings;
    let lists = [("data-paths", &sources.data), ("training-paths", &sources.training)];
    let mut faults = Vec::new();
    for (input, patterns) in lists {
        match walk::select(workspace, patterns, input, *walk) {
            Ok(selection) => selection.warnings.iter().for_each(|warning| report.warn(warning)),
            Err(error) => faults.push(error),
        }
    }
    faults
}

/// Tries the reads of a plan and the write of a save.
async fn access(ctx: &Context) -> Vec<Error> {
    let own = match ctx.access.read_only {
        None => Some(&ctx.access.own),
        Some(_) => None,
    };
    ctx.catalog.check_access(&ctx.access.reads, own).await
}
