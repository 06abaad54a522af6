//! Restores into directories that belong to others.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use super::Sandbox;
use super::halves::{OTHER, as_other, give};

/// A group of which the other user is no member.
const GROUP: u32 = 4242;

#[test]
fn directories_of_others_keep_owner_group_and_mode() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root may give files away");
        return;
    }
    // The owner, the group and the mode of the model's directory, and of a directory in it.
    for (models, sub) in [
        ((0, 0, 0o1777), (OTHER, OTHER, 0o755)),
        ((0, 0, 0o777), (OTHER, OTHER, 0o755)),
        ((OTHER, GROUP, 0o2775), (OTHER, OTHER, 0o755)),
        ((OTHER, OTHER, 0o755), (OTHER, GROUP, 0o2775)),
        ((OTHER, OTHER, 0o755), (OTHER, OTHER, 0o2755)),
    ] {
        let sandbox = Sandbox::with_project();
        for name in ["a", "b", "sub/c"] {
            sandbox.write(&format!("models/{name}"), "new");
        }
        assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
        sandbox.write("models/a", "old");
        give(sandbox.work().parent().unwrap(), OTHER);
        let all = [("models", models), ("models/sub", sub)];
        for (name, (user, group, mode)) in all {
            chown(sandbox.path(name), Some(user), Some(group)).unwrap();
            fs::set_permissions(sandbox.path(name), Permissions::from_mode(mode)).unwrap();
        }
        let Some(restore) = as_other(&sandbox, "restore") else { return };
        assert_eq!(restore.json()["restored"], true, "{}", restore.stderr);
        assert_eq!(sandbox.read("models/a"), "new");
        for (name, wanted) in all {
            let found = fs::metadata(sandbox.path(name)).unwrap();
            assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), wanted, "{name}");
        }
        let mut names = fs::read_dir(sandbox.work()).unwrap().map(|it| it.unwrap().file_name());
        assert!(names.all(|name| !name.to_string_lossy().starts_with(".ml-cache-tmp-")));
    }
}
