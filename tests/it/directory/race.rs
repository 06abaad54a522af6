//! A second process that exchanges directories of a store for links, again and again.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ml_cache::format::BlobId;
use ml_cache::lock::LockWait;
use ml_cache::store::{self, Condition, Location, Payload, S3Options, layout};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::left_over;
use crate::support::cli::snapshot;

const PATIENCE: LockWait = LockWait { limit: Duration::from_secs(60), tell: |_| {} };
const ROUNDS: usize = 1000;

/// Exchanges two paths until `done`, and counts the exchanges.
fn exchange(path: &Path, trap: &Path, done: &AtomicBool, count: &AtomicUsize) {
    while !done.load(Ordering::Relaxed) {
        renameat_with(CWD, path, CWD, trap, RenameFlags::EXCHANGE).unwrap();
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Opens the store and writes to it, while another thread exchanges a directory of it for a link.
fn races(name: &str) {
    let place = tempfile::tempdir().unwrap();
    let (root, victim) = (place.path().join("store"), place.path().join("victim"));
    for directory in ["incoming", "locks", "v1/blobs"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    let real = fs::File::open(root.join("incoming")).unwrap();
    fs::create_dir(&victim).unwrap();
    for file in [&left_over(), "00", "precious"] {
        fs::write(victim.join(file), "precious").unwrap();
    }
    let before = snapshot(&victim);
    let trap = place.path().join("trap");
    symlink(&victim, &trap).unwrap();
    let (done, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (mut written, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| exchange(&root.join(name), &trap, &done, &count));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let location = Location::Directory(root.clone());
            for round in 0..ROUNDS {
                // A killed writer leaves this. The path leads through no link.
                fs::write(format!("/proc/self/fd/{}/{}", real.as_raw_fd(), left_over()), "x")
                    .unwrap();
                let store =
                    store::open(&location, &S3Options::default(), None, PATIENCE).await.unwrap();
                let bytes = round.to_string().into_bytes();
                let key = layout::blob(&BlobId::of(&bytes));
                match store.put(&key, Payload::new(bytes), Condition::Absent).await {
                    Ok(_) => written += 1,
                    Err(_) => refused += 1,
                }
            }
        });
        done.store(true, Ordering::Relaxed);
    });
    assert!(count.load(Ordering::Relaxed) >= ROUNDS, "{name}: too few exchanges");
    assert!(written > 0 && refused > 0, "{name}: {written} written, {refused} refused");
    assert_eq!(snapshot(&victim), before, "{name}");
}

#[test]
fn a_race_for_the_temporary_files_touches_nothing_outside() {
    races("incoming");
}

#[test]
fn a_race_for_the_locks_touches_nothing_outside() {
    races("locks");
}

#[test]
fn a_race_for_the_objects_touches_nothing_outside() {
    races("v1");
}

/// The owner of a new directory is the owner of the directory above it.
#[test]
fn a_race_for_a_new_store_gives_no_other_file_away() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root gives files away");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (top, victim) = (place.path().join("top"), place.path().join("victim"));
    fs::create_dir(&top).unwrap();
    chown(&top, Some(65534), Some(65534)).unwrap();
    fs::write(&victim, "precious").unwrap();
    let first = top.join("a");
    let (done, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let make = async |round: usize| {
        let location = Location::Directory(first.join("store"));
        let store = store::open(&location, &S3Options::default(), None, PATIENCE).await.unwrap();
        let bytes = round.to_string().into_bytes();
        let key = layout::blob(&BlobId::of(&bytes));
        let _ = store.put(&key, Payload::new(bytes), Condition::Absent).await;
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let old = top.join(format!("old{}", count.load(Ordering::Relaxed)));
                if fs::rename(&first, &old).is_ok() {
                    // A second name of a file takes the place of the new directory for a moment.
                    let _ = fs::hard_link(&victim, &first);
                    std::thread::sleep(Duration::from_micros(100));
                    let _ = fs::remove_file(&first);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for round in 0..ROUNDS {
                make(round).await;
            }
        });
        done.store(true, Ordering::Relaxed);
    });
    assert!(count.load(Ordering::Relaxed) > 0, "no directory was made in any round");
    assert_eq!(fs::metadata(&victim).unwrap().uid(), 0, "a file outside has changed hands");
}
