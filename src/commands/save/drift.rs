//! The error of a save whose inputs differ from the inputs of the plan.

use crate::commands::Context;
use crate::decide::changes;
use crate::error::Error;
use crate::format::{Fingerprint, InputsDocument};
use crate::outcome::describe;

/// Names the inputs that differ from the inputs of the plan.
///
/// Without the plan's document, the error compares with the model that the ref used last.
pub(super) async fn told(
    ctx: &Context,
    planned: &Fingerprint,
    now: &InputsDocument,
    then: Option<&InputsDocument>,
) -> Error {
    const SHOWN: usize = 20;
    let error = |details: String| {
        let what = "the inputs differ from the inputs of the plan, so nothing was saved";
        Error::failed(format!("{what}{details}")).hint(
            "let the training write nothing to `data-paths` or `training-paths`, and check out the \
             same files in this job as in the job of the plan",
        )
    };
    let (differences, than) = match then {
        Some(then) => (changes::between(then, now), "the plan"),
        None => match earlier(ctx).await {
            Some(then) => (changes::between(&then, now), "the model that this ref used last"),
            None => (Vec::new(), ""),
        },
    };
    if differences.is_empty() {
        return error(format!(
            ": the fingerprint of the plan is {planned}, the fingerprint now is {}",
            now.digests().fingerprint
        ));
    }
    let mut lines = vec![format!("; changes since {than}:")];
    lines.extend(differences.iter().take(SHOWN).map(describe::change));
    if differences.len() > SHOWN {
        lines.push(format!("… and {} more", differences.len() - SHOWN));
    }
    error(lines.join("\n  "))
}

async fn earlier(ctx: &Context) -> Option<InputsDocument> {
    let pointer = ctx.latest_pointer().await.ok()??;
    ctx.catalog.inputs_of(&pointer).await.ok()?
}
