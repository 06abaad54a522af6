//! The beginning of a job: plan, then put the stored model in place, or make sure that a new one
//! could be saved.

use super::handover::{Handover, Stored};
use super::plan::Planned;
use super::{Context, plan, restore};
use crate::error::Result;
use crate::outcome::{Ending, Outcome};

/// Begins, and tells what was decided. `keep` gets what the save must know, also where the model
/// could not be put in place: one that is trained all the same must be saved.
///
/// # Errors
/// As plan and restore; a store that cannot be written.
pub async fn execute(
    ctx: &Context,
    keep: impl FnOnce(&Handover) -> Result<()>,
) -> Result<(Outcome, Handover)> {
    let planned = plan::observe(ctx).await?;
    let outcome = planned.outcome(ctx);
    ctx.report.tell(&outcome);
    let Some(found) = planned.decision.hit() else {
        let writable = check_writable(ctx, &planned).await;
        let handover = planned.handover(ctx, Stored::Missing);
        keep(&handover)?;
        return writable.map(|()| (outcome, handover));
    };
    let restored = restore::apply(ctx, &found.pointer).await;
    let stored = if restored.is_ok() { Stored::Restored } else { Stored::Unusable };
    let handover = planned.handover(ctx, stored);
    keep(&handover)?;
    let outcome = Outcome { ending: Ending::Restored, restored: Some(restored?), ..outcome };
    ctx.report.tell(&outcome);
    ctx.move_head(&found.pointer).await;
    Ok((outcome, handover))
}

/// Finds out before a training whether its model could be saved.
async fn check_writable(ctx: &Context, planned: &Planned) -> Result<()> {
    if ctx.access.read_only.is_some() || !planned.looked() {
        return Ok(());
    }
    let hint = "let this run write to the store, and start it again; it stopped before the \
                training, because it could not have saved the model";
    ctx.catalog.check_writable(&ctx.access.own).await.map_err(|error| error.hint(hint))
}
