//! `resolve`: finds the model that the user means, without fetching it.

use super::Context;
use super::claim::{self, Claim};
use crate::decide::{Reason, Why};
use crate::error::{Error, Result};
use crate::format::{Fingerprint, Pointer};
use crate::outcome::{Ending, Inputs, Outcome, describe};
use crate::settings::Target;
use crate::transfer::presence::Gaps;

/// The result of a search for a model.
#[derive(Clone, Debug)]
pub enum Resolution {
    /// The store's own pointer names the model's manifest.
    Found {
        /// The pointer to the model.
        pointer: Box<Pointer>,
        /// The facts that the search found on its way.
        known: Known,
    },
    /// There is no model.
    Missing(Missing),
}

/// Facts about the model that the user means, even if there is no such model.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The model's fingerprint; `None` if the search found no fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// The inputs of the training; `None` if the search did not read them.
    pub inputs: Option<Inputs>,
}

/// The reason why there is no model.
#[derive(Clone, Debug)]
pub struct Missing {
    known: Known,
    why: Why,
}

impl Known {
    /// Returns the reason for a model with missing or damaged objects.
    pub fn incomplete(self, gaps: &Gaps) -> Missing {
        let count = gaps.absent + gaps.wrong;
        let why = format!("the stored model is incomplete; missing or damaged objects: {count}");
        Missing { known: self, why: Why { reason: Reason::Incomplete, explanation: why } }
    }

    /// Returns the explanation of a search that found no model.
    pub(super) fn missing(self, explanation: String) -> Missing {
        Missing { known: self, why: Why { reason: Reason::NoModel, explanation } }
    }

    fn no_model(self, explanation: String) -> Resolution {
        Resolution::Missing(self.missing(explanation))
    }
}

/// Resolves the model and tells the outcome.
///
/// # Errors
/// - Any error of [`find`].
/// - The store cannot be read, or the manifest is damaged.
/// - There is no complete model, and `fail-on-miss` is `true`.
pub async fn execute(ctx: &Context) -> Result<Outcome> {
    let (pointer, known) = match find(ctx).await? {
        Resolution::Found { pointer, known } => (pointer, known),
        Resolution::Missing(why) => return missing(ctx, why),
    };
    let (pointer, gaps) = ctx.catalog.measured(*pointer).await?;
    if gaps != Gaps::default() {
        return missing(ctx, known.incomplete(&gaps));
    }
    let outcome = Outcome {
        reason: Some(Reason::Hit),
        explanation: format!("found in the scope `{}`", pointer.scope),
        inputs: known.inputs,
        fingerprint: Some(pointer.fingerprint),
        pointer: Some(pointer),
        ..ctx.outcome(Ending::Resolved)
    };
    ctx.report.tell(&outcome);
    Ok(outcome)
}

/// Ends a command that found no model, with an error or with an outcome.
///
/// # Errors
/// `fail-on-miss` is `true`.
pub fn missing(ctx: &Context, missing: Missing) -> Result<Outcome> {
    let Missing { known, why } = missing;
    let outcome = Outcome {
        reason: Some(why.reason),
        explanation: why.explanation,
        inputs: known.inputs,
        fingerprint: known.fingerprint,
        searched: ctx.access.reads.clone(),
        ..ctx.outcome(Ending::NotFound)
    };
    if !ctx.settings.fail_on_miss {
        ctx.report.tell(&outcome);
        return Ok(outcome);
    }
    let error = Error::not_found(describe::not_found(&outcome)).hint(
        "check `model`, `namespace`, `store` and `fingerprint`, and that a run saved the model",
    );
    Err(match ctx.settings.foreign {
        Some(_) => error.hint("spell `repository` as GitHub does, with the same capitals"),
        None => error,
    })
}

/// Finds the model that the settings name.
///
/// # Errors
/// - The inputs cannot be read.
/// - The store does not confirm the pointer.
/// - The run behind the pointer is not trusted.
/// - The store or GitHub's API fails.
pub async fn find(ctx: &Context) -> Result<Resolution> {
    let mut known = Known { fingerprint: None, inputs: None };
    let claim = match &ctx.settings.target {
        Target::Fingerprint(fingerprint) => {
            known.fingerprint = Some(*fingerprint);
            return stored(ctx, fingerprint, known).await;
        }
        Target::Inputs => {
            let inputs = Inputs::of(&ctx.observe_inputs().await?.document);
            let fingerprint = inputs.digests.fingerprint;
            known = Known { fingerprint: Some(fingerprint), inputs: Some(inputs) };
            return stored(ctx, &fingerprint, known).await;
        }
        Target::Latest { .. } => {
            // An empty `fingerprint` may be an output that got lost. So the log says which model
            // takes its place.
            ctx.report.info(&format!(
                "{}: no fingerprint and no paths are given, so this step uses the latest model of \
                 {}",
                ctx.settings.model,
                ctx.refs_meant()
            ));
            let Some(pointer) = ctx.latest_pointer().await? else {
                return Ok(known.no_model(format!("{} has no model yet", ctx.refs_meant())));
            };
            known.fingerprint = Some(pointer.fingerprint);
            return Ok(Resolution::Found { pointer: Box::new(pointer), known });
        }
        Target::Pointer(source) => claim::given(source)?,
        Target::Artifact(name) => claim::of_this_run(ctx, name).await?,
        Target::ArtifactOf { repository, name } => claim::of_name(ctx, repository, name).await?,
        Target::Run { repository, id, name } => claim::of_run(ctx, repository, *id, name).await?,
    };
    let (bytes, doubt) = match claim {
        Claim::Bytes(bytes) => (bytes, None),
        Claim::Doubtful(bytes, doubt) => (bytes, Some(doubt)),
        Claim::Missing(explanation) => return Ok(known.no_model(explanation)),
    };
    let pointer = claim::confirm(ctx, &bytes).await?;
    doubt.map_or(Ok(()), |doubt| doubt.settle(&pointer))?;
    known.fingerprint = Some(pointer.fingerprint);
    Ok(Resolution::Found { pointer: Box::new(pointer), known })
}

/// Looks for the model of a fingerprint.
async fn stored(ctx: &Context, fingerprint: &Fingerprint, known: Known) -> Result<Resolution> {
    Ok(match ctx.find_pointer(fingerprint).await? {
        Some(pointer) => Resolution::Found { pointer: Box::new(pointer), known },
        None => known.no_model(format!("there is no model of the fingerprint {fingerprint}")),
    })
}
