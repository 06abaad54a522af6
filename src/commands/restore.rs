//! `restore`: put a stored model in place.

use super::Context;
use super::plan::model_rows;
use super::resolve::{self, Resolution};
use crate::decide::Reason;
use crate::error::Result;
use crate::format::Pointer;
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

/// Restores the model that is meant; see [`resolve::find`].
///
/// # Errors
/// No such model where `fail-on-miss` holds; damage; a store or file system that fails.
pub async fn execute(ctx: &Context) -> Result<Execution> {
    let mut outputs = Outputs::default();
    let pointer = match resolve::find(ctx, &mut outputs).await? {
        Resolution::Found(pointer) => pointer,
        Resolution::Missing(reason, explanation) => {
            return resolve::missing(ctx, outputs, reason, &explanation);
        }
    };
    let gaps = ctx.catalog.gaps(&pointer).await?;
    // What is there but wrong is found out, and named, by fetching it.
    if gaps.absent > 0 && gaps.wrong == 0 {
        return resolve::missing(
            ctx,
            outputs,
            Reason::Incomplete,
            &resolve::gone_or_damaged(&gaps),
        );
    }
    let restored = apply(ctx, &pointer).await?;
    if outputs.inputs.is_some() {
        // The model of the files that are checked out is the one that this ref uses now.
        ctx.move_head(&pointer).await;
    }
    outputs.reason = Some(Reason::Hit);
    outputs.cache_hit = true;
    outputs.restored = true;
    let mut rows = model_rows(&pointer);
    rows.push(("Fetched", files_and_bytes(restored.fetched_files, restored.fetched_bytes)));
    let explanation = format!("found in the scope `{}`", pointer.scope);
    let summary = Summary {
        model: ctx.settings.model.as_str(),
        decision: "restored",
        reason: (Reason::Hit.word(), &explanation),
        rows,
        changes: &[],
    };
    let summary = summary.render();
    outputs.pointer = Some(*pointer);
    Ok(Execution { outputs, summary })
}

/// Fetches and puts in place the model that the pointer names.
///
/// # Errors
/// Damage, or a store or file system that fails; the old files stay in every case.
pub async fn apply(ctx: &Context, pointer: &Pointer) -> Result<Restored> {
    let manifest = ctx.catalog.manifest(pointer).await?;
    let restored =
        download::restore(&ctx.store, manifest, &ctx.settings.destination, &ctx.progress).await?;
    ctx.report.info(&format!(
        "{}: restored {} ({} unchanged, fetched {})",
        ctx.settings.model,
        files_and_bytes(pointer.files, pointer.bytes),
        restored.unchanged_files,
        files_and_bytes(restored.fetched_files, restored.fetched_bytes)
    ));
    Ok(restored)
}
