//! The command line, made from the table of inputs. Only this module knows clap.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};

use crate::environment::Environment;
use crate::error::EXIT_CODES;
use crate::settings::{INPUTS, Input, RawInputs, Verb, advice};

/// Variables that hold the token if the command line has none. The first variable that is set
/// counts.
const TOKENS: [&str; 2] = ["GITHUB_TOKEN", "GH_TOKEN"];

/// A parsed command line.
#[derive(Clone, Debug)]
pub enum CommandLine {
    /// A verb, in a box because it is much larger than the other.
    Verb(Box<Arguments>),
    /// `init`, which writes a first configuration file.
    Init(Init),
}

/// The arguments of `init`.
#[derive(Clone, Debug)]
pub struct Init {
    /// The directory of the file; `.` by default.
    pub workspace: PathBuf,
    /// The store to write into the file.
    pub store: Option<String>,
}

/// The arguments of a verb.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// The chosen command, never [`Verb::Auto`].
    pub verb: Verb,
    /// The training command after `--`; empty for every verb except `run`.
    pub training: Vec<OsString>,
    /// The inputs that the user typed. Line ends join the values of a repeated flag.
    pub inputs: RawInputs,
    /// The base of all relative paths; `.` by default.
    pub workspace: PathBuf,
    /// Whether to print the result as one JSON object on standard output.
    pub json: bool,
    /// Whether to show details, such as the store and the scope.
    pub verbose: bool,
}

impl Arguments {
    /// Takes the token from the environment if the command line has none.
    ///
    /// A token in the environment stays out of the list of processes, which shows every command
    /// line.
    pub fn find_token(&mut self, environment: &Environment) {
        if self.inputs.get("github-token").is_none()
            && let Some(token) = TOKENS.iter().find_map(|name| environment.get(name))
        {
            self.inputs.set("github-token", token);
        }
    }
}

/// Parses the arguments. The first argument is the name of the program.
///
/// # Errors
/// The text to print and the exit code: 0 for help and version, 2 for a command line that clap
/// rejects.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine, (String, u8)> {
    let matches = definition().try_get_matches_from(arguments).map_err(|error| {
        let code = if error.use_stderr() { 2 } else { 0 };
        let mut text = error.render().to_string();
        if let Some(advice) = advice_on(&error) {
            text.push_str(&format!("\nhint: {advice}\n"));
        }
        (text, code)
    })?;
    if let Some((INIT, matches)) = matches.subcommand() {
        return Ok(CommandLine::Init(Init {
            workspace: workspace(matches),
            store: matches.get_one::<String>("store").cloned(),
        }));
    }
    let chosen = matches.subcommand().and_then(|(name, matches)| {
        Some((Verb::COMMANDS.iter().copied().find(|verb| verb.name() == name)?, matches))
    });
    let Some((verb, matches)) = chosen else {
        return Err((definition().render_help().to_string(), 2));
    };
    let mut inputs = RawInputs::default();
    for input in INPUTS.iter().filter(|input| input.applies_to(verb)) {
        if let Some(values) = matches.get_many::<String>(input.name) {
            inputs.set(input.name, values.cloned().collect::<Vec<_>>().join("\n"));
        }
    }
    let training = match verb {
        Verb::Run => {
            matches.get_many::<OsString>("training").unwrap_or_default().cloned().collect()
        }
        _ => Vec::new(),
    };
    Ok(CommandLine::Verb(Box::new(Arguments {
        verb,
        training,
        inputs,
        workspace: workspace(matches),
        json: matches.get_flag("json"),
        verbose: matches.get_flag("verbose"),
    })))
}

/// Returns the advice on a flag that other tools have.
fn advice_on(error: &clap::Error) -> Option<&'static str> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    match error.get(ContextKind::InvalidArg)? {
        ContextValue::String(flag) => advice(flag.trim_start_matches('-')),
        _ => None,
    }
}

fn workspace(matches: &ArgMatches) -> PathBuf {
    matches.get_one::<PathBuf>("workspace").cloned().unwrap_or_else(|| PathBuf::from("."))
}

fn definition() -> clap::Command {
    let in_short = |meaning: &'static str| meaning.split([';', ',']).next().unwrap_or(meaning);
    let exit_codes: Vec<String> =
        EXIT_CODES.iter().map(|(code, it)| format!("{code} {}", in_short(it))).collect();
    clap::Command::new("ml-cache")
        .version(env!("CARGO_PKG_VERSION"))
        .about(
            "Train a model again only when its data, code or keys changed; otherwise restore it, \
             verified byte for byte",
        )
        .after_help(format!(
            "Exit codes: {}; `run` keeps the exit code of a failed training.",
            exit_codes.join(", ")
        ))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(Verb::COMMANDS.iter().map(|verb| subcommand(*verb)))
        .subcommand(init())
}

/// The name of the command that writes a first configuration file.
const INIT: &str = "init";

fn init() -> clap::Command {
    clap::Command::new(INIT)
        .about("Write a first `ml-cache.yml` from the files that Git has, overwriting nothing")
        .arg(workspace_argument())
        .arg(
            Arg::new("store")
                .long("store")
                .value_name("VALUE")
                .help("Where models are kept: `s3://bucket/prefix` or `file:///directory`"),
        )
}

fn workspace_argument() -> Arg {
    Arg::new("workspace")
        .long("workspace")
        .value_name("DIR")
        .value_parser(clap::value_parser!(PathBuf))
        .help("Base directory of all relative paths [default: .]")
}

fn subcommand(verb: Verb) -> clap::Command {
    let command = clap::Command::new(verb.name())
        .about(verb.about())
        .args(
            INPUTS.iter().filter(|input| input.applies_to(verb)).map(|input| argument(input, verb)),
        )
        .arg(workspace_argument())
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print one JSON object on standard output"),
        )
        .arg(
            Arg::new("verbose")
                .long("verbose")
                .short('v')
                .action(ArgAction::SetTrue)
                .help("Show details"),
        );
    match verb {
        Verb::Run => command.arg(
            Arg::new("training")
                .value_name("COMMAND")
                .last(true)
                .required(true)
                .num_args(1..)
                .value_parser(clap::value_parser!(OsString))
                .help("The training command, after `--`"),
        ),
        _ => command,
    }
}

fn argument(input: &Input, verb: Verb) -> Arg {
    let default = input.default_for(verb);
    let mut help = input.help.trim_end_matches('.').to_owned();
    if !default.is_empty() {
        help = format!("{help} [default: {default}]");
    }
    if input.name == "github-token" {
        help = format!("{help} [default: {}]", TOKENS.map(|name| format!("${name}")).join(" or "));
    }
    let argument = Arg::new(input.name).long(input.name).help(help);
    if input.boolean {
        argument.value_name("true|false").num_args(0..=1).default_missing_value("true")
    } else if input.list {
        argument.value_name("LINES").action(ArgAction::Append).allow_hyphen_values(true)
    } else {
        argument.value_name("VALUE").allow_hyphen_values(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &[&str]) -> Result<Arguments, (String, u8)> {
        let words = std::iter::once("ml-cache").chain(line.iter().copied()).map(OsString::from);
        match parse(words)? {
            CommandLine::Verb(arguments) => Ok(*arguments),
            CommandLine::Init(init) => panic!("{init:?}"),
        }
    }

    #[test]
    fn flags_of_other_tools_are_answered() {
        for (flag, wanted) in [
            ("--key=x", "hint: it is not needed, because the content"),
            ("--aws-region=x", "hint: here it is called `region`"),
            ("--path=x", "hint: here it is called `model-path`"),
        ] {
            let (text, code) = check(&["plan", flag]).unwrap_err();
            assert!(code == 2 && text.contains(wanted), "{text}");
        }
        assert!(!check(&["plan", "--mood=x"]).unwrap_err().0.contains("hint:"));
    }

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn lists_may_be_repeated_or_hold_lines() {
        let parsed = check(&[
            "plan",
            "--data-paths",
            "a\nb",
            "--data-paths",
            "!c",
            "--force-retrain",
            "--model",
            "m",
        ])
        .unwrap();
        assert_eq!(parsed.inputs.get("data-paths"), Some("a\nb\n!c"));
        assert_eq!(parsed.inputs.get("force-retrain"), Some("true"));
        assert_eq!(parsed.workspace, PathBuf::from("."));
    }

    #[test]
    fn a_flag_without_a_value_is_given_and_an_absent_flag_is_not() {
        for (flags, is_empty) in
            [(&["--role-to-assume="][..], true), (&["--role-to-assume", ""], true), (&[], false)]
        {
            let parsed = check(&[&["plan", "--model", "m"], flags].concat()).unwrap();
            assert_eq!(parsed.inputs.is_given_empty("role-to-assume"), is_empty, "{flags:?}");
        }
    }

    #[test]
    fn the_training_command_is_kept_as_it_is() {
        let parsed =
            check(&["run", "--model", "m", "--", "python", "train.py", "--json", "--", "-x"])
                .unwrap();
        let words = ["python", "train.py", "--json", "--", "-x"].map(OsString::from);
        assert_eq!((parsed.verb, parsed.training), (Verb::Run, words.to_vec()));
        assert!(!parsed.json);
    }

    #[test]
    fn senseless_lines_exit_with_2_and_help_with_0() {
        for line in [&["fly"][..], &["plan", "--mood", "x"], &["run", "--model", "m"], &[]] {
            assert_eq!(check(line).unwrap_err().1, 2, "{line:?}");
        }
        assert_eq!(check(&["--help"]).unwrap_err().1, 0);
        assert_eq!(check(&["save", "--help"]).unwrap_err().1, 0);
    }
}
