//! The directory into which a restore puts the model.

use std::path::{Component, Path, PathBuf};

use super::reader::Reader;

const ACCEPTED: &str = "a directory, relative to the workspace or absolute";

impl Reader<'_> {
    /// Reads the destination. `given` is the workspace as the user spells it, `workspace` its real
    /// path.
    pub(super) fn destination(&mut self, given: &Path, workspace: &Path) -> PathBuf {
        let Some(value) = self.raw.get("destination").map(str::to_owned) else {
            return workspace.to_owned();
        };
        find(&value, given, workspace).unwrap_or_else(|reason| {
            self.fault("destination", &value, &reason, ACCEPTED);
            workspace.to_owned()
        })
    }
}

/// Returns the real path of the destination, or the reason why no restore may write there.
///
/// A pull request can bring links in its checkout. So below the workspace, no part of the path may
/// be a link. Elsewhere the machine's owner has made the directories above the destination.
fn find(value: &str, given: &Path, workspace: &Path) -> Result<PathBuf, String> {
    let path = Path::new(value);
    if path.components().any(|component| component == Component::ParentDir) {
        return Err("`..` is not allowed".to_owned());
    }
    let below = match path.is_absolute() {
        true => path.strip_prefix(workspace).or_else(|_| path.strip_prefix(given)).ok(),
        false => Some(path),
    };
    // A slash at the end would make the system follow a link.
    let full: PathBuf =
        below.map_or_else(|| path.to_owned(), |below| workspace.join(below)).components().collect();
    let judged = match below {
        Some(below) => below.components().count(),
        None => 1,
    };
    let is_link = |path: &&Path| path.symlink_metadata().is_ok_and(|found| found.is_symlink());
    if let Some(link) = full.ancestors().take(judged).filter(is_link).last() {
        return Err(format!("`{}` is a link, and a restore follows no links", link.display()));
    }
    let real = match below {
        // No part of it was a link. A link that has appeared since is not followed.
        Some(_) => full,
        None => real(&full),
    };
    let named = real.strip_prefix(workspace).unwrap_or(&real);
    match steers(below.unwrap_or(path)) || steers(named) {
        true => Err("a restore must not write into `.git` or `.github`".to_owned()),
        false => Ok(real),
    }
}

/// Returns whether a part of the path is `.git` or `.github`, which control Git and the workflows.
fn steers(path: &Path) -> bool {
    path.components().any(|component| {
        let name = component.as_os_str();
        name.eq_ignore_ascii_case(".git") || name.eq_ignore_ascii_case(".github")
    })
}

/// Returns the real path. The end of the path need not exist. The last name is no link, and a link
/// that has appeared since is not followed.
fn real(path: &Path) -> PathBuf {
    let real = path
        .ancestors()
        .skip(1)
        .find_map(|parent| Some(parent.canonicalize().ok()?.join(path.strip_prefix(parent).ok()?)));
    real.map_or_else(|| path.to_owned(), |real| real.components().collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_destination_is_no_link_and_does_not_steer_git() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        let (work, disk) = (place.join("work"), place.join("disk"));
        fs::create_dir_all(work.join("out")).unwrap();
        fs::create_dir_all(work.join(".git/hooks")).unwrap();
        fs::create_dir_all(disk.join(".github")).unwrap();
        symlink(&work, place.join("spelled")).unwrap();
        symlink(&disk, work.join("link")).unwrap();
        symlink("nowhere", work.join("dangling")).unwrap();
        symlink(".", work.join("here")).unwrap();
        symlink(work.join(".git"), place.join("alias")).unwrap();
        symlink(&disk, place.join("data")).unwrap();
        let shown = |path: &Path| path.display().to_string();
        let find = |value: &str| find(value, &place.join("spelled"), &work);

        for (value, wanted) in [
            ("out".to_owned(), work.join("out")),
            ("./out//new/".to_owned(), work.join("out/new")),
            (".".to_owned(), work.clone()),
            (".github-cache".to_owned(), work.join(".github-cache")),
            (shown(&work), work.clone()),
            (shown(&place.join("spelled")), work.clone()),
            (shown(&place.join("spelled/out")), work.join("out")),
            (shown(&disk), disk.clone()),
            (shown(&place.join("data/new")), disk.join("new")),
        ] {
            assert_eq!(find(&value).unwrap(), wanted, "{value}");
        }
        for value in [
            "link".to_owned(),
            "link/".to_owned(),
            "./link/.".to_owned(),
            "link/new".to_owned(),
            "dangling".to_owned(),
            "dangling/x".to_owned(),
            "here".to_owned(),
            "here/out".to_owned(),
            shown(&work.join("link")),
            shown(&place.join("spelled/link/x")),
            shown(&place.join("data")),
            shown(&place.join("data/")),
        ] {
            assert!(find(&value).unwrap_err().contains("is a link"), "{value}");
        }
        for value in [
            ".git".to_owned(),
            ".GIT/hooks".to_owned(),
            "./.git/".to_owned(),
            ".github/workflows".to_owned(),
            "out/.GitHub/new".to_owned(),
            shown(&work.join(".git/hooks")),
            shown(&place.join("alias/hooks")),
            shown(&disk.join(".github")),
            shown(&place.join("data/.github/x")),
        ] {
            assert!(find(&value).unwrap_err().contains("`.git`"), "{value}");
        }
        assert!(find("out/../x").unwrap_err().contains("`..`"));
    }
}
