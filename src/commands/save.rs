//! `save`: keep the model that was trained.
//!
//! Order matters: blobs, manifest and inputs document first, the pointer last. Before the pointer
//! nothing is visible, after it everything is there.

use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};

use super::Context;
use super::handover::{Handover, Seen, Stored};
use crate::catalog::{ATTEMPTS, look_again_soon, nonce, now};
use crate::decide::commit::{self, Commit, Existing};
use crate::decide::{Reason, changes};
use crate::error::{Error, Result};
use crate::format::pointer::schema_for;
use crate::format::{Fingerprint, InputsDocument, Manifest, Nonce, Pointer, artifact};
use crate::github::artifact::Uploaded;
use crate::outcome::{Ending, Inputs, Outcome, Sent, describe};
use crate::store::Condition;
use crate::transfer::presence::Gaps;
use crate::transfer::tree::{self, Tree};
use crate::transfer::upload;
use crate::workflow::RunContext;

/// Saves; without a handover the inputs of this moment are those that were trained from, unless
/// `fingerprint` says otherwise.
///
/// # Errors
/// Inputs that changed since the plan; a model that cannot be read; a store that cannot be written.
pub async fn execute(ctx: &Context, handover: Option<Handover>) -> Result<Outcome> {
    let began = handover.as_ref().and_then(|it| it.began);
    let took = began.map(|began| Timestamp::now().duration_since(began));
    let document = ctx.observe_inputs().await?;
    let inputs = Inputs::of(&document);
    let planned = handover.as_ref().map(|it| it.fingerprint).or(ctx.settings.fingerprint);
    if let Some(planned) = planned.filter(|planned| *planned != inputs.digests.fingerprint) {
        let then = handover.as_ref().and_then(|it| it.document.as_ref());
        return Err(drift(ctx, &planned, &document, then).await);
    }
    let outcome = Outcome {
        fingerprint: Some(inputs.digests.fingerprint),
        inputs: Some(inputs),
        ..ctx.outcome(Ending::NotSaved)
    };
    if let Some(why) = &ctx.access.read_only {
        let outcome = Outcome { explanation: why.clone(), ..outcome };
        ctx.report.tell(&outcome);
        return Ok(outcome);
    }
    // Looked at even where the plan knows it: a store that cannot be used must show before
    // gigabytes were sent to it.
    let present = ctx.catalog.pointer(&ctx.access.own, &inputs.digests.fingerprint).await?;
    let base = match handover.as_ref().map_or(&Seen::Unknown, |it| &it.seen) {
        Seen::Unknown => present.map(|(pointer, _)| pointer.nonce),
        Seen::Nothing => None,
        Seen::Pointer(nonce) => Some(nonce.clone()),
    };
    let unusable = handover.as_ref().is_some_and(|it| it.stored == Stored::Unusable);

    let tree = scan(ctx, began).await?;
    let uploaded =
        upload::upload(&ctx.store, &ctx.settings.workspace, &tree, &ctx.progress).await?;
    let draft = keep(ctx, &uploaded.manifest, &document, inputs.digests.fingerprint, took).await?;
    let trained = draft.manifest.digest;
    let (pointer, saved) = commit(ctx, draft, base.as_ref(), unusable).await?;
    ctx.move_head(&pointer).await;

    let was_there = base.as_ref() == Some(&pointer.nonce);
    let (ending, why) = match (saved, was_there) {
        (true, _) => (Ending::Saved, format!("stored in the scope `{}`", pointer.scope)),
        (false, true) => (
            Ending::Kept,
            "a model of exactly these inputs was stored before; it is kept".to_owned(),
        ),
        (false, false) => (
            Ending::Kept,
            "another run saved a model of exactly these inputs first; that one is used".to_owned(),
        ),
    };
    if !saved && was_there && pointer.manifest.digest != trained {
        ctx.report.warn(
            "what was trained now is not used; to replace the stored model, set `force-retrain` \
             where it is saved",
        );
    }
    let outcome = Outcome {
        ending,
        reason: Some(Reason::Hit),
        explanation: why,
        sent: Some(Sent { blobs: uploaded.sent_blobs, bytes: uploaded.sent_bytes }),
        artifact: publish(ctx, &pointer, saved).await,
        pointer: Some(pointer),
        ..outcome
    };
    ctx.report.tell(&outcome);
    Ok(outcome)
}

/// Lists the model's files.
async fn scan(ctx: &Context, began: Option<Timestamp>) -> Result<Tree> {
    let (workspace, model_path) = (ctx.settings.workspace.clone(), ctx.settings.model_path.clone());
    let tree = tokio::task::spawn_blocking(move || tree::scan(&workspace, &model_path))
        .await
        .map_err(|error| Error::failed("the save was interrupted").caused_by(error))??;
    if tree.files.is_empty() {
        return Err(Error::failed("there is no model to save: `model-path` holds no file").hint(
            "check that the training writes its model there, and that `model-path` names it",
        ));
    }
    let began = began.map(SystemTime::from);
    if began.zip(tree.newest).is_some_and(|(began, newest)| newest < began) {
        ctx.report.warn(
            "no file of the model is newer than the plan: is this really what was trained now?",
        );
    }
    Ok(tree)
}

/// Stores manifest and inputs, and drafts the pointer that names them.
async fn keep(
    ctx: &Context,
    manifest: &Manifest,
    document: &InputsDocument,
    fingerprint: Fingerprint,
    took: Option<SignedDuration>,
) -> Result<Pointer> {
    for (one, other) in manifest.case_collisions() {
        ctx.report.warn(&format!(
            "`{one}` and `{other}` differ only in case; some file systems cannot hold both"
        ));
    }
    let stored = ctx.catalog.keep_manifest(manifest).await?;
    let inputs = ctx.catalog.keep_inputs(document).await?;
    let forced = ctx.policy.force.clone();
    Ok(Pointer {
        schema: schema_for(forced.as_ref(), None),
        namespace: ctx.settings.namespace.clone(),
        model: ctx.settings.model.clone(),
        scope: ctx.access.own.clone(),
        fingerprint,
        generation: 1,
        manifest: stored,
        inputs,
        files: manifest.files.len() as u64,
        bytes: manifest.total_bytes(),
        created_at: now(),
        train_seconds: took.map(|took| took.as_secs_f64().round() as u64),
        producer: ctx.run.as_ref().map(RunContext::producer),
        forced,
        promotion: None,
        previous: Vec::new(),
        nonce: nonce(),
    })
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
        Ok(uploaded) => Some(uploaded),
        Err(error) => {
            ctx.report.warn_of("the pointer is in the store only, not among the artifacts", &error);
            None
        }
    }
}

/// Says which inputs are not those of the plan, as exactly as can be known.
async fn drift(
    ctx: &Context,
    planned: &Fingerprint,
    now: &InputsDocument,
    then: Option<&InputsDocument>,
) -> Error {
    const SHOWN: usize = 20;
    let error = |details: String| {
        let what = "the inputs are not those that were planned, so nothing was saved";
        Error::failed(format!("{what}{details}")).hint(
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
        return error(format!(": fingerprint {}, planned {planned}", now.digests().fingerprint));
    }
    let mut lines = vec![format!(": other than {than}:")];
    lines.extend(differences.iter().take(SHOWN).map(describe::change));
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
    base: Option<&Nonce>,
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
            is_base: base == Some(&pointer.nonce),
            unusable,
        });
        let (generation, previous, condition) = match (
            commit::commit(in_the_way, &draft.manifest.digest, &ctx.policy, ctx.now),
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
