//! The beginning of a job. It plans, then restores the stored model or checks that a save could
//! succeed.

use super::handover::{Handover, Stored};
use super::plan::Planned;
use super::{Context, foresight, plan, restore, stand_ins};
use crate::error::Result;
use crate::outcome::{Ending, Outcome};

/// Plans, tells the decision and applies it.
///
/// `keep` receives the handover even if the restore fails. A job that trains after such a failure
/// must still save.
///
/// # Errors
/// - Any error of [`plan::observe`] or [`restore::apply`].
/// - `model-path` selects inputs.
/// - An input is a Git LFS stand-in, and the verb trains itself.
/// - A save is certain to refuse the model.
/// - The store cannot be written.
/// - `keep` fails.
pub async fn execute(
    ctx: &Context,
    keep: impl FnOnce(&Handover) -> Result<()>,
) -> Result<(Outcome, Handover)> {
    let planned = plan::observe(ctx).await?;
    let outcome = planned.outcome(ctx);
    ctx.report.tell(&outcome);
    let Some(found) = planned.decision.hit() else {
        let ready = prepare(ctx, &planned).await;
        let handover = planned.handover(ctx, Stored::Missing);
        keep(&handover)?;
        return ready.map(|()| (outcome, handover));
    };
    foresight::check_shared(ctx, &planned.document, &planned.links)?;
    let restored = restore::apply(ctx, &found.pointer).await;
    let stored = if restored.is_ok() { Stored::Restored } else { Stored::Unusable };
    let handover = planned.handover(ctx, stored);
    keep(&handover)?;
    let (_, restored) = restored?;
    let outcome = Outcome { ending: Ending::Restored, restored: Some(restored), ..outcome };
    ctx.report.tell(&outcome);
    ctx.move_head(&found.pointer, None).await;
    Ok((outcome, handover))
}

/// Checks before a training that a save of its model can succeed.
async fn prepare(ctx: &Context, planned: &Planned) -> Result<()> {
    stand_ins::check_inputs(ctx, &planned.stand_ins)?;
    foresight::check(ctx, &planned.document, &planned.links)?;
    if ctx.access.read_only.is_some() || !planned.looked() {
        return Ok(());
    }
    let hint = "let this run write to the store, and start it again; it stopped before the \
                training, because it could not have saved the model";
    ctx.catalog.check_writable(&ctx.access.own).await.map_err(|error| error.hint(hint))
}
