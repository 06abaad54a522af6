//! Finds links that leave the model. Their content would be missing after a restore.

use std::path::Path;

use super::Tree;
use crate::fingerprint::Patterns;
use crate::format::manifest::Link;

/// Returns the links that lead to a place outside of the model, each with the reason. The lists of
/// the tree must be sorted.
pub(super) fn leaving(
    workspace: &Path,
    tree: &Tree,
    patterns: &Patterns,
) -> Vec<(Link, &'static str)> {
    let judge =
        |link: &Link| leaves(workspace, tree, patterns, link).map(|why| (link.clone(), why));
    tree.links.iter().filter_map(judge).collect()
}

/// Returns the words for a link that cannot be saved.
pub(super) fn told(target: &str, reason: &str) -> String {
    format!("it is a link to `{target}`: {reason}")
}

/// Follows a link as far as other links of the model lead. Returns why its content is not a part of
/// the model; `None` if it is.
///
/// A link whose target does not exist may stay, because `check_link` allows it. But the model must
/// select the place of the target.
fn leaves(workspace: &Path, tree: &Tree, patterns: &Patterns, link: &Link) -> Option<&'static str> {
    const OUTSIDE: &str = "it leads to a place that `model-path` does not select";
    let Some(end) = link.end(&tree.links) else { return Some("it leads in a circle") };
    let parts: Vec<&str> = end.split('/').filter(|part| !part.is_empty()).collect();
    let is_file = tree.files.binary_search_by(|file| file.path.as_str().cmp(&end)).is_ok();
    let was_read = tree.directories.binary_search_by(|(path, _)| path.as_str().cmp(&end)).is_ok();
    let is_inside = match (is_file, was_read) {
        (true, _) => true,
        (_, true) => patterns.selects_directory(&parts),
        _ => patterns.selects(&parts) && workspace.join(&end).symlink_metadata().is_err(),
    };
    if is_inside { None } else { Some(OUTSIDE) }
}
