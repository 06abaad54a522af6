//! Paths below a directory, on both ways.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use super::*;
use crate::stamp::Stamp;

/// Both ways to a path, whichever the kernel offers.
fn both(path: &Path) -> [Beneath; 2] {
    let open = |errno: Errno| {
        let root = rustix::fs::open(path, PLACE, Mode::empty()).unwrap();
        Beneath { root, way: Way::after::<()>(&Err(errno)), last: Mutex::default() }
    };
    [open(Errno::NOSYS), Beneath { way: Way::Call, ..open(Errno::PERM) }]
}

#[test]
fn a_kernel_or_filter_without_the_call_leads_to_steps() {
    for errno in [Errno::NOSYS, Errno::PERM] {
        assert_eq!(Way::after::<()>(&Err(errno)), Way::Steps);
    }
    assert_eq!(Way::after(&Ok(())), Way::Call);
    assert_eq!(Way::after::<()>(&Err(Errno::ACCESS)), Way::Call);
}

#[test]
fn paths_below_are_opened_and_links_are_not_followed() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir_all(place.path().join("a/b")).unwrap();
    fs::write(place.path().join("a/b/file"), "content").unwrap();
    fs::write(place.path().join("outside"), "content").unwrap();
    symlink("b", place.path().join("a/link")).unwrap();
    symlink("../outside", place.path().join("a/to-file")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, place.path().join("a/pipe"), Mode::RUSR).unwrap();
    for beneath in both(&place.path().join("a")) {
        assert!(beneath.file("b/file", OFlags::RDONLY).is_ok());
        let (_, found) = beneath.next_file("b/file", OFlags::RDONLY).unwrap();
        assert_eq!(found.len(), 7);
        assert!(beneath.directory("b").is_ok() && beneath.directory("").is_ok());
        assert!(beneath.within("b").unwrap().file("file", OFlags::WRONLY).is_ok());
        for path in ["link/file", "to-file"] {
            let error = beneath.file(path, OFlags::RDONLY).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::LOOP.raw_os_error()), "{path}");
            assert!(beneath.next_file(path, OFlags::RDONLY).is_err(), "{path}");
        }
        for path in ["../outside", "b/../../outside", "/etc/passwd", "pipe", "b", "none"] {
            assert!(beneath.file(path, OFlags::RDONLY).is_err(), "{path}");
            assert!(beneath.next_file(path, OFlags::RDONLY).is_err(), "{path}");
        }
        for path in ["link", "link/x", "to-file", "..", "../a"] {
            assert!(beneath.directory(path).is_err(), "{path}");
        }
        for path in ["..", "b/..", "b/", "."] {
            assert!(beneath.parent(path).is_err(), "{path}");
        }
    }
}

#[test]
fn directories_are_made_but_not_through_links() {
    for number in 0..2 {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("in")).unwrap();
        fs::create_dir_all(place.path().join("out")).unwrap();
        symlink("../out", place.path().join("in/link")).unwrap();
        let beneath = &both(&place.path().join("in"))[number];
        let owner = Owner::of(place.path());
        beneath.make("x/y/z", &owner).unwrap();
        beneath.make("x/y/z", &owner).unwrap();
        assert!(place.path().join("in/x/y/z").is_dir());
        assert!(beneath.make("link/z", &owner).is_err());
        assert!(!place.path().join("out/z").exists());
    }
}

#[test]
fn both_kinds_of_looks_make_the_same_stamp() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("file"), "content").unwrap();
    symlink("file", place.path().join("link")).unwrap();
    let beneath = Beneath::open(place.path()).unwrap();
    for path in ["", "file", "link"] {
        let wanted = Stamp::of(&fs::symlink_metadata(place.path().join(path)).unwrap());
        assert_eq!(beneath.look(path).unwrap().unwrap().stamp(), wanted, "{path}");
    }
}

#[test]
fn the_parent_is_kept_and_follows_its_directory() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir_all(place.path().join("a/b")).unwrap();
    let beneath = Beneath::open(place.path()).unwrap();
    let inode = |parent: &OwnedFd| look(parent, c".").unwrap().unwrap().inode;
    let first = beneath.parent("a/b/x").unwrap().0;
    assert_eq!(inode(&first), fs::metadata(place.path().join("a/b")).unwrap().ino());
    assert!(Arc::ptr_eq(&first, &beneath.parent("a/b/y").unwrap().0));
    let other = beneath.parent("a/x").unwrap().0;
    assert_eq!(inode(&other), fs::metadata(place.path().join("a")).unwrap().ino());
}

#[test]
fn old_calls_find_the_same() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("file"), "content").unwrap();
    symlink("file", place.path().join("link")).unwrap();
    let directory = rustix::fs::open(place.path(), PLACE, Mode::empty()).unwrap();
    for name in [c"file", c"link", c".", c"none"] {
        let old = entry::without_statx(&directory, name).unwrap();
        assert_eq!(old, look(&directory, name).unwrap(), "{name:?}");
    }
    let mount = look(&directory, c"file").unwrap().unwrap().mount;
    assert!(matches!(mount, Mount::Number(_)));
    let other = rustix::fs::open("/proc", PLACE, Mode::empty()).unwrap();
    assert_ne!(look(other, c".").unwrap().unwrap().mount, mount);
}

#[test]
fn a_removed_directory_takes_nothing_behind_links_with_it() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir_all(place.path().join("gone/deep")).unwrap();
    fs::create_dir(place.path().join("kept")).unwrap();
    fs::write(place.path().join("kept/file"), "").unwrap();
    fs::write(place.path().join("gone/deep/file"), "").unwrap();
    symlink("../../kept", place.path().join("gone/deep/link")).unwrap();
    symlink("kept", place.path().join("link")).unwrap();
    let directory = Beneath::open(place.path()).unwrap();
    for name in [c"gone", c"link", c"none"] {
        remove(&directory, name).unwrap();
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    assert!(place.path().join("kept/file").exists());
}
