//! Inputs in all spellings and forms that runners use, and the failures that they cause.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::runner::{HOST_TEMP, HOST_WORKSPACE, Runner, State};

/// The variables with underscores for hyphens, as some runners spell them.
fn underscored(variables: BTreeMap<String, String>) -> BTreeMap<String, String> {
    variables.into_iter().map(|(name, value)| (name.replace('-', "_"), value)).collect()
}

#[test]
fn hyphens_may_be_underscores() {
    let runner = Runner::new();
    let inputs = runner.input_variables("main", &runner.inputs_of());
    let hyphens = runner.run("main", inputs.clone(), &State::new());
    let underscores = runner.run("main", underscored(inputs), &State::new());
    hyphens.succeeds();
    underscores.succeeds();
    assert_eq!(hyphens.output("fingerprint"), underscores.output("fingerprint"));
}

#[test]
fn lines_are_trimmed_and_comments_and_blanks_skipped() {
    let mut runner = Runner::new();
    let plain = runner.main();
    runner.input("data-paths", "\n  # all of it\r\n\tdata/*.csv  \n\n!data/none.csv\r\n");
    runner.input("extra-key", "\n \n");
    assert_eq!(runner.main().output("fingerprint"), plain.output("fingerprint"));
    runner.input("data-paths", "data/**\n!data/b.csv");
    assert_ne!(runner.main().output("data-hash"), plain.output("data-hash"));
}

#[test]
fn variables_that_are_not_utf_8_are_not_taken_for_none() {
    let runner = Runner::trained().next_job();
    runner.train("weights");
    let bad = OsStr::from_bytes(b"read\xff");
    for (phase, names) in [
        ("restore", &["INPUT_POINTER"][..]),
        ("save", &["ACTIONS_CACHE_MODE"]),
        ("plan", &["INPUT_DATA-PATHS", "GITHUB_REF", "ML_CACHE_STORE", "AWS_REGION", "STATE_x"]),
        ("", &["INPUT_MODEL"]),
    ] {
        let (mut command, files) = runner.command(
            phase,
            runner.input_variables(phase, &runner.inputs_of()),
            &State::new(),
        );
        command.envs(names.iter().map(|name| (name, bad)));
        let output = command.output().unwrap();
        let step = files.read(output.status.code(), &[output.stdout, output.stderr]);
        step.fails(2, &["not UTF-8", "hint:"]);
        step.fails(2, names);
        step.has_all_outputs();
        assert_eq!(step.pick(["retrain-needed", "restored", "saved"]), ["true", "false", "false"]);
    }
    let (mut command, files) =
        runner.command("plan", runner.input_variables("plan", &runner.inputs_of()), &State::new());
    let output = command.env("LESS_TERMCAP", bad).output().unwrap();
    files.read(output.status.code(), &[output.stdout, output.stderr]).succeeds();
}

#[test]
fn paths_of_the_host_are_mapped_on_every_line() {
    let mut runner = Runner::new();
    let plain = runner.step("plan");
    // The runner rewrites a host path only at the start of the whole value.
    let work = runner.work().display().to_string();
    runner.input(
        "data-paths",
        &format!("{work}/data/a.csv\n{HOST_WORKSPACE}/data/b.csv\n!{HOST_WORKSPACE}/data/c.csv"),
    );
    runner.input("training-paths", &format!("src/none.py\n{HOST_WORKSPACE}/src/**"));
    runner.input("if-no-files-found", "ignore");
    let mapped = runner.step("plan");
    mapped.succeeds();
    assert_eq!(mapped.output("fingerprint"), plain.output("fingerprint"));

    runner.input("model-path", &format!("{HOST_WORKSPACE}/models/"));
    runner.input("store", &format!("file://{HOST_TEMP}/store"));
    runner.train("weights");
    runner.step("save").succeeds();
    assert!(runner.temp().join("store/v1").is_dir());
    runner.input("destination", &format!("{HOST_WORKSPACE}/served"));
    runner.step("restore").succeeds();
    assert_eq!(runner.read("served/models/model.bin"), "weights");
}

#[test]
fn another_workspace_is_not_mapped() {
    let mut runner = Runner::new();
    runner.input("data-paths", &format!("data/**\n{HOST_WORKSPACE}-other/data/b.csv"));
    runner.main().fails(2, &["`data-paths`", "-other/data/b.csv"]);
}

#[test]
fn empty_inputs_are_as_good_as_none() {
    let mut runner = Runner::new();
    let plain = runner.main();
    for name in [
        "destination",
        "force-retrain",
        "max-age",
        "on-error",
        "fail-on-miss",
        "default-excludes",
        "if-no-files-found",
        "namespace",
        "trusted-refs",
        "region",
        "endpoint-url",
        "force-path-style",
        "host-paths",
        "extra-key",
    ] {
        runner.input(name, "");
    }
    let empty = runner.main();
    empty.succeeds();
    assert_eq!(empty.output("fingerprint"), plain.output("fingerprint"));
    assert_eq!(empty.output("reason"), "no-model");
}

#[test]
fn an_unknown_input_is_refused_with_the_nearest_name() {
    let runner = Runner::new();
    let with = |phase: &str, more: &[(&str, &str)]| {
        let mut variables = runner.input_variables(phase, &runner.inputs_of());
        variables.extend(more.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        runner.run(phase, variables, &State::default())
    };
    for (name, value, near) in [
        ("INPUT_DATA-PATH", "data/**", "did you mean `data-paths`?"),
        ("INPUT_DATA_PATH", "", "did you mean `data-paths`?"),
        ("INPUT_MOOD", "good", "docs/reference.md"),
    ] {
        for phase in ["main", "plan", "save", "restore", "resolve"] {
            let step = with(phase, &[(name, value), ("INPUT_MAX-AGE", "often")]);
            step.fails(2, &["there is no such input", near]);
        }
    }
    // All faults are in one message.
    let step = with("plan", &[("INPUT_DATA-PATH", "data/**"), ("INPUT_MAX-AGE", "often")]);
    step.fails(2, &["`data-path`", "`max-age`"]);
    // The runner's own variables, and inputs of another action.
    let own = [("INPUT_ENTRYPOINT", "x"), ("INPUT_ARGS", "y"), ("INPUT_DESTINATION", "out")];
    let step = with("plan", &own);
    step.succeeds();
    assert!(step.log.contains("the input `destination` belongs to another action"), "{}", step.log);
    assert!(!step.log.contains("entrypoint"), "{}", step.log);
}

#[test]
fn a_variable_that_is_no_input_is_named() {
    for (variable, needles) in [
        ("INPUT_DIR", ["there is no such input", "`INPUT_DIR`"]),
        ("INPUT_read-scopes", ["no runner writes its variable", "`INPUT_READ-SCOPES`"]),
        ("INPUT_Trusted-Refs", ["no runner writes its variable", "`INPUT_TRUSTED-REFS`"]),
    ] {
        let mut runner = Runner::new();
        runner.env(variable, "trusted");
        for phase in ["main", "plan", "restore"] {
            let step = runner.step(phase);
            step.fails(2, &needles);
            step.fails(2, &[&format!("remove `{variable}` from the job's `env`")]);
        }
    }
}

#[test]
fn a_variable_that_a_later_step_sets_loses_no_training() {
    let mut runner = Runner::new();
    let main = runner.main();
    runner.train("weights");
    runner.env("INPUT_DIR", "x");
    runner.env("INPUT_max-age", "1d");
    let post = runner.post(&main);
    post.succeeds();
    assert!(post.log.contains("there is no such input as `INPUT_DIR`"), "{}", post.log);
    assert_eq!(runner.pointers().len(), 1, "{}", post.log);
}

#[test]
fn a_variable_of_the_job_fills_no_empty_input() {
    let mut runner = Runner::new();
    runner.env("GITHUB_REF", "refs/heads/evil");
    for (name, value) in [
        ("INPUT_TRUSTED_REFS", "evil"),
        ("INPUT_NAMESPACE", ""),
        ("INPUT_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("INPUT_FORCE_RETRAIN", "true"),
    ] {
        runner.env(name, value);
    }
    let step = runner.main();
    step.succeeds();
    assert_eq!(step.output("reason"), "no-model", "{}", step.log);
    assert!(step.log.contains("scope branch/evil"), "{}", step.log);
}

#[test]
fn without_data_the_log_and_the_summary_say_so() {
    let mut runner = Runner::new();
    runner.input("data-paths", "");
    let step = runner.step("plan");
    step.succeeds();
    assert!(step.log.contains("`data-paths` names no data"), "{}", step.log);
    let row = "| Data | none, so no change of the data causes a training |";
    assert!(step.summary.contains(row), "{}", step.summary);
}

#[test]
fn a_namespace_in_other_capitals_is_told() {
    let mut runner = Runner::new();
    runner.input("namespace", "Acme/Fraud-Detection");
    let step = runner.step("plan");
    step.succeeds();
    assert!(step.log.contains("differ in their capitals"), "{}", step.log);
}

#[test]
fn a_step_that_fails_says_so_and_asks_for_training() {
    for phase in ["main", "plan", "restore", "save"] {
        let mut runner = Runner::new();
        runner.input("store", "gs://bucket");
        runner.input("model", "");
        let step = runner.step(phase);
        step.fails(2, &["::error::", "`store`", "gs://bucket", "`model`"]);
        step.has_all_outputs();
        assert_eq!(
            step.pick(["retrain-needed", "cache-hit", "reason", "pointer"]),
            ["true", "false", "", ""]
        );
        assert_eq!(step.log.matches("::error::").count(), 1, "{}", step.log);
    }
    let mut runner = Runner::new();
    runner.input("store", "");
    runner.main().fails(2, &["`store`", "it is required in GitHub Actions"]);
}

#[test]
fn a_missing_model_that_must_not_be_missing_keeps_the_outputs() {
    let mut runner = Runner::new();
    runner.input("fail-on-miss", "true");
    for phase in ["main", "plan"] {
        let step = runner.step(phase);
        step.fails(3, &["there is no model to use"]);
        step.has_all_outputs();
        assert_eq!(step.pick(["retrain-needed", "reason"]), ["true", "no-model"]);
        assert!(step.output("fingerprint").starts_with("sha256:"));
    }
    let restore = Runner::new().step("restore");
    restore.fails(3, &["cannot restore `fraud`"]);
    restore.has_all_outputs();
    assert_eq!(restore.pick(["retrain-needed", "restored"]), ["true", "false"]);
    let lenient = Runner::new().step_with("restore", &[("fail-on-miss", "false")]);
    lenient.succeeds();
    assert_eq!(
        lenient.pick(["retrain-needed", "restored", "reason"]),
        ["true", "false", "no-model"]
    );
}

#[test]
fn a_damaged_model_fails_the_step_and_asks_for_training() {
    let runner = Runner::trained().next_job();
    runner.damage_a_blob();
    let main = runner.main();
    main.fails(4, &["is damaged", "hint:"]);
    main.has_all_outputs();
    assert_eq!(main.pick(["retrain-needed", "cache-hit", "restored"]), ["true", "false", "false"]);
    assert!(!runner.path("models").exists());
}

#[test]
fn an_outside_workspace_means_the_current_directory() {
    let mut runner = Runner::new();
    let plain = runner.main();
    runner.env("GITHUB_WORKSPACE", HOST_WORKSPACE);
    let main = runner.main();
    main.succeeds();
    assert_eq!(main.output("fingerprint"), plain.output("fingerprint"));
}

#[test]
fn a_payload_that_is_missing_or_nonsense_never_widens_rights() {
    for payload in [None, Some(""), Some("{"), Some("[]"), Some("{\"repository\":7}"), Some("null")]
    {
        let runner = Runner::new();
        runner.replace_event(payload);
        let main = runner.main();
        main.succeeds();
        let warned = |line: &str| {
            line.starts_with("::warning::") && line.contains("add the branch to `trusted-refs`")
        };
        assert!(main.log.lines().any(warned), "{}", main.log);
        runner.train("weights");
        runner.post(&main).succeeds();
        assert!(runner.objects("v1/trusted").is_empty(), "{payload:?}");
        assert_eq!(runner.pointers()[0]["scope"], "branch/main");
    }
}

#[test]
fn a_known_state_file_name_is_no_trap() {
    let runner = Runner::new();
    let main = runner.main();
    runner.train("weights");
    // A later step may damage the file, but the save still works.
    for file in crate::support::cli::files_below(&runner.temp()) {
        std::fs::write(file, "garbage").unwrap();
    }
    runner.post(&main).succeeds();
    assert_eq!(runner.pointers().len(), 1);
}

#[test]
fn a_directory_that_is_gone_with_the_container_is_refused() {
    let mut runner = Runner::trained().next_job();
    runner.env("ML_CACHE_CONTAINER", "true");
    let elsewhere = [("store", "file:///srv/models"), ("destination", "/opt/models")];
    let step = runner.step_with("restore", &elsewhere);
    step.fails(
        2,
        &[
            "input `store`",
            "input `destination`",
            "in its own container",
            "a directory below the workspace",
        ],
    );
    step.has_all_outputs();
    // The kernel mounts this directory, but nothing outside of the container sees it.
    runner
        .step_with("restore", &[("store", "file:///dev/shm/models")])
        .fails(2, &["input `store`"]);
}

#[test]
fn a_summary_that_cannot_be_written_takes_nothing_back() {
    let runner = Runner::new();
    runner.train("weights");
    let inputs = runner.input_variables("save", &runner.inputs_of());
    let (mut command, files) = runner.command("save", inputs, &State::new());
    command.env("GITHUB_STEP_SUMMARY", runner.path("there/is/no/such/directory"));
    let output = command.output().unwrap();
    let step = files.read(output.status.code(), &[output.stdout, output.stderr]);
    step.succeeds();
    assert_eq!(step.pick(["saved", "reason", "retrain-needed"]), ["true", "hit", "false"]);
    assert!(step.log.contains("::warning::there is no job summary"), "{}", step.log);
}

#[test]
fn a_payload_that_never_ends_is_not_read() {
    let mut runner = Runner::new();
    runner.env("GITHUB_EVENT_PATH", "/dev/zero");
    runner.train("weights");
    let step = runner.step("save");
    step.succeeds();
    // Without a payload, the run does not know the default branch.
    assert_eq!(runner.pointers()[0]["scope"], "branch/main");
}

#[test]
fn a_model_without_a_file_is_no_model() {
    let runner = Runner::new();
    std::fs::create_dir_all(runner.path("models/empty")).unwrap();
    runner
        .step("save")
        .fails(1, &["there is no model to save: `model-path` holds no file", "hint:"]);
    assert!(runner.pointers().is_empty());
}
