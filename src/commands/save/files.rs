//! The files of the model that a save stores.

use std::time::SystemTime;

use jiff::Timestamp;

use crate::commands::Context;
use crate::error::{Error, Result};
use crate::transfer::tree::{self, Tree};

/// Lists the model's files. Warns if every file is older than the training.
pub(super) async fn scan(ctx: &Context, began: Option<Timestamp>) -> Result<Tree> {
    let (workspace, model_path) = (ctx.settings.workspace.clone(), ctx.settings.model_path.clone());
    let tree = tokio::task::spawn_blocking(move || tree::scan(&workspace, &model_path))
        .await
        .map_err(|error| {
            Error::failed("cannot list the files of `model-path`: the task was interrupted")
                .caused_by(error)
        })??;
    if tree.files.is_empty() {
        return Err(Error::failed("there is no model to save: `model-path` holds no file").hint(
            "check that the training writes its model there, and that `model-path` names it",
        ));
    }
    let began = began.map(SystemTime::from);
    if began.zip(tree.newest).is_some_and(|(began, newest)| newest < began) {
        ctx.report.warn(
            "no file of the model is newer than the plan; check that the training wrote the model",
        );
    }
    Ok(tree)
}
