//! Moves files into place one by one, if the directory cannot be exchanged as a whole.

use std::fs;
use std::io;
use std::path::Path;

use super::destination::PREFIX;
use crate::error::{IoContext as _, Result};
use crate::ownership::Owner;

/// Moves everything below `from` to `to`, and replaces files.
///
/// A failed exchange may have left hard links to files of `to`. A rename leaves such links in
/// `from`.
pub(super) fn merge(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).on("cannot read the directory", from)? {
        let entry = entry.on("cannot read the directory", from)?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let is_dir = entry.file_type().on("cannot look at", &source)?.is_dir();
        if is_dir && fs::symlink_metadata(&target).is_ok_and(|found| found.is_dir()) {
            merge(&source, &target)?;
            continue;
        }
        match fs::rename(&source, &target) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices && !is_dir => {
                copy_across(&source, &target)?
            }
            other => other.on("cannot put in place", &target)?,
        }
    }
    Ok(())
}

/// Replaces a file on another file system, such as a volume inside the workspace. Copies to a
/// temporary name beside the file, then renames.
fn copy_across(source: &Path, target: &Path) -> Result<()> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let beside = target.with_file_name(format!("{PREFIX}{name}"));
    let found = fs::symlink_metadata(source).on("cannot look at", source)?;
    if found.is_symlink() {
        let link = fs::read_link(source).on("cannot read the link", source)?;
        let _ = fs::remove_file(&beside);
        std::os::unix::fs::symlink(link, &beside).on("cannot make the link", &beside)?;
    } else {
        fs::copy(source, &beside).on("cannot write", &beside)?;
        Owner::of(source).adopt(&beside).on("cannot set the owner of", &beside)?;
    }
    fs::rename(&beside, target).on("cannot put in place", target)?;
    fs::remove_file(source).on("cannot remove", source)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn files_move_to_another_file_system() {
        let from = tempfile::tempdir().unwrap();
        // Linux keeps this directory in memory, so that it is a file system of its own.
        let to = tempfile::tempdir_in("/dev/shm").unwrap();
        let device = |path: &Path| fs::metadata(path).unwrap().dev();
        assert_ne!(device(from.path()), device(to.path()), "set TMPDIR to another file system");
        fs::create_dir(from.path().join("sub")).unwrap();
        fs::create_dir(to.path().join("sub")).unwrap();
        fs::write(from.path().join("sub/file"), "new").unwrap();
        fs::write(to.path().join("sub/file"), "old").unwrap();
        symlink("sub/file", from.path().join("link")).unwrap();
        merge(from.path(), to.path()).unwrap();
        assert_eq!(fs::read_to_string(to.path().join("link")).unwrap(), "new");
        assert_eq!(fs::read_link(to.path().join("link")).unwrap(), Path::new("sub/file"));
        assert_eq!(fs::read_dir(from.path().join("sub")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 2);
    }
}
