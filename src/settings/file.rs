//! The configuration file `ml-cache.yml`: settings that every command and step shares.
//!
//! The file only fills inputs that the user did not give. So the same inputs have the same
//! fingerprint with and without it.

mod checkout;
pub mod keys;
mod model;
mod open;
mod place;
mod shape;
mod slips;
mod values;
mod yaml;

use std::path::Path;

use self::keys::{FILE, Key, Kind};
use self::model::Chosen;
pub use self::open::{NAME, NONE};
use self::place::Place;
use self::shape::{Content, Item};
use super::reader::Fault;
use super::table::OMITTED;
use super::{INPUTS, Placed, RawInputs, Verb};
use crate::beneath::Beneath;
use crate::decide::{ReadScopes, scope};
use crate::environment::Environment;
use crate::error::Error;
use crate::format::Scope;
use crate::sanitize;
use crate::workflow::RunContext;

/// The inputs after the file has filled them.
#[derive(Clone, Debug, Default)]
pub(super) struct Loaded {
    pub(super) raw: RawInputs,
    pub(super) faults: Vec<Fault>,
    pub(super) doubts: Vec<String>,
    /// The directory of the model, relative to the workspace; may be empty.
    pub(super) working_directory: String,
    /// The path of the file below the workspace; `None` if no file was read.
    path: Option<String>,
    names_no_model: bool,
}

/// What decides about the file's values, beside the inputs.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) verb: Verb,
    pub(super) run: Option<&'a RunContext>,
    /// The workspace as the user spells it.
    pub(super) given: &'a Path,
    /// The real path of the workspace.
    pub(super) workspace: &'a Path,
}

/// Fills the inputs from the file, if there is one.
pub(super) fn load(raw: &RawInputs, around: Around<'_>) -> Loaded {
    let mut loaded = Loaded { raw: raw.clone(), ..Loaded::default() };
    let named = raw.get("config");
    if named == Some(NONE) {
        return loaded;
    }
    let path = named
        .map_or(Ok(NAME.to_owned()), |value| open::relative(value, around.given, around.workspace));
    let path = match path {
        Ok(path) => path,
        Err(reason) => return loaded.refusing(named.unwrap_or_default(), reason),
    };
    // Another fault names a workspace that cannot be opened.
    let Ok(root) = Beneath::open_real(around.workspace) else { return loaded };
    let text = match open::read(&root, &path) {
        Ok(Some(text)) => text,
        Ok(None) if named.is_some() => return loaded.refusing(&path, "there is no such file"),
        Ok(None) => {
            loaded.doubts.extend(other_name(&root));
            return loaded;
        }
        Err(reason) => return loaded.refusing(&path, &reason),
    };
    loaded.path = Some(path.clone());
    let (tree, mut faults) = yaml::parse(&text);
    let content = match (&tree, faults.is_empty()) {
        (None, false) => Content::default(),
        _ => shape::read(tree.as_ref(), &mut faults),
    };
    faults.sort_by_key(|fault| fault.place);
    faults.dedup_by_key(|fault| fault.place);
    let mut filler = Filler {
        around,
        root: &root,
        path: &path,
        raw: loaded.raw,
        faults: vec![],
        doubts: vec![],
    };
    for fault in faults {
        filler.fault("", fault.place, &fault.text);
    }
    filler.faults.extend(values::faults(&content, &path, around.given));
    loaded.working_directory = filler.fill(&content);
    loaded.names_no_model = content.models.is_empty() && filler.faults.is_empty();
    if raw.only.is_some() {
        filler.faults.clear();
    }
    Loaded { raw: filler.raw, faults: filler.faults, doubts: filler.doubts, ..loaded }
}

/// Returns a warning about a file that is never read.
fn other_name(root: &Beneath) -> Option<String> {
    let other = NAME.replace(".yml", ".yaml");
    let is_there = root.look(&other).is_ok_and(|found| found.is_some());
    is_there
        .then(|| format!("`{other}` is not read; rename it to `{NAME}`, or name it in `config`"))
}

impl Loaded {
    fn refusing(mut self, path: &str, reason: &str) -> Self {
        let shown = sanitize::short(path, 200);
        let accepted = "a file of at most 256 KiB below the workspace, or `none`";
        self.faults.push(Fault {
            name: "config".to_owned(),
            is_missing: false,
            text: format!("input `config`: `{shown}`: {reason}; accepted: {accepted}"),
        });
        self
    }

    /// Adds what the user may not know about the file to an error about the settings.
    pub(super) fn advise(&self, error: Error, lacks_model: bool) -> Error {
        let error = self.doubts.iter().fold(error, |error, doubt| error.hint(doubt));
        match &self.path {
            Some(path) if lacks_model && self.names_no_model => error.hint(format!(
                "or name a model in `{}`, which has none yet: `models: {{ fraud-detector: {{ data: \
                 data/training/**, path: models/ }} }}`",
                sanitize::short(path, 200)
            )),
            None if lacks_model && self.doubts.is_empty() => error.hint(format!(
                "or write a file `{NAME}` for all steps; the workspace has none, and `ml-cache \
                 init` writes a first version"
            )),
            _ => error,
        }
    }

    /// Says where each value comes from; `None` if no file was read.
    pub(super) fn origins(&self, verb: Verb, environment: &Environment) -> Option<String> {
        self.path.as_ref()?;
        let is_told = |name: &str| !["config", "github-token"].contains(&name);
        let from = |input: &super::Input| {
            let name = input.name;
            let value = self.raw.get(name).filter(|value| *value != input.default_for(verb));
            if let Some(lines) = self.raw.places.get(name) {
                let mut lines: Vec<&str> = lines.iter().map(|line| line.line.as_str()).collect();
                lines.dedup();
                let first = (*lines.first()?).to_owned();
                let more = lines[1..].iter().filter_map(|line| line.rsplit(':').next());
                let all: Vec<String> =
                    std::iter::once(first).chain(more.map(str::to_owned)).collect();
                return Some(format!("{name} from {}", all.join(", ")));
            }
            match name {
                _ if value.is_some() => Some(format!("{name} from the input")),
                "store" if environment.get("ML_CACHE_STORE").is_some() => {
                    Some("store from ML_CACHE_STORE".to_owned())
                }
                _ => None,
            }
        };
        let inputs = INPUTS.iter().filter(|input| input.applies_to(verb) && is_told(input.name));
        Some(inputs.filter_map(from).collect::<Vec<_>>().join("; "))
    }
}

/// Fills inputs from the content of a file.
struct Filler<'a> {
    around: Around<'a>,
    root: &'a Beneath,
    path: &'a str,
    raw: RawInputs,
    faults: Vec<Fault>,
    doubts: Vec<String>,
}

impl Filler<'_> {
    fn fault(&mut self, name: &str, place: Place, text: &str) {
        let Place { line, column } = place;
        let text = sanitize::short(text, 500);
        let text = format!("{}:{line}:{column}: {text}", sanitize::short(self.path, 200));
        self.faults.push(Fault { name: name.to_owned(), is_missing: false, text });
    }

    /// Returns the working directory of the model.
    fn fill(&mut self, content: &Content) -> String {
        let doubt = checkout::doubt(self.around.run, self.root, self.path);
        for key in FILE.iter().filter(|key| !key.input.is_empty() && key.kind != Kind::Roles) {
            let Some(items) = content.own.get(key.name).filter(|items| !items.is_empty()) else {
                continue;
            };
            // The store of this repository keeps another repository's models under its name.
            let is_other = key.name == "namespace" && self.is_of_another_repository();
            if !is_other && self.takes(key.input) && self.trusts(key, &items[0], doubt.as_deref()) {
                self.set(key, items, str::to_owned);
            }
        }
        let chosen = self.choose(content);
        let directory = chosen.working_directory();
        for (key, items) in chosen.values() {
            if self.takes(key.input) {
                self.set(key, &items, |text| match key.path {
                    true => model::below(&directory, text),
                    false => text.to_owned(),
                });
            }
        }
        self.role(content, doubt.as_deref());
        self.check_directory(&chosen, &directory);
        self.doubts.extend(self.bound_without_metrics(&chosen));
        directory
    }

    /// Returns whether an input of this verb has no value of its own.
    fn takes(&self, input: &str) -> bool {
        let applies = |it: &super::Input| it.name == input && it.applies_to(self.around.verb);
        let counts = self.raw.only.is_none_or(|names| names.contains(&input));
        counts && self.raw.get(input).is_none() && INPUTS.iter().any(applies)
    }

    /// Refuses a key that decides about trust, where the file may be foreign.
    fn trusts(&mut self, key: &Key, item: &Item, doubt: Option<&str>) -> bool {
        let doubt = match doubt {
            Some(doubt) if key.trust => doubt,
            _ => return true,
        };
        let text = format!(
            "`{}` is not taken from this file, because {doubt}; accepted: the input `{}`, or \
             `config: none`",
            key.name, key.input
        );
        self.fault(key.input, item.place, &text);
        false
    }

    fn set(&mut self, key: &Key, items: &[Item], text: impl Fn(&str) -> String) {
        let placed = items.iter().map(|item| self.placed(key.name, item, text(&item.text)));
        let placed = placed.collect();
        self.raw.place(key.input, placed);
    }

    fn placed(&self, key: &str, item: &Item, text: String) -> Placed {
        Placed {
            text,
            written: item.text.clone(),
            key: key.to_owned(),
            line: format!("{}:{}", sanitize::short(self.path, 200), item.place.line),
            column: item.place.column,
        }
    }

    fn is_of_another_repository(&self) -> bool {
        let is_own = |name: &&str| self.around.run.is_some_and(|run| run.is_of(name));
        self.around.verb.only_reads()
            && self.raw.get("repository").is_some_and(|name| !is_own(&name))
    }

    /// Chooses the model, and notes a name that the file does not have.
    fn choose<'c>(&mut self, content: &'c Content) -> Chosen<'c> {
        let about = model::About {
            verb: self.around.verb,
            is_of_another_repository: self.is_of_another_repository(),
            file: self.path,
        };
        match model::choose(content, &self.raw, about) {
            Ok(chosen) => {
                if let (Some(name), None) = (chosen.name, self.raw.get("model")) {
                    let placed = self.placed("models", name, name.text.clone());
                    self.raw.place("model", vec![placed]);
                }
                chosen
            }
            Err(text) => {
                let is_missing = false;
                self.faults.push(Fault { name: "model".to_owned(), is_missing, text });
                Chosen::default()
            }
        }
    }

    /// Chooses the role of the run's scope, unless the step says which credentials count.
    fn role(&mut self, content: &Content, doubt: Option<&str>) {
        const ROLE: &str = "role-to-assume";
        let is_given = self.raw.get(ROLE).is_some_and(|value| value != OMITTED)
            || self.raw.is_given_empty(ROLE)
            || matches!(self.raw.get("credentials"), Some("ambient" | "none"));
        // Only a run has a token for which AWS gives a role's credentials.
        let run = match self.around.run {
            Some(run) if !is_given && self.raw.only.is_none_or(|it| it.contains(&ROLE)) => run,
            _ => return,
        };
        let refs = self.raw.get("trusted-refs").unwrap_or_default().lines();
        let refs: Vec<String> = refs.map(|line| line.trim().to_owned()).collect();
        let access = scope::access(Some(run), &refs, ReadScopes::Own);
        let of_scope = if access.own == Scope::Trusted { "trusted" } else { "untrusted" };
        let reads_trusted = access.reads == [Scope::Trusted];
        let wanted = match self.around.verb.only_reads() && reads_trusted {
            true => ["deploy", of_scope],
            false => [of_scope, of_scope],
        };
        let found = wanted.iter().find_map(|name| Some((name, content.roles.get(name)?.first()?)));
        let Some((name, item)) = found else { return };
        let Some(key) = keys::find(FILE, "roles") else { return };
        if self.trusts(key, item, doubt) {
            let placed = self.placed(&format!("roles.{name}"), item, item.text.clone());
            self.raw.place(ROLE, vec![placed]);
        }
    }

    /// Returns a warning about demands that a later save will refuse. A verb that saves refuses
    /// them itself.
    fn bound_without_metrics(&self, chosen: &Chosen<'_>) -> Option<String> {
        let values = chosen.values();
        let of = |name: &str| values.iter().find(|(key, _)| key.name == name);
        let (_, items) = match of("metrics") {
            None if self.around.verb == Verb::Plan => of("min-metrics")?,
            _ => return None,
        };
        let line = items.first()?.place.line;
        let file = sanitize::short(self.path, 200);
        Some(format!(
            "{file}:{line}: `min-metrics` stands without `metrics`, so the save will refuse it; \
             add `metrics: metrics.json` to the model"
        ))
    }

    /// Notes a working directory that is not there, where a training will start in it.
    fn check_directory(&mut self, chosen: &Chosen<'_>, directory: &str) {
        let Some(item) = chosen.directory_item() else { return };
        if matches!(self.around.verb, Verb::Run | Verb::Check)
            && self.root.directory(directory).is_err()
        {
            let text = format!(
                "`working-directory`: `{}`: there is no such directory without links; accepted: a \
                 directory below the workspace",
                item.text
            );
            self.fault("working-directory", item.place, &text);
        }
    }
}
