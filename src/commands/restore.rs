//! `restore`: put a stored model in place.

use super::plan::model_rows;
use super::{Context, lookup, save};
use crate::decide::Reason;
use crate::decide::plan::Lookup;
use crate::error::{Error, Result};
use crate::format::{Digest, Pointer};
use crate::github::summary::{Summary, files_and_bytes};
use crate::outputs::Outputs;
use crate::transfer::download::{self, Restored};

/// What a restore found and what the summary says of it.
#[derive(Debug)]
pub struct Execution {
    /// For later steps.
    pub outputs: Outputs,
    /// For the job summary.
    pub summary: String,
}

/// Restores the model of the given fingerprint, of the inputs, or the one that the ref used last.
///
/// # Errors
/// No such model where `fail-on-miss` holds; damage; a store or file system that fails.
pub async fn execute(ctx: &Context) -> Result<Execution> {
    let mut outputs = Outputs::default();
    let fingerprint = wanted(ctx, &mut outputs).await?;
    outputs.fingerprint = fingerprint;
    let looked_up = match &fingerprint {
        Some(fingerprint) => lookup::model(ctx, fingerprint).await?,
        None => Lookup::Absent,
    };
    let (reason, explanation) = match looked_up {
        // What is there but wrong is found out, and named, by fetching it.
        Lookup::Found(found) if found.absent == 0 || found.wrong > 0 => {
            let restored = apply(ctx, &found.pointer).await?;
            if outputs.inputs.is_some() {
                // The model of the files that are checked out is the one that this ref uses now.
                save::move_head(ctx, &found.pointer).await;
            }
            outputs.reason = Some(Reason::Hit);
            outputs.cache_hit = true;
            outputs.restored = true;
            let mut rows = model_rows(&found.pointer);
            rows.push(("Fetched", files_and_bytes(restored.fetched_files, restored.fetched_bytes)));
            let explanation = format!("found in the scope `{}`", found.scope);
            let summary = Summary {
                model: ctx.settings.model.as_str(),
                decision: "restored",
                reason: (Reason::Hit.word(), &explanation),
                rows,
                changes: &[],
            };
            let summary = summary.render();
            outputs.pointer = Some(found.pointer);
            return Ok(Execution { outputs, summary });
        }
        Lookup::Found(found) => {
            let gone = format!("{} of the model's objects are gone from the store", found.absent);
            (Reason::Incomplete, gone)
        }
        _ => {
            let what = fingerprint.map_or_else(
                || format!("the ref `{}` has no model yet", ctx.ref_name()),
                |fingerprint| format!("there is no model of the fingerprint {fingerprint}"),
            );
            (Reason::NoModel, what)
        }
    };
    let scopes: Vec<String> = ctx.access.reads.iter().map(|scope| format!("`{scope}`")).collect();
    let message = format!(
        "cannot restore `{}` of `{}`: {explanation} (looked in {})",
        ctx.settings.model,
        ctx.settings.namespace,
        scopes.join(", ")
    );
    if ctx.settings.fail_on_miss {
        let hint = "check `model`, `namespace`, `store` and `fingerprint`, and that the training was saved";
        return Err(Error::not_found(message).hint(hint));
    }
    ctx.report.warn(&message);
    outputs.reason = Some(reason);
    outputs.retrain_needed = true;
    let summary = Summary {
        model: ctx.settings.model.as_str(),
        decision: "not restored",
        reason: (reason.word(), &explanation),
        rows: Vec::new(),
        changes: &[],
    };
    Ok(Execution { summary: summary.render(), outputs })
}

/// Returns the fingerprint to restore: the given one, that of the inputs, or the ref's last.
///
/// # Errors
/// Inputs or a store that cannot be read.
pub async fn wanted(ctx: &Context, outputs: &mut Outputs) -> Result<Option<Digest>> {
    let settings = &ctx.settings;
    if let Some(fingerprint) = settings.fingerprint {
        return Ok(Some(fingerprint));
    }
    if settings.sources.data.has_includes() || settings.sources.training.has_includes() {
        let inputs = ctx.observe_inputs().await?.fingerprint();
        outputs.inputs = Some(inputs);
        return Ok(Some(inputs.all));
    }
    // An empty `fingerprint` may be an output that was lost, so what is taken instead is said.
    ctx.report.info(&format!(
        "{}: no fingerprint and no paths are given, so the latest model of `{}` is meant",
        settings.model,
        ctx.ref_name()
    ));
    Ok(lookup::latest(ctx).await?.map(|pointer| pointer.fingerprint))
}

/// Fetches and puts in place the model that the pointer names.
///
/// # Errors
/// Damage, or a store or file system that fails; the old files stay in every case.
pub async fn apply(ctx: &Context, pointer: &Pointer) -> Result<Restored> {
    let manifest = lookup::manifest(ctx, pointer)
        .await?
        .ok_or_else(|| Error::integrity(format!("the manifest {} is gone from the store", pointer.manifest.digest)))?;
    let restored = download::restore(&ctx.store, manifest, &ctx.settings.destination, &ctx.progress).await?;
    ctx.report.info(&format!(
        "{}: restored {} ({} unchanged, fetched {})",
        ctx.settings.model,
        files_and_bytes(pointer.files, pointer.bytes),
        restored.unchanged_files,
        files_and_bytes(restored.fetched_files, restored.fetched_bytes)
    ));
    Ok(restored)
}
