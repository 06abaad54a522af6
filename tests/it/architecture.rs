//! The rules of ARCHITECTURE.md that show in the text of the code.
//!
//! The rules look at the text without comments and test modules. Planted violations check that each
//! kind of rule finds something.

mod imports;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A source file: its path from the root of the repository, and its text.
struct Source {
    path: String,
    text: String,
}

/// Words that some files may not have in their production code.
struct Rule {
    about: &'static str,
    applies: fn(&str) -> bool,
    /// A word matches unless it continues an identifier to its left.
    words: &'static [&'static str],
}

/// Returns whether the path is `src/NAME.rs`, or lies below `src/NAME/`.
fn is(path: &str, module: &str) -> bool {
    path.strip_prefix("src/")
        .and_then(|path| path.strip_prefix(module))
        .is_some_and(|rest| rest.starts_with(['.', '/']))
}

const RULES: &[Rule] = &[
    Rule {
        about: "only store/s3 and github/oidc know the AWS SDK",
        applies: |path| !is(path, "store/s3") && !is(path, "github/oidc"),
        words: &["aws_"],
    },
    Rule { about: "only cli knows clap", applies: |path| !is(path, "cli"), words: &["clap"] },
    Rule {
        about: "only github/rest knows octocrab",
        applies: |path| !is(path, "github/rest"),
        words: &["octocrab"],
    },
    Rule {
        about: "the environment is read in main alone",
        applies: |path| path != "src/main.rs",
        words: &["env::var", "env::args", "env::temp_dir", "env::home_dir"],
    },
    Rule {
        about: "decide has no I/O and no clock",
        applies: |path| is(path, "decide"),
        words: &[
            "async",
            "await",
            "std::fs",
            "std::net",
            "std::env",
            "std::process",
            "tokio",
            "Timestamp::now",
            "Zoned::now",
            "SystemTime",
            "Instant",
            "rand::",
        ],
    },
    Rule {
        about: "format does no I/O",
        applies: |path| is(path, "format"),
        words: &[
            "async",
            "std::fs",
            "std::net",
            "std::env",
            "std::process",
            "tokio",
            "Timestamp::now",
            "SystemTime",
        ],
    },
    Rule {
        about: "only the store knows its adapters",
        applies: |path| !is(path, "store"),
        words: &["store::s3", "store::local", "S3Store", "LocalStore"],
    },
    Rule {
        about: "only catalog, transfer and store read and write objects",
        applies: |path| !["catalog", "transfer", "store"].iter().any(|module| is(path, module)),
        words: &["store.put", "store.get", "store.head", "store::read"],
    },
    Rule {
        about: "an `if` or a `match` says it, not a filter that ignores its argument",
        applies: |_| true,
        words: &[".filter(|_|"],
    },
    Rule {
        about: "keys are spelled in store/layout alone",
        applies: |path| !is(path, "store/layout"),
        words: &[
            "\"v1/",
            "/v1/",
            "v1/blobs",
            "v1/manifests",
            "v1/inputs",
            "v1/trusted",
            "v1/untrusted",
        ],
    },
];

/// Removes comments, and keeps all lines and strings.
fn without_comments(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut index = 0;
    while index < chars.len() {
        let start = index;
        let word_before = index > 0 && (at(index - 1).is_alphanumeric() || at(index - 1) == '_');
        match at(index) {
            '/' if at(index + 1) == '/' => {
                while index < chars.len() && at(index) != '\n' {
                    index += 1;
                }
                continue;
            }
            '/' if at(index + 1) == '*' => {
                let mut depth = 0;
                while index < chars.len() {
                    match (at(index), at(index + 1)) {
                        ('/', '*') => (depth, index) = (depth + 1, index + 1),
                        ('*', '/') => (depth, index) = (depth - 1, index + 1),
                        ('\n', _) => out.push('\n'),
                        _ => {}
                    }
                    index += 1;
                    if depth == 0 {
                        break;
                    }
                }
                continue;
            }
            'r' if !word_before
                && (at(index + 1) == '"'
                    || (at(index + 1) == '#' && "#\"".contains(at(index + 2)))) =>
            {
                let hashes = chars[index + 1..].iter().take_while(|c| **c == '#').count();
                index += hashes + 2;
                while index < chars.len()
                    && !(at(index) == '"' && (1..=hashes).all(|hash| at(index + hash) == '#'))
                {
                    index += 1;
                }
                index += hashes + 1;
            }
            '"' => {
                index += 1;
                while index < chars.len() && at(index) != '"' {
                    index += if at(index) == '\\' { 2 } else { 1 };
                }
                index += 1;
            }
            // An escaped character, such as `'\n'`. A lifetime has no closing quote.
            '\'' if at(index + 1) == '\\' => {
                index += 3;
                while index < chars.len() && at(index) != '\'' {
                    index += 1;
                }
                index += 1;
            }
            '\'' if at(index + 2) == '\'' => index += 3,
            _ => index += 1,
        }
        out.extend(&chars[start..index.min(chars.len())]);
    }
    out
}

/// Returns the lines of production code with their numbers, without comments and items of tests.
fn production(text: &str) -> Vec<(usize, String)> {
    let code = without_comments(text);
    let mut lines = code.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned()));
    let mut kept = Vec::new();
    while let Some((number, line)) = lines.next() {
        let indent = &line[..line.len() - line.trim_start().len()];
        if line.trim() != "#[cfg(test)]" {
            kept.push((number, line));
            continue;
        }
        let ends = |line: &str| {
            let rest = line.strip_prefix(indent).unwrap_or(" ");
            rest == "}" || (rest.ends_with(';') && !rest.starts_with(' '))
        };
        lines.by_ref().find(|(_, line)| ends(line));
    }
    kept
}

/// Returns whether the line has the word, and not only as the end of a longer word.
fn names(line: &str, word: &str) -> bool {
    let open = word.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    line.match_indices(word)
        .any(|(at, _)| !open || !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Returns every line of production code in `src/` that breaks a rule.
fn violations(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.path.starts_with("src/") && !source.path.ends_with("/tests.rs"))
    {
        let rules: Vec<&Rule> = RULES.iter().filter(|rule| (rule.applies)(&source.path)).collect();
        for (number, line) in production(&source.text) {
            for rule in rules.iter().filter(|rule| rule.words.iter().any(|word| names(&line, word)))
            {
                found.push(format!("{}:{number}: {}: {}", source.path, rule.about, line.trim()));
            }
        }
    }
    found
}

/// Returns every fault of form: long files, wide lines, long functions, missing introductions,
/// ignored tests, and notes of unfinished work.
fn untidy(sources: &[Source]) -> Vec<String> {
    // With these spaces, the words do not match in this file.
    let unfinished = ["TO DO", "FIX ME", "to do!(", "un implemented!(", "# [ignore"]
        .map(|word| word.replace(' ', ""));
    let mut found = Vec::new();
    for source in sources {
        let Source { path, text } = source;
        let count = text.lines().count();
        if count > 900 {
            found.push(format!("{path}: {count} lines"));
        }
        if path.ends_with(".rs") {
            found.extend(wide(source));
            found.extend(long_names(source));
        }
        if path.starts_with("src/") {
            found.extend(long_functions(source));
        }
        if path.ends_with(".rs") && !text.starts_with("//! ") {
            found.push(format!("{path}: the first line is not a `//!` comment"));
        }
        for (index, line) in text.lines().enumerate() {
            if unfinished.iter().any(|word| names(line, word)) {
                found.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    found
}

/// Returns every line of more than 100 columns.
fn wide(Source { path, text }: &Source) -> Vec<String> {
    let wide = text.lines().enumerate().filter(|(_, line)| line.chars().count() > 100);
    wide.map(|(index, _)| format!("{path}:{}: over 100 columns", index + 1)).collect()
}

/// Returns every function whose name has more than 60 characters.
fn long_names(Source { path, text }: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some((_, rest)) = line.split_once("fn ") else { continue };
        let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
        if name.len() > 60 {
            found.push(format!("{path}:{}: `{name}` has over 60 characters", index + 1));
        }
    }
    found
}

/// Returns every function of more than 70 lines, unless a comment `// Over 70 lines: …` gives a
/// reason.
fn long_functions(Source { path, text }: &Source) -> Vec<String> {
    const HEADS: [&str; 6] = ["fn ", "pub fn ", "pub(", "async fn ", "pub async fn ", "const fn "];
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        if !HEADS.iter().any(|head| body.starts_with(head)) || !body.contains("fn ") {
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - body.len()]);
        let length = lines[start..].iter().position(|line| *line == end).map_or(0, |at| at + 1);
        let before = start.checked_sub(1).map_or("", |before| lines[before].trim());
        if length > 70 && !before.starts_with("// Over 70 lines: ") {
            found.push(format!("{path}:{}: a function of {length} lines", start + 1));
        }
    }
    found
}

/// Returns the floors of the modules, as the table in ARCHITECTURE.md numbers them.
fn floors(page: &str) -> BTreeMap<String, usize> {
    let mut floors = BTreeMap::new();
    for line in page.lines() {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let Some(floor) = cells.next().and_then(|cell| cell.parse().ok()) else { continue };
        let names = cells.next().unwrap_or_default().split(',').map(|name| name.trim());
        for name in names {
            let name = name.trim_matches('`').to_owned();
            assert_eq!(floors.insert(name.clone(), floor), None, "{name} stands there twice");
        }
    }
    floors
}

/// Returns every import that does not go to a lower floor, and every module without a floor.
fn climbs(sources: &[Source], floors: &BTreeMap<String, usize>) -> Vec<String> {
    let room = |module: &str| module.split("::").next().unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for (module, imported) in imports::imports(sources) {
        let Some(own) = floors.get(&room(&module)) else {
            found.push(format!("{module} has no floor in ARCHITECTURE.md"));
            continue;
        };
        for other in imported {
            let is_lower = floors.get(&room(&other)).is_some_and(|floor| floor < own);
            if room(&other) != room(&module) && !is_lower {
                found.push(format!("{module} imports {other}, which is not on a lower floor"));
            }
        }
    }
    found
}

/// Returns every hand-written source file of the repository.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut stack = vec![root.to_owned()];
    while let Some(directory) = stack.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let generated = name.starts_with('.') && name != ".github" && name != ".ci";
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                if !generated
                    && !["target", "node_modules", "golden", "__pycache__"].contains(&name)
                {
                    stack.push(path);
                }
                continue;
            }
            let extension = path.extension().and_then(|extension| extension.to_str());
            let is_script = extension.is_none() && fs::read(&path).unwrap().starts_with(b"#!");
            if is_script || ["rs", "py", "sh", "mjs", "yml"].map(Some).contains(&extension) {
                let text = fs::read_to_string(&path).unwrap();
                sources.push(Source {
                    path: path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(),
                    text,
                });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

#[test]
fn the_code_keeps_the_rules() {
    let sources = sources();
    for path in [
        "src/main.rs",
        "src/decide/verdict.rs",
        "src/store/s3.rs",
        "scripts/test",
        "tests/it/architecture.rs",
    ] {
        assert!(sources.iter().any(|source| source.path == path), "{path} was not looked at");
    }
    let found = violations(&sources);
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

#[test]
fn imports_go_down_and_never_in_a_circle() {
    let sources = sources();
    let page = include_str!("../../ARCHITECTURE.md");
    let floors = floors(page);
    assert!(floors.len() > 20, "the table of floors was not read: {floors:?}");
    let found = climbs(&sources, &floors);
    assert!(found.is_empty(), "{} imports:\n{}", found.len(), found.join("\n"));
    for name in floors.keys() {
        let is_there = sources.iter().any(|source| source.path == format!("src/{name}.rs"));
        assert!(is_there, "ARCHITECTURE.md has a floor for `{name}`, which is no module");
    }
    assert_eq!(imports::circle(&imports::imports(&sources)), None);
}

#[test]
fn an_import_that_goes_up_is_found() {
    let floors =
        floors("| floor | modules |\n| --- | --- |\n| 0 | `low`, `flat` |\n| 1 | `high` |");
    for (path, text, found) in [
        ("src/low.rs", "use crate::high;", 1),
        ("src/low.rs", "use crate::flat::f;", 1),
        ("src/high.rs", "use crate::{low::{a, b}, flat};", 0),
        ("src/high/more.rs", "use super::x; use crate::high::y;", 0),
        ("src/new.rs", "", 1),
    ] {
        let sources = [
            source("src/low.rs", "//! L.\n"),
            source("src/flat.rs", "//! F.\n"),
            source("src/high.rs", "//! H.\n"),
            source(path, &format!("//! X.\n{text}\n")),
        ];
        assert_eq!(climbs(&sources, &floors).len(), found, "{path}: {text}");
    }
}

#[test]
fn the_files_are_short_introduced_and_finished() {
    let found = untidy(&sources());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn there_are_few_dependencies_and_one_tls_provider() {
    let lock =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let names: Vec<&str> =
        lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert!(names.contains(&"ring"), "the file was not read");
    assert!(names.len() <= 450, "{} packages", names.len());
    for banned in ["aws-lc-rs", "aws-lc-sys", "openssl-sys", "native-tls"] {
        assert!(!names.contains(&banned), "{banned}");
    }
}

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn a_planted_violation_is_found_and_shown() {
    for (path, line) in [
        ("src/transfer/upload.rs", "use aws_sdk_s3::Client;"),
        ("src/store/local.rs", "let client = aws_config::load();"),
        ("src/action.rs", "use clap::Parser;"),
        ("src/github/event.rs", "use octocrab::Octocrab;"),
        ("src/store/s3.rs", "let home = std::env::var_os(\"HOME\");"),
        ("src/commands.rs", "let all = env::args().collect();"),
        ("src/decide.rs", "pub async fn plan() {}"),
        ("src/decide/commit.rs", "let now = Timestamp::now();"),
        ("src/decide/verdict.rs", "use std::{fs, io}; use std::fs;"),
        ("src/format/head.rs", "use std::fs;"),
        ("src/transfer.rs", "use crate::store::s3;"),
        ("src/commands/save.rs", "ctx.store.put(&key, payload).await?;"),
        ("src/decide/force.rs", "let x = it.filter(|_| holds);"),
        ("src/commands/save.rs", "let store: LocalStore = open();"),
        ("src/store/local.rs", "let key = \"v1/blobs/x\";"),
        ("src/commands/plan.rs", "let url = \"https://x/v1/trusted\"; // a comment"),
    ] {
        let text = format!("//! Planted.\n\nfn before() {{}} // aws_ in a comment\n{line}\n");
        let found = violations(&[source(path, &text)]);
        assert_eq!(found.len(), 1, "{path}: {line}: {found:?}");
        assert!(
            found[0].starts_with(&format!("{path}:4: ")) && found[0].contains(&line[..12]),
            "{}",
            found[0]
        );
    }
}

#[test]
fn what_is_allowed_is_not_found() {
    for (path, text) in [
        ("src/store/s3/errors.rs", "use aws_sdk_s3::Client;"),
        ("src/cli.rs", "use clap::Parser;"),
        ("src/main.rs", "let all = std::env::args_os();"),
        ("src/store/layout.rs", "let key = \"v1/blobs\";"),
        (
            "src/decide/verdict.rs",
            "// Instant\n/* tokio /* nested */ async */\nlet a = '\"'; // async\nlet b = r#\"\"#; \
             // async",
        ),
        ("src/decide/verdict.rs", "let url = \"http://x\"; let lifetime: &'a str; // async"),
        ("src/decide/verdict.rs", "#[cfg(test)]\nmod tests {\n    use std::fs;\n}\nfn after() {}"),
        ("src/decide/verdict.rs", "#[cfg(test)]\nmod tests;\nfn after() {}"),
        ("src/decide/plan/tests.rs", "use std::fs;"),
        ("src/github/event.rs", "let restore::Value = datastore::Value;"),
        ("tests/it/x.rs", "use aws_sdk_s3::Client;"),
    ] {
        let found = violations(&[source(path, text)]);
        assert!(found.is_empty(), "{found:?}");
    }
    let found = violations(&[source(
        "src/decide.rs",
        "#[cfg(test)]\nmod tests {\n    x();\n}\nuse std::fs;",
    )]);
    assert_eq!(found.len(), 1, "what comes after a test module counts: {found:?}");
}

#[test]
fn an_untidy_file_is_found() {
    let long = format!("//! Long.\n{}", "\n".repeat(900));
    let unfinished = format!("//! Planted.\nfn f() {{ {}() }}", ["to", "do!"].concat());
    let ignored = format!("//! Planted.\n{}ignore]", "#[");
    let wide = format!("//! Planted.\n// {}", "x".repeat(98));
    let endless = format!("//! Planted.\nfn f() {{\n{}}}\n", "    x();\n".repeat(69));
    let named = format!("//! Planted.\nfn {}() {{}}\n", "x".repeat(61));
    for (path, text) in [
        ("a.rs", long.as_str()),
        ("a.rs", "fn f() {}"),
        ("a.rs", &named),
        ("a.rs", &unfinished),
        ("a.rs", &ignored),
        ("a.rs", &wide),
        ("src/a.rs", &endless),
    ] {
        assert_eq!(untidy(&[source(path, text)]).len(), 1, "{text}");
    }
    assert_eq!(
        untidy(&[source("a.rs", "//! Fine.\nfn f() {}\n"), source("a.sh", "echo\n")]),
        [] as [String; 0]
    );
}
