//! A runner without a file for outputs, as on old GitHub Enterprise Servers.

use std::collections::BTreeMap;

use super::protocol::check_log;
use super::runner::{Runner, State};

/// Returns the exit code of a step, and the outputs that a runner would read from its log.
fn printed(runner: &Runner, phase: &str, in_actions: &str) -> (i32, BTreeMap<String, String>) {
    let inputs = runner.input_variables(phase, &runner.inputs_of());
    let (mut command, _files) = runner.command(phase, inputs, &State::new());
    let output =
        command.env("GITHUB_OUTPUT", "").env("GITHUB_ACTIONS", in_actions).output().unwrap();
    assert!(output.stdout.is_empty());
    let mut outputs = BTreeMap::new();
    let mut rest = String::new();
    for line in String::from_utf8(output.stderr).unwrap().lines() {
        let Some(set) = line.strip_prefix("::set-output name=") else {
            rest.push_str(&format!("{line}\n"));
            continue;
        };
        let (name, value) = set.split_once("::").unwrap();
        let value = value.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%");
        assert!(outputs.insert(name.to_owned(), value).is_none(), "{name} is set twice");
    }
    check_log(&rest);
    (output.status.code().unwrap(), outputs)
}

#[test]
fn outputs_are_commands_then() {
    let runner = Runner::trained().next_job();
    let mut wanted = runner.step("plan").outputs;
    let (code, mut found) = printed(&runner, "plan", "true");
    for outputs in [&mut wanted, &mut found] {
        outputs.retain(|_, value| !value.is_empty());
    }
    assert_eq!((code, &found), (0, &wanted));
    assert_eq!(found["cache-hit"], "true");
    assert!(found["pointer"].starts_with("{\"schema\":"));
    // Outside of GitHub Actions, nobody reads workflow commands.
    assert_eq!(printed(&runner, "plan", "").1, BTreeMap::new());
}

#[test]
fn a_step_that_fails_sets_them_once() {
    let mut runner = Runner::new();
    runner.input("fail-on-miss", "true");
    let (code, found) = printed(&runner, "plan", "true");
    assert_eq!(
        (code, found["retrain-needed"].as_str(), found["reason"].as_str()),
        (3, "true", "no-model")
    );
    runner.input("model", "");
    let (code, found) = printed(&runner, "plan", "true");
    assert_eq!((code, found["retrain-needed"].as_str()), (2, "true"));
}

#[test]
fn a_failed_step_without_outputs_tells_its_own_error() {
    let mut runner = Runner::new();
    runner.input("model", "");
    let inputs = runner.input_variables("plan", &runner.inputs_of());
    let (mut command, _files) = runner.command("plan", inputs, &State::new());
    // A directory, which nobody can append to.
    let output = command.env("GITHUB_OUTPUT", runner.work()).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{log}");
    assert!(log.contains("`model`"), "{log}");
}
