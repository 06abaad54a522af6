//! Calls of the program in the text of a workflow.
//!
//! The search is for what an honest author may write. It sees no call that the author hides.

use yaml_rust2::Yaml;

/// The name of this action's repository, unless the runner says another name.
pub(super) const NAME: &str = "ml-cache-action";

const PROGRAM: &str = "ml-cache";

/// The endings of the program's other names in the image.
const LINKS: &[&str] = &["-main", "-post", "-plan", "-restore", "-save", "-resolve"];

/// The commands of the program.
const VERBS: &[&str] = &["plan", "restore", "save", "resolve", "run", "verify"];

/// Words of a shell that a command follows.
const BEFORE_COMMANDS: &[&str] = &[
    "!", ".", "bash", "command", "do", "elif", "else", "env", "eval", "exec", "if", "nohup", "sh",
    "source", "sudo", "then", "time", "until", "while", "xargs", "zsh",
];

/// The last words in the names of inputs that hold commands.
const COMMAND_KEYS: &[&str] = &["args", "cmd", "command", "entrypoint", "run", "script", "shell"];

/// Contexts of which this text, the text of the caller, or the runner itself decides the value.
const SETTLED: &[&str] = &["inputs.", "runner.", "github.workspace"];

/// Returns the first line that calls the program, wherever in the file it may stand: a script, an
/// environment variable, or a command that the file hands to a called workflow.
pub(super) fn program_call(document: &Yaml, action: Option<&str>) -> Option<String> {
    search(document, &mut Vec::new(), &action.map(str::to_ascii_lowercase))
}

fn search<'a>(node: &'a Yaml, path: &mut Vec<&'a str>, action: &Option<String>) -> Option<String> {
    match node {
        Yaml::String(text) if !is_prose(path) => {
            let key = path.last().copied().unwrap_or_default();
            let harmless = path.contains(&"with") && !is_command_key(key) && text.trim() == PROGRAM;
            if harmless { None } else { call_in(text, matches!(key, "run" | "shell"), action) }
        }
        Yaml::Array(items) => items.iter().find_map(|item| {
            path.push("*");
            let found = search(item, path, action);
            path.pop();
            found
        }),
        Yaml::Hash(map) => map.iter().find_map(|(key, value)| {
            path.push(key.as_str().unwrap_or_default());
            let found = search(value, path, action);
            path.pop();
            found
        }),
        _ => None,
    }
}

/// Returns whether no command can be at this place of a workflow.
fn is_prose(path: &[&str]) -> bool {
    match path {
        ["name" | "run-name" | "concurrency" | "permissions", ..] => true,
        ["on", "workflow_call" | "workflow_dispatch", rest @ ..] => {
            matches!(rest, ["inputs" | "outputs" | "secrets", _, "description"])
        }
        ["on", ..] => true,
        ["jobs", _, "steps", "*", "name" | "id" | "if" | "uses", ..] => true,
        ["jobs", _, "name" | "uses" | "if"] => true,
        ["jobs", _, "concurrency" | "environment" | "needs" | "permissions", ..] => true,
        _ => false,
    }
}

pub(super) fn is_command_key(key: &str) -> bool {
    let last = key.rsplit(['-', '_']).next().unwrap_or_default();
    COMMAND_KEYS.contains(&last.to_ascii_lowercase().as_str())
}

fn call_in(text: &str, is_script: bool, action: &Option<String>) -> Option<String> {
    let text = without_comments(text).replace("\\\n", " ");
    let found = text.lines().map(str::trim).find(|line| {
        // A shell removes quotes and backslashes within a word.
        let plain: String = line.chars().filter(|it| !"'\"\\".contains(*it)).collect();
        [*line, &plain].iter().any(|line| calls_program(line, is_script, action))
    });
    found.map(str::to_owned)
}

/// Removes the comments of a script, but not the line that names the interpreter.
fn without_comments(text: &str) -> String {
    let (mut kept, mut quote, mut escaped, mut comment) = (String::new(), None, false, false);
    let mut before = '\n';
    for (at, c) in text.char_indices() {
        let starts = c == '#' && quote.is_none() && before.is_whitespace();
        comment = c != '\n' && (comment || starts && !text[at..].starts_with("#!"));
        if comment {
            continue;
        }
        kept.push(c);
        before = c;
        match (escaped, c, quote) {
            (true, ..) => escaped = false,
            (_, '\\', it) if it != Some('\'') => escaped = true,
            (_, '"' | '\'', None) => quote = Some(c),
            (_, c, Some(open)) if c == open => quote = None,
            _ => {}
        }
    }
    kept
}

/// Returns whether a line names the program, or an image or a repository that has it.
fn calls_program(line: &str, is_script: bool, action: &Option<String>) -> bool {
    let lower = line.to_ascii_lowercase();
    if lower.contains(NAME) || action.as_ref().is_some_and(|it| lower.contains(it)) {
        return true;
    }
    line.match_indices(PROGRAM).any(|(at, found)| {
        let (before, after) = (&line[..at], &line[at + found.len()..]);
        is_call(before, after, is_script)
    })
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || "-_.".contains(c)
}

fn is_call(before: &str, after: &str, is_script: bool) -> bool {
    if before.chars().next_back().is_some_and(in_word) {
        return false;
    }
    let ending = after.find(|c| !in_word(c)).map_or(after, |end| &after[..end]);
    let next = after[ending.len()..].chars().next();
    let start = before
        .rfind(|c: char| c.is_whitespace() || "\"'`=;|&(".contains(c))
        .map_or(0, |start| start + 1);
    let (words, directory) = before.split_at(start);
    let commands = is_script && is_command_place(words);
    if !ending.is_empty() {
        let grows = ending == "-" && next.is_some_and(|c| "$'\"{*?[".contains(c));
        return LINKS.contains(&ending) || commands && grows;
    }
    match next {
        Some('/') => false,
        Some(':' | '@') => true,
        _ if directory.is_empty() => true,
        _ if directory.contains("://") => false,
        _ => {
            let argument =
                after.trim_start_matches(|c: char| c.is_whitespace() || "\"'\\".contains(c));
            let word = argument.split(|c| !in_word(c)).next().unwrap_or_default();
            commands
                || is_script && directory == "./"
                || ["bin/", "debug/", "release/"].iter().any(|it| directory.ends_with(it))
                || VERBS.contains(&word)
                || argument.starts_with("--")
                || argument.starts_with('$')
        }
    }
}

/// Returns whether a shell takes the next word for a command.
fn is_command_place(before: &str) -> bool {
    let before = before.trim_end_matches(['"', '\'']);
    let has_ended = before.is_empty() || before.ends_with(char::is_whitespace);
    let before = before.trim_end();
    let word = before.rsplit(char::is_whitespace).next().unwrap_or_default();
    if before.is_empty() || before.ends_with([';', '&', '|', '`', '{']) {
        return true;
    }
    if let Some(opened) = word.strip_suffix('(') {
        return opened.is_empty() || opened.ends_with('$');
    }
    let assigns = word.split_once('=').is_some_and(|(name, value)| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        !name.is_empty() && name.chars().all(is_name) && !value.contains(['(', '`'])
    });
    has_ended
        && (BEFORE_COMMANDS.contains(&word)
            || word.starts_with('-') && word.ends_with('c')
            || assigns && is_command_place(&before[..before.len() - word.len()]))
}

/// Returns whether this text, its caller's text or the runner decides every expression in a value.
pub(super) fn is_settled(value: &str) -> bool {
    value.split("${{").skip(1).all(|rest| {
        let inner = rest.split("}}").next().unwrap_or_default().trim();
        inner.chars().all(in_word) && SETTLED.iter().any(|context| inner.starts_with(context))
    })
}

/// Returns whether a script runs a command that another place names: an expression, or a variable
/// that holds an expression or the program.
pub(super) fn unsettled_command(script: &str, envs: &[&Yaml; 3]) -> bool {
    let script = without_comments(script).replace("\\\n", " ");
    let is_bad = |value: &str| !is_settled(value) || value.contains(PROGRAM);
    script.lines().any(|line| {
        line.match_indices('$').filter(|(at, _)| is_command_place(&line[..*at])).any(|(at, _)| {
            let rest = &line[at + 1..];
            if let Some(inner) = rest.strip_prefix("{{") {
                let inner = inner.split("}}").next().unwrap_or_default();
                // The runner's own directories begin a path, an input may hold any command.
                let is_input = inner.trim().starts_with("inputs.");
                return is_input || !is_settled(&format!("${{{{{inner}}}}}"));
            }
            let rest = rest.strip_prefix('{').unwrap_or(rest);
            let rest = rest.strip_prefix("env:").unwrap_or(rest);
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let name = &rest[..end.unwrap_or(rest.len())];
            if name.is_empty() {
                return false;
            }
            let set = envs.iter().find_map(|env| env[name].as_str());
            let assignment = format!("{name}=");
            let mut assigned = script.lines().filter_map(|it| it.split_once(&assignment));
            set.is_some_and(is_bad) || assigned.any(|(_, value)| is_bad(value))
        })
    })
}
