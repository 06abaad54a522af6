//! Volumes with too little space.

use std::fs;

use super::{Mounted, large};
use crate::support::cli::{Sandbox, assert_same, snapshot};

const MIB: usize = 1 << 20;

#[test]
fn a_volume_that_is_too_small_keeps_the_old_model() {
    let sandbox = Sandbox::with_project();
    large(&sandbox, 1, 9 * MIB);
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    // The old model has two of the three files, so that the new one fits only without it.
    for old in [2, 0] {
        let script = "mount -t tmpfs -o size=22m none models";
        let Some(mounted) = Mounted::new(sandbox_again(&sandbox), script) else { return };
        for n in 0..old {
            fs::write(mounted.path(&format!("models/{n}.bin")), vec![7; 9 * MIB]).unwrap();
        }
        let before = snapshot(&mounted.path("models"));
        mounted.run("restore", &[]).fails(1, &["the model needs", "models", "free", "hint:"]);
        assert_same(&snapshot(&mounted.path("models")), &before, "after the failure");
        mounted.is_tidy();
    }
}

/// Returns another sandbox with the same store and project.
fn sandbox_again(sandbox: &Sandbox) -> Sandbox {
    let again = Sandbox::with_store(&format!("file://{}", sandbox.store_dir().display()));
    again.project();
    fs::create_dir(again.path("models")).unwrap();
    again
}

#[test]
fn a_large_volume_in_a_small_workspace_counts_for_itself() {
    let sandbox = Sandbox::with_project();
    large(&sandbox, 1, 2 * MIB);
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    // The workspace has space for none of the files, but only the volume needs any.
    let script = "mount -t tmpfs -o size=1m none .\ncd \"$PWD\"\nmkdir data src models\n\
                  mount -t tmpfs -o size=8m none models\n\
                  printf 'id,amount\\n1,10\\n' > data/a.csv\n\
                  printf 'id,amount\\n2,20\\n' > data/b.csv\n\
                  printf \"print('train')\\n\" > src/train.py";
    let Some(mounted) = Mounted::new(sandbox, script) else { return };
    assert_eq!(mounted.run("restore", &[]).json()["restored"], true);
    assert_eq!(fs::metadata(mounted.path("models/2.bin")).unwrap().len(), 2 * MIB as u64);
    mounted.is_tidy();
}
