//! Reads from the text of the code which module imports which.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, production};

/// The modules of `src/`, such as `commands::save`, each with its imports.
pub(super) type Imports = BTreeMap<String, BTreeSet<String>>;

/// Returns the imports of every module. A full path in an expression counts as an import too.
pub(super) fn imports(sources: &[Source]) -> Imports {
    let modules: BTreeMap<String, &Source> =
        sources.iter().filter_map(|source| Some((module_of(&source.path)?, source))).collect();
    let resolve = |path: &[String]| {
        (1..=path.len()).rev().map(|end| path[..end].join("::")).find(|it| modules.contains_key(it))
    };
    let imports_of = |module: &String, source: &Source| {
        let lines = production(&source.text);
        let text = lines.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("\n");
        let paths = paths(&text);
        let full = paths.iter().map(|path| absolute(module, path));
        full.filter_map(|path| resolve(&path)).filter(|found| found != module).collect()
    };
    modules.iter().map(|(module, source)| (module.clone(), imports_of(module, source))).collect()
}

/// Returns a circle of imports if there is one. In it each module imports the next, and the last
/// imports the first.
pub(super) fn circle(imports: &Imports) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    imports.keys().find_map(|module| walk(imports, module, &mut Vec::new(), &mut done))
}

fn walk(
    imports: &Imports,
    module: &String,
    way: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(start) = way.iter().position(|before| before == module) {
        return Some(way[start..].to_vec());
    }
    if !done.insert(module.clone()) {
        return None;
    }
    way.push(module.clone());
    let found = imports[module].iter().find_map(|next| walk(imports, next, way, done));
    way.pop();
    found
}

/// Returns `commands::save` for `src/commands/save.rs`, and `None` for tests.
fn module_of(path: &str) -> Option<String> {
    let module = path.strip_prefix("src/")?.strip_suffix(".rs")?.replace('/', "::");
    (module != "lib" && !module.ends_with("::tests")).then_some(module)
}

fn absolute(module: &str, path: &[String]) -> Vec<String> {
    let mut base: Vec<String> = module.split("::").map(str::to_owned).collect();
    let mut path = path.iter().peekable();
    match path.next().map(String::as_str) {
        Some("super") => drop(base.pop()),
        Some("self") => {}
        _ => base.clear(),
    }
    while path.next_if(|word| *word == "super").is_some() {
        base.pop();
    }
    base.extend(path.cloned());
    base
}

/// Returns the paths that begin with `crate`, `self`, `super` or `ml_cache`. It expands `{…}`.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate", "self", "super", "ml_cache"] {
        for (at, _) in text.match_indices(&format!("{start}::")) {
            let is_word = text[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
            if !is_word {
                let rest = &text[at + start.len()..];
                tree(&mut rest.chars().peekable(), &mut vec![start.to_owned()], &mut found);
            }
        }
    }
    found
}

/// Reads the rest of a path: `::word`, `::{a, b::c}`, or the end.
fn tree(
    text: &mut std::iter::Peekable<std::str::Chars<'_>>,
    path: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
) {
    let depth = path.len();
    loop {
        skip_spaces(text);
        if text.next_if_eq(&':').is_none() || text.next_if_eq(&':').is_none() {
            found.push(path.clone());
            break;
        }
        skip_spaces(text);
        if text.next_if_eq(&'{').is_some() {
            branches(text, path, found);
            break;
        }
        path.push(word(text));
    }
    path.truncate(depth);
}

fn branches(
    text: &mut std::iter::Peekable<std::str::Chars<'_>>,
    path: &mut Vec<String>,
    found: &mut Vec<Vec<String>>,
) {
    loop {
        skip_spaces(text);
        match text.peek() {
            Some('}') | None => {
                text.next();
                return;
            }
            Some(',') => drop(text.next()),
            Some(_) => {
                path.push(word(text));
                tree(text, path, found);
                path.pop();
                // Skip the rest of the branch, such as `as _`.
                while text.next_if(|c| !",}".contains(*c)).is_some() {}
            }
        }
    }
}

fn word(text: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut word = String::new();
    while let Some(c) = text.next_if(|c| c.is_alphanumeric() || *c == '_') {
        word.push(c);
    }
    if word.is_empty() {
        // A `*` or the `<` of a type is not a part of a module's name.
        text.next();
    }
    word
}

fn skip_spaces(text: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while text.next_if(|c| c.is_whitespace()).is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn imports_are_found_however_they_are_written() {
        let text = "//! A.\nuse crate::b::{self, c::{D, e as f}, *};\nuse super::{g, h as _};\n\
                    fn f() { crate::i::j(); let x = self::k::l; }\n\
                    #[cfg(test)]\nmod tests {\n    use crate::m;\n}\n";
        let others = ["b", "b::c", "a::g", "a::h", "i", "a::z::k", "m", "a"];
        let mut sources: Vec<Source> = others
            .iter()
            .map(|module| source(&format!("src/{}.rs", module.replace("::", "/")), "//! X.\n"))
            .collect();
        sources.push(source("src/a/z.rs", text));
        let imports = imports(&sources);
        let found: Vec<&str> = imports["a::z"].iter().map(String::as_str).collect();
        assert_eq!(found, ["a::g", "a::h", "a::z::k", "b", "b::c", "i"]);
        assert_eq!(circle(&imports), None);
    }

    #[test]
    fn circles_of_any_length_are_found() {
        for length in [2, 3, 5] {
            let sources: Vec<Source> = (0..length)
                .map(|n| {
                    let text = format!("//! X.\nuse crate::m{}::f;\n", (n + 1) % length);
                    source(&format!("src/m{n}.rs"), &text)
                })
                .collect();
            assert_eq!(circle(&imports(&sources)).unwrap().len(), length);
        }
    }
}
