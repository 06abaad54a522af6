//! `resolve`: which model is meant, without fetching it.
//!
//! What a pointer says counts only as far as the store's own pointer says so too: one that came as
//! an artifact or from a job output is foreign bytes.

use super::Context;
use crate::decide::trust::usable;
use crate::decide::{Reason, Why};
use crate::error::{Error, Kind, Result};
use crate::format::pointer::MAX_BYTES;
use crate::format::{Digest, Pointer, artifact};
use crate::github::rest::{MAX_ITEMS, Rest};
use crate::inputs::settings::PointerSource;
use crate::outcome::{Ending, Inputs, Outcome, describe};
use crate::regular_file;
use crate::transfer::presence::Gaps;
use crate::workflow::facts::RunFacts;

/// Runs that are asked for, of which one may have uploaded the artifact that is meant.
const MAX_RUNS: usize = 10;

/// A model that was found, or why none was.
#[derive(Clone, Debug)]
pub enum Resolution {
    /// A manifest that the store's own pointer names.
    Found {
        /// The pointer.
        pointer: Box<Pointer>,
        /// What else is known.
        known: Known,
    },
    /// There is none.
    Missing(Missing),
}

/// What is known of the model that is meant, whether it is there or not.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its fingerprint.
    pub fingerprint: Option<Digest>,
    /// The inputs, where they were read to find it.
    pub inputs: Option<Inputs>,
}

/// Why there is no model.
#[derive(Clone, Debug)]
pub struct Missing {
    known: Known,
    why: Why,
}

impl Known {
    /// Returns that objects of the model cannot be used.
    pub fn incomplete(self, gaps: &Gaps) -> Missing {
        let count = gaps.absent + gaps.wrong;
        let why = format!("{count} of the model's objects are gone from the store or damaged");
        Missing { known: self, why: Why { reason: Reason::Incomplete, explanation: why } }
    }

    fn no_model(self, explanation: String) -> Resolution {
        Resolution::Missing(Missing {
            known: self,
            why: Why { reason: Reason::NoModel, explanation },
        })
    }
}

/// Resolves and tells.
///
/// # Errors
/// As [`find`]; a missing model where `fail-on-miss` holds.
pub async fn execute(ctx: &Context) -> Result<Outcome> {
    let (pointer, known) = match find(ctx).await? {
        Resolution::Found { pointer, known } => (pointer, known),
        Resolution::Missing(why) => return missing(ctx, why),
    };
    let gaps = ctx.catalog.gaps(&pointer).await?;
    if gaps != Gaps::default() {
        return missing(ctx, known.incomplete(&gaps));
    }
    let outcome = Outcome {
        reason: Some(Reason::Hit),
        explanation: format!("found in the scope `{}`", pointer.scope),
        inputs: known.inputs,
        fingerprint: Some(pointer.fingerprint),
        pointer: Some(*pointer),
        ..ctx.outcome(Ending::Resolved)
    };
    ctx.report.tell(&outcome);
    Ok(outcome)
}

/// Ends a command that found no model: an error, or an outcome that says so.
///
/// # Errors
/// Where `fail-on-miss` holds.
pub fn missing(ctx: &Context, missing: Missing) -> Result<Outcome> {
    let Missing { known, why } = missing;
    let outcome = Outcome {
        reason: Some(why.reason),
        explanation: why.explanation,
        inputs: known.inputs,
        fingerprint: known.fingerprint,
        searched: ctx.access.reads.clone(),
        ..ctx.outcome(Ending::NotFound)
    };
    if !ctx.settings.fail_on_miss {
        ctx.report.tell(&outcome);
        return Ok(outcome);
    }
    let error = Error::not_found(describe::not_found(&outcome)).hint(
        "check `model`, `namespace`, `store` and `fingerprint`, and that the training was saved",
    );
    Err(match ctx.settings.repository {
        Some(_) => {
            error.hint("`repository` must be spelled as GitHub does, with the same capitals")
        }
        None => error,
    })
}

/// Finds the model that is meant: by a pointer, by a run of another repository, by fingerprint,
/// by the inputs, or the one that the ref used last.
///
/// # Errors
/// A pointer that the store does not confirm; a run that is not trusted; a store or API that fails.
pub async fn find(ctx: &Context) -> Result<Resolution> {
    let mut known = Known { fingerprint: None, inputs: None };
    match claimed(ctx).await? {
        Claim::Bytes(bytes) => {
            let pointer = confirm(ctx, &bytes).await?;
            known.fingerprint = Some(pointer.fingerprint);
            return Ok(Resolution::Found { pointer: Box::new(pointer), known });
        }
        Claim::Missing(explanation) => return Ok(known.no_model(explanation)),
        Claim::None => {}
    }
    let settings = &ctx.settings;
    if settings.fingerprint.is_some() {
        known.fingerprint = settings.fingerprint;
    } else if settings.has_sources() {
        let inputs = Inputs::of(&ctx.observe_inputs().await?);
        known = Known { fingerprint: Some(inputs.digests.all), inputs: Some(inputs) };
    } else {
        // An empty `fingerprint` may be an output that was lost, so what is taken instead is said.
        ctx.report.info(&format!(
            "{}: no fingerprint and no paths are given, so the latest model of {} is meant",
            settings.model,
            ref_names(ctx)
        ));
        known.fingerprint = ctx.latest_pointer().await?.map(|pointer| pointer.fingerprint);
    }
    let Some(fingerprint) = known.fingerprint else {
        return Ok(known.no_model(format!("{} has no model yet", ref_names(ctx))));
    };
    Ok(match ctx.find_pointer(&fingerprint).await? {
        Some(pointer) => Resolution::Found { pointer: Box::new(pointer), known },
        None => known.no_model(format!("there is no model of the fingerprint {fingerprint}")),
    })
}

fn ref_names(ctx: &Context) -> String {
    ctx.heads.iter().map(|(_, name)| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

/// What somebody handed over to say which model is meant.
enum Claim {
    /// The bytes of a pointer.
    Bytes(Vec<u8>),
    /// A run that has no pointer, as a sentence.
    Missing(String),
    /// Nothing.
    None,
}

/// Returns the bytes of a pointer that somebody handed over.
async fn claimed(ctx: &Context) -> Result<Claim> {
    let settings = &ctx.settings;
    match (&settings.pointer, settings.run_id, ctx.foreign_repository()) {
        (Some(PointerSource::Json(text)), ..) => Ok(Claim::Bytes(text.clone().into_bytes())),
        (Some(PointerSource::File(path)), ..) => {
            regular_file::read("pointer", path, MAX_BYTES).map(Claim::Bytes)
        }
        (Some(PointerSource::Artifact(name)), Some(run), _) => of_run(ctx, run, name).await,
        (Some(PointerSource::Artifact(name)), None, Some(repository)) => {
            of_name(ctx, repository, name).await
        }
        (Some(PointerSource::Artifact(name)), None, None) => of_this_run(ctx, name).await,
        (None, Some(run), _) => of_run(ctx, run, &settings.artifact_prefix()).await,
        (None, None, _) => Ok(Claim::None),
    }
}

/// Returns the pointer that a job of this run uploaded.
async fn of_this_run(ctx: &Context, name: &str) -> Result<Claim> {
    let service = ctx.results.as_ref().map_err(|why| {
        Error::failed(format!("cannot read the artifact `{name}`: {why}"))
            .hint("pass the output `pointer` itself, or a `fingerprint`")
    })?;
    match service.download(name).await {
        Ok(bytes) => Ok(Claim::Bytes(bytes)),
        Err(error) if error.kind() == Kind::NotFound => Ok(Claim::Missing(format!(
            "{error}; its name is the output `artifact-name` of the step that saved, in a job that \
             this one needs, and one of another run needs `run-id` as well"
        ))),
        Err(error) => Err(error),
    }
}

/// Returns the API and the name of the repository's default branch, on which trust in its runs
/// rests.
async fn judge<'a>(ctx: &'a Context, repository: &str, input: &str) -> Result<(&'a Rest, String)> {
    let rest = ctx.rest.as_ref().ok_or_else(|| {
        Error::bad_input(format!("`{input}` needs a `github-token`"))
            .hint("the token needs `actions: read` on that repository")
    })?;
    Ok((rest, rest.repository(repository).await?.default_branch))
}

/// Returns the pointer in the newest artifact of exactly this name that a trusted run uploaded: in
/// one repository, any run may give its artifacts any name.
async fn of_name(ctx: &Context, repository: &str, name: &str) -> Result<Claim> {
    let settings = &ctx.settings;
    let (rest, default_branch) = judge(ctx, repository, "pointer: artifact:NAME").await?;
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
            "`{repository}` has no artifact `{name}`; the whole name is needed, as in the output \
             `artifact-name`"
        ))),
        Some((run, why)) => Err(Error::failed(format!(
            "no run that is trusted uploaded the artifact `{name}` of `{repository}`; the newest \
             is of run {run}: {why}"
        ))
        .hint(
            "name the artifact of a successful run of a trusted branch, or name its branch in \
             `trusted-refs`",
        )),
    }
}

/// Returns the pointer that a trusted run uploaded under a name, or a name that begins so.
async fn of_run(ctx: &Context, run: u64, name: &str) -> Result<Claim> {
    let settings = &ctx.settings;
    let repository = settings.repository.as_deref().unwrap_or_default();
    let (rest, default_branch) = judge(ctx, repository, "run-id").await?;
    let facts = rest.run(repository, run).await?;
    usable(&facts.facts(), &default_branch, &settings.trusted_refs, &ctx.access.reads).map_err(
        |why| {
            Error::failed(format!("run {run} of `{repository}` cannot be used: {why}")).hint(
                "name a successful run of a trusted branch, or name its branch in `trusted-refs`",
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
            "say which one is meant by `fingerprint`, or by the `artifact-name` of the job that \
             trained it",
        ));
    }
    match (pointers.into_iter().next(), expired, artifacts.len()) {
        // Where none has the fingerprint that was asked for, whoever reads the newest one says so.
        (Some((_, bytes)), _, _) => Ok(Claim::Bytes(bytes)),
        (None, Some(expired), _) => rest.pointer_in(repository, expired).await.map(Claim::Bytes),
        (None, None, MAX_ITEMS..) => Ok(Claim::Missing(format!(
            "run {run} of `{repository}` has no artifact `{name}` among its newest {MAX_ITEMS}, \
             and no others are looked at: hand over its `pointer` or `fingerprint` instead"
        ))),
        (None, None, _) => Ok(Claim::Missing(format!(
            "run {run} of `{repository}` has no artifact `{name}`; a run that restored a model has \
             none, so name the one that trained it, or leave `run-id` out"
        ))),
    }
}

/// Returns the pointer if the store itself says the same.
async fn confirm(ctx: &Context, bytes: &[u8]) -> Result<Pointer> {
    let refuse = |why: String| Error::failed(format!("the pointer is refused: {why}"));
    let claimed = Pointer::parse(bytes).map_err(|error| refuse(error.to_string()))?;
    let settings = &ctx.settings;
    let fingerprint = settings.fingerprint.unwrap_or(claimed.fingerprint);
    claimed
        .expect(&settings.namespace, &settings.model, &claimed.scope, &fingerprint)
        .map_err(|error| refuse(error.reason))?;
    if !ctx.access.reads.contains(&claimed.scope) {
        return Err(refuse(format!("this run does not read the scope `{}`", claimed.scope)));
    }
    let Some((own, _)) = ctx.catalog.pointer(&claimed.scope, &claimed.fingerprint).await? else {
        return Err(refuse("the store has no such pointer".to_owned()));
    };
    if own.manifest == claimed.manifest {
        return Ok(own);
    }
    let is_previous =
        own.previous.iter().any(|previous| previous.manifest == claimed.manifest.digest);
    if !is_previous {
        return Err(refuse(format!(
            "the store's own pointer names no manifest {}",
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
