//! `save`: keeps the model that the training wrote.
//!
//! The order matters: blobs, manifest and inputs document first, the pointer last. Before the
//! pointer, readers see nothing. After the pointer, every object is there.

mod commit;
mod drift;
mod files;
mod kept;
mod metrics;

use self::kept::Refusal;
use self::metrics::Compared;
use jiff::Timestamp;
use tokio::sync::watch;

use super::handover::{Handover, Seen, Stored};
use super::heads::Known;
use super::{Context, foresight, stand_ins};
use crate::catalog::{Earlier, nonce, now, seconds_since};
use crate::decide::Reason;
use crate::error::Result;
use crate::fingerprint::Observed;
use crate::format::refused::Why;
use crate::format::{Fingerprint, InputsDocument, ManifestId, Pointer, artifact};
use crate::github::artifact::Uploaded as Published;
use crate::outcome::{Ending, Inputs, Outcome, Sent};
use crate::transfer::tree::Tree;
use crate::transfer::upload::{self, Likely, Uploaded};
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
/// - `model-path` selects inputs.
/// - The model cannot be read.
/// - The store cannot be written.
pub async fn execute(ctx: &Context, handover: Option<Handover>) -> Result<Outcome> {
    let known = async {
        match ctx.access.read_only {
            None => ctx.known().await,
            Some(_) => Known::default(),
        }
    };
    // What was trained is nowhere else, so this is the wrong time to give up.
    let ctx = &ctx.for_saving(handover.as_ref().is_some_and(is_unusable));
    let planned = handover.as_ref().map(|it| it.fingerprint).or(ctx.settings.fingerprint);
    // The model is hashed while the requests about it are on their way.
    let (tell, told) = watch::channel(None);
    let tell = async {
        let known = known.await;
        tell.send_replace(Some(known));
    };
    let (saved, ()) = tokio::join!(save(ctx, handover.as_ref(), planned, told), tell);
    let result = match saved {
        Ok(outcome) => Ok(outcome),
        Err(refusal) => {
            Err(refusal.keep(ctx, planned, handover.and_then(|handover| handover.began)).await)
        }
    };
    tell_occupied(ctx);
    result
}

fn is_unusable(handover: &Handover) -> bool {
    handover.stored == Stored::Unusable
}

/// Names the shared objects in whose place this save wrote, or found, second names.
fn tell_occupied(ctx: &Context) {
    const SHOWN: usize = 5;
    let occupied: Vec<_> = ctx.catalog.occupied().collect();
    for (key, removal) in occupied.iter().take(SHOWN) {
        ctx.report.warn(&format!(
            "`{key}` holds other bytes than its name says, or cannot be read; this save keeps a \
             copy of its own in the scope `{}`; to remove that object: `{removal}`",
            ctx.access.own
        ));
    }
    if let Some(more @ 1..) = occupied.len().checked_sub(SHOWN) {
        ctx.report.warn(&format!("{more} more shared objects are occupied like that"));
    }
}

async fn save(
    ctx: &Context,
    handover: Option<&Handover>,
    planned: Option<Fingerprint>,
    mut known: watch::Receiver<Option<Known>>,
) -> Result<Outcome, Refusal> {
    let began = handover.and_then(|it| it.began);
    let took = began.map(seconds_since);
    let (observed, read) = look(ctx, handover, planned).await?;
    let Observed { document, stand_ins, links, .. } = observed;
    let inputs = Inputs::of(&document);
    let fingerprint = inputs.digests.fingerprint;
    let outcome = Outcome {
        fingerprint: Some(fingerprint),
        inputs: Some(inputs),
        stand_ins: stand_ins::allowed(ctx, &stand_ins),
        ..ctx.outcome(Ending::NotSaved)
    };
    if let Some(why) = &ctx.access.read_only {
        let outcome = Outcome { explanation: why.clone(), ..outcome };
        ctx.report.tell(&outcome);
        return Ok(outcome);
    }
    let base = match handover.map_or(&Seen::Unknown, |it| &it.seen) {
        Seen::Unknown => read.as_ref().and_then(Earlier::get).map(|pointer| pointer.nonce.clone()),
        Seen::Nothing => None,
        Seen::Pointer(nonce) => Some(nonce.clone()),
    };
    let unusable = handover.is_some_and(is_unusable);

    let compared = compare(ctx, began, fingerprint).await?;
    let tree = files::scan(ctx, began).await?;
    foresight::check_shared(ctx, &document, &links)?;
    let mut likely = known.clone();
    let likely = upload::likely(async move { settled(&mut likely).await.blobs });
    let (uploaded, model_stand_ins) = send(ctx, tree, &likely, fingerprint).await?;
    let Known { manifest, head, .. } = settled(&mut known).await;
    let draft = keep(ctx, &uploaded, manifest, &document).await?;
    let metrics = compared.metrics;
    let draft = Pointer { train_seconds: took, metrics, ..draft }.with_schema();
    let trained = draft.manifest.digest;
    let (pointer, saved) = commit::commit(ctx, draft, base.as_ref(), unusable, read).await?;
    ctx.move_head(&pointer, head).await;

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
        beside: compared.trusted,
        stand_ins: outcome.stand_ins + model_stand_ins,
        ..outcome
    };
    ctx.report.tell(&outcome);
    Ok(outcome)
}

/// Waits for the answers to the requests about the ref's last model.
async fn settled(known: &mut watch::Receiver<Option<Known>>) -> Known {
    let found = known.wait_for(Option::is_some).await;
    found.ok().and_then(|found| found.clone()).unwrap_or_default()
}

/// Reads the metrics of the model, and refuses a model that is below `min-metrics`.
async fn compare(
    ctx: &Context,
    began: Option<Timestamp>,
    fingerprint: Fingerprint,
) -> Result<Compared, Refusal> {
    let compared = metrics::read(ctx, began).await;
    compared
        .and_then(|compared| metrics::judge(ctx, &compared).map(|()| compared))
        .map_err(|error| Refusal::of(error, Why::Metrics, Some(fingerprint)))
}

/// Sends the files of the model. Returns the number of Git LFS stand-ins among them, too.
async fn send(
    ctx: &Context,
    tree: Tree,
    likely: &Likely,
    fingerprint: Fingerprint,
) -> Result<(Uploaded, usize), Refusal> {
    let check = |tree: &Tree| match stand_ins::refuse_model(ctx, &tree.stand_ins) {
        Some(error) => Err(Refusal::of(error, Why::LfsStandIns, Some(fingerprint))),
        None => Ok(tree.stand_ins.len()),
    };
    check(&tree)?;
    // The model may have changed since its first list.
    let (tree, uploaded) = files::send(ctx, tree, likely).await?;
    Ok((uploaded, check(&tree)?))
}

const UNUSED: &str = "the newly trained model is not used; to replace the stored model, set \
                      `force-retrain` in the step that saves";
const UNUSED_IN_QUEUE: &str = "the newly trained model is not used, because an entry of a merge \
                               queue replaces no stored model";

/// Observes the inputs, and reads the pointer of these inputs, if this run may write.
async fn look(
    ctx: &Context,
    handover: Option<&Handover>,
    planned: Option<Fingerprint>,
) -> Result<(Observed, Option<Earlier<Pointer>>), Refusal> {
    let observed = observe(ctx, handover, planned).await?;
    if ctx.access.read_only.is_some() {
        return Ok((observed, None));
    }
    // The save reads the pointer even if the handover names it. A store that cannot be used must
    // show before the upload of gigabytes.
    let fingerprint = observed.document.digests().fingerprint;
    let found = ctx.catalog.pointer(&ctx.access.own, &fingerprint).await?;
    Ok((observed, Some(Earlier::now(found))))
}

/// Observes the inputs, and refuses inputs under which the model must not be stored.
async fn observe(
    ctx: &Context,
    handover: Option<&Handover>,
    planned: Option<Fingerprint>,
) -> Result<Observed, Refusal> {
    let observed = match ctx.observe_inputs().await {
        // Without a plan, a path may just be misspelt, and nothing need have been trained.
        Err(error) if planned.is_some() => {
            return Err(Refusal::of(error, Why::InputsUnreadable, None));
        }
        observed => observed?,
    };
    let found = observed.document.digests().fingerprint;
    if let Some(planned) = planned.filter(|planned| *planned != found) {
        let then = handover.and_then(|it| it.document.as_ref());
        let error = drift::told(ctx, &planned, &observed.document, then).await;
        return Err(Refusal::of(error, Why::InputsChanged, Some(found)));
    }
    match stand_ins::refuse_inputs(ctx, &observed.stand_ins) {
        Some(error) => Err(Refusal::of(error, Why::LfsStandIns, Some(found))),
        None => Ok(observed),
    }
}

/// Stores manifest and inputs, and drafts the pointer to them.
async fn keep(
    ctx: &Context,
    uploaded: &Uploaded,
    read: Option<ManifestId>,
    document: &InputsDocument,
) -> Result<Pointer> {
    let (manifest, guess) = (&uploaded.manifest, uploaded.guess());
    // Where blobs of the same model were gone, somebody removes objects.
    let read = if uploaded.sent_blobs == 0 { read } else { None };
    for (one, other) in manifest.case_collisions() {
        ctx.report.warn(&format!(
            "`{one}` and `{other}` differ only in case; some file systems cannot hold both"
        ));
    }
    let own = &ctx.access.own;
    let (stored, inputs) = tokio::try_join!(
        ctx.catalog.keep_manifest(own, manifest, guess, read),
        ctx.catalog.keep_inputs(own, document, guess),
    )?;
    let forced = ctx.policy.force.clone();
    Ok(Pointer {
        schema: String::new(),
        namespace: ctx.settings.namespace.clone(),
        model: ctx.settings.model.clone(),
        scope: ctx.access.own.clone(),
        fingerprint: document.digests().fingerprint,
        generation: 1,
        manifest: stored,
        inputs,
        files: manifest.files.len() as u64,
        bytes: manifest.total_bytes(),
        created_at: now(),
        train_seconds: None,
        producer: ctx.run.as_ref().map(RunContext::producer),
        forced,
        promotion: None,
        metrics: Vec::new(),
        previous: Vec::new(),
        nonce: nonce(),
    })
}

/// Puts a copy of the pointer into the run's artifacts. A failure is only a warning, because the
/// store has the pointer already.
///
/// The artifact's name shows whether another run wrote the pointer. A promotion counts only
/// pointers that a run saved itself.
async fn publish(ctx: &Context, pointer: &Pointer, saved: bool) -> Option<Published> {
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
