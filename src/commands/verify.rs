//! `verify`: read a stored model and compare every byte with its digests.

use super::{Context, lookup, restore};
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
    let fingerprint = restore::wanted(ctx, &mut outputs).await?;
    outputs.fingerprint = fingerprint;
    let mut found = None;
    if let Some(fingerprint) = &fingerprint {
        for scope in &ctx.access.reads {
            found = lookup::pointer(ctx, scope, fingerprint).await?;
            if found.is_some() {
                break;
            }
        }
    }
    let Some((pointer, _)) = found else {
        let message = format!("there is no model `{}` of `{}` to verify", ctx.settings.model, ctx.settings.namespace);
        if ctx.settings.fail_on_miss {
            return Err(Error::not_found(message));
        }
        ctx.report.warn(&message);
        return Ok(outputs);
    };
    let manifest = lookup::manifest(ctx, &pointer)
        .await?
        .ok_or_else(|| Error::integrity(format!("the manifest {} is gone from the store", pointer.manifest.digest)))?;
    let damage = download::verify(&ctx.store, manifest, &ctx.progress).await?;
    if !damage.is_empty() {
        let count = if damage.len() == 1 { "1 object is".to_owned() } else { format!("{} objects are", damage.len()) };
        return Err(Error::integrity(format!("{count} damaged:\n  {}", damage.join("\n  ")))
            .hint("remove what is named from the store, and the next run trains and saves the model anew"));
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
