//! Files that cannot be replaced or changed: on read-only mounts, below mounts, of other users.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{Mounted, stored};
use crate::support::cli::{assert_same, snapshot};

const READ_ONLY: &str = "mount -o remount,ro models/vol";

fn bits(mounted: &Mounted, name: &str) -> u32 {
    fs::metadata(mounted.path(name)).unwrap().permissions().mode() & 0o7777
}

#[test]
fn right_files_on_a_read_only_volume_are_left_alone() {
    for mode in ["644", "444"] {
        let script = format!(
            "mount -t tmpfs none models/vol\nprintf new > models/vol/d\n\
             chmod {mode} models/vol/d\n{READ_ONLY}"
        );
        let Some(mounted) = Mounted::new(stored(), &script) else { return };
        // First the files beside it are old, and then the whole model is unchanged.
        for _ in 0..2 {
            let run = mounted.run("restore", &[]);
            assert_eq!(run.json()["restored"], true, "{mode}");
            for name in ["a", "b", "sub/c", "vol/d", "link"] {
                assert_eq!(mounted.read(&format!("models/{name}")), "new", "{name}");
            }
            let told = "cannot change these modes";
            assert_eq!(run.stderr.contains(told), mode == "444", "{}", run.stderr);
            mounted.is_tidy();
        }
        assert_eq!(format!("{:o}", bits(&mounted, "models/vol/d")), mode);
    }
}

#[test]
fn other_files_on_a_read_only_volume_fail_before_any_move() {
    for (script, told) in [
        ("printf old > models/vol/d", ["cannot put in place `", "file system is read-only"]),
        ("printf other > models/vol/d", ["cannot put in place `", "file system is read-only"]),
        (":", ["cannot write to `", "Read-only file system"]),
    ] {
        let script = format!("mount -t tmpfs none models/vol\n{script}\n{READ_ONLY}");
        let Some(mounted) = Mounted::new(stored(), &script) else { return };
        let before = snapshot(&mounted.path("models"));
        let run = mounted.run("restore", &[]);
        run.fails(1, &[&told[..], &["hint: mount it for writing"]].concat());
        assert!(!run.stderr.contains("write permission"), "{}", run.stderr);
        assert_same(&snapshot(&mounted.path("models")), &before, "after the failure");
        mounted.is_tidy();
    }
}

#[test]
fn a_whole_model_on_a_read_only_volume_is_unchanged() {
    let script = "mount -t tmpfs none models\nmkdir models/sub models/vol\n\
                  for name in a b sub/c vol/d; do printf new > models/$name; done\n\
                  ln -s a models/link\nmount -o remount,ro models\n\
                  mount --rbind . . && cd \"$PWD\" && mount -o remount,bind,ro .";
    let Some(mounted) = Mounted::new(stored(), script) else { return };
    assert_eq!(mounted.run("restore", &[]).json()["restored"], true);
}

#[test]
fn a_file_that_is_a_mount_with_the_right_bytes_stays() {
    let script = "printf new > ../file\nmount --bind ../file models/b";
    let Some(mounted) = Mounted::new(stored(), script) else { return };
    for _ in 0..2 {
        assert_eq!(mounted.run("restore", &[]).json()["restored"], true);
        mounted.shell("mountpoint -q models/b");
        for name in ["a", "b", "sub/c", "vol/d"] {
            assert_eq!(mounted.read(&format!("models/{name}")), "new", "{name}");
        }
    }
    mounted.shell("printf old > ../file; rm models/a");
    let before = snapshot(&mounted.path("models"));
    let told = ["cannot put in place `", "models/b", "it is a mount point", "hint: unmount it"];
    mounted.run("restore", &[]).fails(1, &told);
    assert_same(&snapshot(&mounted.path("models")), &before, "after the failure");
    mounted.is_tidy();
}

#[test]
fn a_mode_of_another_users_file_is_mended_by_a_new_file() {
    let script = "chmod 755 .. && chmod -R a+rwX ..\n\
                  for name in a b sub/c vol/d; do printf new > models/$name; done\n\
                  ln -s a models/link\nchmod 664 models/a models/b\nchmod 644 models/sub/c \
                  models/vol/d";
    let Some(mounted) = Mounted::new(stored(), script) else { return };
    let Some(run) = mounted.run_as_other("restore") else { return };
    assert_eq!(run.json()["restored"], true, "{}", run.stderr);
    for name in ["a", "b", "sub/c", "vol/d"] {
        assert_eq!(mounted.read(&format!("models/{name}")), "new", "{name}");
        assert_eq!(bits(&mounted, &format!("models/{name}")), 0o644, "{name}");
    }
    mounted.is_tidy();
}
