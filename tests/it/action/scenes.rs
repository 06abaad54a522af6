//! The texts that people read: the whole log and summary for each reason and each exit code.
//!
//! If a scene differs from its file in tests/it/scenes, the test writes the file anew and fails
//! once. Look at the difference, and commit it if it reads well.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::runner::{Runner, Step};

/// Compares a step with the file of its scene.
fn scene(name: &str, runner: &Runner, step: &Step) {
    let summary = if step.summary.is_empty() { "none\n" } else { step.summary.trim_start() };
    let text = format!(
        "# {name}\n\nExit code {}.\n\n## Log\n\n```text\n{}```\n\n## Job summary\n\n{summary}",
        step.code,
        steady(runner, &step.log),
    );
    let text = format!("{}\n", steady(runner, &text).trim_end());
    let file = format!("{}.md", name.replace(' ', "-"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/scenes").join(file);
    if fs::read_to_string(&path).unwrap_or_default() != text {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
        panic!("the scene differed and was written anew:\n{text}");
    }
}

/// Replaces text that differs in each run: paths, times and nonces.
fn steady(runner: &Runner, text: &str) -> String {
    let mut text = text.replace(runner.work().to_str().unwrap(), "/workspace");
    if let Some(directory) = runner.inputs_of()["store"].strip_prefix("file://") {
        text = text.replace(directory, "/store");
    }
    let mut lines: Vec<String> = text.lines().map(steady_line).collect();
    // These lines depend on the speed of the machine.
    const TIMED: [&str; 5] =
        ["hashing: ", "uploading: ", "downloading: ", "  Time saved ", "| Time saved "];
    lines.retain(|line| !TIMED.iter().any(|start| line.starts_with(start)));
    lines.join("\n") + "\n"
}

fn steady_line(line: &str) -> String {
    let mut line = line.to_owned();
    while let Some(at) = time_in(&line) {
        line.replace_range(at..at + 20, "<time>");
    }
    for (key, end) in
        [("\"created_at\":\"", '"'), ("\"nonce\":\"", '"'), ("\"train_seconds\":", ',')]
    {
        if let Some(at) = line.find(key).map(|at| at + key.len()) {
            let length = line[at..].find(end).unwrap_or(0);
            line.replace_range(at..at + length, "…");
        }
    }
    line
}

/// Returns the place of a time such as `2026-11-23 06:21 UTC`.
fn time_in(line: &str) -> Option<usize> {
    line.match_indices(" UTC").find_map(|(end, _)| {
        let start = end.checked_sub(16)?;
        let time = line.get(start..end)?;
        time.bytes().all(|byte| byte.is_ascii_digit() || b"-: ".contains(&byte)).then_some(start)
    })
}

/// The job after a training, with an edited checkout.
fn changed(edit: impl FnOnce(&mut Runner)) -> Runner {
    let mut job = Runner::trained().next_job();
    edit(&mut job);
    job
}

#[test]
fn without_a_model() {
    let runner = Runner::new();
    scene("no-model", &runner, &runner.main());
}

#[test]
fn a_hit() {
    let job = changed(|_| {});
    scene("hit", &job, &job.main());
    scene("hit of a plan", &job, &job.step("plan"));
}

#[test]
fn changed_data() {
    let job = changed(|job| {
        job.write("data/a.csv", "id,amount\n1,11\n");
        job.write("data/c.csv", "id,amount\n3,30\n");
        fs::remove_file(job.path("data/b.csv")).unwrap();
    });
    scene("data-changed", &job, &job.main());
}

#[test]
fn changed_training_code() {
    let job = changed(|job| job.write("src/train.py", "print('train more')\n"));
    scene("training-changed", &job, &job.main());
}

#[test]
fn a_changed_key() {
    let job = changed(|job| job.input("extra-key", "sklearn=1.7"));
    scene("extra-key-changed", &job, &job.main());
}

#[test]
fn several_changes() {
    let job = changed(|job| {
        for n in 0..12 {
            job.write(&format!("data/new-{n:02}.csv"), &format!("{n}\n"));
        }
        job.write("src/train.py", "print('train more')\n");
    });
    scene("inputs-changed", &job, &job.main());
}

#[test]
fn a_forced_training() {
    let job = changed(|job| {
        job.input("force-retrain", "true");
        job.env("GITHUB_TRIGGERING_ACTOR", "octocat");
    });
    let main = job.main();
    scene("forced", &job, &main);
    job.train("other weights");
    scene("saved as generation 2", &job, &job.post(&main));
}

#[test]
fn an_old_model() {
    let job = changed(|job| {
        job.edit_pointer(|pointer| pointer["created_at"] = json!("2020-01-01T00:00:00Z"));
        job.input("max-age", "30d");
    });
    let step = job.main();
    let days = step.log.split(" days old").next().and_then(|text| text.rsplit(' ').next());
    let age = format!("{} days old", days.unwrap());
    let step = Step {
        log: step.log.replace(&age, "2500 days old"),
        summary: step.summary.replace(&age, "2500 days old"),
        ..step
    };
    scene("expired", &job, &step);
}

#[test]
fn a_model_with_gaps() {
    let job = changed(|job| job.remove_a_blob());
    scene("incomplete", &job, &job.main());
}

#[test]
fn a_store_that_cannot_be_looked_at() {
    let mut runner = Runner::new();
    runner.env("ACTIONS_CACHE_MODE", "none");
    scene("store-unavailable where that fails", &runner, &runner.main());
    runner.input("on-error", "retrain");
    scene("store-unavailable", &runner, &runner.step("plan"));
}

#[test]
fn a_first_model() {
    let runner = Runner::new();
    let main = runner.main();
    runner.train("weights");
    scene("saved", &runner, &runner.post(&main));
    runner.train("other weights");
    scene("kept", &runner, &runner.step("save"));
}

#[test]
fn a_fork() {
    let mut runner = Runner::new();
    runner.pull_request("somebody/fraud-detection");
    let main = runner.main();
    scene("no-model of a fork", &runner, &main);
    runner.train("weights");
    scene("not saved", &runner, &runner.post(&main));
}

#[test]
fn a_model_that_is_found() {
    let job = changed(|_| {});
    scene("restored", &job, &job.step("restore"));
    scene("restored by its fingerprint", &job, &{
        let fingerprint = job.step("plan").output("fingerprint").to_owned();
        job.step_with(
            "restore",
            &[("data-paths", ""), ("training-paths", ""), ("fingerprint", &fingerprint)],
        )
    });
    scene("resolved", &job, &job.step("resolve"));
}

#[test]
fn a_model_that_is_not_found() {
    let runner = Runner::new();
    scene("not found where that fails", &runner, &runner.step("restore"));
    let step = runner.step_with("restore", &[("fail-on-miss", "false")]);
    scene("not found", &runner, &step);
}

#[test]
fn inputs_that_changed_since_the_plan() {
    let runner = Runner::new();
    let main = runner.main();
    runner.train("weights");
    runner.write("data/a.csv", "id,amount\n1,11\n");
    scene("drift", &runner, &runner.post(&main));
}

#[test]
fn settings_that_cannot_be_used() {
    let mut runner = Runner::new();
    runner.input("max-age", "soon");
    runner.input("store", "gs://bucket");
    runner.input("extra-key", "sklearn");
    scene("bad input", &runner, &runner.main());
}

#[test]
fn a_damaged_model() {
    let job = changed(|job| job.damage_a_blob());
    scene("damaged", &job, &job.step("restore"));
}
