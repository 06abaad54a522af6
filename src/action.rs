//! The container action: `INPUT_*` and `STATE_*` in, outputs, state and summary out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::commands::save::Basis;
use crate::commands::{Context, plan, resolve, restore, save};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::format::{Digest, InputsDocument};
use crate::github::RunContext;
use crate::github::file_command::FileCommands;
use crate::inputs::host_paths::HostPaths;
use crate::inputs::{self, INPUTS, RawInputs, Verb};
use crate::outputs::Outputs;
use crate::ownership::Owner;
use crate::report::Report;

/// The step of an action that a container was started for, told by the name of the executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The root action's main step.
    Main,
    /// The root action's post step.
    Post,
    /// `plan/`
    Plan,
    /// `restore/`
    Restore,
    /// `save/`
    Save,
    /// `resolve/`
    Resolve,
}

/// The state that the main step leaves for the post step, under one name.
const STATE: &str = "plan";

#[derive(Debug, Serialize, Deserialize)]
struct State {
    fingerprint: Digest,
    /// Whether the main step put the model in place.
    restored: bool,
    /// Whether it was to; if it could not, the stored model is of no use.
    was_hit: bool,
    /// Whether the store could be looked at.
    looked: bool,
    /// Nonce of the pointer that was there.
    base: Option<String>,
    planned_at: Timestamp,
    /// The inputs document, for naming what changed: its file and its digest.
    document: Option<(PathBuf, Digest)>,
}

impl Phase {
    /// Returns the phase for an executable's name; images have one link for each.
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

/// Runs one step of an action.
///
/// # Errors
/// As the command that the step stands for; then [`ensure_outputs`] is to be called.
pub async fn execute(phase: Phase, environment: &Environment) -> Result<()> {
    let report = Report { in_actions: true, verbose: environment.get("RUNNER_DEBUG") == Some("1") };
    let files = FileCommands::find(environment);
    step(phase, environment, report, &files).await
}

/// Sets the outputs of a step that failed or was stopped before it could: a later `if` that reads
/// one must not see an empty string, and trains.
///
/// # Errors
/// A file that cannot be written.
pub fn ensure_outputs(phase: Phase, environment: &Environment) -> Result<()> {
    let files = FileCommands::find(environment);
    if phase == Phase::Post || files.has_output("retrain-needed") {
        return Ok(());
    }
    set_outputs(&files, &Outputs { retrain_needed: true, ..Outputs::default() })
}

async fn step(phase: Phase, environment: &Environment, report: Report, files: &FileCommands) -> Result<()> {
    let workspace = workspace(environment)?;
    let payload = environment.get("GITHUB_EVENT_PATH").and_then(|path| std::fs::read(path).ok());
    let run = RunContext::read(environment, payload.as_deref());
    let raw = raw_inputs(environment, &workspace);
    let settings = inputs::resolve(phase.verb(), &raw, environment, run.as_ref(), &workspace)?;
    let ctx = Context::open(phase.verb(), settings, run, report, environment).await?;
    let temp = environment.get("RUNNER_TEMP").map(PathBuf::from);
    match phase {
        Phase::Plan => {
            let planned = plan::observe(&ctx).await?;
            plan::tell(&ctx, &planned);
            if let Some(found) = planned.found.as_ref().filter(|_| !planned.verdict.retrain) {
                save::move_head(&ctx, &found.pointer).await;
            }
            files.add_summary(
                &planned.summary(&ctx, if planned.verdict.retrain { "retrain" } else { "no training needed" }),
            )?;
            finish_plan(&ctx, files, &planned, &planned.outputs())
        }
        Phase::Main => {
            let planned = plan::observe(&ctx).await?;
            plan::tell(&ctx, &planned);
            let mut outputs = planned.outputs();
            let found = planned.found.as_ref().filter(|_| !planned.verdict.retrain);
            let restored = match found {
                Some(found) => restore::apply(&ctx, &found.pointer).await.map(|_| true),
                None => save::rehearse(&ctx, &planned).await.map(|()| false),
            };
            // Whatever happened: a model that could not be put in place must not keep the post step
            // from saving one that is trained all the same.
            save_state(files, &ctx, &planned, matches!(restored, Ok(true)), temp.as_deref())?;
            outputs.restored = restored?;
            if let Some(found) = found {
                save::move_head(&ctx, &found.pointer).await;
            }
            files.add_summary(&planned.summary(&ctx, if outputs.restored { "restored" } else { "retrain" }))?;
            finish_plan(&ctx, files, &planned, &outputs)
        }
        Phase::Restore => {
            let execution = restore::execute(&ctx).await?;
            files.add_summary(&execution.summary)?;
            set_outputs(files, &execution.outputs)
        }
        Phase::Resolve => {
            let execution = resolve::execute(&ctx).await?;
            files.add_summary(&execution.summary)?;
            set_outputs(files, &execution.outputs)
        }
        Phase::Save => {
            let execution = save::execute(&ctx, Basis::default()).await?;
            files.add_summary(&execution.summary)?;
            set_outputs(files, &execution.outputs)
        }
        Phase::Post => post(ctx, environment, files).await,
    }
}

/// Saves what was trained between the main step and the end of the job.
async fn post(ctx: Context, environment: &Environment, files: &FileCommands) -> Result<()> {
    let state: Option<State> =
        environment.get(&format!("STATE_{STATE}")).and_then(|text| serde_json::from_str(text).ok());
    let basis = match state {
        Some(state) if state.restored => {
            ctx.report.info(&format!("{}: restored in this job, nothing to save", ctx.settings.model));
            return Ok(());
        }
        Some(state) => {
            let document = state.document.and_then(|(path, digest)| {
                let stored = std::fs::read(path).ok()?;
                InputsDocument::parse(&stored, &digest).ok()
            });
            let elapsed = Timestamp::now().duration_since(state.planned_at);
            Basis {
                fingerprint: Some(state.fingerprint),
                document,
                base: state.looked.then_some(state.base),
                train_time: Duration::try_from(elapsed).ok(),
                since: Some(state.planned_at.into()),
                unusable: state.was_hit,
            }
        }
        None => {
            // Some runners give post steps no state. What matters can be observed again.
            let planned = plan::observe(&ctx).await?;
            if !planned.verdict.retrain {
                ctx.report.info(&format!("{}: a model of these inputs is stored, nothing to save", ctx.settings.model));
                return Ok(());
            }
            ctx.report.detail("the runner gave no state: whether inputs changed since the plan is not known");
            Basis::of(&ctx, &planned, None, None)
        }
    };
    let execution = save::execute(&ctx, basis).await?;
    files.add_summary(&execution.summary)
}

fn finish_plan(ctx: &Context, files: &FileCommands, planned: &plan::Planned, outputs: &Outputs) -> Result<()> {
    set_outputs(files, outputs)?;
    if planned.verdict.retrain && ctx.settings.fail_on_miss {
        return Err(Error::not_found(format!("there is no model to use: {}", planned.verdict.explanation)));
    }
    Ok(())
}

fn set_outputs(files: &FileCommands, outputs: &Outputs) -> Result<()> {
    outputs.pairs().iter().try_for_each(|(name, value)| files.set_output(name, value))
}

fn save_state(
    files: &FileCommands,
    ctx: &Context,
    planned: &plan::Planned,
    restored: bool,
    temp: Option<&Path>,
) -> Result<()> {
    let base = planned.found.as_ref().filter(|found| found.scope == ctx.access.own);
    let state = State {
        fingerprint: planned.inputs.all,
        restored,
        was_hit: !planned.verdict.retrain,
        looked: planned.looked,
        base: base.map(|found| found.pointer.nonce.clone()),
        planned_at: ctx.now,
        document: temp.filter(|temp| temp.is_dir()).and_then(|temp| keep_document(temp, &planned.document)),
    };
    let text =
        serde_json::to_string(&state).map_err(|error| Error::failed("cannot keep the state").caused_by(error))?;
    files.save_state(STATE, &text)
}

/// Keeps the inputs for the post step; without them it can only say that something changed.
fn keep_document(temp: &Path, document: &InputsDocument) -> Option<(PathBuf, Digest)> {
    let text = document.to_text();
    let digest = Digest::of(text.as_bytes());
    let path = temp.join(format!("ml-cache-{}.zst", digest.short()));
    std::fs::write(&path, InputsDocument::compress(&text).ok()?).ok()?;
    Owner::of(temp).adopt(&path).ok()?;
    Some((path, digest))
}

/// Returns the workspace; some runners name a directory that exists only on their host.
fn workspace(environment: &Environment) -> Result<PathBuf> {
    let named = environment.get("GITHUB_WORKSPACE").map(PathBuf::from).filter(|path| path.is_dir());
    match named {
        Some(path) => Ok(path),
        None => std::env::current_dir().map_err(|error| Error::failed("there is no workspace").caused_by(error)),
    }
}

/// Collects the inputs; runners spell hyphens as they are, some tools as underscores.
fn raw_inputs(environment: &Environment, workspace: &Path) -> RawInputs {
    let value = |name: &str| {
        let upper = name.to_uppercase();
        environment
            .get(&format!("INPUT_{upper}"))
            .or_else(|| environment.get(&format!("INPUT_{}", upper.replace('-', "_"))))
    };
    let here = workspace.to_string_lossy();
    let temp = environment.get("RUNNER_TEMP").unwrap_or_default();
    let paths = HostPaths::parse(value("host-paths").unwrap_or_default(), &here, temp);
    let mut raw = RawInputs::default();
    for input in INPUTS {
        if let Some(value) = value(input.name) {
            raw.set(input.name, paths.rewrite(value));
        }
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_found_in_both_spellings_and_host_paths_are_mapped() {
        let environment: Environment = [
            ("INPUT_DATA-PATHS", "a\n/home/runner/work/r/r/b"),
            ("INPUT_MODEL_PATH", "models/"),
            ("INPUT_HOST-PATHS", "v1|/home/runner/work/r/r|/home/runner/work/_temp"),
            ("INPUT_MODEL", ""),
        ]
        .into_iter()
        .collect();
        let raw = raw_inputs(&environment, Path::new("/github/workspace"));
        assert_eq!(raw.get("data-paths"), Some("a\n/github/workspace/b"));
        assert_eq!(raw.get("model-path"), Some("models/"));
        assert_eq!(raw.get("model"), None);
    }

    #[test]
    fn phases_are_told_by_name() {
        assert_eq!(Phase::of("/usr/local/bin/ml-cache-post"), Some(Phase::Post));
        assert_eq!(Phase::of("ml-cache"), None);
    }
}
