//! The action files, the code and README.md agree on every input and every output.
//!
//! The action files are YAML of one plain form, and a line of another form is a failure here: what
//! this reader cannot read, a person would not look at either.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ml_cache::action::Phase;
use ml_cache::report::outputs;
use ml_cache::settings::{INPUTS, Verb};

/// An action file and what it stands for.
struct Action {
    file: &'static str,
    verb: Verb,
    /// In the tables of README.md.
    letter: char,
    /// The keys of `runs` that start something, and what.
    steps: &'static [(&'static str, Phase)],
}

const ACTIONS: &[Action] = &[
    Action {
        file: "action.yml",
        verb: Verb::Auto,
        letter: 'a',
        steps: &[("entrypoint", Phase::Main), ("post-entrypoint", Phase::Post)],
    },
    Action {
        file: "plan/action.yml",
        verb: Verb::Plan,
        letter: 'p',
        steps: &[("entrypoint", Phase::Plan)],
    },
    Action {
        file: "restore/action.yml",
        verb: Verb::Restore,
        letter: 'r',
        steps: &[("entrypoint", Phase::Restore)],
    },
    Action {
        file: "save/action.yml",
        verb: Verb::Save,
        letter: 's',
        steps: &[("entrypoint", Phase::Save)],
    },
];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Values by the path of their keys, such as `inputs/model/required`, in the order of the file.
#[derive(Debug, Default)]
struct Yaml(Vec<(String, String)>);

impl Yaml {
    /// Reads mappings that are indented by two spaces, with plain or single-quoted values.
    fn parse(text: &str) -> Self {
        let mut yaml = Self::default();
        let mut keys: Vec<&str> = Vec::new();
        for line in text
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        {
            let body = line.trim_start_matches(' ');
            let depth = (line.len() - body.len()) / 2;
            let (key, value) = body.split_once(':').unwrap_or_else(|| panic!("no key in {line:?}"));
            assert!(
                depth <= keys.len() && (line.len() - body.len()) % 2 == 0,
                "indentation of {line:?}"
            );
            assert!(
                value.is_empty() || value.starts_with(' '),
                "no space after the key in {line:?}"
            );
            keys.truncate(depth);
            keys.push(key);
            let value = value.trim();
            if !value.is_empty() {
                yaml.0.push((
                    keys.join("/"),
                    scalar(value).unwrap_or_else(|| panic!("no plain value in {line:?}")),
                ));
            }
        }
        yaml
    }

    fn get(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == path).map(|(_, value)| value.as_str())
    }

    /// The keys below a mapping, in order.
    fn keys(&self, path: &str) -> Vec<&str> {
        let below = |key: &'_ str| key.strip_prefix(path)?.strip_prefix('/').map(|rest| rest.len());
        let mut keys: Vec<&str> = self
            .0
            .iter()
            .filter_map(|(key, _)| below(key).map(|length| &key[key.len() - length..]))
            .map(|rest| rest.split('/').next().unwrap_or(rest))
            .collect();
        keys.dedup();
        keys
    }
}

fn scalar(text: &str) -> Option<String> {
    match text.strip_prefix('\'') {
        Some(quoted) => {
            let inner = quoted.strip_suffix('\'')?;
            (!inner.replace("''", "").contains('\'')).then(|| inner.replace("''", "'"))
        }
        None => {
            let special = |c: char| "\"[]{}>|&*!%@`#".contains(c);
            let plain = !text.starts_with(special) && !text.contains(": ") && !text.contains(" #");
            plain.then(|| text.to_owned())
        }
    }
}

#[test]
fn the_reader_reads_what_it_should_and_nothing_else() {
    let yaml = Yaml::parse(
        "a:\n  b:\n    c: 'it''s: x'\n    d: true\n  # a comment\n  e: v1|${{ x.y }}\n\nf: ''\n",
    );
    assert_eq!(yaml.get("a/b/c"), Some("it's: x"));
    assert_eq!(yaml.get("a/e"), Some("v1|${{ x.y }}"));
    assert_eq!(yaml.get("f"), Some(""));
    assert_eq!(yaml.keys("a"), ["b", "e"]);
    for text in ["a: >", "a: |", "a: \"x\"", "a: {b: c}", "a: 'x", "a: x: y", "- a", "  a: b"] {
        assert!(std::panic::catch_unwind(|| Yaml::parse(text)).is_err(), "{text:?} was read");
    }
}

#[test]
fn every_action_has_the_inputs_of_its_verb_and_no_others() {
    for Action { file, verb, .. } in ACTIONS {
        let yaml = Yaml::parse(&read(file));
        let inputs: Vec<_> = INPUTS.iter().filter(|input| input.applies_to(*verb)).collect();
        let mut wanted: Vec<&str> = inputs.iter().map(|input| input.name).collect();
        wanted.push("host-paths");
        assert_eq!(yaml.keys("inputs"), wanted, "{file}");
        for input in inputs {
            let get = |field: &str| yaml.get(&format!("inputs/{}/{field}", input.name));
            assert_eq!(get("description"), Some(input.help), "{file}: {}", input.name);
            let required = matches!(input.name, "model" | "store")
                || (input.name == "model-path" && verb.saves());
            assert_eq!(
                get("required"),
                Some(if required { "true" } else { "false" }),
                "{file}: {}",
                input.name
            );
            // The job's own token can only be named by an expression.
            let default = match input.name {
                "github-token" => Some("${{ github.token }}"),
                _ => (!required).then(|| input.default_for(*verb)),
            };
            assert_eq!(get("default"), default, "{file}: {}", input.name);
            let fields = yaml.keys(&format!("inputs/{}", input.name)).len();
            assert_eq!(fields, if required { 2 } else { 3 }, "{file}: {}", input.name);
        }
        let host_paths = "v1|${{ github.workspace }}|${{ runner.temp }}";
        assert_eq!(yaml.get("inputs/host-paths/default"), Some(host_paths), "{file}");
    }
}

#[test]
fn every_action_has_every_output() {
    for Action { file, .. } in ACTIONS {
        let yaml = Yaml::parse(&read(file));
        let names: Vec<&str> = outputs::all().map(|output| output.name).collect();
        assert_eq!(yaml.keys("outputs"), names, "{file}");
        for output in outputs::all() {
            assert_eq!(
                yaml.get(&format!("outputs/{}/description", output.name)),
                Some(output.help),
                "{file}: {}",
                output.name
            );
        }
    }
}

#[test]
fn every_action_runs_the_image_of_this_version_at_an_entrypoint_that_is_known() {
    for Action { file, steps, .. } in ACTIONS {
        let yaml = Yaml::parse(&read(file));
        let image = format!("docker://ghcr.io/org/ml-cache-action:{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            (yaml.get("runs/using"), yaml.get("runs/image")),
            (Some("docker"), Some(image.as_str())),
            "{file}"
        );
        for (key, phase) in *steps {
            let path =
                yaml.get(&format!("runs/{key}")).unwrap_or_else(|| panic!("{file} has no {key}"));
            assert_eq!(Phase::of(path), Some(*phase), "{file}: {path}");
        }
        let entrypoints =
            yaml.keys("runs").into_iter().filter(|key| key.ends_with("entrypoint")).count();
        assert_eq!(entrypoints, steps.len(), "{file}");
    }
}

/// The cells of the table row that begins with the name in backticks, in the section.
fn row(readme: &str, section: &str, name: &str) -> Vec<String> {
    let start = readme
        .find(&format!("\n## {section}\n"))
        .unwrap_or_else(|| panic!("README.md has no section {section}"));
    let section = &readme[start + 1..];
    let section = section.find("\n## ").map_or(section, |end| &section[..end]);
    let row = section.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
    let row = row.unwrap_or_else(|| panic!("README.md has no row for `{name}`"));
    row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

#[test]
fn the_readme_explains_every_input_and_output() {
    let readme = read("README.md");
    for input in INPUTS {
        let cells = row(&readme, "Inputs", input.name);
        assert_eq!(cells[1], input.help, "{}", input.name);
        assert!(
            cells[2].contains(&format!("`{}`", input.default)) || input.default.is_empty(),
            "{cells:?}"
        );
        let letters: String = ACTIONS
            .iter()
            .filter(|action| input.applies_to(action.verb))
            .map(|action| action.letter)
            .collect();
        assert_eq!(cells[3], letters, "{}", input.name);
    }
    for output in outputs::all() {
        assert_eq!(row(&readme, "Outputs", output.name)[1], output.help, "{}", output.name);
    }
    let rows = readme
        .lines()
        .filter(|line| line.starts_with("| `") && line.split('|').count() == 6)
        .count();
    assert_eq!(rows, INPUTS.len(), "a row of README.md explains what is no input");
}

#[test]
fn every_flag_is_an_input_of_its_verb() {
    // What clap shows is made from the same table; this sees that nothing else crept in.
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
