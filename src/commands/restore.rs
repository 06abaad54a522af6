//! `restore`: puts a stored model in place.

use super::Context;
use super::resolve::{self, Resolution};
use crate::decide::Reason;
use crate::error::Result;
use crate::format::Pointer;
use crate::outcome::{Ending, Outcome};
use crate::transfer::download::{self, Restored};

/// Restores the model that [`resolve::find`] finds.
///
/// # Errors
/// - Any error of [`resolve::find`].
/// - There is no complete model, and `fail-on-miss` is `true`.
/// - Stored bytes are damaged.
/// - The store or the file system fails.
pub async fn execute(ctx: &Context) -> Result<Outcome> {
    let (pointer, known) = match resolve::find(ctx).await? {
        Resolution::Found { pointer, known } => (pointer, known),
        Resolution::Missing(missing) => return resolve::missing(ctx, missing),
    };
    let gaps = ctx.catalog.gaps(&pointer).await?;
    // With a damaged object, the restore continues: the download names the object in its error.
    if gaps.absent > 0 && gaps.wrong == 0 {
        return resolve::missing(ctx, known.incomplete(&gaps));
    }
    let restored = apply(ctx, &pointer).await?;
    if known.inputs.is_some() {
        // This is the model of the checked-out inputs, so the ref uses it now.
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

/// Fetches the model that the pointer names, and puts it in place. After an error, the old files
/// are as before.
///
/// # Errors
/// - Stored bytes are missing or damaged.
/// - The store or the file system fails.
pub async fn apply(ctx: &Context, pointer: &Pointer) -> Result<Restored> {
    let manifest = ctx.catalog.manifest(pointer).await?;
    download::restore(&ctx.store, manifest, &ctx.settings.destination, &ctx.progress).await
}
