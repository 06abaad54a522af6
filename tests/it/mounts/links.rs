//! Links that another process leaves or exchanges while a command runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{Mounted, stored};
use crate::support::cli::{Sandbox, assert_same, snapshot};

const ROUNDS: usize = 1000;
const LONGEST: Duration = Duration::from_secs(30);
const SECRET: &str = "the secret of another user";

#[test]
fn a_link_with_a_name_of_old_left_overs_is_not_followed() {
    let script = "mount -t tmpfs none models\necho precious > ../outside\n\
                  for name in a b link; do ln -s ../../outside models/.ml-cache-tmp-$name; done";
    let Some(mounted) = Mounted::new(stored(), script) else { return };
    assert_eq!(mounted.run("restore", &[]).json()["restored"], true);
    assert!(fs::symlink_metadata(mounted.path("models/a")).unwrap().is_file());
    assert_eq!(mounted.read("models/a"), "new");
    assert_eq!(mounted.read("../outside"), "precious\n");
}

/// Exchanges two paths, as long as they exist. Returns whether it could.
fn exchange(path: &Path, trap: &Path) -> bool {
    renameat_with(CWD, path, CWD, trap, RenameFlags::EXCHANGE).is_ok()
}

fn directories_of_stages(work: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(work).into_iter().flatten().flatten();
    names
        .filter(|entry| {
            entry.file_name().to_string_lossy().starts_with(".ml-cache-tmp-")
                && entry.file_type().is_ok_and(|kind| kind.is_dir())
        })
        .flat_map(|entry| {
            let below = ["new/models/sub", "new/models", "models/sub", "models", "new"];
            let mut paths: Vec<PathBuf> =
                below.iter().map(|name| entry.path().join(name)).collect();
            paths.push(entry.path());
            paths
        })
        .collect()
}

#[test]
fn a_race_for_directories_of_the_stage_writes_nothing_outside() {
    let sandbox = Sandbox::with_project();
    for n in 0..300 {
        sandbox.write(&format!("models/sub/{n}"), format!("content of {n}"));
    }
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    let place = tempfile::tempdir_in(sandbox.work().parent().unwrap()).unwrap();
    let victim = place.path().join("victim");
    // No directory is in it, so that the test itself exchanges nothing behind a link.
    fs::create_dir(&victim).unwrap();
    for n in 0..300 {
        fs::write(victim.join(n.to_string()), "precious").unwrap();
    }
    let before = snapshot(&victim);
    let traps: Vec<PathBuf> = (0..6).map(|n| place.path().join(format!("trap{n}"))).collect();
    let (done, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (path, trap) in directories_of_stages(&sandbox.work()).iter().zip(&traps) {
                    let _ = symlink(&victim, trap);
                    count.fetch_add(usize::from(exchange(path, trap)), Ordering::Relaxed);
                    if fs::symlink_metadata(trap).is_ok_and(|found| found.is_dir()) {
                        exchange(path, trap);
                        let _ = fs::remove_dir_all(trap);
                    }
                }
            }
        });
        let began = Instant::now();
        while count.load(Ordering::Relaxed) < ROUNDS && began.elapsed() < LONGEST {
            let _ = fs::remove_dir_all(sandbox.path("models"));
            let _ = fs::remove_file(sandbox.path("models"));
            // The restore may fail, but it writes nothing elsewhere.
            let _ = sandbox.run("restore", &[]);
        }
        done.store(true, Ordering::Relaxed);
    });
    let count = count.load(Ordering::Relaxed);
    println!("{count} exchanges");
    assert!(count >= ROUNDS / 10, "only {count} exchanges");
    assert_same(&snapshot(&victim), &before, "after the race");
}

#[test]
fn a_race_for_the_destination_writes_nothing_outside() {
    let sandbox = Sandbox::with_project();
    for n in 0..20 {
        sandbox.write(&format!("models/{n}"), format!("content of {n}"));
    }
    assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
    let place = tempfile::tempdir_in(sandbox.work().parent().unwrap()).unwrap();
    let victim = place.path().join("victim");
    fs::create_dir_all(victim.join("models")).unwrap();
    for n in 0..20 {
        // The first file differs only in its mode.
        let content = if n == 0 { "content of 0" } else { "precious" };
        fs::write(victim.join("models").join(n.to_string()), content).unwrap();
    }
    let odd = fs::Permissions::from_mode(0o600);
    fs::set_permissions(victim.join("models/0"), odd).unwrap();
    let before = snapshot(&victim);
    let trap = place.path().join("trap");
    symlink(&victim, &trap).unwrap();
    fs::create_dir(sandbox.path("out")).unwrap();
    let (done, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let exchanged = exchange(&sandbox.path("out"), &trap);
                count.fetch_add(usize::from(exchanged), Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let mut restored = 0;
        for _ in 0..100 {
            let run = sandbox.run("restore", &["--destination", "out"]);
            restored += usize::from(run.code == 0);
        }
        done.store(true, Ordering::Relaxed);
        println!("{restored} of 100 restores, {} exchanges", count.load(Ordering::Relaxed));
    });
    assert!(count.load(Ordering::Relaxed) >= 100);
    assert_same(&snapshot(&victim), &before, "after the race");
}

#[test]
fn a_race_for_the_models_directories_saves_nothing_else() {
    let sandbox = Sandbox::with_project();
    let place = tempfile::tempdir_in(sandbox.work().parent().unwrap()).unwrap();
    let victim = place.path().join("victim");
    fs::create_dir(&victim).unwrap();
    for n in 0..200 {
        // The same length, so that only the opening of the file can notice.
        fs::write(victim.join(n.to_string()), format!("{SECRET} {n:03}")).unwrap();
        sandbox.write(&format!("models/sub/{n}"), format!("{} {n:03}", "x".repeat(SECRET.len())));
    }
    let trap = place.path().join("trap");
    symlink(&victim, &trap).unwrap();
    let (done, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                count.fetch_add(
                    usize::from(exchange(&sandbox.path("models/sub"), &trap)),
                    Ordering::Relaxed,
                );
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let mut saves = 0;
        while count.load(Ordering::Relaxed) < ROUNDS || saves < 60 {
            let _ = sandbox.run("save", &["--force-retrain", "true"]);
            saves += 1;
        }
        done.store(true, Ordering::Relaxed);
    });
    for object in sandbox.objects("v1/blobs") {
        let bytes = fs::read(&object).unwrap();
        let found = bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
        assert!(!found, "{} has bytes from outside", object.display());
    }
}
