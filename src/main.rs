//! Reads arguments and environment, runs the step or the command, and returns the exit code.

use std::io::Write as _;
use std::process::ExitCode;

use ml_cache::action::{self, Phase};
use ml_cache::cli::{self, Arguments, CommandLine};
use ml_cache::commands::interrupt::Interrupt;
use ml_cache::commands::{self, check};
use ml_cache::environment::Environment;
use ml_cache::github::event;
use ml_cache::report::{Report, outputs};
use ml_cache::settings::{Given, Verb};
use ml_cache::{Error, Result, sanitize, secrets};

/// The stack of a thread, in bytes. A walk needs some of it for each of the 2,000 directories that
/// the longest path can have.
const STACK: usize = 32 << 20;
/// The descriptors that a process may need at a time: for 256 connections, and for files.
const DESCRIPTORS: i32 = 512;

/// The task of this process.
enum Invocation {
    /// A step of an action, which the name of the executable selects.
    Step(Phase),
    /// A command line.
    Command(CommandLine),
}

fn main() -> ExitCode {
    let (environment, unreadable) = Environment::read(std::env::vars_os());
    secrets::hide(&environment);
    let in_actions = environment.is_true("GITHUB_ACTIONS");
    let invocation = match invocation(in_actions, &environment, &unreadable) {
        Ok(invocation) => invocation,
        Err((text, code)) => return print_usage(&text, code),
    };
    let (phase, verbose) = match &invocation {
        Invocation::Step(phase) => (Some(*phase), false),
        Invocation::Command(CommandLine::Verb(arguments)) => (None, arguments.verbose),
        Invocation::Command(CommandLine::Init(_)) => (None, false),
    };
    let report = Report { in_actions, verbose };
    let result = check_readable(&unreadable).and_then(|()| start(invocation, &environment, report));
    if let (Err(_), Some(phase)) = (&result, phase) {
        // Later steps read the outputs even after a failure. If the outputs cannot be set, the
        // report still shows the first error, which is the cause.
        drop(action::ensure_outputs(phase, &environment));
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Returns the task of this process. The error holds a text to print and the exit code.
fn invocation(
    in_actions: bool,
    environment: &Environment,
    unreadable: &[String],
) -> Result<Invocation, (String, u8)> {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(phase) = arguments.first().and_then(|name| Phase::of(&name.to_string_lossy())) {
        return Ok(Invocation::Step(phase));
    }
    // Without arguments, the image's own entry point runs the main step of the root action.
    let mut names =
        environment.iter().map(|(name, _)| name).chain(unreadable.iter().map(String::as_str));
    if arguments.len() <= 1 && (in_actions || names.any(|name| name.starts_with("INPUT_"))) {
        return Ok(Invocation::Step(Phase::Main));
    }
    cli::parse(arguments).map(Invocation::Command)
}

fn check_readable(unreadable: &[String]) -> Result<()> {
    if unreadable.is_empty() {
        return Ok(());
    }
    let names = unreadable.join("`, `");
    Err(Error::bad_input(format!("the environment has variables that are not UTF-8: `{names}`"))
        .hint("set them again as UTF-8, or unset them"))
}

fn start(invocation: Invocation, environment: &Environment, report: Report) -> Result<()> {
    reserve_descriptors();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK)
        .build()
        .map_err(|error| Error::failed("cannot start the runtime").caused_by(error))?;
    let environment = environment.clone();
    let result = runtime.block_on(async {
        let interrupt = Interrupt::install()?;
        let during_training = interrupt.clone();
        let work = tokio::spawn(async move {
            match invocation {
                Invocation::Step(phase) => action::execute(phase, &environment).await,
                Invocation::Command(CommandLine::Verb(arguments)) => {
                    command(*arguments, &environment, report, &during_training).await
                }
                Invocation::Command(CommandLine::Init(init)) => {
                    commands::init::execute(&init.workspace, init.store.as_deref(), report)
                }
            }
        });
        interrupt.supervise(work).await
    });
    // The process ends now, together with the threads that still hash. A shutdown of the runtime
    // would make dropped work panic, because its timer is gone.
    std::mem::forget(runtime);
    result
}

/// Makes room for many descriptors while this is the only thread.
///
/// With more threads, Linux stops the one that needs more room until all processors have noticed,
/// often for 10 ms and more (`synchronize_rcu` in `expand_fdtable`, fs/file.c).
fn reserve_descriptors() {
    // A lower limit of open files refuses this. Then the table grows later.
    drop(rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), DESCRIPTORS - 1));
}

async fn command(
    mut arguments: Arguments,
    environment: &Environment,
    report: Report,
    interrupt: &Interrupt,
) -> Result<()> {
    arguments.find_token(environment);
    let run_context = event::run_of(environment);
    let verb = arguments.verb;
    let workspace = &arguments.workspace;
    let (raw, run) = (&arguments.inputs, run_context.as_ref());
    let given = Given { verb, raw, environment, run, workspace };
    let ctx = check::open(given, report).await?;
    let outcome = commands::execute(&ctx, &arguments.training, arguments.json, interrupt).await;
    ctx.name_credentials();
    let outcome = outcome?;
    let result = match (verb, outputs::pointer_text(&outcome)) {
        _ if arguments.json => outputs::json(&outcome).to_string(),
        (Verb::Resolve, Some(pointer)) => pointer.trim_end().to_owned(),
        _ => return Ok(()),
    };
    print(&format!("{}\n", sanitize::json(&result)))
}

/// Prints to standard output. A reader that has closed the pipe has what it wants.
fn print(text: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::failed("cannot print the result").caused_by(error))
        }
        _ => Ok(()),
    }
}

fn print_usage(text: &str, code: u8) -> ExitCode {
    if code != 0 {
        // clap's message quotes the command line.
        drop(write!(std::io::stderr().lock(), "{}", sanitize::lines(text)));
        return ExitCode::from(code);
    }
    match print(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Report { in_actions: false, verbose: false }.error(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
