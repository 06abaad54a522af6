//! Replaces a directory as a whole, so that no process sees new files beside old files.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::ownership::Owner;

/// Exchanges `new` and `old` in one step, after `new` got every file of `old` that it lacks.
///
/// The directories share files by hard links, so this takes no space and little time. Afterwards
/// `new` is the old directory, and the caller removes it.
///
/// # Errors
/// `old` stays as it was in these cases:
/// - The file system cannot exchange directories or link files.
/// - `old` holds a special file, such as a socket.
pub(super) fn swap(new: &Path, old: &Path) -> io::Result<()> {
    complete(new, old)?;
    renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE)?;
    // A file that another process made between the two calls above is in the wrong directory now.
    // The exchange itself succeeded, so an error here must not report its failure.
    let _ = salvage(new, old);
    Ok(())
}

/// Gives `new` every file of `old` that it lacks. Its directories get the modes and owners of
/// `old`.
fn complete(new: &Path, old: &Path) -> io::Result<()> {
    let found = fs::metadata(old)?;
    fs::set_permissions(new, Permissions::from_mode(found.mode() & 0o7777))?;
    Owner::of(old).adopt(new)?;
    for entry in fs::read_dir(old)? {
        let entry = entry?;
        let (theirs, ours) = (entry.path(), new.join(entry.file_name()));
        let present = fs::symlink_metadata(&ours);
        let kind = entry.file_type()?;
        if kind.is_dir() {
            match present {
                Ok(present) if present.is_dir() => {}
                Ok(_) => continue,
                Err(_) => fs::create_dir(&ours)?,
            }
            complete(&ours, &theirs)?;
        } else if present.is_ok() {
            // The new file replaces the old file.
        } else if kind.is_symlink() {
            symlink(fs::read_link(&theirs)?, &ours)?;
            Owner::of(old).adopt(&ours)?;
        } else if kind.is_file() {
            fs::hard_link(&theirs, &ours)?;
        } else {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
    }
    Ok(())
}

/// Moves files that exist only in `from` to `to`.
fn salvage(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        match fs::symlink_metadata(&target) {
            Ok(present) if present.is_dir() && entry.file_type()?.is_dir() => {
                salvage(&source, &target)?
            }
            Ok(_) => {}
            Err(_) => fs::rename(&source, &target)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_directory_keeps_other_files_of_the_old_directory() {
        let place = tempfile::tempdir().unwrap();
        let (new, old) = (place.path().join("new"), place.path().join("old"));
        fs::create_dir_all(new.join("sub")).unwrap();
        fs::create_dir_all(old.join("sub/deep")).unwrap();
        fs::write(new.join("a"), "new").unwrap();
        fs::write(new.join("sub/b"), "new").unwrap();
        for name in ["a", "kept", "sub/b", "sub/kept", "sub/deep/kept"] {
            fs::write(old.join(name), "old").unwrap();
        }
        symlink("kept", old.join("link")).unwrap();
        fs::set_permissions(old.join("sub"), Permissions::from_mode(0o700)).unwrap();
        swap(&new, &old).unwrap();
        let read = |name: &str| fs::read_to_string(old.join(name)).unwrap();
        for (name, content) in [
            ("a", "new"),
            ("sub/b", "new"),
            ("kept", "old"),
            ("sub/kept", "old"),
            ("sub/deep/kept", "old"),
            ("link", "old"),
        ] {
            assert_eq!(read(name), content, "{name}");
        }
        assert_eq!(fs::metadata(old.join("sub")).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_to_string(new.join("a")).unwrap(), "old");
    }

    #[test]
    fn a_directory_with_something_odd_in_it_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let (new, old) = (place.path().join("new"), place.path().join("old"));
        fs::create_dir(&new).unwrap();
        fs::create_dir(&old).unwrap();
        fs::write(old.join("a"), "old").unwrap();
        fs::write(new.join("a"), "new").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(old.join("socket")).unwrap();
        assert!(swap(&new, &old).is_err());
        assert_eq!(fs::read_to_string(old.join("a")).unwrap(), "old");
    }

    #[test]
    fn a_late_file_is_salvaged_and_no_present_entry_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        fs::create_dir_all(from.join("sub")).unwrap();
        fs::create_dir_all(to.join("sub")).unwrap();
        fs::create_dir(to.join("file-there")).unwrap();
        for name in ["late", "sub/late", "sub/present", "file-there"] {
            fs::write(from.join(name), "from").unwrap();
        }
        fs::write(to.join("sub/present"), "to").unwrap();
        salvage(&from, &to).unwrap();
        let read = |name: &str| fs::read_to_string(to.join(name)).unwrap();
        assert_eq!((read("late"), read("sub/late")), ("from".to_owned(), "from".to_owned()));
        assert_eq!(read("sub/present"), "to");
        assert!(to.join("file-there").is_dir());
    }
}
