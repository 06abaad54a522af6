//! Looks, before a training, for causes that make the save refuse its model.
//!
//! A certain cause ends the command, because the training would be in vain. A likely cause is a
//! warning. Neither changes the inputs: only the user decides which files count.
//!
//! A model that selects inputs is refused wherever both are known: a restore of it would replace
//! the training code of the next run.

use std::path::{Path, PathBuf};

use super::Context;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Links, Patterns, patterns};
use crate::format::{InputEntry, InputsDocument};
use crate::outcome::describe;
use crate::settings::{Settings, Verb};
use crate::store::Location;
use crate::transfer::tree;

/// A message names at most this many files.
const SHOWN: usize = 5;

/// Parts of paths that show a cache, or the log of an earlier training.
const CACHES: &[&str] = &[
    "/.cache/",
    "/.dvc/cache/",
    "/.dvc/tmp/",
    "/.nox/",
    "/.tox/",
    "/.venv/",
    "/CACHEDIR.TAG/",
    "/lightning_logs/",
    "/mlruns/",
    "/wandb/",
];

/// Checks the inputs of a training that is due. `links` lead to inputs.
///
/// # Errors
/// - The save is certain to refuse the model.
/// - The save would change the inputs, so that no later plan could find the model.
/// - `model-path` selects inputs.
pub(super) fn check(ctx: &Context, inputs: &InputsDocument, links: &Links) -> Result<()> {
    let found = tokio::task::block_in_place(|| look(ctx, inputs, links));
    if !found.likely.is_empty() {
        ctx.report.warn(&format!(
            "the save will refuse the model if the training changes these inputs:\n  {}",
            found.likely.join("\n  ")
        ));
    }
    if !found.certain.is_empty() {
        return Err(Error::bad_input(format!(
            "the training would be in vain, because saving its model changes the inputs:\n  {}",
            found.certain.join("\n  ")
        ))
        .hint("exclude these files with `!` lines in the inputs, or write them to another place"));
    }
    refuse_shared(&found.shared)?;
    if ctx.access.read_only.is_some() || !ctx.settings.model_path.has_includes() {
        return Ok(());
    }
    let Settings { workspace, model_path, .. } = &ctx.settings;
    // Without the list, the save itself says what is wrong.
    let refusal = tokio::task::block_in_place(|| tree::refusal(workspace, model_path));
    match refusal.unwrap_or_default() {
        None => Ok(()),
        // The workspace of a plan need not be the workspace of the training.
        Some((error, true)) if ctx.verb != Verb::Plan => {
            Err(error.hint("start the run again; it stopped before the training"))
        }
        Some((error, _)) => {
            ctx.report.warn_of("a save would refuse these files", &error);
            Ok(())
        }
    }
}

/// Warns of a store that this step could not write. The step that saves may have other rights.
pub(super) async fn check_store(ctx: &Context) {
    if ctx.access.read_only.is_some() {
        return;
    }
    let Err(error) = ctx.catalog.check_writable(&ctx.access.own).await else { return };
    match ctx.settings.store {
        Location::Directory(_) if error.kind() == Kind::BadInput => {
            ctx.report.warn_of("the save will refuse this store", &error);
        }
        // The machine of the plan need not be the machine of the save.
        Location::Directory(_) => {}
        Location::S3 { .. } => {
            ctx.report.warn_of("a save with the credentials of this step would fail", &error);
        }
    }
}

/// Refuses a `model-path` that selects inputs.
///
/// # Errors
/// `model-path` selects inputs.
pub(super) fn check_shared(ctx: &Context, inputs: &InputsDocument, links: &Links) -> Result<()> {
    let model_path = &ctx.settings.model_path;
    if !model_path.has_includes() {
        return Ok(());
    }
    let shared = tokio::task::block_in_place(|| {
        let shared = shared(model_path, inputs, links);
        let takes = |include| taken(include, &shared).map(|names| told(include, &names));
        model_path.includes().filter_map(takes).collect::<Vec<_>>()
    });
    refuse_shared(&shared)
}

fn refuse_shared(shared: &[String]) -> Result<()> {
    if shared.is_empty() {
        return Ok(());
    }
    Err(Error::bad_input(format!(
        "a model must not hold inputs of its training, because a restore would replace them:\n  {}",
        shared.join("\n  ")
    ))
    .hint("exclude these files with `!` lines in `model-path`, or in the inputs"))
}

/// An input that `model-path` selects, by its own path or by the path behind a link.
struct Shared<'a> {
    path: &'a str,
    selected: String,
}

fn paths_of(inputs: &InputsDocument) -> impl Iterator<Item = &str> {
    inputs.data.iter().chain(&inputs.training).map(|entry| entry.path.as_str())
}

fn shared<'a>(model: &Patterns, inputs: &'a InputsDocument, links: &'a Links) -> Vec<Shared<'a>> {
    let mut parts: Vec<&str> = Vec::new();
    let mut shared: Vec<Shared<'a>> = Vec::new();
    for path in paths_of(inputs) {
        parts.clear();
        parts.extend(path.split('/'));
        if model.selects(&parts) {
            shared.push(Shared { path, selected: path.to_owned() });
        }
    }
    for (path, real) in &links.files {
        if model.selects(&real.split('/').collect::<Vec<_>>()) {
            shared.push(Shared { path, selected: real.clone() });
        }
    }
    shared.sort_unstable_by_key(|it| it.path);
    shared.dedup_by_key(|it| it.path);
    shared
}

/// Returns the shared inputs that the include takes; `None` if it takes none.
fn taken<'a>(include: &patterns::Pattern, shared: &[Shared<'a>]) -> Option<Vec<&'a str>> {
    let takes = |it: &&Shared<'_>| include.takes(&it.selected.split('/').collect::<Vec<_>>());
    let names: Vec<&str> = shared.iter().filter(takes).map(|it| it.path).collect();
    (!names.is_empty()).then_some(names)
}

fn told(include: &patterns::Pattern, paths: &[&str]) -> String {
    format!("`{}` of `model-path` takes inputs, too: {}", include.text, names(paths))
}

/// A list of inputs, and the files that it selects now.
struct List<'a> {
    input: &'static str,
    patterns: &'a Patterns,
    entries: &'a [InputEntry],
}

/// The causes, each as a line of a message.
#[derive(Default)]
struct Found {
    certain: Vec<String>,
    /// The inputs that `model-path` selects.
    shared: Vec<String>,
    likely: Vec<String>,
}

fn look(ctx: &Context, inputs: &InputsDocument, links: &Links) -> Found {
    let sources = &ctx.settings.sources;
    let list = |input, patterns, entries| List { input, patterns, entries };
    let lists = [
        list("data-paths", &sources.data, inputs.data.as_slice()),
        list("training-paths", &sources.training, inputs.training.as_slice()),
    ];
    let mut found = Found::default();
    found.compare_model(&ctx.settings.model_path, &lists, inputs, links);
    if let (None, Location::Directory(directory)) = (&ctx.access.read_only, &ctx.settings.store) {
        // No path below the store's directory is a link.
        if let Some(directory) = real(directory) {
            let keys = ctx.catalog.examples(&ctx.access.own);
            let objects = keys.iter().map(|key| directory.join(key.as_str()));
            found.compare_store(&ctx.settings.workspace, objects, &links.directories, &lists);
        }
    }
    if let Some(path) = &ctx.settings.metrics {
        let taking = lists.iter().find(|list| list.patterns.selects(&split(path)));
        found.certain.extend(taking.map(|list| {
            format!(
                "`{path}` of `metrics`: `{}` selects the file that the training writes",
                list.input
            )
        }));
    }
    for list in &lists {
        found.outputs_of_dvc(&ctx.settings.workspace, list, &lists);
        let caches = list.entries.iter().map(|entry| entry.path.as_str());
        let caches: Vec<&str> = caches.filter(|path| is_cache(path)).collect();
        if !caches.is_empty() {
            found.likely.push(format!("`{}` selects a cache: {}", list.input, names(&caches)));
        }
    }
    found
}

impl Found {
    /// Compares the files of the model with the inputs.
    ///
    /// A save needs a file for each line of `model-path`. If the inputs take every file of a line,
    /// and there is no such file yet, the training must change its inputs.
    fn compare_model(
        &mut self,
        model: &Patterns,
        lists: &[List<'_>],
        inputs: &InputsDocument,
        links: &Links,
    ) {
        let shared = shared(model, inputs, links);
        let covers = |list: &List<'_>, include: &patterns::Pattern| {
            let behind = |(link, real): &(String, String)| {
                let moved = include.moved(&split(real), &split(link));
                moved.is_some_and(|moved| list.patterns.covers(&moved))
            };
            list.patterns.covers(include) || links.directories.iter().any(behind)
        };
        let covering = |include| lists.iter().find(|list| covers(list, include));
        let all_covered = model.includes().all(|include| covering(include).is_some());
        for include in model.includes() {
            let line = &include.text;
            match (covering(include), taken(include, &shared)) {
                (Some(list), names) if names.is_none() || all_covered => {
                    self.certain.push(format!(
                        "`{line}` of `model-path`: `{}` selects the files that the training writes \
                         there",
                        list.input
                    ));
                }
                (_, Some(names)) => self.shared.push(told(include, &names)),
                _ => {
                    let meeting = lists.iter().find(|list| list.patterns.meets(include, model));
                    self.likely.extend(meeting.map(|list| {
                        format!(
                            "`{line}` of `model-path`: `{}` selects new files there",
                            list.input
                        )
                    }));
                }
            }
        }
        for (link, real) in &links.directories {
            let meets = |list: &&List<'_>| list.patterns.reaches(&split(link));
            if model.reaches(&split(real))
                && let Some(list) = lists.iter().find(meets)
            {
                self.likely.push(format!(
                    "`model-path`: `{}` selects new files there, behind the link `{link}`",
                    list.input
                ));
            }
        }
    }

    /// Looks for objects of the store among the inputs.
    fn compare_store(
        &mut self,
        workspace: &Path,
        objects: impl Iterator<Item = PathBuf>,
        links: &[(String, String)],
        lists: &[List<'_>],
    ) {
        let root = (String::new(), String::new());
        let mut paths = Vec::new();
        for object in objects {
            let Ok(object) = object.strip_prefix(workspace) else { continue };
            // A link leads to the same object by another path.
            let seen = links.iter().chain([&root]).filter_map(|link| seen_through(link, object));
            paths.extend(seen);
        }
        for list in lists {
            let is_input =
                |path: &&String| list.patterns.selects(&path.split('/').collect::<Vec<_>>());
            if let Some(path) = paths.iter().find(is_input) {
                self.certain.push(format!(
                    "`store`: `{}` selects the objects that a save writes, such as `{path}`",
                    list.input
                ));
            }
        }
    }

    /// Looks for `.dvc` files whose data is an input too, and is not there yet.
    fn outputs_of_dvc(&mut self, workspace: &Path, list: &List<'_>, lists: &[List<'_>]) {
        let absent: Vec<&str> = list
            .entries
            .iter()
            .filter_map(|entry| entry.path.strip_suffix(".dvc"))
            .filter(|output| !output.is_empty() && !output.ends_with('/'))
            .filter(|output| {
                let path: Vec<&str> = output.split('/').collect();
                lists.iter().any(|list| list.patterns.reaches(&path))
                    && workspace.join(output).symlink_metadata().is_err()
            })
            .collect();
        if !absent.is_empty() {
            self.likely.push(format!(
                "`{}` selects `.dvc` files, and the inputs also select their data, which is not \
                 there yet: {}",
                list.input,
                names(&absent)
            ));
        }
    }
}

/// Returns the components of a path; none for the workspace.
fn split(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty()).collect()
}

fn is_cache(path: &str) -> bool {
    let path = format!("/{path}/");
    CACHES.iter().any(|cache| path.contains(cache))
}

fn names(paths: &[&str]) -> String {
    describe::paths(paths, SHOWN)
}

/// Returns the real path. It need not exist.
fn real(path: &Path) -> Option<PathBuf> {
    let existing = path.ancestors().find(|parent| parent.exists())?;
    Some(existing.canonicalize().ok()?.join(path.strip_prefix(existing).ok()?))
}

/// Returns the path of an object below a link, relative to the workspace.
fn seen_through((link, directory): &(String, String), object: &Path) -> Option<String> {
    let rest = object.strip_prefix(directory).ok()?;
    Path::new(link).join(rest).to_str().map(str::to_owned)
}
