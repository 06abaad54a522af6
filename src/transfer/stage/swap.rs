//! Replaces a directory as a whole, so that no process sees new files beside old files.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Gid, Mode, RenameFlags, Uid, fchmod, fchown, fgetxattr, fgetxattr_query, flistxattr,
    flistxattr_query, linkat, mkdirat, renameat_with,
};
use rustix::io::Errno;

use crate::beneath::{Found, enter, entries, look};

/// A directory by its parent and its name.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) parent: &'a OwnedFd,
    pub(super) name: &'a str,
}

impl Named<'_> {
    fn enter(&self) -> io::Result<OwnedFd> {
        enter(self.parent, &std::ffi::CString::new(self.name)?)
    }
}

/// Exchanges `new` and `old` in one step, after `new` got every file of `old` that it lacks.
///
/// The directories share files by hard links, so this takes no space and little time. Afterwards
/// `new` is the old directory, and the caller removes it.
///
/// # Errors
/// `old` stays as it was in these cases:
/// - The file system cannot exchange directories or link files.
/// - `old` holds a special file, such as a socket.
/// - This process cannot make a directory like `old` or like a directory in it.
/// - Something is mounted at or below `old`. The mount would move with the directory.
pub(super) fn swap(new: Named<'_>, old: Named<'_>) -> io::Result<()> {
    let (ours, theirs) = (new.enter()?, old.enter()?);
    let (we, they) = (itself(&ours)?, itself(&theirs)?);
    if we.mount != they.mount {
        return Err(io::Error::from(io::ErrorKind::CrossesDevices));
    }
    complete(&ours, &theirs, &they)?;
    exchange(new, old)?;
    let in_place = old.enter().and_then(|placed| itself(&placed));
    if !in_place.is_ok_and(|placed| placed.is_same_file(&we)) {
        // Another process put another directory into the stage meanwhile.
        exchange(new, old)?;
        return Err(io::Error::from(io::ErrorKind::ResourceBusy));
    }
    // A file that another process made between the calls above is in the wrong directory now. The
    // exchange itself succeeded, so an error here must not report its failure.
    let _ = salvage(&theirs, &ours);
    Ok(())
}

fn exchange(new: Named<'_>, old: Named<'_>) -> io::Result<()> {
    Ok(renameat_with(new.parent, new.name, old.parent, old.name, RenameFlags::EXCHANGE)?)
}

fn itself(directory: impl AsFd) -> io::Result<Found> {
    look(directory, c".")?.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// Gives `new` every file of `old` that it lacks, and makes its directories like those of `old`.
fn complete(new: &OwnedFd, old: &OwnedFd, found: &Found) -> io::Result<()> {
    imitate(new, old, found)?;
    for name in entries(old)? {
        let Some(theirs) = look(old, &name)? else { continue };
        if theirs.mount != found.mount {
            return Err(io::Error::from(io::ErrorKind::CrossesDevices));
        }
        let ours = look(new, &name)?;
        if theirs.is_dir() {
            match ours {
                Some(ours) if ours.is_dir() => {}
                Some(_) => {
                    // The new file replaces the directory, unless something is mounted there.
                    return Err(io::Error::from(io::ErrorKind::IsADirectory));
                }
                None => mkdirat(new, &name, Mode::RWXU)?,
            }
            let below = enter(old, &name)?;
            let entered = itself(&below)?;
            if entered.mount != found.mount {
                return Err(io::Error::from(io::ErrorKind::CrossesDevices));
            }
            complete(&enter(new, &name)?, &below, &entered)?;
        } else if ours.is_some() {
            // The new file replaces the old file.
        } else if theirs.is_file() || theirs.is_link() {
            linkat(old, &name, new, &name, AtFlags::empty())?;
        } else {
            return Err(io::Error::from(io::ErrorKind::Unsupported));
        }
    }
    Ok(())
}

/// Gives a directory the owner, the mode and the attributes of another.
///
/// # Errors
/// They still differ, such as where the group or an access list is not this user's to give.
fn imitate(new: &OwnedFd, old: &OwnedFd, found: &Found) -> io::Result<()> {
    fchown(new, Some(Uid::from_raw(found.uid)), Some(Gid::from_raw(found.gid)))?;
    fchmod(new, Mode::from_raw_mode(found.mode))?;
    // The kernel may drop a bit of the mode without an error.
    if itself(new)?.mode != found.mode || attributes(new)? != attributes(old)? {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    Ok(())
}

/// Returns the extended attributes of a directory, such as its access lists: names and values.
fn attributes(directory: &OwnedFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let length = match flistxattr_query(directory) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) | Ok(0) => return Ok(Vec::new()),
        length => length?,
    };
    let mut names = vec![0; length];
    let length = flistxattr(directory, names.as_mut_slice())?;
    let mut attributes = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; fgetxattr_query(directory, name)?];
        let length = fgetxattr(directory, name, value.as_mut_slice())?;
        value.truncate(length);
        attributes.push((name.to_owned(), value));
    }
    attributes.sort_unstable();
    Ok(attributes)
}

/// Moves files that exist only in `from` to `to`.
fn salvage(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    for name in entries(from)? {
        let Some(source) = look(from, &name)? else { continue };
        match look(to, &name)? {
            Some(present) if present.is_dir() && source.is_dir() => {
                salvage(&enter(from, &name)?, &enter(to, &name)?)?
            }
            Some(_) => {}
            None => renameat_with(from, &name, to, &name, RenameFlags::NOREPLACE)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::path::Path;

    use super::*;

    fn open(path: &Path) -> OwnedFd {
        OwnedFd::from(File::open(path).unwrap())
    }

    fn swap(new: &Path, old: &Path) -> io::Result<()> {
        let parent = open(new.parent().unwrap());
        let named = |path: &'static str| Named { parent: &parent, name: path };
        assert_eq!(
            (new.file_name().unwrap(), old.file_name().unwrap()),
            ("new".as_ref(), "old".as_ref())
        );
        super::swap(named("new"), named("old"))
    }

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
        salvage(&open(&from), &open(&to)).unwrap();
        let read = |name: &str| fs::read_to_string(to.join(name)).unwrap();
        assert_eq!((read("late"), read("sub/late")), ("from".to_owned(), "from".to_owned()));
        assert_eq!(read("sub/present"), "to");
        assert!(to.join("file-there").is_dir());
    }

    #[test]
    fn other_files_and_links_keep_their_identity() {
        let place = tempfile::tempdir().unwrap();
        let (new, old) = (place.path().join("new"), place.path().join("old"));
        fs::create_dir(&new).unwrap();
        fs::create_dir(&old).unwrap();
        fs::write(new.join("a"), "new").unwrap();
        fs::write(old.join("kept"), "old").unwrap();
        symlink("kept", old.join("link")).unwrap();
        let inodes =
            || ["kept", "link"].map(|name| fs::symlink_metadata(old.join(name)).unwrap().ino());
        let before = inodes();
        swap(&new, &old).unwrap();
        assert_eq!(inodes(), before);
    }

    #[test]
    fn a_directory_with_an_access_list_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let (new, old) = (place.path().join("new"), place.path().join("old"));
        fs::create_dir_all(new.join("sub")).unwrap();
        fs::create_dir_all(old.join("sub")).unwrap();
        fs::write(new.join("sub/a"), "new").unwrap();
        fs::write(old.join("sub/a"), "old").unwrap();
        // Version 2: the user, user 65534, the group, the mask and others, each `rwx`.
        let mut list = vec![2, 0, 0, 0];
        for (tag, id) in
            [(1_u16, u32::MAX), (2, 65534), (4, u32::MAX), (16, u32::MAX), (32, u32::MAX)]
        {
            list.extend(tag.to_le_bytes());
            list.extend([7, 0]);
            list.extend(id.to_le_bytes());
        }
        let name = "system.posix_acl_default";
        let flags = rustix::fs::XattrFlags::empty();
        if rustix::fs::setxattr(old.join("sub"), name, &list, flags).is_err() {
            println!("skipped: the file system has no access lists");
            return;
        }
        assert!(swap(&new, &old).is_err());
        assert_eq!(fs::read_to_string(old.join("sub/a")).unwrap(), "old");
        rustix::fs::setxattr(new.join("sub"), name, &list, flags).unwrap();
        swap(&new, &old).unwrap();
        assert_eq!(fs::read_to_string(old.join("sub/a")).unwrap(), "new");
    }
}
