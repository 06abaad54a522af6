//! The container action. It reads `INPUT_*` and `STATE_*`, and writes outputs, state and summary.

pub mod inputs;
pub mod state;

use std::path::Path;
use std::sync::OnceLock;

use crate::commands::handover::{Handover, Stored};
use crate::commands::{Context, begin, check, comment, plan, resolve, restore, save};
use crate::decide::Decision;
use crate::environment::Environment;
use crate::error::Result;
use crate::format::ModelName;
use crate::github::event;
use crate::github::file_command::FileCommands;
use crate::outcome::Outcome;
use crate::report::{Report, outputs, summary};
use crate::settings::{Given, Verb};
use crate::store::DynStore;
use state::StateFile;

/// A step of an action. The name of the executable selects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The main step of the root action: plans, then restores the model or prepares for a save.
    Main,
    /// The post step of the root action: saves the model at the end of the job.
    Post,
    /// The action `plan/`.
    Plan,
    /// The action `restore/`.
    Restore,
    /// The action `save/`.
    Save,
    /// The action `resolve/`.
    Resolve,
}

impl Phase {
    /// Returns the phase for the name of an executable. The image has a link for each phase.
    pub fn of(executable: &str) -> Option<Self> {
        match Path::new(executable).file_name()?.to_str()? {
            "ml-cache-main" => Some(Self::Main),
            "ml-cache-post" => Some(Self::Post),
            "ml-cache-plan" => Some(Self::Plan),
            "ml-cache-restore" => Some(Self::Restore),
            "ml-cache-save" => Some(Self::Save),
            "ml-cache-resolve" => Some(Self::Resolve),
            _ => None,
        }
    }

    fn verb(self) -> Verb {
        match self {
            Self::Main | Self::Post => Verb::Auto,
            Self::Plan => Verb::Plan,
            Self::Restore => Verb::Restore,
            Self::Save => Verb::Save,
            Self::Resolve => Verb::Resolve,
        }
    }
}

/// Runs a step of an action.
///
/// # Errors
/// Any error of the step's command. The caller must then call [`ensure_outputs`].
pub async fn execute(phase: Phase, environment: &Environment) -> Result<()> {
    let report = Report { in_actions: true, verbose: environment.get("RUNNER_DEBUG") == Some("1") };
    let files = FileCommands::find(environment);
    let opened = OnceLock::new();
    let result = step(phase, environment, report, &files, &opened).await;
    if let Err(error) = &result {
        let (model, credentials) = match opened.get() {
            Some((model, store)) => (Some(model.as_str()), store.credentials()),
            None => (environment.get("INPUT_MODEL"), None),
        };
        let text = summary::failure(model, error, credentials.as_deref());
        add_summary(report, &files, &text);
    }
    result
}

/// Sets the outputs of a step that ended before it set them itself. A post step has no outputs.
///
/// # Errors
/// The runner's file cannot be written.
pub fn ensure_outputs(phase: Phase, environment: &Environment) -> Result<()> {
    let files = FileCommands::find(environment);
    if phase == Phase::Post || files.has_output("retrain-needed") {
        return Ok(());
    }
    set_outputs(&files, outputs::unknown())
}

async fn step(
    phase: Phase,
    environment: &Environment,
    report: Report,
    files: &FileCommands,
    opened: &OnceLock<(ModelName, DynStore)>,
) -> Result<()> {
    let workspace = inputs::workspace(environment)?;
    let run = event::run_of(environment);
    let mut raw = inputs::raw_inputs(environment, &workspace);
    if phase == Phase::Post {
        // The main step refused them. A later step may set such a variable, and must not lose a
        // finished training by it.
        for name in raw.take_unknown() {
            report.warn(&format!("there is no such input as `{name}`, and this step ignores it"));
        }
        state::take_file_values(environment, &mut raw);
    }
    let verb = phase.verb();
    let given = Given { verb, raw: &raw, environment, run: run.as_ref(), workspace: &workspace };
    let (ctx, handover) = match phase {
        Phase::Post => {
            // The main step has looked at all else that a save needs.
            let settings = given.resolve()?;
            let handover = StateFile::find(environment, files, &settings).take(environment);
            let run = run.clone();
            let open = Context::open(verb, settings, run, handover.as_ref(), report, environment);
            (open.await?, handover)
        }
        _ => (check::open(given, report).await?, None),
    };
    let state = StateFile::find(environment, files, &ctx.settings);
    opened.get_or_init(|| (ctx.settings.model.clone(), ctx.store.clone()));
    let outcome = outcome(phase, &ctx, handover, &state, files).await;
    ctx.name_credentials();
    if let (Err(error), Phase::Save | Phase::Post) = (&outcome, phase) {
        comment::show_failure(&ctx, error).await;
    }
    let Some(outcome) = outcome? else { return Ok(()) };
    let outcome = Outcome { credentials: ctx.store.credentials(), ..outcome };
    if phase != Phase::Post {
        set_outputs(files, outputs::pairs(&outcome))?;
    }
    add_summary(report, files, &summary::render(&outcome));
    comment::show(&ctx, &outcome).await;
    match phase {
        Phase::Post => Ok(()),
        _ => plan::check_found(&ctx, &outcome),
    }
}

/// Does the work of a step. Returns `None` if a post step has nothing to save.
async fn outcome(
    phase: Phase,
    ctx: &Context,
    handover: Option<Handover>,
    state: &StateFile,
    files: &FileCommands,
) -> Result<Option<Outcome>> {
    Ok(Some(match phase {
        Phase::Plan => {
            let (planned, outcome) = plan::execute(ctx).await?;
            if let Decision::Hit(found) = &planned.decision {
                ctx.move_head(&found.pointer, None).await;
            }
            outcome
        }
        Phase::Main => {
            state.clear();
            state::put_file_values(files, &ctx.settings)?;
            begin::execute(ctx, |handover| state.put(files, handover)).await?.0
        }
        Phase::Restore => restore::execute(ctx).await?,
        Phase::Resolve => resolve::execute(ctx).await?,
        Phase::Save => save::execute(ctx, None).await?,
        Phase::Post => return post(ctx, handover).await,
    }))
}

/// Saves the model that the job trained after the main step. Returns `None` if there is nothing to
/// save.
async fn post(ctx: &Context, handover: Option<Handover>) -> Result<Option<Outcome>> {
    let model = &ctx.settings.model;
    let handover = match handover {
        Some(handover) if handover.stored == Stored::Restored => {
            ctx.report.info(&format!(
                "{model}: this job restored the model, so there is nothing to save"
            ));
            return Ok(None);
        }
        Some(handover) => handover,
        None => {
            // Without a handover, the post step observes the inputs and the store again.
            let planned = plan::observe(ctx).await?;
            if planned.decision.hit().is_some() {
                let why = "the store has a model of these inputs, so there is nothing to save";
                ctx.report.info(&format!("{model}: {why}"));
                return Ok(None);
            }
            ctx.report.warn(
                "cannot tell whether the inputs changed since the plan: the first step failed, or \
                 this runner passes on no state; if a step of the job changes the inputs, use the \
                 actions `plan` and `save` instead",
            );
            Handover { began: None, ..planned.handover(ctx, Stored::Missing) }
        }
    };
    save::execute(ctx, Some(handover)).await.map(Some)
}

/// Adds a text to the job summary. A failure is only a warning, because the work is done.
fn add_summary(report: Report, files: &FileCommands, text: &str) {
    if let Err(error) = files.add_summary(text) {
        report.warn_of("there is no job summary", &error);
    }
}

fn set_outputs(files: &FileCommands, pairs: Vec<(&'static str, String)>) -> Result<()> {
    pairs.iter().try_for_each(|(name, value)| files.set_output(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_told_by_name() {
        assert_eq!(Phase::of("/usr/local/bin/ml-cache-post"), Some(Phase::Post));
        assert_eq!(Phase::of("ml-cache"), None);
    }
}
