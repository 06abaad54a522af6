//! Which files a restore may write.
//!
//! Everybody who can push to a branch can write any manifest into the branch's scope. So a model of
//! such a scope must not choose its places itself: they could be the training code or a Makefile.

use std::path::Component;

use crate::commands::Context;
use crate::error::{Error, Result};
use crate::format::{Manifest, Scope};
use crate::outcome::describe;
use crate::settings::{Settings, Verb};
use crate::transfer::selection;
use crate::transfer::stage::Destination;

/// A message names at most this many files.
const SHOWN: usize = 5;

/// Checks a model of this scope before anything of it is written.
///
/// # Errors
/// - Exit code 2: the scope is untrusted, and neither `model-path` nor the destination limits the
///   files.
/// - Exit code 4: `model-path` does not select an entry or the end of a link, or an entry would
///   become an input.
pub(super) fn check(ctx: &Context, scope: &Scope, manifest: &Manifest) -> Result<()> {
    let Settings { model_path, destination, workspace, sources, .. } = &ctx.settings;
    if !model_path.has_includes() {
        // [`check_place`] looks at a destination of its own.
        return match *scope == Scope::Trusted || destination != workspace {
            true => Ok(()),
            false => Err(unlimited(scope)),
        };
    }
    let strays = selection::strays(manifest, model_path);
    if !strays.is_empty() {
        return Err(refused(scope, "files that `model-path` does not select", &strays));
    }
    let leaving = selection::leaving(manifest, model_path);
    if !leaving.is_empty() {
        let what = "links that lead to places that `model-path` does not select";
        return Err(refused(scope, what, &leaving));
    }
    // A restore into another directory may be the data of another model.
    if ctx.verb == Verb::Restore && destination != workspace {
        return Ok(());
    }
    let Some(above) = place(&ctx.settings) else { return Ok(()) };
    let is_input = |path: &&str| {
        let path: Vec<&str> = above.iter().copied().chain(path.split('/')).collect();
        sources.data.selects(&path) || sources.training.selects(&path)
    };
    let inputs: Vec<&str> = manifest.paths().filter(is_input).collect();
    match inputs.is_empty() {
        true => Ok(()),
        false => Err(refused(scope, "files that this step takes for inputs", &inputs)),
    }
}

/// Checks the locked destination before anything is written there.
///
/// # Errors
/// Exit code 2: the scope is untrusted, and neither `model-path` nor the destination limits the
/// files.
pub(super) fn check_place(ctx: &Context, scope: &Scope, held: &Destination) -> Result<()> {
    let is_limited = *scope == Scope::Trusted || ctx.settings.model_path.has_includes();
    match is_limited || held.is_vacant()? {
        true => Ok(()),
        false => Err(unlimited(scope)),
    }
}

/// Returns the directories between the workspace and the destination; `None` if it lies elsewhere.
fn place(settings: &Settings) -> Option<Vec<&str>> {
    let below = settings.destination.strip_prefix(&settings.workspace).ok()?;
    below
        .components()
        .map(|component| match component {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect()
}

fn unlimited(scope: &Scope) -> Error {
    Error::bad_input(format!(
        "the model is from the untrusted scope `{scope}`, and this step does not say which files \
         the restore may write"
    ))
    .hint(
        "add the `model-path` of the step that saves the model, such as the line `model-path: \
         models/`; or give a `destination` that is new or empty",
    )
}

fn refused(scope: &Scope, what: &str, paths: &[&str]) -> Error {
    Error::integrity(format!(
        "the model of the scope `{scope}` has {what}, so nothing was restored: {}",
        describe::paths(paths, SHOWN)
    ))
    .hint(
        "give the same `model-path`, `data-paths` and `training-paths` as the step that saved the \
         model",
    )
    .hint(
        "if they are the same, look for the person who wrote this model into the store, and set \
         `force-retrain` to train anew",
    )
}
