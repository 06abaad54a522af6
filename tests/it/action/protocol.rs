//! The runner's side of the protocol: declared inputs, the log, and the files of outputs and state.
//!
//! Source: actions/runner, src/Runner.Worker: ActionManifestManager.cs, FileCommandManager.cs,
//! ActionCommand.cs.

use std::fs;
use std::path::Path;

/// Returns the names and defaults of the inputs that an action declares.
pub fn declared_inputs(phase: &str) -> Vec<(String, String)> {
    let file = match phase {
        "plan" | "restore" | "resolve" | "save" => format!("{phase}/action.yml"),
        "main" | "post" | "" => "action.yml".to_owned(),
        _ => panic!("no action has the phase {phase}"),
    };
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let inputs = text.split_once("\ninputs:\n").unwrap().1.split_once("\noutputs:\n").unwrap().0;
    let mut declared: Vec<(String, String)> = Vec::new();
    for line in inputs.lines() {
        if let Some(default) = line.strip_prefix("    default: ") {
            declared.last_mut().unwrap().1 = default.trim_matches('\'').replace("''", "'");
        } else if let Some(name) = line.strip_prefix("  ").filter(|line| !line.starts_with(' ')) {
            declared.push((name.strip_suffix(':').unwrap().to_owned(), String::new()));
        }
    }
    assert!(declared.len() > 10, "{declared:?}");
    declared
}

/// Parses `GITHUB_OUTPUT` or `GITHUB_STATE` as strictly as the runner, and panics where it refuses.
pub fn parse_file_command(text: &str) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        rest = after;
        if line.is_empty() {
            continue;
        }
        let equals = line.find('=');
        match line.find("<<") {
            Some(at) if equals.is_none_or(|equals| at < equals) => {
                let (name, delimiter) = (&line[..at], &line[at + 2..]);
                assert!(!name.is_empty() && !delimiter.is_empty(), "invalid format `{line}`");
                let mut value: Option<String> = None;
                loop {
                    let (line, after) = rest
                        .split_once('\n')
                        .map_or((rest, None), |(line, after)| (line, Some(after)));
                    if line == delimiter {
                        rest = after.unwrap_or("");
                        break;
                    }
                    rest = after
                        .unwrap_or_else(|| panic!("matching delimiter not found `{delimiter}`"));
                    value = Some(
                        value.map_or_else(|| line.to_owned(), |value| format!("{value}\n{line}")),
                    );
                }
                entries.push((name.to_owned(), value.unwrap_or_default()));
            }
            _ => {
                let at = equals
                    .filter(|at| *at > 0)
                    .unwrap_or_else(|| panic!("invalid format `{line}`"));
                entries.push((line[..at].to_owned(), line[at + 1..].to_owned()));
            }
        }
    }
    entries
}

/// Demands that a log holds only the workflow commands that we use.
pub fn check_log(log: &str) {
    let mut groups = 0;
    for line in log.split(['\n', '\r']) {
        assert!(!line.contains("##["), "{line:?} is a command of the old form");
        let Some(command) = line.trim_start().strip_prefix("::") else { continue };
        let name = command.split([' ', ':']).next().unwrap();
        assert!(
            ["add-mask", "debug", "warning", "error", "group", "endgroup"].contains(&name),
            "{line:?} is a command"
        );
        assert!(command.strip_prefix(name).unwrap().starts_with("::"), "{line:?} has properties");
        groups += match name {
            "group" => 1,
            "endgroup" => -1,
            _ => 0,
        };
        assert!((0..=1).contains(&groups), "folds do not nest");
    }
    assert!(!log.contains('\u{1b}'), "{log:?}");
}

#[test]
fn the_parser_is_as_strict_as_the_runner() {
    let parsed = parse_file_command("a=1\n\nb<<E\nx=y\n\nz\nE\nc<<E\nE\nd=<<E\ne<<E\n\nE");
    let wanted = [("a", "1"), ("b", "x=y\n\nz"), ("c", ""), ("d", "<<E"), ("e", "")];
    assert_eq!(parsed, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for bad in ["nonsense", "=x", "a<<E\nx", "a<<E\nx\nE2\n", "<<E\nE\n", "a<<\n\n"] {
        assert!(std::panic::catch_unwind(|| parse_file_command(bad)).is_err(), "{bad:?}");
    }
}
