//! Finds the entries of a stored model that `model-path` does not select.

use crate::fingerprint::Patterns;
use crate::format::manifest::{Link, Manifest};

/// Returns whether the patterns select all of the model. An empty list of patterns sets no limit.
pub fn fits(manifest: &Manifest, patterns: &Patterns) -> bool {
    !patterns.has_includes()
        || (strays(manifest, patterns).is_empty() && leaving(manifest, patterns).is_empty())
}

/// Returns the paths of all entries that the patterns do not select.
pub fn strays<'a>(manifest: &'a Manifest, patterns: &Patterns) -> Vec<&'a str> {
    let mut parts: Vec<&str> = Vec::new();
    let is_stray = |path: &&'a str| {
        parts.clear();
        parts.extend(path.split('/'));
        !patterns.selects(&parts)
    };
    manifest.paths().filter(is_stray).collect()
}

/// Returns the paths of all links that lead to a place that the patterns do not select.
///
/// The other links of the model count, because a link may lead through them. A link that leads in a
/// circle leads to no place. [`strays`] judges the files of the model, so a link may lead to them.
pub fn leaving<'a>(manifest: &'a Manifest, patterns: &Patterns) -> Vec<&'a str> {
    let is_file = |path: &str| manifest.files.binary_search_by(|it| it.path.as_str().cmp(path));
    let leaves = |link: &&Link| {
        link.end(&manifest.links).is_some_and(|end| {
            let parts: Vec<&str> = end.split('/').filter(|part| !part.is_empty()).collect();
            is_file(&end).is_err() && !patterns.selects_directory(&parts)
        })
    };
    manifest.links.iter().filter(leaves).map(|link| link.path.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::format::manifest::{File, Mode};

    fn patterns(text: &str) -> Patterns {
        Patterns::parse(text, Path::new("/w")).unwrap()
    }

    fn links(all: &[(&str, &str)]) -> Manifest {
        let link =
            |(path, target): &(&str, &str)| Link { path: (*path).into(), target: (*target).into() };
        Manifest::new(vec![], all.iter().map(link).collect(), vec![]).unwrap()
    }

    #[test]
    fn an_entry_of_any_kind_that_no_line_selects_is_a_stray() {
        let file =
            |path: &str| File { path: path.into(), size: 0, mode: Mode::Regular, parts: vec![] };
        for (path, model, is_stray) in [
            ("models/a", "models/", false),
            ("models/sub/a", "models/", false),
            ("model.onnx", "model.onnx", false),
            ("reports/a", "models/\nreports/", false),
            ("src/train.py", ".", false),
            ("src/train.py", "models/", true),
            ("conftest.py", "models/", true),
            ("Models/a", "models/", true),
            ("models", "models/", true),
            ("models2/a", "models/", true),
            ("models/a.py", "models/*.bin", true),
            ("models/sub/a.bin", "models/*.bin", true),
            ("models/a.pyc", "models/\n!**/*.pyc", true),
            ("model.onnx.py", "model.onnx", true),
        ] {
            let model_path = patterns(model);
            let wanted = if is_stray { vec![path] } else { vec![] };
            let path = path.to_owned();
            for manifest in [
                Manifest::new(vec![file(&path)], vec![], vec![]).unwrap(),
                links(&[(&path, "x")]),
                Manifest::new(vec![], vec![], vec![path.clone()]).unwrap(),
            ] {
                assert_eq!(strays(&manifest, &model_path), wanted, "{path} in {model:?}");
            }
        }
    }

    #[test]
    fn a_link_leaves_where_its_end_is_not_selected() {
        let all = "models/\nreports/\n!models/private/";
        for (path, target, model, leaves) in [
            ("models/env", "../.env", "models/", true),
            ("models/up", "..", "models/", true),
            ("models/up", "../", "models/", true),
            ("models/src", "./../src", "models/", true),
            ("models/other", "../Models/a", "models/", true),
            ("models/key", "private/key", all, true),
            ("models/key", "private", all, true),
            ("latest.onnx", "v1.onnx", "*.onnx", false),
            ("latest.onnx", "train.py", "*.onnx", true),
            ("models/best", "v1/best.pt", "models/", false),
            ("models/v", "v1", "models/", false),
            ("models/self", ".", "models/", false),
            ("models/self", "../models", "models/", false),
            ("models/report", "../reports/a", all, false),
            ("models/reports", "../reports", all, false),
            ("models/src", "../src/train.py", ".", false),
            ("models/up", "..", ".", false),
        ] {
            let manifest = links(&[(path, target)]);
            let wanted = if leaves { vec![path] } else { vec![] };
            assert_eq!(leaving(&manifest, &patterns(model)), wanted, "{target} in {model:?}");
        }
    }

    #[test]
    fn a_link_is_followed_through_other_links() {
        let model_path = patterns("models/\n!models/private/\n!models/sub/private/");
        for (all, wanted) in [
            (&[("models/a", "b/key"), ("models/b", "private")][..], &["models/a", "models/b"][..]),
            (&[("models/a", "b/private/key"), ("models/b", ".")], &["models/a"]),
            (&[("models/a", "b/key"), ("models/b", "c"), ("models/c", "v1")], &[]),
            (&[("models/a", "sub/b/private"), ("models/sub/b", "..")], &["models/a"]),
            (&[("models/a", "b"), ("models/b", "a")], &[]),
            (&[("models/a", "a/x")], &[]),
        ] {
            assert_eq!(leaving(&links(all), &model_path), wanted, "{all:?}");
        }
        let root = links(&[("a", "b/model"), ("b", "c"), ("c", ".")]);
        assert_eq!(leaving(&root, &patterns("a\nb\nc\nmodel")), ["b", "c"]);
    }
}
