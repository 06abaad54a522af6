//! Checks every value of the configuration file, also those of models that the command does not
//! use.

use std::collections::BTreeSet;
use std::path::Path;

use super::keys::{FILE, Key};
use super::model::{self, Chosen};
use super::shape::{Content, Item, Values};
use crate::environment::Environment;
use crate::fingerprint::patterns::trim;
use crate::format::ModelName;
use crate::sanitize;
use crate::settings::reader::{Fault, Reader};
use crate::settings::{Placed, RawInputs, Verb};

/// Returns the faults of all values.
pub(super) fn faults(content: &Content, path: &str, workspace: &Path) -> Vec<Fault> {
    let mut check = Check { path, workspace, faults: Vec::new() };
    check.own(content);
    for (name, items) in &content.roles {
        check.read("role-to-assume", &format!("roles.{name}"), items, |reader| {
            drop(reader.role());
        });
    }
    // A model may replace a default, and may lead its patterns to another directory.
    let none = Values::new();
    check.model(&Chosen::all(content, &none), content.models.is_empty());
    for (name, values) in &content.models {
        check.name(name);
        check.model(&Chosen::all(content, values), true);
    }
    // Each model repeats the faults of the defaults.
    let mut seen = BTreeSet::new();
    check.faults.retain(|fault| seen.insert(fault.text.clone()));
    check.faults
}

struct Check<'a> {
    path: &'a str,
    workspace: &'a Path,
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn own(&mut self, content: &Content) {
        let workspace = self.workspace;
        for key in FILE {
            let Some(items) = content.own.get(key.name) else { continue };
            self.read(key.input, key.name, items, |reader| match key.name {
                "store" => drop(reader.store(&Environment::default(), None, workspace)),
                "region" => drop(reader.region()),
                "endpoint-url" => drop(reader.endpoint_url()),
                "namespace" => drop(reader.namespace(None, workspace)),
                "trusted-refs" => drop(reader.trusted_refs()),
                _ => {}
            });
        }
    }

    fn name(&mut self, name: &Item) {
        let parsed: Result<ModelName, _> = name.text.parse();
        let reason = match parsed {
            Err(error) => error.to_string(),
            Ok(_) if trim(&name.text) != name.text => "it begins or ends with a space".to_owned(),
            Ok(_) => return,
        };
        let accepted = "a name of up to 100 bytes without `/`";
        self.fault("model", "models", name, &reason, accepted);
    }

    /// Checks the values of a model; the paths only `with_paths`.
    fn model(&mut self, chosen: &Chosen<'_>, with_paths: bool) {
        let directory = chosen.working_directory();
        let workspace = self.workspace;
        let values = chosen.values().into_iter();
        for (key, items) in values.filter(|(key, _)| with_paths || !key.path) {
            let path = self.path;
            let placed = |item: &Item| {
                let text = match key.path {
                    true => model::below(&directory, &item.text),
                    false => item.text.clone(),
                };
                placed(path, key.name, item, text)
            };
            let lines = items.iter().map(placed).collect();
            self.read_lines(key.input, lines, |reader| match key.name {
                "metrics" => drop(reader.metrics()),
                "min-metrics" => drop(reader.bounds()),
                "extra" => drop(reader.extra_keys()),
                "max-age" => drop(reader.max_age()),
                _ => drop(reader.patterns(key.input, workspace)),
            });
            match key.name {
                "metrics" => items.iter().for_each(|item| self.metrics(key, item)),
                "max-age" => items.iter().for_each(|item| self.age(key, item)),
                _ if key.path => items.iter().for_each(|item| self.relative(key, item)),
                _ => {}
            }
        }
        if let Some(item) = chosen.directory_item()
            && let Err(reason) = model::directory(&item.text)
        {
            let accepted = "a directory below the workspace, such as `services/fraud`";
            self.fault("working-directory", "working-directory", item, reason, accepted);
        }
    }

    /// Refuses an absolute path, because the file holds on every machine.
    fn relative(&mut self, key: &Key, item: &Item) {
        let text = item.text.trim_start_matches(|c: char| c == '!' || c.is_whitespace());
        if text.starts_with('/') {
            let accepted = "patterns relative to the workspace, such as `src/**/*.py`";
            self.fault(key.input, key.name, item, "it is absolute", accepted);
        }
    }

    /// Refuses what names no single file. The reader of the input then sees whether the path leaves
    /// the workspace.
    fn metrics(&mut self, key: &Key, item: &Item) {
        if let Err(reason) = model::file(&item.text) {
            let accepted = "a file relative to the workspace, such as `metrics.json`";
            self.fault(key.input, key.name, item, reason, accepted);
        }
    }

    /// The schema cannot describe every form of a duration, so the file has only the plain form.
    fn age(&mut self, key: &Key, item: &Item) {
        if !is_plain(&item.text) {
            let reason = "it is not a duration in weeks, days, hours, minutes and seconds";
            let accepted = "durations such as `30d`, `12h` or `1w 2d`";
            self.fault(key.input, key.name, item, reason, accepted);
        }
    }

    /// Notes a fault, unless the value has one already.
    fn fault(&mut self, name: &str, key: &str, item: &Item, reason: &str, accepted: &str) {
        let place = format!(":{}:{}: ", item.place.line, item.place.column);
        if self.faults.iter().any(|fault| fault.text.contains(&place)) {
            return;
        }
        let mut raw = RawInputs::default();
        raw.place(name, vec![placed(self.path, key, item, item.text.clone())]);
        let mut reader = Reader::bare(Verb::Plan, &raw);
        reader.fault(name, &item.text, reason, accepted);
        self.faults.extend(reader.faults());
    }

    fn read(&mut self, input: &str, key: &str, items: &[Item], read: impl Fn(&mut Reader<'_>)) {
        let lines = items.iter().map(|item| placed(self.path, key, item, item.text.clone()));
        self.read_lines(input, lines.collect(), read);
    }

    fn read_lines(&mut self, input: &str, lines: Vec<Placed>, read: impl Fn(&mut Reader<'_>)) {
        if lines.is_empty() {
            return;
        }
        let mut raw = RawInputs::default();
        raw.place(input, lines);
        let mut reader = Reader::bare(Verb::Plan, &raw);
        read(&mut reader);
        self.faults.extend(reader.faults());
    }
}

fn placed(path: &str, key: &str, item: &Item, text: String) -> Placed {
    Placed {
        text,
        written: item.text.clone(),
        key: key.to_owned(),
        line: format!("{}:{}", sanitize::short(path, 200), item.place.line),
        column: item.place.column,
    }
}

/// Returns whether a duration has at most one number of each unit, the largest unit first.
fn is_plain(text: &str) -> bool {
    let mut rest = text;
    for unit in ['w', 'd', 'h', 'm', 's'] {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if (1..=6).contains(&digits) && rest[digits..].starts_with(unit) {
            rest = &rest[digits + 1..];
            rest = rest.strip_prefix(' ').unwrap_or(rest);
        }
    }
    rest.is_empty()
}
