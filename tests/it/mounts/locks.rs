//! Another process that holds the lock of a destination.

use std::fs::File;
use std::time::{Duration, Instant};

use super::stored;

#[test]
fn a_lock_of_the_destination_ends_the_wait() {
    let sandbox = stored();
    let held = File::open(sandbox.work()).unwrap();
    held.lock().unwrap();
    let began = Instant::now();
    sandbox.run("restore", &["--lock-timeout", "2s"]).fails(
        1,
        &[
            "waiting for another process, which has locked `",
            "cannot lock `",
            "for 2 s",
            "hint: end the other process, or raise `lock-timeout`",
        ],
    );
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert_eq!(sandbox.read("models/a"), "old");
    drop(held);
    assert_eq!(sandbox.run("restore", &["--lock-timeout", "2s"]).json()["restored"], true);
}
