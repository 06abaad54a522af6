//! Git LFS stand-ins in the workspace. They suffice for a plan, but not for a training.
//!
//! The fingerprint counts the content that a stand-in names. A model that a training made from the
//! stand-ins themselves must not be stored under it.

use super::Context;
use crate::error::{Error, Result};
use crate::outcome::describe;
use crate::settings::{StandIns, Verb};

/// A message names at most this many stand-ins.
const SHOWN: usize = 20;

/// Returns the number of stand-ins to show, which the user allows.
pub(super) fn allowed(ctx: &Context, paths: &[String]) -> usize {
    if ctx.settings.lfs_stand_ins == StandIns::Allow { paths.len() } else { 0 }
}

/// Refuses stand-ins before `run` trains. Warns before other trainings, because a later step of the
/// job may still fetch the content.
///
/// # Errors
/// The verb is `run`, an input is a stand-in, and the user does not allow that.
pub(super) fn check_inputs(ctx: &Context, paths: &[String]) -> Result<()> {
    if paths.is_empty() || ctx.settings.lfs_stand_ins == StandIns::Allow {
        return Ok(());
    }
    let what = are_stand_ins(paths, "input", "inputs");
    if ctx.verb == Verb::Run {
        return Err(Error::bad_input(format!("cannot train: {what}"))
            .hint("run `git lfs pull`, and start the run again")
            .hint("set `lfs-stand-ins: allow` if the training does not need their content"));
    }
    ctx.report
        .warn(&format!("{what}; run `git lfs pull` before the training, or the save is refused"));
    Ok(())
}

/// Refuses stand-ins among the inputs of a training that ended.
pub(super) fn refuse_inputs(ctx: &Context, paths: &[String]) -> Option<Error> {
    refuse(ctx, paths, "input", "inputs").map(|error| {
        error
            .hint(
                "train and save where `git lfs pull` has fetched the content; `plan` does not need \
                 it",
            )
            .hint(
                "set `lfs-stand-ins: allow` if the training had the content elsewhere, or does not \
                 need it",
            )
    })
}

/// Refuses stand-ins among the files of the model.
pub(super) fn refuse_model(ctx: &Context, paths: &[String]) -> Option<Error> {
    refuse(ctx, paths, "file of the model", "files of the model").map(|error| {
        error
            .hint("run `git lfs pull` before the training, or exclude them in `model-path`")
            .hint("set `lfs-stand-ins: allow` to store the pointer files themselves")
    })
}

fn refuse(ctx: &Context, paths: &[String], single: &str, plural: &str) -> Option<Error> {
    let refused = !paths.is_empty() && ctx.settings.lfs_stand_ins == StandIns::Refuse;
    let what = || are_stand_ins(paths, single, plural);
    refused.then(|| Error::bad_input(format!("cannot save the model: {}", what())))
}

fn are_stand_ins(paths: &[String], single: &str, plural: &str) -> String {
    let (count, names) = (paths.len(), describe::paths(paths, SHOWN));
    match count {
        1 => format!("1 {single} is a Git LFS stand-in in place of its content: {names}"),
        _ => format!("{count} {plural} are Git LFS stand-ins in place of their content: {names}"),
    }
}
