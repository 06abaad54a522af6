//! `save`: keep the model that was trained.
//!
//! Order matters: blobs, manifest and inputs document first, the pointer last. Before the pointer
//! nothing is visible, after it everything is there.

use std::time::{Duration, SystemTime};

use super::Context;
use super::plan::{Planned, model_rows, told};
use super::restore::Execution;
use crate::catalog::{ATTEMPTS, look_again_soon, nonce, now};
use crate::decide::save::{Commit, Existing, save};
use crate::decide::{Reason, changes};
use crate::error::{Error, Result};
use crate::format::pointer::schema_for;
use crate::format::{Digest, InputsDocument, Pointer, artifact};
use crate::github::artifact::Uploaded;
use crate::github::summary::{Summary, files_and_bytes};
use crate::outputs::Outputs;
use crate::store::Condition;
use crate::transfer::presence::Gaps;
use crate::transfer::{tree, upload};

/// What is known of the plan that this save completes.
#[derive(Clone, Debug, Default)]
pub struct Basis {
    /// The fingerprint that was planned.
    pub fingerprint: Option<Digest>,
    /// The inputs that were planned, to name what changed since.
    pub document: Option<InputsDocument>,
    /// Nonce of this scope's pointer when the plan was made: `Some(None)` means there was none,
    /// `None` that it is not known.
    pub base: Option<Option<String>>,
    /// How long the training took.
    pub train_time: Option<Duration>,
    /// When the training began at the earliest.
    pub since: Option<SystemTime>,
    /// Whether the stored model could not be put in place, and so must be replaced.
    pub unusable: bool,
}

impl Basis {
    /// Returns what a plan of the same process knows.
    pub fn of(
        ctx: &Context,
        planned: &Planned,
        train_time: Option<Duration>,
        since: Option<SystemTime>,
    ) -> Self {
        let base = planned.found.as_ref().filter(|found| found.scope == ctx.access.own);
        Self {
            fingerprint: Some(planned.inputs.all),
            document: Some(planned.document.clone()),
            base: planned.looked.then(|| base.map(|found| found.pointer.nonce.clone())),
            train_time,
            since,
            unusable: false,
        }
    }
}

/// Saves.
///
/// # Errors
/// Inputs that changed since the plan; a model that cannot be read; a store that cannot be written.
pub async fn execute(ctx: &Context, basis: Basis) -> Result<Execution> {
    let document = ctx.observe_inputs().await?;
    let inputs = document.fingerprint();
    let mut outputs =
        Outputs { fingerprint: Some(inputs.all), inputs: Some(inputs), ..Outputs::default() };
    if let Some(planned) =
        basis.fingerprint.or(ctx.settings.fingerprint).filter(|planned| *planned != inputs.all)
    {
        return Err(drift(ctx, &planned, &document, basis.document.as_ref()).await);
    }
    if let Some(why) = &ctx.access.read_only {
        ctx.report.warn(&format!("{}: not saved: {why}", ctx.settings.model));
        let summary = summary(ctx, "not saved", why, Vec::new());
        return Ok(Execution { outputs, summary });
    }
    // Looked at even where the plan knows it: a store that cannot be used must show before
    // gigabytes were sent to it.
    let present = ctx.catalog.pointer(&ctx.access.own, &inputs.all).await?;
    let present = present.map(|(pointer, _)| pointer.nonce);
    let base = basis.base.unwrap_or(present);

    let (workspace, model_path) = (ctx.settings.workspace.clone(), ctx.settings.model_path.clone());
    let tree = tokio::task::spawn_blocking(move || tree::scan(&workspace, &model_path))
        .await
        .map_err(|error| Error::failed("the save was interrupted").caused_by(error))??;
    if tree.files.is_empty() {
        return Err(Error::failed("there is no model to save: `model-path` holds no file").hint(
            "check that the training writes its model there, and that `model-path` names it",
        ));
    }
    if basis.since.is_some_and(|since| tree.newest.is_some_and(|newest| newest < since)) {
        ctx.report.warn(
            "no file of the model is newer than the plan: is this really what was trained now?",
        );
    }
    let uploaded =
        upload::upload(&ctx.store, &ctx.settings.workspace, &tree, &ctx.progress).await?;
    let manifest = &uploaded.manifest;
    for (one, other) in manifest.case_collisions() {
        ctx.report.warn(&format!(
            "`{one}` and `{other}` differ only in case; some file systems cannot hold both"
        ));
    }
    let manifest_reference = ctx.catalog.keep_manifest(manifest).await?;
    let trained = manifest_reference.digest;
    let inputs_reference = ctx.catalog.keep_inputs(&document).await?;

    let forced = ctx.settings.policy.force.clone();
    let draft = Pointer {
        schema: schema_for(forced.as_ref(), None),
        namespace: ctx.settings.namespace.clone(),
        model: ctx.settings.model.clone(),
        scope: ctx.access.own.clone(),
        fingerprint: inputs.all,
        generation: 1,
        manifest: manifest_reference,
        inputs: inputs_reference,
        files: manifest.files.len() as u64,
        bytes: manifest.total_bytes(),
        created_at: now(),
        train_seconds: basis.train_time.map(|time| time.as_secs_f64().round() as u64),
        producer: ctx.run.as_ref().map(crate::workflow::RunContext::producer),
        forced,
        promotion: None,
        previous: Vec::new(),
        nonce: nonce(),
    };
    let (pointer, saved) = commit(ctx, draft, base.as_deref(), basis.unusable).await?;
    ctx.move_head(&pointer).await;

    let sent = files_and_bytes_sent(uploaded.sent_blobs, uploaded.sent_bytes);
    let mut rows = model_rows(&pointer);
    rows.push(("Uploaded", sent.clone()));
    let (decision, why) = if saved {
        ctx.report.info(&format!(
            "{}: saved {} as generation {} in the scope `{}` ({sent} uploaded)",
            ctx.settings.model,
            files_and_bytes(pointer.files, pointer.bytes),
            pointer.generation,
            pointer.scope
        ));
        ("saved", format!("stored in the scope `{}`", pointer.scope))
    } else {
        let was_there = base.as_ref() == Some(&pointer.nonce);
        let why = match was_there {
            true => "a model of exactly these inputs was stored before; it is kept",
            false => "another run saved a model of exactly these inputs first; that one is used",
        };
        ctx.report
            .info(&format!("{}: {why} (manifest {})", ctx.settings.model, pointer.manifest.digest));
        if was_there && pointer.manifest.digest != trained {
            ctx.report.warn(
                "what was trained now is not used; to replace the stored model, set \
                 `force-retrain` where it is saved",
            );
        }
        ("kept", why.to_owned())
    };
    outputs.artifact = publish(ctx, &pointer, saved).await;
    if let Some(artifact) = &outputs.artifact {
        rows.push(("Artifact", format!("{} ({})", artifact.name, artifact.digest)));
    }
    outputs.reason = Some(Reason::Hit);
    outputs.cache_hit = true;
    outputs.saved = saved;
    outputs.pointer = Some(pointer);
    let summary = summary(ctx, decision, &why, rows);
    Ok(Execution { outputs, summary })
}

/// Puts a copy of the pointer into the run's artifacts. The store has the truth already, so a
/// failure is told and nothing else.
///
/// A pointer that another run wrote gets a name of its own: a promotion counts only what a run has
/// saved itself.
async fn publish(ctx: &Context, pointer: &Pointer, saved: bool) -> Option<Uploaded> {
    let run = ctx.run.as_ref()?;
    let service = match &ctx.results {
        Ok(service) => service,
        Err(why) => {
            ctx.report
                .warn(&format!("the pointer is in the store only, not among the artifacts: {why}"));
            return None;
        }
    };
    let settings = &ctx.settings;
    let (given, prefix) = (settings.artifact_name.as_deref(), settings.artifact_prefix());
    let name = artifact::name(given, &prefix, !saved, run.run_attempt, rand::random());
    let bytes = pointer.to_bytes().ok()?;
    match service.upload(&name, &bytes, settings.artifact_retention_days).await {
        Ok(uploaded) => {
            ctx.report.info(&format!(
                "{}: the pointer is the artifact `{}`",
                settings.model, uploaded.name
            ));
            Some(uploaded)
        }
        Err(error) => {
            ctx.report.warn_of("the pointer is in the store only, not among the artifacts", &error);
            None
        }
    }
}

fn files_and_bytes_sent(blobs: u64, bytes: u64) -> String {
    match blobs {
        0 => "nothing new".to_owned(),
        1 => format!("1 object, {}", indicatif::HumanBytes(bytes)),
        _ => format!("{blobs} objects, {}", indicatif::HumanBytes(bytes)),
    }
}

fn summary(ctx: &Context, decision: &str, why: &str, rows: Vec<(&'static str, String)>) -> String {
    Summary {
        model: ctx.settings.model.as_str(),
        decision,
        reason: (decision, why),
        rows,
        changes: &[],
    }
    .render()
}

/// Finds out before a training whether its model could be saved.
///
/// # Errors
/// A store that cannot be written.
pub async fn rehearse(ctx: &Context, planned: &Planned) -> Result<()> {
    if ctx.access.read_only.is_some() || !planned.looked {
        return Ok(());
    }
    let hint = "nothing was trained yet, because it could not have been saved";
    ctx.catalog.check_writable(&ctx.access.own).await.map_err(|error| error.hint(hint))
}

/// Says which inputs are not those of the plan, as exactly as can be known.
async fn drift(
    ctx: &Context,
    planned: &Digest,
    now: &InputsDocument,
    then: Option<&InputsDocument>,
) -> Error {
    const SHOWN: usize = 20;
    let error =
        |details: String| {
            Error::failed(format!("the inputs are not those that were planned, so nothing was \
                                   saved{details}")).hint(
            "the training must not write to `data-paths` or `training-paths`, and this job must \
             check out the same files as the plan's",
        )
        };
    let (differences, than) = match then {
        Some(then) => (changes::between(then, now), "when it was planned"),
        None => match earlier(ctx).await {
            Some(then) => (changes::between(&then, now), "in the model that this ref used last"),
            None => (Vec::new(), ""),
        },
    };
    if differences.is_empty() {
        return error(format!(": fingerprint {}, planned {planned}", now.fingerprint().all));
    }
    let mut lines = vec![format!(": other than {than}:")];
    lines.extend(differences.iter().take(SHOWN).map(told));
    if differences.len() > SHOWN {
        lines.push(format!("… and {} more", differences.len() - SHOWN));
    }
    error(lines.join("\n  "))
}

async fn earlier(ctx: &Context) -> Option<InputsDocument> {
    let pointer = ctx.latest_pointer().await.ok()??;
    ctx.catalog.inputs_of(&pointer).await.ok()?
}

/// Makes the pointer visible, or adopts the one of a faster run; returns it and whether it is ours.
async fn commit(
    ctx: &Context,
    draft: Pointer,
    base: Option<&str>,
    unusable: bool,
) -> Result<(Pointer, bool)> {
    for _ in 0..ATTEMPTS {
        let existing = ctx.catalog.pointer(&draft.scope, &draft.fingerprint).await?;
        if let Some((found, _)) = existing.as_ref().filter(|(found, _)| found.nonce == draft.nonce)
        {
            // An earlier attempt arrived although its answer did not.
            return Ok((found.clone(), true));
        }
        let complete = match &existing {
            // These very blobs were checked or sent a moment ago.
            Some((found, _)) if found.manifest.digest == draft.manifest.digest => true,
            Some((found, _)) => ctx.catalog.gaps(found).await? == Gaps::default(),
            None => false,
        };
        let in_the_way = existing.as_ref().map(|(pointer, _)| Existing {
            pointer,
            complete,
            is_base: base == Some(pointer.nonce.as_str()),
            unusable,
        });
        let (generation, previous, condition) = match (
            save(in_the_way, &draft.manifest.digest, &ctx.settings.policy, ctx.now),
            existing,
        ) {
            (Commit::Adopt, Some((found, _))) => return Ok((found, false)),
            (Commit::Replace { generation, previous }, Some((_, version))) => {
                (generation, previous, Condition::Unchanged(version))
            }
            _ => (1, Vec::new(), Condition::Absent),
        };
        let pointer = Pointer { generation, previous, ..draft.clone() };
        if ctx.catalog.write_pointer(&pointer, condition).await? {
            return Ok((pointer, true));
        }
        look_again_soon().await;
    }
    Err(Error::failed(format!(
        "cannot write the pointer of {} in the scope `{}`: other runs changed it {ATTEMPTS} times \
         meanwhile",
        draft.fingerprint, draft.scope
    ))
    .hint("run the save again"))
}
