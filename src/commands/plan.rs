//! `plan`: must the model be trained again?

use super::handover::{Handover, Seen, Stored};
use super::{Context, promote};
use crate::decide::verdict::{Lookup, decide};
use crate::decide::{Change, Decision, changes};
use crate::error::{Error, Kind, Result};
use crate::format::inputs::InputDigests;
use crate::format::{InputsDocument, Pointer};
use crate::outcome::{Ending, Inputs, Outcome, Writes};
use crate::settings::OnError;

/// A decision and everything it rests on.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The inputs.
    pub document: InputsDocument,
    /// Their digests and sizes.
    pub inputs: Inputs,
    /// Whether to train.
    pub decision: Decision,
    /// This run's own pointer of these inputs.
    pub seen: Seen,
    /// The model that the ref used last, where there is none of these inputs.
    pub baseline: Option<Pointer>,
    /// How its inputs differ.
    pub changes: Vec<Change>,
}

/// Decides and says so.
///
/// # Errors
/// Inputs that cannot be read; a store that cannot, unless `on-error` is `retrain`.
pub async fn execute(ctx: &Context) -> Result<(Planned, Outcome)> {
    let planned = observe(ctx).await?;
    let outcome = planned.outcome(ctx);
    ctx.report.tell(&outcome);
    Ok((planned, outcome))
}

/// Refuses that a training is needed where `fail-on-miss` holds.
///
/// # Errors
/// A training that is needed.
pub fn check_found(ctx: &Context, outcome: &Outcome) -> Result<()> {
    if outcome.ending == Ending::Retrain && ctx.settings.fail_on_miss {
        let why = &outcome.explanation;
        return Err(Error::not_found(format!("there is no model to use: {why}")));
    }
    Ok(())
}

/// Observes and decides, without a word.
///
/// # Errors
/// As [`execute`].
pub async fn observe(ctx: &Context) -> Result<Planned> {
    let document = ctx.observe_inputs().await?;
    let measured = Inputs::of(&document);
    let inputs = measured.digests;
    let (mut looked_up, baseline) = match look(ctx, &inputs).await {
        Ok(seen) => seen,
        // Damage is never an outage: nobody may paper over it by training.
        Err(error) if error.kind() == Kind::Integrity => return Err(error),
        Err(error) if ctx.settings.on_error == OnError::Retrain => {
            ctx.report.warn_of("training anyway, because the store cannot be read", &error);
            (Lookup::Failed(error.to_string()), None)
        }
        Err(error) => {
            let hint = "set `on-error: retrain` to train whenever the store cannot be read";
            return Err(error.hint(hint));
        }
    };
    if matches!(looked_up, Lookup::Absent) && promote::attempt(ctx, &document).await {
        looked_up = ctx.catalog.model(&ctx.access.reads, &inputs.fingerprint).await?;
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
    Ok(Planned { document, inputs: measured, decision, seen, baseline, changes })
}

async fn look(
    ctx: &Context,
    inputs: &InputDigests,
) -> Result<(Lookup, Option<(Pointer, InputsDocument)>)> {
    let looked_up = ctx.catalog.model(&ctx.access.reads, &inputs.fingerprint).await?;
    if !matches!(looked_up, Lookup::Absent) {
        return Ok((looked_up, None));
    }
    // Only a miss needs something to be compared with.
    match baseline(ctx).await {
        Ok(baseline) => Ok((looked_up, baseline)),
        // An explanation that is damaged is no reason not to train.
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
    /// Returns whether the store could be looked at.
    pub fn looked(&self) -> bool {
        self.seen != Seen::Unknown
    }

    /// Returns the outcome of a plan alone.
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
            pointer: hit.map(|found| found.pointer.clone()),
            ..ctx.outcome(if hit.is_some() { Ending::UpToDate } else { Ending::Retrain })
        }
    }

    /// Returns what the save must know that completes this plan.
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
