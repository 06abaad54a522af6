//! Pointers from outside, by which the user says which model to use.
//!
//! Such a pointer comes from an artifact, a job output or a file, so its bytes are foreign. Its
//! facts count only if the store's own pointer confirms them.

use super::Context;
use crate::decide::trust::{is_shown_by, may_be_tag, usable};
use crate::error::{Error, Kind, Result};
use crate::format::pointer::MAX_BYTES;
use crate::format::{Pointer, artifact};
use crate::github::rest::{MAX_ITEMS, Rest};
use crate::regular_file;
use crate::settings::target::PointerSource;
use crate::workflow::facts::RunFacts;

/// [`of_name`] asks the API about at most this many runs.
const MAX_RUNS: usize = 10;

/// The answer of a place that may hold the user's pointer.
pub(super) enum Claim {
    /// The bytes of a pointer, not checked yet.
    Bytes(Vec<u8>),
    /// The bytes of a pointer that a run uploaded. The token cannot know whether that run was on a
    /// tag.
    Doubtful(Vec<u8>, Doubt),
    /// There is no pointer. The text says why, as a sentence without a full stop.
    Missing(String),
}

/// A run that may have been on a tag with the name of a trusted branch.
pub(super) struct Doubt {
    run: u64,
    name: String,
    why: Error,
}

impl Doubt {
    /// Accepts the run only if the store's own pointer shows that the run was on a trusted ref.
    pub(super) fn settle(self, pointer: &Pointer) -> Result<()> {
        let Self { run, name, why } = self;
        if is_shown_by(pointer, run) {
            return Ok(());
        }
        let unknown = format!("cannot use run {run}: it may be a run of a tag `{name}`");
        Err(Error::failed(unknown).caused_by(why).hint(
            "grant `contents: read` on that repository to the `github-token`; only then the API \
             tells a tag from the branch",
        ))
    }
}

/// Checks that the run's branch is not the name of a tag as well. Returns a doubt if the token
/// cannot know.
///
/// # Errors
/// The outer error is a failure of the API. The inner error is the fact against the run.
async fn no_tag(
    rest: &Rest,
    repository: &str,
    run: u64,
    facts: &RunFacts,
) -> Result<std::result::Result<Option<Doubt>, String>> {
    let Some(name) = may_be_tag(facts) else { return Ok(Ok(None)) };
    Ok(match rest.has_tag(repository, name).await? {
        Ok(false) => Ok(None),
        Ok(true) => Err(format!(
            "the repository has a tag `{name}`, and the API does not tell a run of that tag from a \
             run of the branch"
        )),
        Err(why) => Ok(Some(Doubt { run, name: name.to_owned(), why })),
    })
}

fn with_doubt(bytes: Vec<u8>, doubt: Option<Doubt>) -> Claim {
    match doubt {
        Some(doubt) => Claim::Doubtful(bytes, doubt),
        None => Claim::Bytes(bytes),
    }
}

/// Returns the bytes in the input `pointer`, or in the file that the input names.
pub(super) fn given(source: &PointerSource) -> Result<Claim> {
    match source {
        PointerSource::Json(text) => Ok(Claim::Bytes(text.clone().into_bytes())),
        PointerSource::File(path) => {
            regular_file::read("pointer", path, MAX_BYTES).map(Claim::Bytes)
        }
        PointerSource::Refused { .. } => Err(Error::bad_input(
            "`pointer`: no pointer names a refused model, so only `restore` can use it",
        )),
    }
}

/// Returns the pointer in an artifact of this run.
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

/// Returns the API and the name of the repository's default branch. Trust in the repository's runs
/// depends on that name.
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

/// Returns the pointer in the newest artifact of exactly this name that a trusted run uploaded.
///
/// Any run of the repository may give its artifacts any name, so the name alone proves nothing.
pub(super) async fn of_name(ctx: &Context, repository: &str, name: &str) -> Result<Claim> {
    let settings = &ctx.settings;
    let (rest, default_branch) = trusted_api(ctx, repository, "pointer: artifact:NAME").await?;
    let usable = |facts: &RunFacts| {
        usable(facts, &default_branch, &settings.trusted_refs, &ctx.access.reads)
    };
    let (mut refused, mut asked) = (None, 0);
    for artifact in rest.artifacts_named(repository, name).await?.iter().rev() {
        let Some(run) = artifact.workflow_run.as_ref().and_then(|run| run.id) else { continue };
        let hope = artifact.hopeful_facts().map_or(Ok(()), |facts| usable(&facts));
        if hope.is_ok() && asked == MAX_RUNS {
            break;
        }
        let verdict = match hope {
            Ok(()) => {
                asked += 1;
                let facts = rest.run(repository, run).await?.facts();
                match usable(&facts) {
                    Ok(()) => no_tag(rest, repository, run, &facts).await?,
                    Err(why) => Err(why),
                }
            }
            Err(why) => Err(why),
        };
        match verdict {
            Ok(doubt) => {
                let bytes = rest.pointer_in(repository, artifact).await?;
                return Ok(with_doubt(bytes, doubt));
            }
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

/// Returns the pointer that a trusted run uploaded. `name` is the artifact's whole name or its
/// prefix.
pub(super) async fn of_run(ctx: &Context, repository: &str, run: u64, name: &str) -> Result<Claim> {
    let settings = &ctx.settings;
    let (rest, default_branch) = trusted_api(ctx, repository, "run-id").await?;
    let facts = rest.run(repository, run).await?.facts();
    let refuse =
        |why: String| Error::failed(format!("run {run} of `{repository}` cannot be used: {why}"));
    usable(&facts, &default_branch, &settings.trusted_refs, &ctx.access.reads).map_err(|why| {
        refuse(why).hint(
            "name a successful run of a trusted branch, or add the run's branch to `trusted-refs`",
        )
    })?;
    let doubt = no_tag(rest, repository, run, &facts).await?.map_err(|why| {
        refuse(why).hint("remove the tag, or leave `run-id` out and use `ref` or `fingerprint`")
    })?;
    let claim = pointer_of_run(ctx, rest, repository, run, name).await?;
    Ok(match claim {
        Claim::Bytes(bytes) => with_doubt(bytes, doubt),
        other => other,
    })
}

/// Returns the pointer among the artifacts of a run that may be used.
async fn pointer_of_run(
    ctx: &Context,
    rest: &Rest,
    repository: &str,
    run: u64,
    name: &str,
) -> Result<Claim> {
    let settings = &ctx.settings;
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
            // This pointer belongs to another model. Both models have the same prefix, because
            // their names differ only in characters that an artifact's name cannot hold.
            Some(pointer) if artifact::prefix(pointer.model.as_str()) == name => {}
            // `confirm` refuses these bytes and says why.
            _ => return Ok(Claim::Bytes(bytes)),
        }
    }
    // Each job of a matrix may train this model from inputs of its own.
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
        // If no pointer has the user's fingerprint, `confirm` refuses the newest pointer and says
        // so.
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

/// Returns the pointer if the store's own pointer names the same manifest, now or in an earlier
/// generation.
pub(super) async fn confirm(ctx: &Context, bytes: &[u8]) -> Result<Pointer> {
    let refuse = |why: String| Error::failed(format!("cannot use the pointer: {why}"));
    let claimed = Pointer::parse(bytes).map_err(|error| {
        refuse(error.to_string()).hint("give the pointer as the save of the model printed it")
    })?;
    let settings = &ctx.settings;
    let fingerprint = settings.fingerprint.unwrap_or(claimed.fingerprint);
    claimed
        .expect(&settings.namespace, &settings.model, &claimed.scope, &fingerprint)
        .map_err(|error| refuse(error.reason))?;
    if !ctx.may_read(&claimed).await? {
        let scope = &claimed.scope;
        return Err(refuse(match ctx.access.reads_this_run && *scope == ctx.access.own {
            true => format!(
                "`read-scopes` is `trusted`, and this run did not save this model of the scope \
                 `{scope}` itself"
            ),
            false => format!("this run may not read the pointer's scope `{scope}`"),
        }));
    }
    let Some((own, _)) = ctx.catalog.pointer(&claimed.scope, &claimed.fingerprint).await? else {
        return Err(refuse("the store has no pointer for this scope and fingerprint".to_owned()));
    };
    generation_of(ctx, own, &claimed).await?.ok_or_else(|| {
        refuse(format!("the pointer in the store names no manifest {}", claimed.manifest.digest))
    })
}

/// Returns the stored pointer as of the generation that the claimed pointer names; `None` if the
/// stored pointer never named that manifest.
///
/// # Errors
/// - The manifest of an earlier generation is gone or damaged.
/// - The store cannot be read.
pub(super) async fn generation_of(
    ctx: &Context,
    own: Pointer,
    claimed: &Pointer,
) -> Result<Option<Pointer>> {
    if own.manifest == claimed.manifest {
        return Ok(Some(own));
    }
    let mut earlier = own.previous.iter();
    let Some(previous) = earlier.find(|it| it.manifest == claimed.manifest.digest) else {
        return Ok(None);
    };
    ctx.report.info(&format!(
        "{}: this is generation {} of these inputs, but the store has generation {} in the scope \
         `{}`",
        own.model, previous.generation, own.generation, own.scope
    ));
    let (reference, manifest) =
        ctx.catalog.earlier_manifest(&own.scope, &claimed.manifest.digest).await?;
    let older = Pointer {
        generation: previous.generation,
        manifest: reference,
        // The store keeps neither producer nor date of an earlier generation. That date is at most
        // the date of the successor.
        created_at: claimed.created_at.min(own.created_at),
        train_seconds: None,
        producer: None,
        forced: None,
        promotion: None,
        metrics: Vec::new(),
        previous: Vec::new(),
        ..own
    };
    Ok(Some(older.with_numbers_of(&manifest)))
}
