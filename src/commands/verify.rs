//! `verify`: read a stored model and compare every byte with its digests.

use super::Context;
use super::resolve::{self, Resolution};
use crate::error::{Error, Result};
use crate::github::summary::files_and_bytes;
use crate::outputs::Outputs;
use crate::transfer::download;

/// Verifies the model of the given fingerprint, of the inputs, or the one that the ref used last.
///
/// # Errors
/// Damage, named object by object; no such model; a store that fails.
pub async fn execute(ctx: &Context) -> Result<Outputs> {
    let mut outputs = Outputs::default();
    let pointer = match resolve::find(ctx, &mut outputs).await? {
        Resolution::Found(pointer) => *pointer,
        Resolution::Missing(reason, explanation) => {
            return resolve::missing(ctx, outputs, reason, &explanation)
                .map(|execution| execution.outputs);
        }
    };
    let manifest = ctx.catalog.manifest(&pointer).await?;
    let damage = download::verify(&ctx.store, manifest, &ctx.progress).await?;
    if !damage.is_empty() {
        let count = if damage.len() == 1 {
            "1 object is".to_owned()
        } else {
            format!("{} objects are", damage.len())
        };
        return Err(Error::integrity(format!("{count} damaged:\n  {}", damage.join("\n  "))).hint(
            "remove what is named from the store, and the next run trains and saves the model anew",
        ));
    }
    ctx.report.info(&format!(
        "{}: every byte is as it was saved ({}, manifest {})",
        ctx.settings.model,
        files_and_bytes(pointer.files, pointer.bytes),
        pointer.manifest.digest
    ));
    outputs.cache_hit = true;
    outputs.pointer = Some(pointer);
    Ok(outputs)
}
