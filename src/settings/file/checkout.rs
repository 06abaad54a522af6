//! Tells whether the checkout that holds the configuration file may hold foreign code.
//!
//! A run of `pull_request_target` has the rights of the default branch. If it checks out the pull
//! request, a stranger has written its configuration file.

use std::io::Read as _;

use rustix::fs::OFlags;

use crate::beneath::Beneath;
use crate::workflow::RunContext;

/// Events that run the workflow of the very commit that they check out.
const OWN_CODE: &[&str] = &[
    "push",
    "schedule",
    "workflow_dispatch",
    "repository_dispatch",
    "merge_group",
    "pull_request",
    "release",
    "deployment",
];
/// The largest list of packed refs that is read, in bytes.
const MAX_REFS: u64 = 32 << 20;

/// Returns why the file may be foreign, as a clause; `None` if the run's own commit holds it.
///
/// `path` is the path of the file below the workspace. Outside of GitHub Actions, the user decides
/// about the checkout.
pub(super) fn doubt(run: Option<&RunContext>, root: &Beneath, path: &str) -> Option<String> {
    let run = run?;
    if !OWN_CODE.contains(&run.event.as_str()) {
        return Some(format!(
            "a run of the event `{}` may have foreign code in its checkout",
            run.event
        ));
    }
    if let Some((owner, name)) = repository_of(&run.workflow_ref)
        && !run.is_of(&format!("{owner}/{name}"))
    {
        return Some("the workflow belongs to another repository than the checkout".to_owned());
    }
    match head(root, path) {
        Some(head) if head == run.sha => None,
        Some(head) => Some(format!(
            "the checkout has the commit `{head}`, and the run is for the commit `{}`",
            run.sha
        )),
        None => Some("the checkout does not show which commit it has".to_owned()),
    }
}

fn repository_of(workflow_ref: &str) -> Option<(&str, &str)> {
    let (owner, rest) = workflow_ref.split_once('/')?;
    Some((owner, rest.split_once('/')?.0))
}

/// Returns the commit of the checkout that holds the path: of the nearest `.git` above it.
fn head(root: &Beneath, path: &str) -> Option<String> {
    let mut above = path;
    loop {
        above = above.rsplit_once('/').map_or("", |(above, _)| above);
        let git = if above.is_empty() { ".git".to_owned() } else { format!("{above}/.git") };
        match root.look(&git) {
            // A worktree or a submodule has a file there. It has a commit of its own.
            Ok(Some(found)) => return if found.is_dir() { commit(root, &git) } else { None },
            Ok(None) if !above.is_empty() => {}
            _ => return None,
        }
    }
}

/// Reads the commit that is checked out.
fn commit(root: &Beneath, git: &str) -> Option<String> {
    let head = text(root, &format!("{git}/HEAD"), 4096)?;
    let Some(name) = head.strip_prefix("ref: ") else { return as_commit(&head) };
    if !name.starts_with("refs/") || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return None;
    }
    if let Some(found) = text(root, &format!("{git}/{name}"), 4096) {
        return as_commit(&found);
    }
    let packed = text(root, &format!("{git}/packed-refs"), MAX_REFS)?;
    packed.lines().find_map(|line| {
        let (commit, packed) = line.split_once(' ')?;
        if packed == name { as_commit(commit) } else { None }
    })
}

fn as_commit(text: &str) -> Option<String> {
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (matches!(text.len(), 40 | 64) && is_hex(text)).then(|| text.to_owned())
}

/// Reads a small file without the white space at its end.
fn text(root: &Beneath, path: &str, limit: u64) -> Option<String> {
    let file = root.file(path, OFlags::RDONLY).ok()?;
    let mut text = String::new();
    file.take(limit).read_to_string(&mut text).ok()?;
    Some(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    const OWN: &str = "6f1e2d3c4b5a69788796a5b4c3d2e1f001122334";
    const OTHER: &str = "0000000000000000000000000000000000000001";

    fn run(event: &str) -> RunContext {
        RunContext {
            repository: "acme/fraud".to_owned(),
            event: event.to_owned(),
            sha: OWN.to_owned(),
            workflow_ref: "acme/fraud/.github/workflows/a.yml@refs/heads/main".to_owned(),
            ..RunContext::default()
        }
    }

    fn write(root: &Path, name: &str, text: &str) {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), text).unwrap();
    }

    #[test]
    fn only_the_commit_of_the_run_is_its_own() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        let told = |path: &str| {
            doubt(Some(&run("push")), &Beneath::open_real(&root).unwrap(), path).unwrap_or_default()
        };
        assert!(told("ml-cache.yml").contains("does not show"));
        for (head, refs, packed, wanted) in [
            (OWN, "", "", ""),
            (OTHER, "", "", "has the commit `0000"),
            ("ref: refs/heads/main", OWN, "", ""),
            ("ref: refs/heads/main", OTHER, OWN, "has the commit `0000"),
            ("ref: refs/heads/main", "", OWN, ""),
            ("ref: refs/heads/main", "", "", "does not show"),
            ("ref: refs/heads/.invalid", "", "", "does not show"),
            ("ref: ../../HEAD", OWN, "", "does not show"),
            ("HEAD", "", "", "does not show"),
        ] {
            drop(fs::remove_dir_all(root.join(".git")));
            write(&root, ".git/HEAD", &format!("{head}\n"));
            if !refs.is_empty() {
                write(&root, ".git/refs/heads/main", &format!("{refs}\n"));
            }
            if !packed.is_empty() {
                let text = format!("# pack-refs with: peeled\n{packed} refs/heads/main\n");
                write(&root, ".git/packed-refs", &text);
            }
            let found = told("ml-cache.yml");
            assert!(found.contains(wanted) && found.is_empty() == wanted.is_empty(), "{found}");
        }
    }

    #[test]
    fn a_checkout_inside_the_checkout_counts_for_its_own_files() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        write(&root, ".git/HEAD", OWN);
        write(&root, "pr/.git/HEAD", OTHER);
        write(&root, "sub/.git", "gitdir: ../.git/modules/sub");
        write(&root, "own/x", "");
        symlink(".git", root.join("own/link")).unwrap();
        let told = |path: &str| {
            doubt(Some(&run("push")), &Beneath::open_real(&root).unwrap(), path).is_some()
        };
        assert!(!told("ml-cache.yml") && !told("own/ml-cache.yml") && !told("own/deep/x.yml"));
        assert!(told("pr/ml-cache.yml") && told("pr/deep/ml-cache.yml") && told("sub/x.yml"));
        fs::remove_dir_all(root.join(".git")).unwrap();
        symlink("pr/.git", root.join(".git")).unwrap();
        assert!(told("ml-cache.yml"), "a link is no checkout");
    }

    #[test]
    fn events_that_may_check_out_foreign_code_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        write(&root, ".git/HEAD", OWN);
        let opened = Beneath::open_real(&root).unwrap();
        for event in OWN_CODE {
            assert_eq!(doubt(Some(&run(event)), &opened, "ml-cache.yml"), None, "{event}");
        }
        for event in [
            "pull_request_target",
            "workflow_run",
            "issue_comment",
            "issues",
            "pull_request_review",
            "check_run",
            "",
        ] {
            let found = doubt(Some(&run(event)), &opened, "ml-cache.yml");
            assert!(found.unwrap().contains(&format!("`{event}`")));
        }
        let called = RunContext {
            workflow_ref: "acme/required/.github/workflows/a.yml@refs/heads/main".to_owned(),
            ..run("pull_request")
        };
        assert!(doubt(Some(&called), &opened, "ml-cache.yml").unwrap().contains("another"));
        assert_eq!(doubt(None, &opened, "ml-cache.yml"), None);
    }
}
