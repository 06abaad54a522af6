//! Keeps the model of a refused save, so that a finished training is not lost.
//!
//! The store gets the blobs, the manifest, and a record in the run's scope. No pointer names the
//! model. Only a person who gives its manifest finds it.

use jiff::Timestamp;

use super::files;
use crate::catalog::{now, seconds_since};
use crate::commands::Context;
use crate::error::{Error, Kind, Result};
use crate::format::refused::{SCHEMA, Why};
use crate::format::{Fingerprint, ManifestId, Refused, Scope};
use crate::shell::quoted;
use crate::store::S3Options;
use crate::transfer::upload;
use crate::workflow::RunContext;

/// The directory in the command that restores a refused model of an untrusted scope.
const DESTINATION: &str = "refused-model";

/// The error of a save, and whether the model is kept all the same.
#[derive(Debug)]
pub(super) struct Refusal {
    error: Error,
    /// The reason, for the record; `None` if the model is not kept.
    why: Option<Why>,
    /// The fingerprint of the inputs now; `None` if it is unknown.
    found: Option<Fingerprint>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        // Damaged documents stand in the way of this model. Other faults, such as a store that
        // cannot be reached, would stand in the way of the record, too.
        let is_damage = error.kind() == Kind::Integrity;
        Self { error, why: is_damage.then_some(Why::StoreDamaged), found: None }
    }
}

impl Refusal {
    /// Refuses a model that must not be stored under a fingerprint.
    pub(super) fn of(error: Error, why: Why, found: Option<Fingerprint>) -> Self {
        Self { error, why: Some(why), found }
    }

    /// Keeps the model, and returns the error of the save with the command that restores the model.
    ///
    /// A model that cannot be kept is only a warning, because the error of the save matters more.
    pub(super) async fn keep(
        self,
        ctx: &Context,
        planned: Option<Fingerprint>,
        began: Option<Timestamp>,
    ) -> Error {
        const NOT_KEPT: &str = "the model of this training is not kept";
        let Some(why) = self.why else { return self.error };
        if let Some(read_only) = &ctx.access.read_only {
            ctx.report.warn(&format!("{NOT_KEPT}: {read_only}"));
            return self.error;
        }
        // The upload may take long, and a job that is cancelled meanwhile never shows the error.
        ctx.report.info(&format!(
            "{}: this model is refused, because {why}; keeping it for a person",
            ctx.settings.model
        ));
        match store(ctx, why, planned, self.found, began).await {
            Ok(manifest) => self.error.hint(format!(
                "to get the model of this training all the same, run `{}`; no plan finds it",
                command(ctx, &manifest)
            )),
            Err(error) => {
                ctx.report.warn_of(NOT_KEPT, &error);
                self.error
            }
        }
    }
}

async fn store(
    ctx: &Context,
    reason: Why,
    planned: Option<Fingerprint>,
    found: Option<Fingerprint>,
    began: Option<Timestamp>,
) -> Result<ManifestId> {
    let train_seconds = began.map(seconds_since);
    let tree = files::scan(ctx, began).await?;
    let known = ctx.known().await;
    let likely = upload::likely(std::future::ready(known.blobs));
    let uploaded = files::send(ctx, tree, &likely).await?.1;
    let (guess, manifest) = (uploaded.guess(), uploaded.manifest);
    let own = &ctx.access.own;
    let record = Refused {
        schema: SCHEMA.to_owned(),
        namespace: ctx.settings.namespace.clone(),
        model: ctx.settings.model.clone(),
        scope: own.clone(),
        reason,
        planned,
        found,
        manifest: ctx.catalog.keep_manifest(own, &manifest, guess, None).await?,
        files: manifest.files.len() as u64,
        bytes: manifest.total_bytes(),
        refused_at: now(),
        train_seconds,
        producer: ctx.run.as_ref().map(RunContext::producer),
    };
    ctx.catalog.keep_refused(&record).await?;
    Ok(record.manifest.digest)
}

/// Returns the command by which a person restores the model, ready for a shell.
fn command(ctx: &Context, manifest: &ManifestId) -> String {
    let settings = &ctx.settings;
    let S3Options { region, endpoint_url, force_path_style, .. } = &settings.s3;
    let pointer = pointer(&ctx.access.own, manifest);
    let flags = [
        ("store", Some(settings.store.to_string())),
        ("region", region.clone()),
        ("endpoint-url", endpoint_url.clone()),
        ("force-path-style", force_path_style.map(|style| style.to_string())),
        ("namespace", Some(settings.namespace.to_string())),
        ("model", Some(settings.model.to_string())),
        ("pointer", Some(pointer)),
        // A restore from an untrusted scope must not choose its places itself.
        ("destination", (ctx.access.own != Scope::Trusted).then(|| DESTINATION.to_owned())),
    ];
    let flags = flags.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let flags: Vec<String> =
        flags.map(|(name, value)| format!("--{name} {}", quoted(&value))).collect();
    format!("ml-cache restore {}", flags.join(" "))
}

fn pointer(scope: &Scope, manifest: &ManifestId) -> String {
    format!("refused:{scope}/{}", manifest.hex())
}
