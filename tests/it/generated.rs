//! The files that the tables of inputs and outputs determine: the action files and
//! docs/reference.md.
//!
//! If a file differs, the test writes it anew and fails once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use ml_cache::action::Phase;
use ml_cache::error::EXIT_CODES;
use ml_cache::report::outputs;
use ml_cache::settings::file::keys::{FILE, Kind, MODEL, ROLES};
use ml_cache::settings::{INPUTS, Input, Verb};

use crate::configuration::schema;

/// An action file, and the facts that the tables do not hold.
struct Action {
    file: &'static str,
    /// The action's name in docs/reference.md.
    shown: &'static str,
    name: &'static str,
    description: &'static str,
    verb: Verb,
    entrypoint: &'static str,
    post_entrypoint: Option<&'static str>,
}

const ACTIONS: &[Action] = &[
    Action {
        file: "action.yml",
        shown: "root",
        name: "ML model cache",
        description: "Trains a model again only when its data, code or keys changed; otherwise \
                      restores it from S3, verified byte for byte",
        verb: Verb::Auto,
        entrypoint: "ml-cache-main",
        post_entrypoint: Some("ml-cache-post"),
    },
    Action {
        file: "plan/action.yml",
        shown: "`plan/`",
        name: "ML model cache: plan",
        description: "Decides whether a model must be trained again, and says why",
        verb: Verb::Plan,
        entrypoint: "ml-cache-plan",
        post_entrypoint: None,
    },
    Action {
        file: "restore/action.yml",
        shown: "`restore/`",
        name: "ML model cache: restore",
        description: "Puts a stored model in place, verified byte for byte",
        verb: Verb::Restore,
        entrypoint: "ml-cache-restore",
        post_entrypoint: None,
    },
    Action {
        file: "save/action.yml",
        shown: "`save/`",
        name: "ML model cache: save",
        description: "Keeps the model that was trained",
        verb: Verb::Save,
        entrypoint: "ml-cache-save",
        post_entrypoint: None,
    },
    Action {
        file: "resolve/action.yml",
        shown: "`resolve/`",
        name: "ML model cache: resolve",
        description: "Finds a stored model and sets its pointer as output, without fetching it",
        verb: Verb::Resolve,
        entrypoint: "ml-cache-resolve",
        post_entrypoint: None,
    },
];

/// A container cannot ask the runner for the paths outside of it, so the action passes them in.
const HOST_PATHS: [&str; 3] = [
    "host-paths",
    "For the action itself: what the paths of the runner are called outside of this container.",
    "v1|${{ github.workspace }}|${{ runner.temp }}",
];

/// Returns the text as a quoted YAML string.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Returns an input of an action file. No input is required, because the configuration file can
/// give every value.
fn action_input(name: &str, help: &str, default: &str) -> String {
    format!(
        "  {name}:\n    description: {}\n    required: false\n    default: {}\n",
        quoted(help),
        quoted(default)
    )
}

fn action_file(action: &Action) -> String {
    let mut text = format!(
        "# Made from the tables of inputs and outputs by tests/it/generated.rs.\nname: {}\n\
         description: {}\nauthor: org\nbranding:\n  icon: database\n  color: blue\n\ninputs:\n",
        quoted(action.name),
        quoted(action.description)
    );
    for input in INPUTS.iter().filter(|input| input.applies_to(action.verb)) {
        // Only an expression can name the job's own token.
        let default = match input.name {
            "github-token" => "${{ github.token }}",
            _ => input.default_for(action.verb),
        };
        text.push_str(&action_input(input.name, input.help, default));
    }
    let [name, help, default] = HOST_PATHS;
    text.push_str(&action_input(name, help, default));
    text.push_str("\noutputs:\n");
    for output in outputs::all() {
        let _ = writeln!(text, "  {}:\n    description: {}", output.name, quoted(output.help));
    }
    let _ = write!(
        text,
        "\nruns:\n  using: docker\n  image: docker://ghcr.io/org/ml-cache-action:{}\n  \
         entrypoint: /usr/local/bin/{}\n",
        env!("CARGO_PKG_VERSION"),
        action.entrypoint
    );
    if let Some(post) = action.post_entrypoint {
        let _ = write!(text, "  post-entrypoint: /usr/local/bin/{post}\n  post-if: success()\n");
    }
    text
}

fn default_in_words(input: &Input) -> String {
    match (input.name, input.default) {
        ("model" | "model-path", _) => "required (or in `ml-cache.yml`)".to_owned(),
        ("store", _) => "required (or in `ml-cache.yml`, or `ML_CACHE_STORE`)".to_owned(),
        ("config", _) => "`ml-cache.yml`".to_owned(),
        ("destination", _) => "workspace".to_owned(),
        ("namespace", _) => "repository".to_owned(),
        ("github-token", _) => {
            "the job's; on the command line `GITHUB_TOKEN` or `GH_TOKEN`".to_owned()
        }
        ("fail-on-miss", default) => format!("`{default}`; where a model is only found, `true`"),
        (_, "") => String::new(),
        (_, default) => format!("`{default}`"),
    }
}

fn reference() -> String {
    let mut text = "# Reference\n\n\
        <!-- Made from the tables of inputs and outputs by tests/it/generated.rs. -->\n\n\
        ## Inputs\n\n\
        An empty value means the default, except for \
        `role-to-assume`.\nBooleans are `true` or `false`.\nLists have one item a \
        line.\nOn the command line, flags have the names of the inputs.\n\n\
        | input | meaning | default | actions | commands |\n| --- | --- | --- | --- | --- |\n"
        .to_owned();
    for input in INPUTS {
        let actions: Vec<&str> = ACTIONS
            .iter()
            .filter(|action| input.applies_to(action.verb))
            .map(|action| action.shown)
            .collect();
        let verbs = Verb::COMMANDS.iter().filter(|verb| input.applies_to(**verb));
        let commands: Vec<String> = verbs.map(|verb| format!("`{}`", verb.name())).collect();
        let all = |shown: String, is_all: bool| if is_all { "all".to_owned() } else { shown };
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} |",
            input.name,
            input.help,
            default_in_words(input),
            all(actions.join(", "), actions.len() == ACTIONS.len()),
            all(commands.join(", "), commands.len() == Verb::COMMANDS.len()),
        );
    }
    text.push_str(&keys());
    text.push_str(
        "\n## Outputs\n\n\
        Every output is always set.\nA value that a step does not know, because it failed or asked \
        for no files, is empty.\nNo output names a bucket, an endpoint or an account, because the \
        runner drops a job output that contains a masked value.\n\n\
        | output | meaning |\n| --- | --- |\n",
    );
    for output in outputs::all() {
        let _ = writeln!(text, "| `{}` | {} |", output.name, output.help);
    }
    text.push_str("\n## Exit codes\n\n| exit code | meaning |\n| --- | --- |\n");
    for (code, meaning) in EXIT_CODES {
        let _ = writeln!(text, "| {code} | {meaning} |");
    }
    text.push_str(
        "\nA training that fails keeps its own exit code, and nothing is saved. After a signal the \
         code is 128 plus its number.\n",
    );
    text
}

/// Returns the section about the keys of the configuration file.
fn keys() -> String {
    let mut text = "\n## Keys of the configuration file\n\n\
        [The configuration file](configuration.md) has these keys.\nA key without an input exists \
        only there.\n\n\
        | key | meaning | value | input |\n| --- | --- | --- | --- |\n"
        .to_owned();
    let tables = [("", FILE), ("roles.", ROLES), ("models.NAME.", MODEL)];
    for (prefix, key) in
        tables.iter().flat_map(|(prefix, keys)| keys.iter().map(move |key| (prefix, key)))
    {
        let value = match key.kind {
            Kind::Text => "text",
            Kind::Boolean => "`true` or `false`",
            Kind::List => "text, or list of texts",
            Kind::Table => "map of names to values",
            Kind::Roles => "map of roles",
            Kind::Model => "map, as for a model",
            Kind::Models => "map of names to models",
        };
        let input = match key.input {
            "" => String::new(),
            input => format!("`{input}`"),
        };
        let _ = writeln!(text, "| `{prefix}{}` | {} | {value} | {input} |", key.name, key.help);
    }
    text
}

/// Writes the file if its text differs. Returns whether it differed.
fn is_renewed(file: &str, text: &str) -> bool {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let differs = fs::read_to_string(&path).unwrap_or_default() != text;
    if differs {
        fs::write(path, text).unwrap();
    }
    differs
}

#[test]
fn every_generated_file_is_up_to_date() {
    let mut files: Vec<(&str, String)> =
        ACTIONS.iter().map(|action| (action.file, action_file(action))).collect();
    files.push(("docs/reference.md", reference()));
    files.push((schema::FILE, schema::text()));
    let renewed: Vec<&str> =
        files.iter().filter(|(file, text)| is_renewed(file, text)).map(|(file, _)| *file).collect();
    assert!(renewed.is_empty(), "{} differed and was written anew: commit it", renewed.join(", "));
}

#[test]
fn no_action_file_is_forgotten() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directories = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name());
    let mut found: Vec<String> = directories
        .map(|name| format!("{}/action.yml", name.to_str().unwrap()))
        .filter(|file| root.join(file).is_file())
        .collect();
    found.push("action.yml".to_owned());
    found.sort();
    let mut known: Vec<&str> = ACTIONS.iter().map(|action| action.file).collect();
    known.sort_unstable();
    assert_eq!(found, known);
}

#[test]
fn every_entrypoint_is_known_to_the_program() {
    let mut entrypoints: Vec<&str> = ACTIONS.iter().map(|action| action.entrypoint).collect();
    entrypoints.extend(ACTIONS.iter().filter_map(|action| action.post_entrypoint));
    for entrypoint in &entrypoints {
        assert!(Phase::of(entrypoint).is_some(), "{entrypoint}");
    }
    assert_eq!(Phase::of("ml-cache-post"), Some(Phase::Post));
}

#[test]
fn every_flag_is_an_input_of_its_verb() {
    // clap makes its help from the same table. This test finds any other flag.
    for verb in Verb::COMMANDS {
        let arguments = ["ml-cache", verb.name(), "--help"].map(Into::into);
        let (help, code) = ml_cache::cli::parse(arguments).unwrap_err();
        assert_eq!(code, 0);
        let mut flags: BTreeMap<&str, usize> = BTreeMap::new();
        for word in help.split(|c: char| !(c.is_ascii_lowercase() || c == '-')) {
            if let Some(flag) = word.strip_prefix("--").filter(|flag| !flag.is_empty()) {
                *flags.entry(flag).or_default() += 1;
            }
        }
        let known =
            |flag: &str| INPUTS.iter().any(|input| input.name == flag && input.applies_to(*verb));
        let others: Vec<&&str> = flags.keys().filter(|flag| !known(flag)).collect();
        assert_eq!(others, [&"help", &"json", &"verbose", &"workspace"], "{}", verb.name());
        assert_eq!(
            flags.len() - 4,
            INPUTS.iter().filter(|input| input.applies_to(*verb)).count(),
            "{}",
            verb.name()
        );
    }
}
