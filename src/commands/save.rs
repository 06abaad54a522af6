//! `save`: keeps the model that the training wrote.
//!
//! The order matters: blobs, manifest and inputs document first, the pointer last. Before the
//! pointer, readers see nothing. After the pointer, every object is there.

mod commit;
mod drift;

use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};

use super::handover::{Handover, Seen, Stored};
use super::{Context, stand_ins};
use crate::catalog::{nonce, now};
use crate::decide::Reason;
use crate::error::{Error, Result};
use crate::fingerprint::Observed;
use crate::format::pointer::schema_for;
use crate::format::{Fingerprint, InputsDocument, Manifest, Pointer, artifact};
use crate::github::artifact::Uploaded;
use crate::outcome::{Ending, Inputs, Outcome, Sent};
use crate::transfer::tree::{self, Tree};
use crate::transfer::upload;
use crate::workflow::RunContext;

const WAS_THERE: &str = "the store already has a model of exactly these inputs and keeps it";
const WAS_FASTER: &str =
    "another run saved a model of exactly these inputs first; the store keeps that model";

/// Saves the model.
///
/// Without a handover, the save takes the current inputs for the inputs of the training. The input
/// `fingerprint` can name the expected inputs.
///
/// # Errors
/// - The inputs differ from the inputs of the plan, or from `fingerprint`.
/// - An input or a file of the model is a Git LFS stand-in.
/// - The model cannot be read.
/// - The store cannot be written.
pub async fn execute(ctx: &Context, handover: Option<Handover>) -> Result<Outcome> {
    let began = handover.as_ref().and_then(|it| it.began);
    let took = began.map(|began| Timestamp::now().duration_since(began));
    let observed = ctx.observe_inputs().await?;
    if let Some(refusal) = refusal(ctx, &observed, handover.as_ref()).await {
        return Err(refusal);
    }
    let Observed { document, stand_ins, .. } = observed;
    let inputs = Inputs::of(&document);
    let outcome = Outcome {
        fingerprint: Some(inputs.digests.fingerprint),
        inputs: Some(inputs),
        stand_ins: stand_ins::allowed(ctx, &stand_ins),
        ..ctx.outcome(Ending::NotSaved)
    };
    if let Some(why) = &ctx.access.read_only {
        let outcome = Outcome { explanation: why.clone(), ..outcome };
        ctx.report.tell(&outcome);
        return Ok(outcome);
    }
    // The save reads the pointer even if the handover names it. A store that cannot be used must
    // show before the upload of gigabytes.
    let present = ctx.catalog.pointer(&ctx.access.own, &inputs.digests.fingerprint).await?;
    let base = match handover.as_ref().map_or(&Seen::Unknown, |it| &it.seen) {
        Seen::Unknown => present.map(|(pointer, _)| pointer.nonce),
        Seen::Nothing => None,
        Seen::Pointer(nonce) => Some(nonce.clone()),
    };
    let unusable = handover.as_ref().is_some_and(|it| it.stored == Stored::Unusable);

    let tree = scan(ctx, began).await?;
    if let Some(refusal) = stand_ins::refuse_model(ctx, &tree.stand_ins) {
        return Err(refusal);
    }
    let uploaded =
        upload::upload(&ctx.store, &ctx.settings.workspace, &tree, &ctx.progress).await?;
    let draft = keep(ctx, &uploaded.manifest, &document, inputs.digests.fingerprint, took).await?;
    let trained = draft.manifest.digest;
    let (pointer, saved) = commit::commit(ctx, draft, base.as_ref(), unusable).await?;
    ctx.move_head(&pointer).await;

    let was_there = base.as_ref() == Some(&pointer.nonce);
    if !saved && was_there && pointer.manifest.digest != trained {
        ctx.report.warn(match ctx.access.replaces {
            true => UNUSED,
            false => UNUSED_IN_QUEUE,
        });
    }
    let outcome = Outcome {
        ending: if saved { Ending::Saved } else { Ending::Kept },
        reason: Some(Reason::Hit),
        explanation: match (saved, was_there) {
            (true, _) => format!("stored in the scope `{}`", pointer.scope),
            (false, true) => WAS_THERE.to_owned(),
            (false, false) => WAS_FASTER.to_owned(),
        },
        sent: Some(Sent { blobs: uploaded.sent_blobs, bytes: uploaded.sent_bytes }),
        artifact: publish(ctx, &pointer, saved).await,
        pointer: Some(pointer),
        stand_ins: outcome.stand_ins + tree.stand_ins.len(),
        ..outcome
    };
    ctx.report.tell(&outcome);
    Ok(outcome)
}

const UNUSED: &str = "the newly trained model is not used; to replace the stored model, set \
                      `force-retrain` in the step that saves";
const UNUSED_IN_QUEUE: &str = "the newly trained model is not used, because an entry of a merge \
                               queue replaces no stored model";

/// Returns why the model must not be stored under the fingerprint of these inputs.
async fn refusal(ctx: &Context, observed: &Observed, handover: Option<&Handover>) -> Option<Error> {
    let Observed { document, stand_ins, .. } = observed;
    let planned = handover.map(|it| it.fingerprint).or(ctx.settings.fingerprint);
    match planned.filter(|planned| *planned != document.digests().fingerprint) {
        Some(planned) => {
            let then = handover.and_then(|it| it.document.as_ref());
            Some(drift::told(ctx, &planned, document, then).await)
        }
        None => stand_ins::refuse_inputs(ctx, stand_ins),
    }
}

/// Lists the model's files. Warns if every file is older than the training.
async fn scan(ctx: &Context, began: Option<Timestamp>) -> Result<Tree> {
    let (workspace, model_path) = (ctx.settings.workspace.clone(), ctx.settings.model_path.clone());
    let tree = tokio::task::spawn_blocking(move || tree::scan(&workspace, &model_path))
        .await
        .map_err(|error| {
            Error::failed("cannot list the files of `model-path`: the task was interrupted")
                .caused_by(error)
        })??;
    if tree.files.is_empty() {
        return Err(Error::failed("there is no model to save: `model-path` holds no file").hint(
            "check that the training writes its model there, and that `model-path` names it",
        ));
    }
    let began = began.map(SystemTime::from);
    if began.zip(tree.newest).is_some_and(|(began, newest)| newest < began) {
        ctx.report.warn(
            "no file of the model is newer than the plan; check that the training wrote the model",
        );
    }
    Ok(tree)
}

/// Stores manifest and inputs, and drafts the pointer to them.
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

/// Puts a copy of the pointer into the run's artifacts. A failure is only a warning, because the
/// store has the pointer already.
///
/// The artifact's name shows whether another run wrote the pointer. A promotion counts only
/// pointers that a run saved itself.
async fn publish(ctx: &Context, pointer: &Pointer, saved: bool) -> Option<Uploaded> {
    let run = ctx.run.as_ref()?;
    let service = match &ctx.results {
        Ok(service) => service,
        Err(why) => {
            ctx.report.warn(&format!("the pointer is in the store, but not in an artifact: {why}"));
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
            ctx.report.warn_of("the pointer is in the store, but not in an artifact", &error);
            None
        }
    }
}
