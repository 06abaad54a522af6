//! Pointers that somebody hands over to say which model is meant.
//!
//! What such a pointer says counts only as far as the store's own pointer says so too: one that
//! came as an artifact or from a job output is foreign bytes.

use super::Context;
use crate::decide::trust::usable;
use crate::error::{Error, Kind, Result};
use crate::format::pointer::MAX_BYTES;
use crate::format::{Pointer, artifact};
use crate::github::rest::{MAX_ITEMS, Rest};
use crate::regular_file;
use crate::settings::target::PointerSource;
use crate::workflow::facts::RunFacts;

/// Runs that are asked for, of which one may have uploaded the artifact that is meant.
const MAX_RUNS: usize = 10;

/// What was handed over.
pub(super) enum Claim {
    /// The bytes of a pointer.
    Bytes(Vec<u8>),
    /// Nothing, and why, as a sentence.
    Missing(String),
}

/// Returns the pointer that was given as it is.
pub(super) fn given(source: &PointerSource) -> Result<Claim> {
    match source {
        PointerSource::Json(text) => Ok(Claim::Bytes(text.clone().into_bytes())),
        PointerSource::File(path) => {
            regular_file::read("pointer", path, MAX_BYTES).map(Claim::Bytes)
        }
    }
}

/// Returns the pointer that a job of this run uploaded.
pub(super) async fn of_this_run(ctx: &Context, name: &str) -> Result<Claim> {
    let service = ctx.results.as_ref().map_err(|why| {
        Error::failed(format!("cannot read the artifact `{name}`: {why}"))
            .hint("pass the output `pointer` of the step that saved, or its `fingerprint`")
    })?;
    match service.download(name).await {
        Ok(bytes) => Ok(Claim::Bytes(bytes)),
        Err(error) if error.kind() == Kind::NotFound => Ok(Claim::Missing(format!(
            "{error}; use the output `artifact-name` of the step that saved, and list the job of \
             that step in `needs`; for an artifact of another run, set `run-id` as well"
        ))),
        Err(error) => Err(error),
    }
}

/// Returns the API and the name of the repository's default branch, on which trust in its runs
/// rests.
async fn trusted_api<'a>(
    ctx: &'a Context,
    repository: &str,
    input: &str,
) -> Result<(&'a Rest, String)> {
    let rest = ctx.rest.as_ref().ok_or_else(|| {
        Error::bad_input(format!("`{input}` needs a `github-token`"))
            .hint("set `github-token` to a token with `actions: read` on the artifact's repository")
    })?;
    Ok((rest, rest.repository(repository).await?.default_branch))
}

/// Returns the pointer in the newest artifact of exactly this name that a trusted run uploaded: in
/// one repository, any run may give its artifacts any name.
pub(super) async fn of_name(ctx: &Context, repository: &str, name: &str) -> Result<Claim> {
    let settings = &ctx.settings;
    let (rest, default_branch) = trusted_api(ctx, repository, "pointer: artifact:NAME").await?;
    let usable = |facts: &RunFacts| {
        usable(facts, &default_branch, &settings.trusted_refs, &ctx.access.reads)
    };
    let (mut refused, mut asked) = (None, 0);
    for artifact in rest.artifacts_named(repository, name).await?.iter().rev() {
        let Some(run) = artifact.workflow_run.as_ref().and_then(|run| run.id) else { continue };
        let mut verdict = artifact.hopeful_facts().map_or(Ok(()), |facts| usable(&facts));
        if verdict.is_ok() && asked == MAX_RUNS {
            break;
        }
        if verdict.is_ok() {
            asked += 1;
            verdict = usable(&rest.run(repository, run).await?.facts());
        }
        match verdict {
            Ok(()) => return rest.pointer_in(repository, artifact).await.map(Claim::Bytes),
            Err(why) => refused = refused.or(Some((run, why))),
        }
    }
    match refused {
        None => Ok(Claim::Missing(format!(
            "`{repository}` has no artifact `{name}`; give the whole name, as in the output \
             `artifact-name`"
        ))),
        Some((run, why)) => Err(Error::failed(format!(
            "no trusted run uploaded the artifact `{name}` of `{repository}`; the newest such \
             artifact is from run {run}: {why}"
        ))
        .hint(
            "name the artifact of a successful run of a trusted branch, or add the run's branch to \
             `trusted-refs`",
        )),
    }
}

/// Returns the pointer that a trusted run uploaded under a name, or a name that begins so.
pub(super) async fn of_run(ctx: &Context, repository: &str, run: u64, name: &str) -> Result<Claim> {
    let settings = &ctx.settings;
    let (rest, default_branch) = trusted_api(ctx, repository, "run-id").await?;
    let facts = rest.run(repository, run).await?;
    usable(&facts.facts(), &default_branch, &settings.trusted_refs, &ctx.access.reads).map_err(
        |why| {
            Error::failed(format!("run {run} of `{repository}` cannot be used: {why}")).hint(
                "name a successful run of a trusted branch, or add the run's branch to \
                 `trusted-refs`",
            )
        },
    )?;
    let artifacts = rest.artifacts_of_run(repository, run).await?;
    let (mut pointers, mut expired) = (Vec::new(), None);
    for artifact in artifacts.iter().rev().filter(|found| artifact::is_of(&found.name, name)) {
        if artifact.expired {
            expired = Some(artifact);
            continue;
        }
        let bytes = rest.pointer_in(repository, artifact).await?;
        match Pointer::parse(&bytes).ok().filter(|pointer| pointer.namespace == settings.namespace)
        {
            Some(pointer) if pointer.model == settings.model => {
                if settings.fingerprint == Some(pointer.fingerprint) {
                    return Ok(Claim::Bytes(bytes));
                }
                pointers.push((pointer.fingerprint, bytes));
            }
            // Names of models that differ only in what an artifact's name cannot hold share its
            // prefix.
            Some(pointer) if artifact::prefix(pointer.model.as_str()) == name => {}
            // Whoever reads it says what is wrong with it.
            _ => return Ok(Claim::Bytes(bytes)),
        }
    }
    // The legs of a matrix may each have trained this model from inputs of their own.
    let newest = pointers.first().map(|(newest, _)| *newest);
    let other = pointers.iter().map(|(other, _)| *other).find(|other| Some(*other) != newest);
    if let (Some(newest), Some(other), None) = (newest, other, settings.fingerprint) {
        let several =
            format!("saved this model from more than one set of inputs: {newest} and {other}");
        return Err(Error::failed(format!("run {run} of `{repository}` {several}")).hint(
            "choose a model by its `fingerprint`, or by the `artifact-name` of the job that \
             trained it",
        ));
    }
    match (pointers.into_iter().next(), expired, artifacts.len()) {
        // Where none has the fingerprint that was asked for, whoever reads the newest one says so.
        (Some((_, bytes)), _, _) => Ok(Claim::Bytes(bytes)),
        (None, Some(expired), _) => rest.pointer_in(repository, expired).await.map(Claim::Bytes),
        (None, None, MAX_ITEMS..) => Ok(Claim::Missing(format!(
            "run {run} of `{repository}` has no artifact `{name}` among its newest {MAX_ITEMS}, \
             and older artifacts are not read; pass the run's `pointer` or `fingerprint` instead"
        ))),
        (None, None, _) => Ok(Claim::Missing(format!(
            "run {run} of `{repository}` has no artifact `{name}`; a run that restored a model \
             uploads no artifact; set `run-id` to the run that trained the model, or leave \
             `run-id` out"
        ))),
    }
}

/// Returns the pointer if the store itself says the same.
pub(super) async fn confirm(ctx: &Context, bytes: &[u8]) -> Result<Pointer> {
    let refuse = |why: String| Error::failed(format!("cannot use the pointer: {why}"));
    let claimed = Pointer::parse(bytes).map_err(|error| refuse(error.to_string()))?;
    let settings = &ctx.settings;
    let fingerprint = settings.fingerprint.unwrap_or(claimed.fingerprint);
    claimed
        .expect(&settings.namespace, &settings.model, &claimed.scope, &fingerprint)
        .map_err(|error| refuse(error.reason))?;
    if !ctx.access.reads.contains(&claimed.scope) {
        return Err(refuse(format!(
            "this run may not read the pointer's scope `{}`",
            claimed.scope
        )));
    }
    let Some((own, _)) = ctx.catalog.pointer(&claimed.scope, &claimed.fingerprint).await? else {
        return Err(refuse("the store has no pointer for this scope and fingerprint".to_owned()));
    };
    if own.manifest == claimed.manifest {
        return Ok(own);
    }
    let is_previous =
        own.previous.iter().any(|previous| previous.manifest == claimed.manifest.digest);
    if !is_previous {
        return Err(refuse(format!(
            "the pointer in the store names no manifest {}",
            claimed.manifest.digest
        )));
    }
    let generation = own
        .previous
        .iter()
        .find(|previous| previous.manifest == claimed.manifest.digest)
        .map(|p| p.generation);
    let older = Pointer {
        generation: generation.unwrap_or(own.generation),
        manifest: ctx.catalog.manifest_reference(&claimed.manifest.digest).await?,
        // It is older than its successor; more than that, and who made it, the store does not say.
        created_at: claimed.created_at.min(own.created_at),
        train_seconds: None,
        producer: None,
        forced: None,
        promotion: None,
        previous: Vec::new(),
        ..own
    };
    let manifest = ctx.catalog.manifest(&older).await?;
    Ok(Pointer { files: manifest.files.len() as u64, bytes: manifest.total_bytes(), ..older })
}
