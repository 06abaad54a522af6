//! `run`: plans, then trains or restores, then saves.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Command;

use super::handover::Stored;
use super::interrupt::{GRACE, Interrupt, interrupted};
use super::{Context, begin, comment, save};
use crate::error::{Error, Kind, Result, describe_io};
use crate::outcome::{Ending, Outcome};

/// Runs the whole job. `quiet_stdout` sends the training's standard output to standard error.
///
/// # Errors
/// - Any error of plan, restore or save.
/// - The training fails. The error has its exit code, and nothing is saved.
pub async fn execute(
    ctx: &Context,
    training: &[OsString],
    quiet_stdout: bool,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let (outcome, mut handover) = begin::execute(ctx, |_| Ok(())).await?;
    if handover.stored == Stored::Restored {
        comment::show(ctx, &outcome).await;
        return Ok(outcome);
    }
    let started = Timestamp::now();
    handover.began = Some(started);
    interrupt.set_training(true);
    let trained = train(ctx, training, quiet_stdout, interrupt).await;
    interrupt.set_training(false);
    trained?;
    let seconds = Timestamp::now().duration_since(started).as_secs_f64();
    ctx.report.info(&format!("{}: trained in {seconds:.1} s", ctx.settings.model));
    let saved = match save::execute(ctx, Some(handover)).await {
        Ok(saved) => saved,
        Err(error) => {
            comment::show_failure(ctx, &error).await;
            return Err(error);
        }
    };
    let outcome = Outcome {
        ending: Ending::Trained { saved: saved.ending == Ending::Saved },
        pointer: saved.pointer,
        sent: saved.sent,
        beside: saved.beside,
        stand_ins: saved.stand_ins,
        artifact: saved.artifact,
        ..outcome
    };
    comment::show(ctx, &outcome).await;
    Ok(outcome)
}

async fn train(
    ctx: &Context,
    training: &[OsString],
    quiet_stdout: bool,
    interrupt: &Interrupt,
) -> Result<()> {
    let (program, arguments) = training.split_first().ok_or_else(|| {
        Error::bad_input("there is no training command")
            .hint("give it after `--`, such as `-- python src/train.py`")
    })?;
    let shown = program.to_string_lossy();
    ctx.report.info(&format!("{}: training with `{shown}`", ctx.settings.model));
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&ctx.settings.working_directory).kill_on_drop(true);
    if quiet_stdout {
        command.stdout(Stdio::from(io::stderr()));
    }
    // A terminal sends Ctrl-C to the training itself. Elsewhere the training leads a process group,
    // so that a signal reaches every process that it started.
    let has_terminal = io::stdin().is_terminal();
    if !has_terminal {
        command.process_group(0);
    }
    let mut child = command.spawn().map_err(|error| {
        Error::failed(format!("cannot run `{shown}`: {}", describe_io(&error))).hint(
            "check the training command after `--`; it runs in the workspace or the model's \
             `working-directory`, without a shell",
        )
    })?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let mut stop = interrupt.clone();
    let status = tokio::select! {
        status = child.wait() => status,
        number = stop.wait() => {
            pass_on(group, Signal::from_named_raw(number), has_terminal);
            let _ = tokio::time::timeout(GRACE, child.wait()).await;
            // The group has had its time. On a terminal, `kill_on_drop` ends the training itself.
            if !has_terminal {
                pass_on(group, Some(Signal::KILL), has_terminal);
            }
            return Err(interrupted(number));
        }
    };
    let status = status.map_err(|error| {
        Error::failed(format!("cannot wait for `{shown}`: {}", describe_io(&error)))
    })?;
    if status.success() {
        return Ok(());
    }
    let (code, how) = match (status.code(), status.signal()) {
        (Some(code), _) => {
            (u8::try_from(code).unwrap_or(1), format!("ended with exit code {code}"))
        }
        (None, Some(signal)) => {
            (u8::try_from(128 + signal).unwrap_or(1), format!("was ended by signal {signal}"))
        }
        (None, None) => (1, "failed".to_owned()),
    };
    Err(Error::new(Kind::Exit(code), format!("the training `{shown}` {how}; nothing was saved")))
}

/// Sends a signal to the training. Without a terminal, every process of its group gets the signal.
fn pass_on(process: Option<Pid>, signal: Option<Signal>, has_terminal: bool) {
    let (Some(process), Some(signal)) = (process, signal) else { return };
    // A training that has just ended needs no signal, so an error does not matter. A terminal has
    // sent SIGINT already.
    let _ = match has_terminal {
        true if signal == Signal::INT => Ok(()),
        true => kill_process(process, signal),
        false => kill_process_group(process, signal),
    };
}
