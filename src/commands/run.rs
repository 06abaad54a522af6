//! `run`: plan, then train or restore, then save.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use super::interrupt::{Interrupt, interrupted};
use super::save::Basis;
use super::{Context, plan, restore, save};
use crate::error::{Error, Kind, Result, describe_io};
use crate::outputs::Outputs;

/// After a signal, the training gets so long to end by itself.
const GRACE: Duration = Duration::from_millis(1500);

/// Runs the whole job; `quiet_stdout` sends what the training prints to standard error.
///
/// # Errors
/// As plan, restore and save; a training that fails keeps its exit code, and saves nothing.
pub async fn execute(
    ctx: &Context,
    training: &[OsString],
    quiet_stdout: bool,
    interrupt: &Interrupt,
) -> Result<Outputs> {
    let planned = interrupt.guard(plan::observe(ctx)).await?;
    plan::tell(ctx, &planned);
    let mut outputs = planned.outputs();
    if let Some(found) = planned.found.as_ref().filter(|_| !planned.verdict.retrain) {
        interrupt
            .guard(async {
                restore::apply(ctx, &found.pointer).await?;
                save::move_head(ctx, &found.pointer).await;
                Ok(())
            })
            .await?;
        outputs.restored = true;
        return Ok(outputs);
    }
    let started = Instant::now();
    train(ctx, training, quiet_stdout, interrupt).await?;
    let took = started.elapsed();
    ctx.report.info(&format!("{}: trained in {:.1} s", ctx.settings.model, took.as_secs_f64()));
    let saved = interrupt.guard(save::execute(ctx, Basis::of(ctx, &planned, Some(took)))).await?;
    outputs.saved = saved.outputs.saved;
    outputs.pointer = saved.outputs.pointer;
    Ok(outputs)
}

async fn train(ctx: &Context, training: &[OsString], quiet_stdout: bool, interrupt: &Interrupt) -> Result<()> {
    let (program, arguments) = training.split_first().ok_or_else(|| {
        Error::bad_input("there is no training command").hint("give it after `--`, such as `-- python src/train.py`")
    })?;
    let shown = program.to_string_lossy();
    ctx.report.info(&format!("{}: training with `{shown}`", ctx.settings.model));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&ctx.settings.workspace).kill_on_drop(true);
    if quiet_stdout {
        command.stdout(Stdio::from(io::stderr()));
    }
    let mut child = command.spawn().map_err(|error| {
        Error::failed(format!("cannot run `{shown}`: {}", describe_io(&error)))
            .hint("the training command stands after `--` and runs in the workspace, without a shell")
    })?;
    let mut stop = interrupt.clone();
    let status = tokio::select! {
        status = child.wait() => status,
        number = stop.wait() => {
            pass_on(&child, number);
            let _ = tokio::time::timeout(GRACE, child.wait()).await;
            return Err(interrupted(number));
        }
    };
    let status =
        status.map_err(|error| Error::failed(format!("cannot wait for `{shown}`: {}", describe_io(&error))))?;
    if status.success() {
        return Ok(());
    }
    let (code, how) = match (status.code(), status.signal()) {
        (Some(code), _) => (u8::try_from(code).unwrap_or(1), format!("ended with exit code {code}")),
        (None, Some(signal)) => (u8::try_from(128 + signal).unwrap_or(1), format!("was ended by signal {signal}")),
        (None, None) => (1, "failed".to_owned()),
    };
    Err(Error::new(Kind::Exit(code), format!("the training `{shown}` {how}; nothing was saved")))
}

/// Sends the signal on to the training, which may have work to put away.
fn pass_on(child: &Child, number: i32) {
    let process = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    let signal = rustix::process::Signal::from_named_raw(number);
    if let (Some(process), Some(signal)) = (process, signal) {
        // A training that has just ended needs no signal.
        let _ = rustix::process::kill_process(process, signal);
    }
}
