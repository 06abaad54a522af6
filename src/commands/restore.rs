//! `restore`: puts a stored model in place.

mod bounds;

use super::Context;
use super::resolve::{self, Known, Resolution};
use crate::decide::Reason;
use crate::error::{Error, Kind, Result};
use crate::format::{Manifest, ManifestId, Pointer, Scope};
use crate::outcome::{Ending, Outcome, describe};
use crate::settings::Target;
use crate::settings::target::PointerSource;
use crate::transfer::download::{self, Restored};

/// A message names at most this many files.
const SHOWN: usize = 5;

/// Restores the model that [`resolve::find`] finds, or the model of a refused save.
///
/// # Errors
/// - Any error of [`resolve::find`].
/// - There is no complete model, and `fail-on-miss` is `true`.
/// - The model has files that this restore must not write, or nothing says which it may write.
/// - Stored bytes are damaged.
/// - The store or the file system fails.
pub async fn execute(ctx: &Context) -> Result<Outcome> {
    if let Target::Pointer(PointerSource::Refused { scope, manifest }) = &ctx.settings.target {
        return recover(ctx, scope, manifest).await;
    }
    let (pointer, known) = match resolve::find(ctx).await? {
        Resolution::Found { pointer, known } => (pointer, known),
        Resolution::Missing(missing) => return resolve::missing(ctx, missing),
    };
    let (pointer, restored) = match apply(ctx, &pointer).await {
        Ok(done) => done,
        // The download asks for every object anyway, so a look at all of them can wait until here.
        Err(error) if error.kind() == Kind::Integrity => {
            let (_, gaps) = ctx.catalog.measured(*pointer).await?;
            return match gaps.absent > 0 && gaps.wrong == 0 {
                true => resolve::missing(ctx, known.incomplete(&gaps)),
                // The error names the damaged object.
                false => Err(error),
            };
        }
        Err(error) => return Err(error),
    };
    if known.inputs.is_some() {
        // This is the model of the checked-out inputs, so the ref uses it now.
        ctx.move_head(&pointer, None).await;
    }
    let outcome = Outcome {
        reason: Some(Reason::Hit),
        explanation: format!("found in the scope `{}`", pointer.scope),
        inputs: known.inputs,
        fingerprint: Some(pointer.fingerprint),
        pointer: Some(pointer),
        restored: Some(restored),
        ..ctx.outcome(Ending::Restored)
    };
    ctx.report.tell(&outcome);
    Ok(outcome)
}

/// Restores the model of a refused save. It is no hit, and no head moves to it.
async fn recover(ctx: &Context, scope: &Scope, digest: &ManifestId) -> Result<Outcome> {
    // Outside of GitHub Actions, a person chooses the scope.
    if ctx.run.is_some() && !ctx.access.reads.contains(scope) {
        let why = format!("this run may not read the scope `{scope}` of the refused model");
        return Err(Error::failed(format!("cannot use the pointer: {why}")));
    }
    let Some((refused, manifest)) = ctx.catalog.refused(scope, digest).await? else {
        let why = format!("the scope `{scope}` has no refused model with the manifest {digest}");
        return resolve::missing(ctx, Known { fingerprint: None, inputs: None }.missing(why));
    };
    let restored = put(ctx, scope, manifest).await?;
    let outcome = Outcome {
        explanation: format!("a save refused this model: {}", refused.reason),
        restored: Some(restored),
        ..ctx.outcome(Ending::Recovered)
    };
    ctx.report.tell(&outcome);
    Ok(outcome)
}

/// Fetches the model that the pointer names, and puts it in place. Also returns the pointer with
/// the numbers of the manifest: its own are only a claim of its writer. After an error, the old
/// files are as before.
///
/// # Errors
/// - The model has files that this restore must not write.
/// - Stored bytes are missing or damaged.
/// - The store or the file system fails.
pub async fn apply(ctx: &Context, pointer: &Pointer) -> Result<(Pointer, Restored)> {
    let manifest = ctx.catalog.manifest(pointer).await?;
    let measured = pointer.clone().with_numbers_of(&manifest);
    Ok((measured, put(ctx, &pointer.scope, manifest).await?))
}

/// Puts a model of this scope in place.
async fn put(ctx: &Context, scope: &Scope, manifest: Manifest) -> Result<Restored> {
    bounds::check(ctx, scope, &manifest)?;
    let held = download::open(&ctx.settings.destination, ctx.lock_wait()).await?;
    held.doubts().for_each(|doubt| ctx.report.warn(&doubt));
    bounds::check_place(ctx, scope, &held)?;
    let shelf = ctx.catalog.shelf(scope);
    let (restored, odd_modes) = download::restore(&shelf, manifest, held, &ctx.progress).await?;
    if !odd_modes.is_empty() {
        let paths: Vec<&str> = odd_modes.iter().map(String::as_str).collect();
        ctx.report.warn(&format!(
            "cannot change these modes, so they are not those of the model: {}",
            describe::paths(&paths, SHOWN)
        ));
    }
    Ok(restored)
}
