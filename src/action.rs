//! The container action: `INPUT_*` and `STATE_*` in, outputs, state and summary out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::commands::save::Basis;
use crate::commands::{Context, plan, resolve, restore, save};
use crate::decide::force::ForceRules;
use crate::environment::Environment;
use crate::error::{Error, IoContext as _, Result};
use crate::format::inputs::MAX_DOCUMENT_BYTES;
use crate::format::pointer::Forced;
use crate::format::{Digest, InputsDocument};
use crate::github::event;
use crate::github::file_command::FileCommands;
use crate::inputs::host_paths::HostPaths;
use crate::inputs::{self, INPUTS, RawInputs, Settings, Verb};
use crate::outputs::Outputs;
use crate::ownership::Owner;
use crate::regular_file;
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
const MAX_STATE: usize = 64 << 10;

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
    /// Who forced the training: asked again, GitHub may have another answer, or none.
    forced: Option<Forced>,
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

async fn step(
    phase: Phase,
    environment: &Environment,
    report: Report,
    files: &FileCommands,
) -> Result<()> {
    let workspace = workspace(environment)?;
    let run = event::run_of(environment);
    let raw = raw_inputs(environment, &workspace);
    let mut settings = inputs::resolve(phase.verb(), &raw, environment, run.as_ref(), &workspace)?;
    let shelf = Shelf::find(environment, files, &settings);
    let state = if phase == Phase::Post { State::find(environment, &shelf) } else { None };
    if let Some(state) = &state {
        settings.force = ForceRules::default();
        settings.policy.force.clone_from(&state.forced);
    }
    let ctx = Context::open(phase.verb(), settings, run, report, environment).await?;
    match phase {
        Phase::Plan => {
            let planned = plan::observe(&ctx).await?;
            plan::tell(&ctx, &planned);
            if let Some(found) = planned.found.as_ref().filter(|_| !planned.verdict.retrain) {
                ctx.move_head(&found.pointer).await;
            }
            let decision = if planned.verdict.retrain { "retrain" } else { "no training needed" };
            finish_plan(&ctx, files, &planned, &planned.outputs(), decision)
        }
        Phase::Main => {
            // An earlier job may have left one on a runner that keeps its directories.
            drop(shelf.take());
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
            save_state(files, &ctx, &planned, matches!(restored, Ok(true)), &shelf)?;
            outputs.restored = restored?;
            if let Some(found) = found {
                ctx.move_head(&found.pointer).await;
            }
            finish_plan(
                &ctx,
                files,
                &planned,
                &outputs,
                if outputs.restored { "restored" } else { "retrain" },
            )
        }
        Phase::Restore => finish(&ctx, files, &restore::execute(&ctx).await?),
        Phase::Resolve => finish(&ctx, files, &resolve::execute(&ctx).await?),
        Phase::Save => finish(&ctx, files, &save::execute(&ctx, Basis::default()).await?),
        Phase::Post => post(&ctx, state, files).await,
    }
}

/// Saves what was trained between the main step and the end of the job.
async fn post(ctx: &Context, state: Option<State>, files: &FileCommands) -> Result<()> {
    let basis = match state {
        Some(state) if state.restored => {
            ctx.report
                .info(&format!("{}: restored in this job, nothing to save", ctx.settings.model));
            return Ok(());
        }
        Some(state) => {
            let document = state.document.and_then(|(path, digest)| {
                let stored = regular_file::read("plan's inputs", &path, MAX_DOCUMENT_BYTES).ok()?;
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
            let planned = plan::observe(ctx).await?;
            if !planned.verdict.retrain {
                ctx.report.info(&format!(
                    "{}: a model of these inputs is stored, nothing to save",
                    ctx.settings.model
                ));
                return Ok(());
            }
            ctx.report.warn(
                "there is no state of the plan, because the first step failed or this runner hands \
                 none over, so it is not known whether the inputs are still those that were \
                 planned: if a step of the job changes them, use the actions `plan` and `save` \
                 instead",
            );
            Basis::of(ctx, &planned, None, None)
        }
    };
    let execution = save::execute(ctx, basis).await?;
    add_summary(ctx, files, &execution.summary);
    Ok(())
}

fn finish(ctx: &Context, files: &FileCommands, execution: &restore::Execution) -> Result<()> {
    set_outputs(files, &execution.outputs)?;
    add_summary(ctx, files, &execution.summary);
    Ok(())
}

/// What was done stays done without a summary of it.
fn add_summary(ctx: &Context, files: &FileCommands, summary: &str) {
    if let Err(error) = files.add_summary(summary) {
        ctx.report.warn_of("there is no job summary", &error);
    }
}

fn finish_plan(
    ctx: &Context,
    files: &FileCommands,
    planned: &plan::Planned,
    outputs: &Outputs,
    decision: &str,
) -> Result<()> {
    set_outputs(files, outputs)?;
    add_summary(ctx, files, &planned.summary(ctx, decision));
    if planned.verdict.retrain && ctx.settings.fail_on_miss {
        return Err(Error::not_found(format!(
            "there is no model to use: {}",
            planned.verdict.explanation
        )));
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
    shelf: &Shelf,
) -> Result<()> {
    let base = planned.found.as_ref().filter(|found| found.scope == ctx.access.own);
    let state = State {
        fingerprint: planned.inputs.all,
        restored,
        was_hit: !planned.verdict.retrain,
        looked: planned.looked,
        base: base.map(|found| found.pointer.nonce.clone()),
        planned_at: ctx.now,
        forced: ctx.settings.policy.force.clone(),
        document: shelf.temp.as_deref().and_then(|temp| keep_document(temp, &planned.document)),
    };
    let text = serde_json::to_string(&state)
        .map_err(|error| Error::failed("cannot keep the state").caused_by(error))?;
    shelf.put(&text)?;
    files.save_state(STATE, &text)
}

impl State {
    fn find(environment: &Environment, shelf: &Shelf) -> Option<Self> {
        let given = environment.get(&format!("STATE_{STATE}")).map(str::to_owned);
        serde_json::from_str(&given.or_else(|| shelf.take())?).ok()
    }
}

/// Where the main step leaves things for the post step of the same job.
struct Shelf {
    /// A directory that both see.
    temp: Option<PathBuf>,
    /// The state as a file, for a runner that hands none to the post step of a container action:
    /// act, whose containers share only the directory of the file commands.
    state: Option<PathBuf>,
}

impl Shelf {
    fn find(environment: &Environment, files: &FileCommands, settings: &Settings) -> Self {
        let shared = files.directory().filter(|_| environment.is_true("ACT"));
        let name = format!("{}/{}", settings.namespace, settings.model);
        let state = shared.map(|place| {
            place.join(format!("ml-cache-{}.json", Digest::of(name.as_bytes()).short()))
        });
        let temp = environment.get("RUNNER_TEMP").map(PathBuf::from);
        Self { temp: shared.map(Path::to_owned).or(temp).filter(|temp| temp.is_dir()), state }
    }

    fn put(&self, text: &str) -> Result<()> {
        self.state
            .as_ref()
            .map_or(Ok(()), |path| std::fs::write(path, text).on("cannot keep the state in", path))
    }

    /// Returns the state once: what an earlier job left behind says nothing of this one.
    fn take(&self) -> Option<String> {
        let path = self.state.as_ref()?;
        let bytes = regular_file::read("state", path, MAX_STATE).ok()?;
        std::fs::remove_file(path).ok()?;
        String::from_utf8(bytes).ok()
    }
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
        None => std::env::current_dir()
            .map_err(|error| Error::failed("there is no workspace").caused_by(error)),
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
