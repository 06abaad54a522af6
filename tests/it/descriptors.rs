//! The table of file descriptors: large from the start, so that no thread waits while it grows.

use std::process::Command;

use crate::support::cli::{Run, Sandbox};

/// Writes the size of the table of the process that started the training.
const TRAIN: &str = "mkdir models; awk '/^FDSize/ { print $2 }' /proc/$PPID/status > models/size";

/// Trains with at most so many open files. Returns the size of the process's table of descriptors.
fn size_of_the_table(limit: usize) -> usize {
    let sandbox = Sandbox::with_project();
    let mut arguments = Sandbox::arguments("run", &["--", "sh", "-c", TRAIN]);
    arguments.insert(0, env!("CARGO_BIN_EXE_ml-cache").to_owned());
    let ours = sandbox.command([""; 0]);
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -n {limit} && exec \"$@\""), "sh"]).args(arguments);
    limited.env_clear().current_dir(sandbox.work());
    limited.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert_eq!(Run::of(limited.output().unwrap()).json()["saved"], true);
    std::fs::read_to_string(sandbox.path("models/size")).unwrap().trim().parse().unwrap()
}

#[test]
fn the_table_has_room_for_all_connections_before_the_first() {
    assert!(size_of_the_table(1024) >= 512);
}

#[test]
fn a_low_limit_of_open_files_does_no_harm() {
    assert!(size_of_the_table(100) < 512);
}
