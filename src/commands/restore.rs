//! `restore`: put a stored model in place.

use super::Context;
use super::resolve::{self, Resolution};
use crate::decide::Reason;
use crate::error::Result;
use crate::format::Pointer;
use crate::outcome::{Ending, Outcome};
use crate::transfer::download::{self, Restored};

/// Restores the model that is meant; see [`resolve::find`].
///
/// # Errors
/// No such model where `fail-on-miss` holds; damage; a store or file system that fails.
pub async fn execute(ctx: &Context) -> Result<Outcome> {
    let (pointer, known) = match resolve::find(ctx).await? {
        Resolution::Found { pointer, known } => (pointer, known),
        Resolution::Missing(missing) => return resolve::missing(ctx, missing),
    };
    let gaps = ctx.catalog.gaps(&pointer).await?;
    // What is there but wrong is found out, and named, by fetching it.
    if gaps.absent > 0 && gaps.wrong == 0 {
        return resolve::missing(ctx, known.incomplete(&gaps));
    }
    let restored = apply(ctx, &pointer).await?;
    if known.inputs.is_some() {
        // The model of the files that are checked out is the one that this ref uses now.
        ctx.move_head(&pointer).await;
    }
    let outcome = Outcome {
        reason: Some(Reason::Hit),
        explanation: format!("found in the scope `{}`", pointer.scope),
        inputs: known.inputs,
        fingerprint: Some(pointer.fingerprint),
        pointer: Some(*pointer),
        restored: Some(restored),
        ..ctx.outcome(Ending::Restored)
    };
    ctx.report.tell(&outcome);
    Ok(outcome)
}

/// Fetches and puts in place the model that the pointer names.
///
/// # Errors
/// Damage, or a store or file system that fails; the old files stay in every case.
pub async fn apply(ctx: &Context, pointer: &Pointer) -> Result<Restored> {
    let manifest = ctx.catalog.manifest(pointer).await?;
    download::restore(&ctx.store, manifest, &ctx.settings.destination, &ctx.progress).await
}
