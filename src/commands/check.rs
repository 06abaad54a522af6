//! `check`: looks for all that would stop a plan or a save, and tells it at once.

use std::time::Duration;

use super::{Context, foresight};
use crate::error::{Error, Result};
use crate::fingerprint::{self, Links};
use crate::format::{Digest, InputEntry, InputsDocument, ModelName};
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
    "on-error",
    "read-scopes",
    "region",
    "role-to-assume",
    "sse",
    "sse-kms-key-id",
    "store",
    "trusted-refs",
];
/// The inputs that decide about the inputs of the training.
const INPUTS: &[&str] = &[
    "config",
    "data-paths",
    "default-excludes",
    "extra-key",
    "if-no-files-found",
    "max-linked-entries",
    "training-paths",
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
    let (mut faults, selected) = select(&ctx.settings, ctx.report).await;
    if faults.is_empty() {
        let (unread, links) = selected;
        faults.extend(foresight::check(ctx, &unread, &links).err());
    }
    faults.extend(access(ctx).await);
    if let Some(error) = Error::join(faults) {
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
    ctx.report.tell(&outcome);
    Ok(outcome)
}

/// Makes the settings and opens the context. If that fails, it also looks at all else that a plan
/// needs, so that the user can mend everything at once.
///
/// # Errors
/// The first fault, joined with those of the inputs and of the connection to the store.
pub async fn open(given: Given<'_>, report: Report) -> Result<Context> {
    let settings = match given.resolve() {
        Ok(settings) => settings,
        Err(error) if given.verb.plans() => {
            let faults = inputs(given, report).await;
            let faults = faults.into_iter().chain(connection(given, report).await);
            return Err(error.beside(faults));
        }
        Err(error) => return Err(error),
    };
    let run = given.run.cloned();
    match Context::open(given.verb, settings, run, None, report, given.environment).await {
        Err(error) if given.verb.plans() => Err(error.beside(inputs(given, report).await)),
        opened => opened,
    }
}

/// Joins an error about the inputs with all other faults of the inputs and of the store.
pub(super) async fn beside(ctx: &Context, error: Error) -> Error {
    let (faults, _) = select(&ctx.settings, ctx.report).await;
    // Both lists have been looked at now, and one of them gave this error.
    Error::join(faults).unwrap_or(error).beside(access(ctx).await)
}

/// Returns the settings that some inputs make, whatever the other inputs are. The faults of the
/// settings are told already, so `None` says nothing more.
fn settings_of(
    given: Given<'_>,
    names: &'static [&'static str],
    others: &[(&str, &str)],
) -> Option<Settings> {
    let model = given.raw.get("model").filter(|name| name.parse::<ModelName>().is_ok());
    // Without a name, the file may have a single model.
    let settings = [model, model.or(Some("check"))].into_iter().find_map(|model| {
        let mut raw = given.raw.only(names);
        for (name, value) in others.iter().copied().chain(model.map(|model| ("model", model))) {
            raw.set(name, value);
        }
        Given { raw: &raw, ..given }.resolve().ok()
    });
    settings.map(|settings| Settings { doubts: Vec::new(), origins: None, ..settings })
}

/// Returns the faults of the inputs, whatever the connection is.
async fn inputs(given: Given<'_>, report: Report) -> Vec<Error> {
    // The store is not opened.
    let others = [("store", "s3://check/check"), ("region", "check"), ("model-path", "check")];
    match settings_of(given, INPUTS, &others) {
        Some(settings) => select(&settings, report).await.0,
        None => Vec::new(),
    }
}

/// Returns the faults of the connection, whatever the inputs are.
async fn connection(given: Given<'_>, report: Report) -> Vec<Error> {
    // A plan needs something to hash and a save needs a model, but this look reads neither.
    let others = [("data-paths", "check"), ("model-path", "check")];
    let Some(settings) = settings_of(given, CONNECTION, &others) else { return Vec::new() };
    let (run, model) = (given.run.cloned(), settings.model.clone());
    let look = async {
        match Context::open(given.verb, settings, run, None, report, given.environment).await {
            Ok(ctx) => access(&ctx).await,
            Err(error) => vec![error],
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| {
        report.info(&format!("{model}: the store was not tried to its end, because it is slow"));
        Vec::new()
    })
}

/// Looks for the inputs, without reading them. Returns the faults, and the list of the inputs with
/// digests of nothing.
async fn select(settings: &Settings, report: Report) -> (Vec<Error>, (InputsDocument, Links)) {
    let Settings { workspace, sources, walk, .. } = settings.clone();
    let work = tokio::task::spawn_blocking(move || {
        let mut faults = Vec::new();
        let (mut links, mut warnings) = (Links::default(), Vec::new());
        let lists = fingerprint::select(&workspace, &sources, walk);
        let [data, training] = lists.map(|list| match list {
            Ok(selection) => {
                warnings.extend(selection.warnings);
                links.directories.extend(selection.links.directories);
                links.files.extend(selection.links.files);
                let unread = |(path, size)| InputEntry { path, size, digest: Digest::of(b"") };
                selection.files.into_iter().map(unread).collect()
            }
            Err(error) => {
                faults.push(error);
                Vec::new()
            }
        });
        let document = InputsDocument { data, training, extra: sources.extra };
        (faults, warnings, (document, links))
    });
    match work.await {
        Ok((faults, warnings, selected)) => {
            warnings.iter().for_each(|warning| report.warn(warning));
            (faults, selected)
        }
        Err(error) => {
            let fault = Error::failed("cannot look for the inputs: the task was interrupted");
            (vec![fault.caused_by(error)], Default::default())
        }
    }
}

/// Tries the reads of a plan and the write of a save.
async fn access(ctx: &Context) -> Vec<Error> {
    let own = match ctx.access.read_only {
        None => Some(&ctx.access.own),
        Some(_) => None,
    };
    ctx.catalog.check_access(&ctx.access.reads, own).await
}
