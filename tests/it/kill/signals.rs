//! SIGINT and SIGTERM, by which a runner cancels a job. The work stops soon and leaves nothing.

use std::collections::HashSet;
use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{MIB, Sandbox};
use crate::kill::stall::Stall;
use crate::support::cli::{
    Run, assert_same, is_running, noise, snapshot, wait_until, wait_until_stoppable,
};
use crate::support::s3::Endpoint;

/// The time that a process gives its work to remove its files. The next command removes the files
/// of a slower machine.
const CLEAN_UP: Duration = Duration::from_millis(1500);

const SIGNALS: [(Signal, &str, i32); 2] = [(Signal::INT, "INT", 130), (Signal::TERM, "TERM", 143)];

/// Sends a signal, and demands that the process ends with the signal's code.
///
/// Returns `None` if the process ended by itself before, as it may on a busy machine. The constants
/// in `commands::interrupt` bound the time.
#[track_caller]
fn try_stop(child: Child, signal: (Signal, &str, i32)) -> Option<Run> {
    Some(try_timed_stop(child, signal)?.0)
}

/// Does the same, and returns the time that the process took.
#[track_caller]
fn try_timed_stop(
    child: Child,
    (signal, name, code): (Signal, &str, i32),
) -> Option<(Run, Duration)> {
    let started = Instant::now();
    kill_process(Pid::from_child(&child), signal).unwrap();
    let run = Run::of(child.wait_with_output().unwrap());
    let took = started.elapsed();
    println!("SIG{name}: ended after {took:?}");
    if run.code == 0 {
        return None;
    }
    assert_eq!(run.code, code, "{}", run.stderr);
    assert!(run.stderr.contains(&format!("stopped by SIG{name}")), "{}", run.stderr);
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    Some((run, took))
}

/// Does the same for a process that cannot end by itself.
#[track_caller]
fn stop(child: Child, signal: (Signal, &str, i32)) -> Run {
    try_stop(child, signal).expect("the process ended by itself")
}

/// Repeats a test until the signal comes in time.
fn until_in_time(mut attempt: impl FnMut() -> Option<Run>) {
    assert!((0..10).any(|_| attempt().is_some()), "the signal never came in time");
}

#[test]
fn a_restore_that_is_asked_to_stop_changes_nothing() {
    let sandbox = Sandbox::with_project();
    sandbox.heavy_model(1);
    sandbox.run("save", &[]).json();
    for signal in SIGNALS {
        until_in_time(|| {
            sandbox.heavy_model(2);
            let before = snapshot(&sandbox.work());
            let child = sandbox.begin("restore", &[]);
            wait_until(|| !sandbox.stages().is_empty() || !is_running(child.id()));
            let (run, took) = try_timed_stop(child, signal)?;
            let in_time = took < CLEAN_UP;
            if !in_time {
                sandbox.run("plan", &[]).json();
            }
            assert_same(&snapshot(&sandbox.work()), &before, signal.1);
            in_time.then_some(run)
        });
    }
}

#[test]
fn a_save_that_is_asked_to_stop_shows_nothing() {
    for signal in SIGNALS {
        until_in_time(|| {
            let sandbox = Sandbox::with_project();
            sandbox.heavy_model(1);
            let child = sandbox.begin("save", &[]);
            wait_until(|| !sandbox.objects("v1/blobs").is_empty());
            let (run, took) = try_timed_stop(child, signal)?;
            let in_time = took < CLEAN_UP;
            assert!(sandbox.pointers().is_empty() && sandbox.objects("v1/trusted").is_empty());
            sandbox.every_blob_is_whole(&mut HashSet::new());
            let left = sandbox.objects("incoming");
            assert!(left.is_empty() || !in_time, "{left:?}");
            assert_eq!(sandbox.run("save", &[]).json()["saved"], true);
            in_time.then_some(run)
        });
    }
}

#[test]
fn a_server_that_has_stalled_keeps_nobody_from_stopping() {
    let endpoint = Endpoint::seaweedfs();
    let bucket = endpoint.fresh_bucket();
    let on_s3 = |endpoint: &Endpoint| {
        let mut sandbox = Sandbox::with_store(&format!("s3://{bucket}/cache"));
        sandbox.project();
        sandbox.heavy_model(1);
        endpoint.env().into_iter().for_each(|(name, value)| sandbox.env(name, value));
        sandbox
    };
    let pointers = || endpoint.script(&["ls", &bucket, "cache/v1/trusted/"]);
    // The stalled save has sent everything except the pointer.
    for signal in SIGNALS {
        let stall = Stall::before(&endpoint, "PUT", "/pointers/");
        let sandbox = on_s3(&stall.endpoint());
        let child = sandbox.begin("save", &[]);
        wait_until(|| stall.has_begun());
        stop(child, signal);
        assert_eq!(pointers(), b"");
    }
    assert_eq!(on_s3(&endpoint).run("save", &[]).json()["saved"], true);
    for signal in SIGNALS {
        let stall = Stall::before(&endpoint, "GET", "/v1/blobs/");
        let sandbox = on_s3(&stall.endpoint());
        sandbox.heavy_model(2);
        let before = snapshot(&sandbox.work());
        let child = sandbox.begin("restore", &[]);
        wait_until(|| stall.has_begun());
        assert_eq!(sandbox.stages().len(), 1);
        stop(child, signal);
        assert_same(&snapshot(&sandbox.work()), &before, "afterwards");
    }
}

/// Starts a training that makes the file `begun`.
fn begin_training(sandbox: &Sandbox, script: &str) -> Child {
    let script = format!("{script}\n: > begun; while :; do sleep 0.05; done");
    let arguments = Sandbox::arguments("run", &["--", "sh", "-c", &script]);
    let mut command = sandbox.command(arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| sandbox.path("begun").exists());
    child
}

#[test]
fn a_stopped_training_gets_the_signal_and_saves_nothing() {
    for signal in SIGNALS {
        // On a busy machine, the shell may run its trap only after its second is over.
        until_in_time(|| {
            let sandbox = Sandbox::with_project();
            let script = format!("mkdir models; trap 'echo put away > got; exit 0' {}", signal.1);
            let run = stop(begin_training(&sandbox, &script), signal);
            sandbox.has_stored_no_model();
            (sandbox.path("got").exists() && sandbox.read("got") == "put away\n").then_some(run)
        });
    }
}

#[test]
fn a_training_that_does_not_listen_is_ended() {
    for signal in SIGNALS {
        let sandbox = Sandbox::with_project();
        stop(begin_training(&sandbox, "echo $$ > pid; trap '' INT TERM"), signal);
        let pid: u32 = sandbox.read("pid").trim().parse().unwrap();
        wait_until(|| !is_running(pid));
    }
}

/// A training usually has several processes: a shell runs Python, and Python runs data loaders.
#[test]
fn the_processes_of_a_training_end_with_it() {
    for signal in SIGNALS {
        let sandbox = Sandbox::with_project();
        let script = "sh -c 'echo $$ > pid; while :; do sleep 0.05; done' & while [ ! -s pid ]; do \
                      sleep 0.01; done";
        let mut child = begin_training(&sandbox, script);
        let pid: u32 = sandbox.read("pid").trim().parse().unwrap();
        // A surviving process keeps the output pipes open, so the test watches only the process
        // itself.
        kill_process(Pid::from_child(&child), signal.0).unwrap();
        let status = child.wait().unwrap();
        let lives_on = (0..2000).all(|_| {
            thread::sleep(Duration::from_millis(5));
            is_running(pid)
        });
        if lives_on {
            let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL);
        }
        assert_eq!(status.code(), Some(signal.2));
        assert!(!lives_on, "a process of the training was left behind");
    }
}

#[test]
fn hashing_stops_too() {
    let sandbox = Sandbox::with_project();
    sandbox.write("data/large.bin", noise(1, 64 * MIB));
    for signal in SIGNALS {
        until_in_time(|| {
            let child = sandbox.begin("plan", &[]);
            wait_until_stoppable(&child);
            try_stop(child, signal)
        });
    }
}

#[test]
fn a_restore_that_waits_for_another_one_stops_too() {
    let sandbox = Sandbox::with_project();
    sandbox.heavy_model(1);
    sandbox.run("save", &[]).json();
    sandbox.heavy_model(2);
    let before = snapshot(&sandbox.work());
    let other = fs::File::open(sandbox.work()).unwrap();
    other.lock().unwrap();
    for signal in SIGNALS {
        let child = sandbox.begin("restore", &[]);
        wait_until_stoppable(&child);
        stop(child, signal);
        assert_same(&snapshot(&sandbox.work()), &before, "afterwards");
    }
    let child = sandbox.begin("restore", &[]);
    wait_until_stoppable(&child);
    assert_same(&snapshot(&sandbox.work()), &before, "afterwards");
    other.unlock().unwrap();
    assert_eq!(Run::of(child.wait_with_output().unwrap()).json()["restored"], true);
}
