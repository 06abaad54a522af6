//! The files of the model that a save stores.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::commands::Context;
use crate::error::{Error, Result};
use crate::outcome::describe;
use crate::stamp;
use crate::transfer::tree::{self, Tree, TreeFile};
use crate::transfer::upload::{self, Likely, Upload, Uploaded};

/// A message names at most this many files.
const SHOWN: usize = 5;
/// A save reads a model that changes meanwhile at most so many times.
const ATTEMPTS: u32 = 3;
/// The pause before the second reading. The next pause is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// Some file systems keep times in steps of two seconds.
const COARSE: Duration = Duration::from_secs(2);
/// Names of files that are empty on purpose.
const MARKERS: &[&str] =
    &["__init__.py", "py.typed", ".gitkeep", ".gitignore", ".keep", ".nomedia", "_SUCCESS"];

/// Lists the model's files. Warns of files that no training can have meant.
///
/// # Errors
/// Any error of [`list`].
pub(super) async fn scan(ctx: &Context, began: Option<Timestamp>) -> Result<Tree> {
    let tree = list(ctx).await?;
    if !tree.left_out.is_empty() {
        let names = describe::paths(&tree.left_out, SHOWN);
        ctx.report.info(&format!("these never belong to a model and are left out: {names}"));
    }
    let empty: Vec<&str> = paths(&tree, |file| file.size == 0);
    let odd: Vec<&str> = empty.into_iter().filter(|path| !is_marker(path)).collect();
    if !odd.is_empty() {
        let names = describe::paths(&odd, SHOWN);
        ctx.report.warn(&format!("{}: {names}", count(&odd, "is empty", "are empty")));
    }
    if let Some(began) = began {
        warn_of_old(ctx, &tree, earliest(began));
    }
    Ok(tree)
}

/// Returns the earliest time of a file that the training wrote, in nanoseconds since 1970.
pub(super) fn earliest(began: Timestamp) -> i64 {
    stamp::nanos(SystemTime::from(began) - COARSE)
}

/// Warns of files that are older than the training.
fn warn_of_old(ctx: &Context, tree: &Tree, began: i64) {
    let old: Vec<&str> = paths(tree, |file| file.stamp.latest() < began);
    if old.len() == tree.files.len() {
        ctx.report.warn(
            "no file of the model is newer than the plan; check that the training wrote the model",
        );
    } else if !old.is_empty() {
        let names = describe::paths(&old, SHOWN);
        let are = count(
            &old,
            "is older than the training and becomes a part of it",
            "are older than the training and become a part of it",
        );
        ctx.report.warn(&format!(
            "{are}: {names}; remove what an earlier training left before \
             the next training, or exclude it with a `!` line in `model-path`"
        ));
    }
}

fn paths(tree: &Tree, is: impl Fn(&TreeFile) -> bool) -> Vec<&str> {
    tree.files.iter().filter(|file| is(file)).map(|file| file.path.as_str()).collect()
}

fn count(paths: &[&str], single: &str, plural: &str) -> String {
    match paths.len() {
        1 => format!("1 file of the model {single}"),
        count => format!("{count} files of the model {plural}"),
    }
}

fn is_marker(path: &str) -> bool {
    MARKERS.contains(&path.rsplit('/').next().unwrap_or(path))
}

/// Uploads the files of the tree. If they change meanwhile, lists and reads them again. The store
/// probably has the blobs `likely`.
///
/// Returns the list that the upload belongs to.
///
/// # Errors
/// - The files go on changing.
/// - Any error of [`upload::upload`].
pub(super) async fn send(
    ctx: &Context,
    tree: Tree,
    likely: &Likely,
) -> Result<(Arc<Tree>, Uploaded)> {
    let workspace = &ctx.settings.workspace;
    let shelf = ctx.catalog.shelf(&ctx.access.own);
    let mut tree = Arc::new(tree);
    let mut earlier = None;
    let mut path = String::new();
    for attempt in 1..=ATTEMPTS {
        let newest = tree.newest();
        tokio::task::block_in_place(|| stamp::settle(newest));
        let upload = upload::upload(&shelf, workspace, tree.clone(), likely, &ctx.progress).await?;
        let done = match upload {
            Upload::Changed(changed) => {
                path = changed;
                None
            }
            Upload::Done(uploaded) => Some(uploaded),
        };
        if let Some(uploaded) = done {
            let (listed, place) = (tree.clone(), workspace.clone());
            if blocking(move || Ok(listed.is_unchanged(&place))).await? {
                return Ok((tree, uploaded));
            }
            let again = list(ctx).await?;
            let Some(changed) = tree.difference(&again).map(str::to_owned) else {
                return Ok((tree, uploaded));
            };
            // Times may go on changing where the content does not.
            let id = uploaded.manifest.id().ok();
            if id.is_some() && id == earlier {
                return Ok((tree, uploaded));
            }
            (path, earlier, tree) = (changed, id, Arc::new(again));
        } else if attempt < ATTEMPTS {
            tree = Arc::new(list(ctx).await?);
        }
        if attempt < ATTEMPTS {
            ctx.report.info(&format!("`{path}` changed while it was saved; reading it again"));
            // The writer may need a moment to finish.
            tokio::time::sleep(PAUSE * attempt).await;
        }
    }
    Err(Error::failed(format!("`{path}` changed while it was saved"))
        .hint("end the training, and all that writes to the model, before the save"))
}

/// Lists the model's files.
///
/// # Errors
/// - Any error of [`tree::scan`].
/// - The model has no file, or no byte.
async fn list(ctx: &Context) -> Result<Tree> {
    let (workspace, model_path) = (ctx.settings.workspace.clone(), ctx.settings.model_path.clone());
    let tree = blocking(move || tree::scan(&workspace, &model_path)).await?;
    if tree.files.is_empty() {
        return Err(Error::failed("there is no model to save: `model-path` holds no file").hint(
            "check that the training writes its model there, and that `model-path` names it",
        ));
    }
    if tree.files.iter().all(|file| file.size == 0) {
        let names = describe::paths(&paths(&tree, |_| true), SHOWN);
        return Err(Error::failed(format!(
            "there is no model to save: every file of `model-path` is empty: {names}"
        ))
        .hint("check that the training wrote the model, and that the disk was not full"));
    }
    Ok(tree)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::failed("cannot list the files of `model-path`: the task was interrupted")
            .caused_by(error)
    })?
}
