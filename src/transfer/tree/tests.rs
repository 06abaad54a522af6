//! The lists of models: links, empty directories, entries that are left out, and changes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

struct Place(TempDir);

impl Place {
    fn with(paths: &[&str]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for path in paths {
            let full = place.path(path);
            match path.strip_suffix('/') {
                Some(_) => fs::create_dir_all(full).unwrap(),
                None => {
                    fs::create_dir_all(full.parent().unwrap()).unwrap();
                    fs::write(full, path).unwrap();
                }
            }
        }
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn link(&self, target: &str, path: &str) {
        symlink(target, self.path(path)).unwrap();
    }

    fn scan(&self, patterns: &str) -> Result<Tree> {
        scan(self.0.path(), &Patterns::parse(patterns, self.0.path()).unwrap())
    }

    #[track_caller]
    fn refuses(&self, patterns: &str, needles: &[&str]) {
        let error = self.scan(patterns).unwrap_err().render();
        for needle in needles {
            assert!(error.contains(needle), "{needle}: {error}");
        }
    }
}

#[test]
fn git_and_the_remains_of_a_restore_are_left_out() {
    let place = Place::with(&[
        "models/a",
        "models/.ml-cache-tmp-2.bin",
        "models/sub/.ml-cache-tmp-0/b",
        "models/.git/config",
        "models/sub/.GIT",
        "models/.gitignore",
    ]);
    let tree = place.scan("models/").unwrap();
    let paths: Vec<&str> = tree.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["models/.gitignore", "models/a"]);
    let left_out = [
        "models/.git",
        "models/.ml-cache-tmp-2.bin",
        "models/sub/.GIT",
        "models/sub/.ml-cache-tmp-0",
    ];
    assert_eq!(tree.left_out, left_out);
    // A user who names such a file gets it or an error.
    place.refuses("models/a\nmodels/.git/config", &["there is nothing at `models/.git/config`"]);
    // A pattern that takes nothing of `.git` needs no word about it.
    assert!(place.scan("**/a").unwrap().left_out.is_empty());
}

#[test]
fn a_pattern_that_ends_with_a_slash_takes_an_empty_directory() {
    let place = Place::with(&["models/a", "models/empty/", "models/sub/empty/"]);
    for (patterns, dirs) in [
        ("models/", &["models/empty", "models/sub/empty"][..]),
        ("models/**\n!models/empty/", &["models/sub/empty"]),
        ("models/**\n!models/empty", &["models/sub/empty"]),
        ("models/**\n!models/empty/**", &["models/sub/empty"]),
        ("models/**\n!models/empty/*", &["models/empty", "models/sub/empty"]),
        ("models/**\n!**/empty/", &[]),
        ("models/a\nmodels/empty/", &["models/empty"]),
        ("models/a\nmodels/sub/", &["models/sub/empty"]),
        ("models/a", &[]),
        ("models/**\n!models/*/\nmodels/empty/", &["models/empty"]),
    ] {
        assert_eq!(place.scan(patterns).unwrap().dirs, dirs, "{patterns}");
    }
}

#[test]
fn a_link_may_lead_to_any_place_in_the_model() {
    let place = Place::with(&["models/a", "models/runs/1/b", "models/empty/", "reports/c"]);
    for (target, path) in [
        ("a", "models/file"),
        ("runs/1", "models/directory"),
        (".", "models/itself"),
        ("directory/b", "models/through"),
        ("through", "models/twice"),
        ("itself/itself/file", "models/around"),
        ("empty", "models/nothing"),
        ("missing", "models/broken"),
        ("../reports/c", "models/report"),
        ("../reports", "models/reports"),
    ] {
        place.link(target, path);
    }
    assert_eq!(place.scan("models/\nreports/").unwrap().links.len(), 10);
    let error = place.scan("models/").unwrap_err().to_string();
    assert!(error.contains("`models/report`") && error.contains("`models/reports`"), "{error}");
    place.scan("models/\n!models/report*").unwrap();
}

#[test]
fn a_link_that_leaves_the_model_is_refused() {
    let outside = Place::with(&["weights"]);
    let absolute = outside.path("weights");
    for (target, needle) in [
        ("../runs/42/best.pt", "does not select"),
        ("../runs/42", "does not select"),
        ("../runs/missing", "does not select"),
        ("..", "does not select"),
        ("chain", "does not select"),
        ("chain/best.pt", "does not select"),
        ("hidden/best.pt", "does not select"),
        ("skipped/best.pt", "does not select"),
        (".ml-cache-tmp-1", "does not select"),
        ("best.pt", "in a circle"),
        ("../../outside", "outside the tree"),
        (absolute.to_str().unwrap(), "must be relative"),
    ] {
        let place = Place::with(&[
            "models/a",
            "models/skipped/best.pt",
            "models/.ml-cache-tmp-1",
            "runs/42/best.pt",
        ]);
        place.link("../runs/42", "models/hidden");
        if target.starts_with("chain") {
            place.link("../runs/42", "models/chain");
        }
        place.link(target, "models/best.pt");
        let needles =
            ["`models/best.pt` cannot be saved: it is a link to", needle, "copy it", "`!`"];
        place.refuses("models/\n!models/hidden\n!models/skipped", &needles);
        place.scan("models/\n!models/hidden\n!models/skipped\n!**/best.pt\n!**/chain").unwrap();
    }
    // A pattern may match a place behind a link that it does not match.
    let place = Place::with(&["models/a.pt", "runs/42/best.pt"]);
    place.link("../runs/42", "models/current");
    place.link("current/best.pt", "models/best.pt");
    place.refuses("models/**/*.pt", &["`models/best.pt` cannot be saved", "does not select"]);
}

#[test]
fn a_model_behind_a_link_is_told() {
    let disk = Place::with(&["a.bin"]);
    let target = disk.0.path().to_str().unwrap().to_owned();
    for patterns in ["models/", "models/*.bin", "models/a.bin", "models/**/*.bin"] {
        let place = Place::with(&["data/x"]);
        place.link(&target, "models");
        let told = format!("`models` is a link to `{target}`");
        place.refuses(patterns, &["there is nothing at", &told, "hint:"]);
        let patterns = Patterns::parse(patterns, place.0.path()).unwrap();
        let (error, lasts) = refusal(place.0.path(), &patterns).unwrap().unwrap();
        assert!(error.to_string().contains(&told) && !lasts, "{error}");
    }
    for patterns in ["models", "models/**"] {
        let place = Place::with(&["data/x"]);
        place.link(&target, "models");
        let told = format!("`models` cannot be saved: it is a link to `{target}`");
        place.refuses(patterns, &[&told, "hint:"]);
    }
    // A link on the way of a wildcard is no reason.
    let place = Place::with(&["data/x"]);
    place.link(&target, "tools");
    place.refuses("**/*.bin", &["nothing at `**/*.bin`\nhint: check that"]);
    let patterns = Patterns::parse("**/*.bin", place.0.path()).unwrap();
    assert!(refusal(place.0.path(), &patterns).unwrap().is_none());
    Place::with(&["data/x"]).refuses("models/", &["nothing at `models/`\nhint: check that"]);
}

#[test]
fn every_change_since_the_list_shows() {
    let paths = ["models/a", "models/sub/b", "models/empty/"];
    type Change<'a> = (&'a str, &'a dyn Fn(&Place));
    let changes: [Change<'_>; 8] = [
        ("models/a", &|place| fs::write(place.path("models/a"), "MODELS/A").unwrap()),
        ("models/a", &|place| fs::remove_file(place.path("models/a")).unwrap()),
        ("models/sub/c", &|place| fs::write(place.path("models/sub/c"), "").unwrap()),
        ("models/a.tmp", &|place| fs::write(place.path("models/a.tmp"), "").unwrap()),
        ("models/a", &|place| {
            fs::remove_file(place.path("models/a")).unwrap();
            fs::create_dir(place.path("models/a")).unwrap();
            fs::write(place.path("models/a/b"), "").unwrap();
        }),
        ("models/empty", &|place| fs::remove_dir(place.path("models/empty")).unwrap()),
        ("models/new", &|place| fs::create_dir(place.path("models/new")).unwrap()),
        ("models/link", &|place| {
            fs::remove_file(place.path("models/link")).unwrap();
            place.link("sub", "models/link");
        }),
    ];
    for (path, change) in changes {
        let place = Place::with(&paths);
        place.link("a", "models/link");
        let tree = place.scan("models/").unwrap();
        crate::stamp::settle(tree.newest());
        assert!(tree.is_unchanged(place.0.path()));
        assert_eq!(tree.difference(&place.scan("models/").unwrap()), None);
        change(&place);
        assert!(!tree.is_unchanged(place.0.path()), "{path}");
        let again = place.scan("models/\n!models/link/").unwrap();
        let found = [tree.difference(&again), again.difference(&tree)];
        assert_eq!(found, [Some(path), Some(path)]);
    }
    // A file beside the model changes the directory, but not the model.
    let place = Place::with(&paths);
    let tree = place.scan("models/\n!models/*.log").unwrap();
    crate::stamp::settle(tree.newest());
    fs::write(place.path("models/x.log"), "").unwrap();
    assert!(!tree.is_unchanged(place.0.path()));
    assert_eq!(tree.difference(&place.scan("models/\n!models/*.log").unwrap()), None);
}
