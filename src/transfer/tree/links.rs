//! Finds links that leave the model. Their content would be missing after a restore.

use std::path::Path;

use super::Tree;
use crate::fingerprint::Patterns;
use crate::format::manifest::Link;

/// A chain of more links than this leads nowhere. Linux has the same limit.
const MAX_HOPS: usize = 40;

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
    let mut at = target(link);
    for _ in 0..MAX_HOPS {
        if let Some((next, rest)) = crossing(tree, &at) {
            at = match (target(next), rest) {
                (path, "") => path,
                (path, rest) if path.is_empty() => rest.to_owned(),
                (path, rest) => format!("{path}/{rest}"),
            };
            continue;
        }
        let parts: Vec<&str> = at.split('/').filter(|part| !part.is_empty()).collect();
        let is_file = tree.files.binary_search_by(|file| file.path.as_str().cmp(&at)).is_ok();
        let was_read =
            tree.directories.binary_search_by(|(path, _)| path.as_str().cmp(&at)).is_ok();
        let is_inside = match (is_file, was_read) {
            (true, _) => true,
            (_, true) => patterns.selects_directory(&parts),
            _ => patterns.selects(&parts) && workspace.join(&at).symlink_metadata().is_err(),
        };
        return if is_inside { None } else { Some(OUTSIDE) };
    }
    Some("it leads in a circle")
}

/// Returns the link of the model at the path or above it, and the rest of the path.
fn crossing<'a, 'b>(tree: &'a Tree, path: &'b str) -> Option<(&'a Link, &'b str)> {
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    ends.into_iter().find_map(|end| {
        let found =
            tree.links.binary_search_by(|link| link.path.as_str().cmp(&path[..end])).ok()?;
        Some((&tree.links[found], path[end..].trim_start_matches('/')))
    })
}

/// Returns the path that the link names, relative to the workspace. `check_link` has checked it.
fn target(link: &Link) -> String {
    let mut parts: Vec<&str> = link.path.split('/').collect();
    parts.pop();
    for component in link.target.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}
