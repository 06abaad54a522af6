//! The verbs. A command observes, lets [`crate::decide`] decide, and applies the verdict.

pub mod begin;
pub mod check;
mod claim;
pub mod comment;
mod context;
mod foresight;
pub mod handover;
mod heads;
pub mod init;
pub mod interrupt;
mod lookup;
pub mod plan;
pub mod promote;
pub mod resolve;
pub mod restore;
pub mod run;
pub mod save;
mod stand_ins;
pub mod verify;

use std::ffi::OsString;

pub use self::context::Context;
use self::interrupt::Interrupt;
use crate::error::Result;
use crate::outcome::Outcome;
use crate::settings::Verb;

/// Executes the verb of a command line.
///
/// `training` is the training command of `run`, and empty for every other verb. `quiet_stdout`
/// sends the training's standard output to standard error.
///
/// # Errors
/// Any error of the verb's own module.
pub async fn execute(
    ctx: &Context,
    training: &[OsString],
    quiet_stdout: bool,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    match ctx.verb {
        Verb::Run => run::execute(ctx, training, quiet_stdout, interrupt).await,
        Verb::Plan => {
            let (_, outcome) = plan::execute(ctx).await?;
            plan::check_found(ctx, &outcome)?;
            Ok(outcome)
        }
        Verb::Check => check::execute(ctx).await,
        Verb::Restore => restore::execute(ctx).await,
        Verb::Save => {
            let saved = save::execute(ctx, None).await;
            comment::show_save(ctx, &saved).await;
            saved
        }
        Verb::Resolve => resolve::execute(ctx).await,
        Verb::Verify => verify::execute(ctx).await,
        // The command line has no such verb. The arm runs the first half of `run`.
        Verb::Auto => Ok(begin::execute(ctx, |_| Ok(())).await?.0),
    }
}
