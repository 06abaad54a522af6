//! `plan`: decides whether the model must be trained again.

use super::handover::{Handover, Seen, Stored};
use super::{Context, check, foresight, promote, stand_ins};
use crate::decide::verdict::{Lookup, decide};
use crate::decide::{Change, Decision, changes};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Links, Observed};
use crate::format::inputs::InputDigests;
use crate::format::{InputsDocument, Pointer};
use crate::outcome::{Ending, Inputs, Outcome, Writes};
use crate::settings::OnError;

/// A decision and the observations behind it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The inputs of the training, file by file.
    pub document: InputsDocument,
    /// The paths of the inputs that are Git LFS stand-ins.
    pub stand_ins: Vec<String>,
    /// The links that lead to inputs.
    pub links: Links,
    /// Digests and sizes of the inputs.
    pub inputs: Inputs,
    /// Whether to train, and why.
    pub decision: Decision,
    /// The pointer of these inputs in the run's own scope.
    pub seen: Seen,
    /// The model that the ref used last. The plan looks for it only if no scope has a pointer of
    /// these inputs.
    pub baseline: Option<Pointer>,
    /// The differences between the inputs of the baseline and these inputs; empty if no training is
    /// due.
    pub changes: Vec<Change>,
}

/// Plans and tells the decision.
///
/// # Errors
/// - The inputs cannot be read.
/// - The store cannot be read, and `on-error` is `fail`.
/// - The pointer or the manifest of these inputs is damaged.
/// - The model needs a training, and a save is certain to refuse it.
/// - `model-path` selects inputs.
pub async fn execute(ctx: &Context) -> Result<(Planned, Outcome)> {
    let planned = observe(ctx).await?;
    let outcome = planned.outcome(ctx);
    ctx.report.tell(&outcome);
    match planned.decision.hit() {
        None => {
            foresight::check(ctx, &planned.document, &planned.links)?;
            if planned.looked() {
                foresight::check_store(ctx).await;
            }
        }
        Some(_) => foresight::check_shared(ctx, &planned.document, &planned.links)?,
    }
    Ok((planned, outcome))
}

/// Refuses an outcome that needs a training if `fail-on-miss` is `true`.
///
/// # Errors
/// The model must be trained, and `fail-on-miss` is `true`.
pub fn check_found(ctx: &Context, outcome: &Outcome) -> Result<()> {
    if outcome.ending == Ending::Retrain && ctx.settings.fail_on_miss {
        let why = &outcome.explanation;
        return Err(Error::not_found(format!("there is no model to use: {why}")));
    }
    Ok(())
}

/// Plans without telling the decision.
///
/// # Errors
/// - The inputs cannot be read.
/// - The store cannot be read, and `on-error` is `fail`.
/// - The pointer or the manifest of these inputs is damaged.
pub async fn observe(ctx: &Context) -> Result<Planned> {
    let Observed { document, stand_ins, links, .. } = match ctx.observe_inputs().await {
        Ok(observed) => observed,
        Err(error) if error.kind() == Kind::BadInput => return Err(check::beside(ctx, error).await),
        Err(error) => return Err(error),
    };
    let measured = Inputs::of(&document);
    let inputs = measured.digests;
    let (mut looked_up, baseline) = match look(ctx, &inputs).await {
        Ok(seen) => seen,
        Err(error) => (unreadable(ctx, error)?, None),
    };
    if matches!(looked_up, Lookup::Absent) && promote::attempt(ctx, &document).await {
        looked_up = match ctx.find_model(&inputs.fingerprint).await {
            Ok(promoted) => promoted,
            Err(error) => unreadable(ctx, error)?,
        };
    }
    let (baseline, before) = baseline.unzip();
    let old = before.as_ref().map(InputsDocument::digests);
    let decision = decide(&inputs, &looked_up, old.as_ref(), &ctx.policy, ctx.now);
    let changes = match (&decision, &before) {
        (Decision::Train(_), Some(before)) => changes::between(before, &document),
        _ => Vec::new(),
    };
    let seen = match looked_up {
        Lookup::Failed(_) => Seen::Unknown,
        Lookup::Found(found) if found.scope == ctx.access.own => Seen::Pointer(found.pointer.nonce),
        Lookup::Found(_) | Lookup::Absent => Seen::Nothing,
    };
    Ok(Planned { document, stand_ins, links, inputs: measured, decision, seen, baseline, changes })
}

/// Turns an unreadable store into a reason to train, if `on-error` is `retrain`.
///
/// # Errors
/// The error itself, if `on-error` is `fail`, or if stored bytes are damaged.
fn unreadable(ctx: &Context, error: Error) -> Result<Lookup> {
    // Damage is no outage. A training would hide the damage.
    if error.kind() == Kind::Integrity {
        return Err(error);
    }
    if ctx.settings.on_error != OnError::Retrain {
        let hint = "set `on-error: retrain` to train whenever the store cannot be read";
        return Err(error.hint(hint));
    }
    ctx.report.warn_of("training anyway, because the store cannot be read", &error);
    Ok(Lookup::Failed(error.to_string()))
}

async fn look(
    ctx: &Context,
    inputs: &InputDigests,
) -> Result<(Lookup, Option<(Pointer, InputsDocument)>)> {
    let looked_up = ctx.find_model(&inputs.fingerprint).await?;
    if !matches!(looked_up, Lookup::Absent) {
        return Ok((looked_up, None));
    }
    // Only a miss needs a baseline, for its explanation.
    match baseline(ctx).await {
        Ok(baseline) => Ok((looked_up, baseline)),
        // Without its baseline, the plan only explains less.
        Err(error) if error.kind() == Kind::Integrity => {
            ctx.report.warn_of("cannot compare the inputs with the last model", &error);
            Ok((looked_up, None))
        }
        Err(error) => Err(error),
    }
}

async fn baseline(ctx: &Context) -> Result<Option<(Pointer, InputsDocument)>> {
    let Some(pointer) = ctx.latest_pointer().await? else { return Ok(None) };
    let document = ctx.catalog.inputs_of(&pointer).await?;
    Ok(document.map(|document| (pointer, document)))
}

impl Planned {
    /// Returns whether the plan could read the store.
    pub fn looked(&self) -> bool {
        self.seen != Seen::Unknown
    }

    /// Returns the outcome of the plan, before any restore or training.
    pub fn outcome(&self, ctx: &Context) -> Outcome {
        let hit = self.decision.hit();
        let why = self.decision.why();
        Outcome {
            reason: Some(why.reason),
            explanation: why.explanation,
            fingerprint: Some(self.inputs.digests.fingerprint),
            inputs: Some(self.inputs),
            writes: Some(match ctx.access.read_only {
                None => Writes::To(ctx.access.own.clone()),
                Some(_) => Writes::Nowhere,
            }),
            changes: self.changes.clone(),
            baseline: self.baseline.clone(),
            stand_ins: if hit.is_none() { stand_ins::allowed(ctx, &self.stand_ins) } else { 0 },
            pointer: hit.map(|found| found.pointer.clone()),
            ..ctx.outcome(if hit.is_some() { Ending::UpToDate } else { Ending::Retrain })
        }
    }

    /// Returns the facts that the save of this plan needs.
    pub fn handover(&self, ctx: &Context, stored: Stored) -> Handover {
        Handover {
            fingerprint: self.inputs.digests.fingerprint,
            document: Some(self.document.clone()),
            seen: self.seen.clone(),
            stored,
            forced: ctx.policy.force.clone(),
            began: Some(ctx.now),
        }
    }
}
