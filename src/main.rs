//! Arguments and environment in, exit code out.

use std::io::Write as _;
use std::process::ExitCode;

use ml_cache::action::{self, Phase};
use ml_cache::cli::{self, Arguments};
use ml_cache::commands::interrupt::Interrupt;
use ml_cache::commands::save::Basis;
use ml_cache::commands::{Context, plan, resolve, restore, run, save, verify};
use ml_cache::environment::Environment;
use ml_cache::github::event;
use ml_cache::inputs::{self, Verb};
use ml_cache::report::Report;
use ml_cache::{Error, Result, sanitize, secrets};

fn main() -> ExitCode {
    let (environment, unreadable) = Environment::read(std::env::vars_os());
    secrets::hide(&environment);
    let arguments: Vec<_> = std::env::args_os().collect();
    let phase = arguments.first().and_then(|name| Phase::of(&name.to_string_lossy()));
    let in_actions = environment.is_true("GITHUB_ACTIONS");
    // The image's own entry point without arguments is the root action, too.
    let names =
        || environment.iter().map(|(name, _)| name).chain(unreadable.iter().map(String::as_str));
    let has_inputs = || names().any(|name| name.starts_with("INPUT_"));
    let phase =
        phase.or((arguments.len() <= 1 && (in_actions || has_inputs())).then_some(Phase::Main));

    let parsed = match phase {
        Some(_) => None,
        None => match cli::parse(arguments) {
            Ok(parsed) => Some(parsed),
            Err((text, code)) => return print_usage(&text, code),
        },
    };
    let verbose = parsed.as_ref().is_some_and(|parsed| parsed.verbose);
    let report = Report { in_actions, verbose };
    let mut result =
        check_readable(&unreadable).and_then(|()| start(phase, parsed, &environment, report));
    if let (Err(_), Some(phase)) = (&result, phase) {
        // The failure itself is what is told; that this failed too would only hide it.
        result =
            result.or_else(|error| action::ensure_outputs(phase, &environment).and(Err(error)));
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn check_readable(unreadable: &[String]) -> Result<()> {
    if unreadable.is_empty() {
        return Ok(());
    }
    let names = unreadable.join("`, `");
    Err(Error::bad_input(format!("the environment has variables that are not UTF-8: `{names}`"))
        .hint("set them again as UTF-8, or unset them"))
}

fn start(
    phase: Option<Phase>,
    parsed: Option<Arguments>,
    environment: &Environment,
    report: Report,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::failed("cannot start the runtime").caused_by(error))?;
    let environment = environment.clone();
    let result = runtime.block_on(async {
        let interrupt = Interrupt::install()?;
        let during_training = interrupt.clone();
        let work = tokio::spawn(async move {
            match (phase, parsed) {
                (Some(phase), _) => action::execute(phase, &environment).await,
                (None, Some(parsed)) => {
                    command(parsed, &environment, report, &during_training).await
                }
                (None, None) => Err(Error::bad_input("there is nothing to do")),
            }
        });
        interrupt.supervise(work).await
    });
    // The process ends now, and with it the threads that are still hashing. Shutting the runtime
    // down first would only let what is left of dropped work fail for want of it.
    std::mem::forget(runtime);
    result
}

async fn command(
    mut arguments: Arguments,
    environment: &Environment,
    report: Report,
    interrupt: &Interrupt,
) -> Result<()> {
    arguments.find_token(environment);
    let run_context = event::run_of(environment);
    let settings = inputs::resolve(
        arguments.verb,
        &arguments.inputs,
        environment,
        run_context.as_ref(),
        &arguments.workspace,
    )?;
    let ctx = Context::open(arguments.verb, settings, run_context, report, environment).await?;
    let outputs = match arguments.verb {
        Verb::Run => run::execute(&ctx, &arguments.training, arguments.json, interrupt).await?,
        Verb::Plan => plan::execute(&ctx).await?,
        Verb::Restore => restore::execute(&ctx).await?.outputs,
        Verb::Save => save::execute(&ctx, Basis::default()).await?.outputs,
        Verb::Resolve => resolve::execute(&ctx).await?.outputs,
        Verb::Verify => verify::execute(&ctx).await?,
        Verb::Auto => return Err(Error::bad_input("`auto` is the root action, not a command")),
    };
    let result = match (arguments.verb, outputs.pointer_text()) {
        _ if arguments.json => outputs.json().to_string(),
        (Verb::Resolve, Some(pointer)) => pointer.trim_end().to_owned(),
        _ => return Ok(()),
    };
    writeln!(std::io::stdout().lock(), "{}", sanitize::json(&result))
        .map_err(|error| Error::failed("cannot print").caused_by(error))
}

fn print_usage(text: &str, code: u8) -> ExitCode {
    let written = match code {
        0 => write!(std::io::stdout().lock(), "{text}"),
        // It repeats what was typed.
        _ => write!(std::io::stderr().lock(), "{}", sanitize::lines(text)),
    };
    // A reader that has gone away is no failure.
    drop(written);
    ExitCode::from(code)
}
