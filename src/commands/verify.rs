//! `verify`: reads a stored model and compares every byte with its digests.

use super::Context;
use super::resolve::{self, Resolution};
use crate::error::{Error, Result};
use crate::outcome::{Ending, Outcome};
use crate::transfer::download;

/// Verifies the model that [`resolve::find`] finds.
///
/// # Errors
/// - Any error of [`resolve::find`].
/// - There is no model, and `fail-on-miss` is `true`.
/// - Objects are damaged. The message names each object.
/// - The store fails.
pub async fn execute(ctx: &Context) -> Result<Outcome> {
    let (pointer, known) = match resolve::find(ctx).await? {
        Resolution::Found { pointer, known } => (pointer, known),
        Resolution::Missing(missing) => return resolve::missing(ctx, missing),
    };
    let manifest = ctx.catalog.manifest(&pointer).await?;
    let pointer = pointer.with_numbers_of(&manifest);
    let shelf = ctx.catalog.shelf(&pointer.scope);
    let damage = download::verify(&shelf, manifest, &ctx.progress).await?;
    if !damage.is_empty() {
        let count = if damage.len() == 1 {
            "1 object is".to_owned()
        } else {
            format!("{} objects are", damage.len())
        };
        return Err(Error::integrity(format!("{count} damaged:\n  {}", damage.join("\n  "))).hint(
            "remove each named object from the store, and the next run trains and saves the model \
             anew",
        ));
    }
    let outcome = Outcome {
        explanation: "every byte is as it was saved".to_owned(),
        inputs: known.inputs,
        fingerprint: Some(pointer.fingerprint),
        pointer: Some(pointer),
        ..ctx.outcome(Ending::Verified)
    };
    ctx.report.tell(&outcome);
    Ok(outcome)
}
